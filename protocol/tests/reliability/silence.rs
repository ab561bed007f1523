//! Interactive commands that print nothing, at first or at all.

use std::time::Duration;

use bytes::Bytes;
use ssmfwd_protocol::agent::{AgentEvent, SessionType};
use ssmfwd_protocol::channel::CloseReason;
use ssmfwd_protocol::config::Beginning;
use ssmfwd_protocol::error::ProtocolError;
use ssmfwd_protocol::message::PayloadType;
use ssmfwd_protocol::{Endpoint, Size, StreamId};

use crate::support::{Behaviour, Faults, Options, Pair};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const SIZE: Size = Size { cols: 80, rows: 24 };

/// A session that may be an interactive command's, and is one's that prints nothing.
fn silent(options: Options) -> Pair {
    let mut pair = Pair::new(options);
    pair.host(StreamId::OUTPUT, Behaviour::Sink);
    pair.host(StreamId::ERROR, Behaviour::Sink);
    pair.connect();
    pair.drive_for(SECOND);
    pair
}

fn silent_options() -> Options {
    let mut options = Options::of(SessionType::InteractiveCommands);
    options.config.beginning = Beginning::Silence;
    options
}

#[test]
fn a_program_that_reads_before_it_prints_can_be_typed_into() {
    for is_lossy in [false, true] {
        let mut options = silent_options();
        options.config.terminal_size = SIZE;
        if is_lossy {
            options = options.faults(Faults {
                loss: 0.2,
                ..Faults::delay(10)
            });
        }
        let mut pair = silent(options);
        pair.drive_bounded(15 * SECOND, Pair::is_established);
        assert_eq!(pair.agent_events.last(), Some(&AgentEvent::Resized(SIZE)));
        let streams = pair.client.streams().unwrap();
        streams.write(StreamId::OUTPUT, &mut Bytes::from_static(b"typed"));
        pair.drive_for(15 * SECOND);
        assert_eq!(
            &pair.target.connections[&StreamId::OUTPUT].received[..],
            b"typed"
        );
        assert_eq!(pair.close_reason(), None);
    }
}

#[test]
fn a_program_that_does_not_start_is_not_waited_for() {
    let mut pair = Pair::new(silent_options());
    // Neither its agent's acknowledgements come nor anything else.
    pair.down.lose_if(|_| true);
    pair.connect();
    pair.drive_for(MINUTE);
    assert_eq!(
        pair.close_reason(),
        Some(CloseReason::HandshakeTimedOut {
            is_started: false,
            undecodable_count: 0
        })
    );
}

/// A session whose shell takes a while to its prompt.
fn slow_shell() -> Pair {
    let mut options = Options::of(SessionType::StandardStream);
    options.config.beginning = Beginning::Prompt;
    let mut pair = Pair::new(options);
    pair.host(StreamId::OUTPUT, Behaviour::Sink);
    pair.host(StreamId::ERROR, Behaviour::Sink);
    pair.connect();
    pair
}

#[test]
fn a_prompt_may_take_its_time_or_want_input_first() {
    let mut pair = slow_shell();
    pair.drive_for(20 * SECOND);
    assert_eq!(pair.close_reason(), None);
    assert!(!pair.is_established());
    pair.forge(0, PayloadType::Output, b"$ ");
    assert!(pair.is_established());

    let mut pair = slow_shell();
    pair.drive_for(30 * SECOND);
    assert!(pair.is_established());
    let streams = pair.client.streams().unwrap();
    streams.write(StreamId::OUTPUT, &mut Bytes::from_static(b"typed"));
    pair.drive_for(SECOND);
    assert_eq!(
        &pair.target.connections[&StreamId::OUTPUT].received[..],
        b"typed"
    );
}

#[test]
fn a_handshake_is_late_after_output_too() {
    let mut options = Options::of(SessionType::StandardStream);
    options.config.beginning = Beginning::Prompt;
    let mut pair = Pair::new(options.encrypted());
    pair.down.lose_if(|_| true);
    pair.connect();
    pair.forge(0, PayloadType::Output, b"$ ");
    pair.forge(1, PayloadType::HandshakeRequest, b"{}");
    let late = ProtocolError::LateHandshake;
    assert_eq!(pair.close_reason(), Some(CloseReason::Protocol(late)));
}

#[test]
fn an_agent_that_was_asked_in_its_silence_may_still_begin_a_handshake() {
    for (delay, silence) in [(2500, 0), (10, 2100), (10, 3900)] {
        let options = silent_options().encrypted().faults(Faults::delay(delay));
        let mut pair = Pair::new(options);
        let typed = Bytes::from_static(b"typed");
        pair.plan(StreamId::OUTPUT, Behaviour::Talk(2), typed.clone());
        pair.plan(StreamId::ERROR, Behaviour::Talk(0), Bytes::new());
        // The question is acknowledged before the request comes.
        pair.down
            .lose_if(|wire| wire[4..].starts_with(b"output_stream_data"));
        pair.connect();
        pair.drive_for(Duration::from_millis(silence));
        assert!(!pair.is_established());
        pair.down.lose_no_more();
        pair.complete(MINUTE);
        assert_eq!(pair.close_reason(), None);
        let is_plain = |wire: &Bytes| wire.windows(typed.len()).any(|part| part == typed);
        assert!(!pair.client_wires.iter().any(is_plain));
    }
}

#[test]
fn a_handshake_that_was_waited_for_and_comes_to_nothing_is_given_up() {
    // A port, as of a document of one's own.
    let mut options = Options::default();
    options.config.beginning = Beginning::Silence;
    let mut pair = Pair::new(options);
    pair.down
        .lose_if(|wire| wire[4..].starts_with(b"output_stream_data"));
    pair.connect();
    pair.drive_for(Duration::from_millis(3900));
    pair.up
        .lose_if(|wire| wire[4..].starts_with(b"input_stream_data"));
    pair.down.lose_no_more();
    pair.drive_for(MINUTE);
    assert!(matches!(
        pair.close_reason(),
        Some(CloseReason::HandshakeTimedOut {
            is_started: true,
            ..
        })
    ));
}

#[test]
fn a_handshake_that_comes_when_the_session_has_begun_ends_it() {
    let mut pair = Pair::new(silent_options().encrypted());
    pair.down
        .lose_if(|wire| wire[4..].starts_with(b"output_stream_data"));
    pair.connect();
    pair.drive_bounded(10 * SECOND, Pair::is_established);
    pair.down.lose_no_more();
    pair.drive_for(5 * SECOND);
    let late = ProtocolError::LateHandshake;
    assert_eq!(pair.close_reason(), Some(CloseReason::Protocol(late)));
}

#[test]
fn a_program_that_prints_nothing_begins_and_ends_with_its_session() {
    let in_order = CloseReason::Peer {
        output: String::new(),
        is_whole: true,
    };
    let mut pair = silent(silent_options());
    pair.close_channel("");
    pair.drive_for(SECOND);
    assert!(pair.is_established());
    assert_eq!(pair.close_reason(), Some(in_order));
    assert_eq!(pair.user.ended, [StreamId::OUTPUT, StreamId::ERROR]);

    // What the service complains of has not run, what begins with a prompt has not begun, nor has what did not answer.
    let mut failed = silent(silent_options());
    failed.close_channel("Unable to start command");
    let mut unexpected = Pair::new(Options::of(SessionType::StandardStream));
    unexpected.connect();
    unexpected.close_channel("");
    let mut absent = Pair::new(silent_options());
    absent.down.lose_if(|_| true);
    absent.connect();
    absent.drive_for(10 * SECOND);
    absent.close_channel("");
    for mut pair in [failed, unexpected, absent] {
        pair.drive_for(SECOND);
        assert!(!pair.is_established());
        assert!(pair.close_reason().is_some());
    }
}

#[test]
fn the_end_may_overtake_all_that_a_program_has_printed() {
    for is_whole in [true, false] {
        let mut pair = silent(silent_options());
        pair.forge(1, PayloadType::Output, b" and its tail");
        pair.close_channel("");
        if is_whole {
            pair.forge(0, PayloadType::Output, b"the head");
            let streams = pair.client.streams().unwrap();
            assert_eq!(
                streams.read(StreamId::OUTPUT),
                &b"the head and its tail"[..]
            );
        }
        pair.drive_for(SECOND);
        let output = String::new();
        let reason = CloseReason::Peer { output, is_whole };
        assert_eq!(pair.close_reason(), Some(reason));
        assert_eq!(!pair.user.ended.is_empty(), is_whole);
    }
}
