//! How sessions end, and that they do.

use std::time::Duration;

use bytes::Bytes;
use ssmfwd_protocol::agent::{AgentEvent, SessionType};
use ssmfwd_protocol::channel::{CloseReason, Event};
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::error::{DecodeError, MuxError, ProtocolError};
use ssmfwd_protocol::message::PayloadType;
use ssmfwd_protocol::{Endpoint, StreamId, Transmit};

use crate::support::{Behaviour, Options, Pair, noise};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Fails unless the client has said exactly once that it is closed, and stays silent.
fn assert_closed(pair: &mut Pair, reason: &CloseReason) {
    pair.drive_for(MINUTE);
    let closed = pair
        .events
        .iter()
        .filter(|event| matches!(event, Event::Closed(_)));
    assert_eq!(closed.count(), 1, "{:?}", pair.events);
    assert_eq!(pair.close_reason().as_ref(), Some(reason));
    assert_eq!(pair.client.poll_transmit(pair.now), None);
    assert_eq!(pair.client.poll_timeout(), None);
    assert_eq!(pair.client.poll_event(), None);
    // Nothing changes it any more.
    pair.client.terminate(pair.now);
    pair.client
        .handle_message(pair.now, Bytes::from_static(b"junk"));
    pair.close_channel("late");
    pair.client.handle_disconnected(pair.now);
    pair.client.handle_timeout(pair.now + MINUTE);
    assert_eq!(pair.client.poll_event(), None);
}

#[test]
fn the_user_can_end_a_session_at_any_moment() {
    for millis in 0..80 {
        let mut pair = Pair::new(Options::default());
        pair.connect();
        pair.drive_for(Duration::from_millis(millis));
        if let Some(streams) = pair.client.streams() {
            let id = streams.open().unwrap();
            streams.write(id, &mut noise(1, 5000));
        }
        let is_established = pair.is_established();
        pair.client.terminate(pair.now);
        let start = pair.now;
        pair.drive_bounded(3 * SECOND, |pair| pair.close_reason().is_some());
        assert!(pair.now - start <= 2 * SECOND);
        assert_closed(&mut pair, &CloseReason::Terminated);
        let is_told = pair.agent_events.contains(&AgentEvent::Terminated);
        assert_eq!(is_told, is_established, "{millis} ms");
    }
}

#[test]
fn the_user_can_end_a_session_that_was_never_connected() {
    let mut pair = Pair::new(Options::default());
    pair.client.terminate(pair.now);
    assert_closed(&mut pair, &CloseReason::Terminated);
}

#[test]
fn the_user_can_end_a_session_that_is_cut_off() {
    let mut pair = Pair::established(Options::default());
    pair.disconnect_client();
    pair.client.terminate(pair.now);
    pair.drive_bounded(SECOND, |pair| pair.close_reason().is_some());
    assert!(!pair.client.is_terminated());
    assert_closed(&mut pair, &CloseReason::Terminated);
}

#[test]
fn a_lost_flag_is_repeated() {
    let mut pair = Pair::established(Options::default());
    pair.drive_for(SECOND);
    let mut count = 0;
    pair.up.lose_if(move |wire| {
        let is_flag = wire[115] == 10;
        count += u32::from(is_flag);
        is_flag && count <= 2
    });
    pair.client.terminate(pair.now);
    pair.drive_bounded(3 * SECOND, |pair| pair.close_reason().is_some());
    assert!(pair.agent_events.contains(&AgentEvent::Terminated));
    assert!(pair.client.is_terminated());
    assert_closed(&mut pair, &CloseReason::Terminated);
}

#[test]
fn a_flag_behind_a_lost_message_is_not_taken_for_done() {
    let mut pair = Pair::established(Options::default());
    pair.drive_for(SECOND);
    let mut count = 0;
    pair.up.lose_if(move |wire| {
        let is_data = wire[4..].starts_with(b"input_stream_data") && wire[115] == 1;
        count += u32::from(is_data);
        is_data && count == 1
    });
    pair.open(Behaviour::Sink, noise(1, 100)).unwrap();
    pair.drive_for(Duration::from_millis(1));
    pair.client.terminate(pair.now);
    pair.drive_bounded(3 * SECOND, |pair| pair.close_reason().is_some());
    assert!(pair.agent_events.contains(&AgentEvent::Terminated));
}

#[test]
fn an_agent_that_never_answers_the_flag_is_left_after_the_close_timeout() {
    let mut pair = Pair::established(Options::default());
    pair.up.lose_if(|_| true);
    pair.client.terminate(pair.now);
    let start = pair.now;
    pair.drive_bounded(3 * SECOND, |pair| pair.close_reason().is_some());
    assert_eq!(pair.now - start, Config::default().close_timeout);
    assert_closed(&mut pair, &CloseReason::Terminated);
}

#[test]
fn a_channel_lost_while_closing_is_closed() {
    let mut pair = Pair::established(Options::default());
    pair.client.terminate(pair.now);
    pair.disconnect_client();
    pair.drive_bounded(SECOND, |pair| pair.close_reason().is_some());
    assert_closed(&mut pair, &CloseReason::Terminated);
}

#[test]
fn the_service_can_end_a_session_at_any_moment() {
    let output = "Your session timed out due to inactivity and has been terminated.";
    for millis in 0..80 {
        let mut pair = Pair::new(Options::default());
        pair.connect();
        pair.drive_for(Duration::from_millis(millis));
        pair.close_channel(output);
        let output = output.to_owned();
        assert_closed(
            &mut pair,
            &CloseReason::Peer {
                output,
                is_whole: true,
            },
        );
    }
}

#[test]
fn the_service_closing_a_session_the_user_is_ending_is_the_users_end() {
    let mut pair = Pair::established(Options::default());
    pair.up.lose_if(|_| true);
    pair.client.terminate(pair.now);
    pair.drive_for(SECOND);
    pair.close_channel("");
    assert_closed(&mut pair, &CloseReason::Terminated);
}

#[test]
fn what_arrived_before_the_end_can_still_be_read() {
    let mut pair = Pair::established(Options::default());
    pair.user.read_interval = Some(10 * SECOND);
    let id = pair
        .open(Behaviour::Source(10_000), Bytes::from_static(b"GET"))
        .unwrap();
    pair.drive_for(5 * SECOND);
    pair.close_channel("");
    let read = pair.client.streams().unwrap().read(id);
    assert_eq!(read.len() + pair.user.transfers[&id].received.len(), 10_000);
}

/// Number of the next message of an agent that has done nothing but its handshake.
const NEXT: i64 = 2;

/// A session that is ended in good order while a message before the last is missing.
fn ended_with_a_gap() -> Pair {
    let mut pair = Pair::established(Options::default());
    pair.forge(NEXT + 1, PayloadType::Output, b"");
    pair.close_channel("");
    pair.drive_for(Duration::from_millis(100));
    assert_eq!(pair.close_reason(), None);
    pair
}

#[test]
fn what_the_end_has_overtaken_is_waited_for() {
    let mut pair = ended_with_a_gap();
    pair.forge(NEXT, PayloadType::Output, b"");
    pair.drive_bounded(Duration::ZERO, |pair| pair.close_reason().is_some());
    let reason = CloseReason::Peer {
        output: String::new(),
        is_whole: true,
    };
    assert_closed(&mut pair, &reason);
}

/// As the end of what a program prints, which nothing else marks.
#[test]
fn the_end_may_overtake_the_last_message() {
    let mut pair = Pair::new(Options::of(SessionType::StandardStream));
    pair.connect();
    pair.forge(0, PayloadType::Output, b"$ ");
    pair.close_channel("");
    assert_eq!(pair.close_reason(), None);
    pair.forge(1, PayloadType::Output, b"logout");
    let streams = pair.client.streams().unwrap();
    assert_eq!(streams.read(StreamId::OUTPUT), &b"$ logout"[..]);
    pair.drive_bounded(SECOND, |pair| pair.close_reason().is_some());
    assert_eq!(pair.elapsed(), Config::default().overtaken_delay);
    let reason = CloseReason::Peer {
        output: String::new(),
        is_whole: true,
    };
    assert_closed(&mut pair, &reason);
}

#[test]
fn a_gap_that_shows_after_the_end_is_waited_for_as_any_other() {
    let mut pair = Pair::new(Options::of(SessionType::StandardStream));
    pair.connect();
    pair.forge(0, PayloadType::Output, b"$ ");
    pair.close_channel("");
    pair.forge(2, PayloadType::Output, b"out");
    pair.drive_for(2 * Config::default().overtaken_delay);
    assert_eq!(pair.close_reason(), None);
    pair.forge(1, PayloadType::Output, b"log");
    let streams = pair.client.streams().unwrap();
    assert_eq!(streams.read(StreamId::OUTPUT), &b"$ logout"[..]);
    let reason = CloseReason::Peer {
        output: String::new(),
        is_whole: true,
    };
    assert_closed(&mut pair, &reason);
}

#[test]
fn an_end_may_have_no_output() {
    for body in [&br#"{"Output":null}"#[..], b"{}"] {
        let mut pair = Pair::established(Options::default());
        pair.close_channel_with(body);
        let reason = CloseReason::Peer {
            output: String::new(),
            is_whole: true,
        };
        assert_closed(&mut pair, &reason);
    }
}

#[test]
fn an_end_with_something_missing_is_not_whole() {
    let missing = CloseReason::Peer {
        output: String::new(),
        is_whole: false,
    };
    let mut pair = ended_with_a_gap();
    pair.close_channel("");
    pair.client.terminate(pair.now);
    assert_eq!(pair.close_reason(), None);
    assert_closed(&mut pair, &missing);

    let mut pair = ended_with_a_gap();
    pair.disconnect_client();
    pair.drive_bounded(Duration::ZERO, |pair| pair.close_reason().is_some());
    assert_closed(&mut pair, &missing);
}

#[test]
fn an_end_that_cannot_be_read_is_not_in_order() {
    for body in [&b""[..], b"{\"Output\":7}", b"\xff"] {
        let mut pair = Pair::established(Options::default());
        pair.close_channel_with(body);
        assert_closed(
            &mut pair,
            &CloseReason::Protocol(ProtocolError::ChannelClosed),
        );
    }
}

#[test]
fn a_silent_agent_is_given_up_after_the_handshake_timeout() {
    let mut pair = Pair::new(Options::default());
    pair.down.lose_if(|_| true);
    pair.connect();
    pair.drive_bounded(MINUTE, |pair| pair.close_reason().is_some());
    assert_eq!(pair.elapsed(), Config::default().handshake_timeout);
    let reason = CloseReason::HandshakeTimedOut {
        is_started: false,
        undecodable_count: 0,
    };
    assert_closed(&mut pair, &reason);
}

#[test]
fn an_agent_that_falls_silent_in_the_handshake_is_given_up() {
    let mut pair = Pair::new(Options::default());
    pair.up
        .lose_if(|wire| wire[4..].starts_with(b"input_stream_data"));
    pair.connect();
    pair.drive_bounded(MINUTE, |pair| pair.close_reason().is_some());
    assert_eq!(pair.elapsed(), Config::default().handshake_timeout);
    assert!(matches!(
        pair.close_reason(),
        Some(CloseReason::HandshakeTimedOut {
            is_started: true,
            ..
        })
    ));
    let failed = |event: &AgentEvent| matches!(event, AgentEvent::Failed(text) if text.contains("Handshake timed out"));
    assert!(pair.agent_events.iter().any(failed));
}

#[test]
fn channels_lost_in_the_handshake_do_not_extend_its_time() {
    let mut pair = Pair::new(Options::default());
    pair.down.lose_if(|_| true);
    pair.connect();
    for _ in 0..9 {
        pair.drive_for(4 * SECOND);
        pair.disconnect_client();
        pair.connect();
    }
    assert!(matches!(
        pair.close_reason(),
        Some(CloseReason::HandshakeTimedOut { .. })
    ));
}

#[test]
fn garbage_is_borne_up_to_its_limit() {
    let limit = Config::default().undecodable_limit;
    let mut pair = Pair::established(Options::default());
    for _ in 1..limit {
        pair.client
            .handle_message(pair.now, Bytes::from_static(b"garbage"));
    }
    pair.open(Behaviour::Echo, noise(1, 5000)).unwrap();
    pair.complete(MINUTE);
    for _ in 0..limit {
        pair.client
            .handle_message(pair.now, Bytes::from_static(b"garbage"));
    }
    let last = DecodeError::Truncated {
        offset: 4,
        needed: 32,
        len: 7,
    };
    let error = ProtocolError::Undecodable { count: limit, last };
    assert_closed(&mut pair, &CloseReason::Protocol(error));
}

#[test]
fn garbage_before_the_handshake_is_counted_in_its_timeout() {
    let mut pair = Pair::new(Options::default());
    pair.down.lose_if(|_| true);
    pair.connect();
    pair.client
        .handle_message(pair.now, Bytes::from_static(b"garbage"));
    pair.drive_bounded(MINUTE, |pair| pair.close_reason().is_some());
    let reason = CloseReason::HandshakeTimedOut {
        is_started: false,
        undecodable_count: 1,
    };
    assert_closed(&mut pair, &reason);
}

#[test]
fn a_broken_mux_ends_the_session() {
    let mut pair = Pair::established(Options::default());
    pair.drive_for(SECOND);
    let id = pair.client.streams().unwrap().open().unwrap();
    pair.drive_for(SECOND);
    pair.agent
        .streams()
        .unwrap()
        .write(id, &mut Bytes::from_static(b"to be mangled"));
    let Some(Transmit::Binary(wire)) = pair.agent.poll_transmit(pair.now) else {
        panic!("nothing to mangle");
    };
    let mut message = ssmfwd_protocol::message::Message::decode(wire).unwrap();
    message.payload = Bytes::from_static(&[2, 0, 0, 0, 0, 0, 0, 0]);
    pair.client.handle_message(pair.now, message.encode());
    let error = ProtocolError::Mux(MuxError::Version(2));
    assert_closed(&mut pair, &CloseReason::Protocol(error));
}

#[test]
fn streams_opened_after_the_end_are_harmless() {
    let mut pair = Pair::established(Options::default());
    pair.close_channel("");
    let streams = pair.client.streams().unwrap();
    let id = streams.open().unwrap();
    streams.write(id, &mut noise(1, 500_000));
    streams.finish(id);
    assert_eq!(pair.client.poll_transmit(pair.now), None);
}
