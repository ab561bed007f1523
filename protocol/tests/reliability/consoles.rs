//! Shells and commands: two streams, a terminal's size, signals, an exit code.

use std::time::Duration;

use bytes::Bytes;
use ssmfwd_protocol::agent::{AgentEvent, SessionType};
use ssmfwd_protocol::channel::{CloseReason, Event};
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::error::OpenError;
use ssmfwd_protocol::message::{Message, PayloadType};
use ssmfwd_protocol::{Endpoint, SessionKind, Signal, Size, StreamId};

use crate::support::{Behaviour, Faults, Options, Pair, for_each_seed, noise};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const KIB: usize = 1024;

const SHELL: SessionType = SessionType::StandardStream;
const COMMAND: SessionType = SessionType::NonInteractiveCommands {
    separates_outputs: true,
};
const SMALL: Size = Size { cols: 80, rows: 24 };
const LARGE: Size = Size {
    cols: 200,
    rows: 60,
};

/// A session whose program says hello and reads what it is told.
fn established(options: Options) -> Pair {
    let mut pair = Pair::new(options);
    pair.host(StreamId::OUTPUT, Behaviour::Talk(2));
    pair.host(StreamId::ERROR, Behaviour::Talk(0));
    pair.connect();
    pair.drive_bounded(15 * SECOND, Pair::is_established);
    pair.drive_for(SECOND);
    pair
}

/// What the client has sent of one kind, each message once.
fn sent(pair: &Pair, kind: PayloadType) -> Vec<Bytes> {
    let mut next = -1;
    let mut sent = Vec::new();
    for wire in &pair.client_wires {
        let message = Message::decode(wire.clone()).unwrap();
        if message.header.payload_type != PayloadType::None && message.header.sequence > next {
            next = message.header.sequence;
            sent.push(message);
        }
    }
    let of_kind = sent.into_iter().filter(|it| it.header.payload_type == kind);
    of_kind.map(|message| message.payload).collect()
}

fn write(pair: &mut Pair, text: &'static [u8]) {
    let streams = pair.client.streams().unwrap();
    let mut data = Bytes::from_static(text);
    assert_eq!(streams.write(StreamId::OUTPUT, &mut data), text.len());
}

#[test]
fn shells_carry_every_byte_over_bad_networks() {
    let bad = Faults {
        loss: 0.1,
        duplication: 0.1,
        reordering: 0.1,
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(50),
        rate: None,
    };
    for session_type in [SHELL, SessionType::InteractiveCommands] {
        for is_encrypted in [false, true] {
            for_each_seed(6, |seed| {
                let mut options = Options {
                    seed,
                    ..Options::of(session_type.clone())
                };
                if is_encrypted {
                    options = options.encrypted();
                }
                let mut pair = Pair::new(options.faults(bad));
                let (down, up) = (100 * KIB, noise(seed, 150 * KIB));
                pair.plan(StreamId::OUTPUT, Behaviour::Talk(down), up);
                pair.plan(StreamId::ERROR, Behaviour::Source(3000), Bytes::new());
                pair.connect();
                pair.complete(60 * MINUTE);
            });
        }
    }
}

#[test]
fn commands_keep_their_outputs_apart_over_bad_networks() {
    let bad = Faults {
        loss: 0.1,
        duplication: 0.1,
        reordering: 0.1,
        ..Faults::delay(30)
    };
    for is_encrypted in [false, true] {
        for_each_seed(6, |seed| {
            let mut options = Options {
                seed,
                ..Options::of(COMMAND)
            };
            if is_encrypted {
                options = options.encrypted();
            }
            let mut pair = Pair::new(options.faults(bad));
            for (id, len) in [(StreamId::OUTPUT, 100 * KIB), (StreamId::ERROR, 70 * KIB)] {
                pair.plan(id, Behaviour::Source(len), Bytes::new());
            }
            pair.connect();
            pair.complete(60 * MINUTE);
        });
    }
}

#[test]
fn channels_lost_in_the_middle_cost_no_byte() {
    for is_encrypted in [false, true] {
        for_each_seed(6, |seed| {
            let mut options = Options {
                seed,
                ..Options::of(SHELL)
            };
            if is_encrypted {
                options = options.encrypted();
            }
            let mut pair = Pair::new(options);
            let up = noise(seed, 2000 * KIB);
            pair.plan(StreamId::OUTPUT, Behaviour::Talk(300 * KIB), up);
            pair.plan(StreamId::ERROR, Behaviour::Talk(0), Bytes::new());
            pair.connect();
            for round in 0..20 {
                pair.drive_for(Duration::from_millis(10 + 7 * ((seed + round) % 9)));
                match (seed + round) % 3 {
                    0 => pair.disconnect_agent(),
                    _ => pair.disconnect_client(),
                }
                pair.drive_for(Duration::from_millis(40));
                pair.connect();
            }
            pair.complete(60 * MINUTE);
        });
    }
}

#[test]
fn a_slow_reader_holds_the_session_back_and_loses_nothing() {
    for kind in [SHELL, COMMAND] {
        let config = Config {
            receive_buffer_len: 64 * KIB,
            ..Config::default()
        };
        let mut pair = Pair::new(Options {
            config,
            ..Options::of(kind)
        });
        pair.user.read_interval = Some(200 * Duration::from_millis(1));
        pair.plan(
            StreamId::OUTPUT,
            Behaviour::Source(2000 * KIB),
            Bytes::new(),
        );
        pair.plan(StreamId::ERROR, Behaviour::Source(500 * KIB), Bytes::new());
        pair.connect();
        pair.complete(60 * MINUTE);
        assert!(pair.peak_len < 80 * KIB, "{} bytes", pair.peak_len);
    }
}

#[test]
fn a_terminals_size_goes_first_and_changes_follow() {
    for is_encrypted in [false, true] {
        let mut options = Options::of(SHELL);
        options.config.terminal_size = SMALL;
        if is_encrypted {
            options = options.encrypted();
        }
        let mut pair = established(options);
        let first = AgentEvent::Resized(SMALL);
        assert!(pair.agent_events.contains(&first), "{is_encrypted}");
        let streams = pair.client.streams().unwrap();
        let mut keys = Bytes::from_static(b"keys");
        streams.write(StreamId::OUTPUT, &mut keys);
        for cols in 100..200 {
            streams.resize(Size { cols, rows: 1 });
        }
        streams.resize(LARGE);
        let before = pair.client_wires.len();
        pair.drive_for(SECOND);
        let kinds: Vec<_> = pair.client_wires[before..]
            .iter()
            .map(|wire| Message::decode(wire.clone()).unwrap().header.payload_type)
            .collect();
        assert_eq!(kinds, [PayloadType::Size, PayloadType::Output]);
        assert_eq!(pair.agent_events.last(), Some(&AgentEvent::Resized(LARGE)));
    }
}

#[test]
fn a_session_without_handshake_is_a_shell() {
    let mut pair = established(Options::of(SHELL));
    let Some(Event::Established(established)) = pair.events.first() else {
        panic!("{:?}", pair.events);
    };
    assert_eq!(established.kind, SessionKind::Shell);
    assert_eq!(established.agent_version, None);
    let streams = pair.client.streams().unwrap();
    assert_eq!(streams.open(), Err(OpenError::Exhausted));
    // The first message of an official client, too.
    let size = br#"{"cols":300,"rows":100}"#;
    assert_eq!(sent(&pair, PayloadType::Size), [&size[..]]);
    let first = Message::decode(pair.client_wires[1].clone()).unwrap();
    assert_eq!(first.header.payload_type, PayloadType::Size);
    assert_eq!(first.header.sequence, 0);
}

#[test]
fn a_keystroke_whose_acknowledgement_is_lost_is_not_under_way_for_ever() {
    let options = Options {
        agent_version: "3.0.100.0",
        ..Options::of(SHELL)
    };
    let mut pair = established(options);
    assert!(pair.client.is_quiet());
    pair.down
        .lose_if(|wire| wire[4..].starts_with(b"acknowledge"));
    write(&mut pair, b"l");
    pair.drive_for(SECOND);
    pair.down.lose_no_more();
    for _ in 0..300 {
        write(&mut pair, b"s");
        pair.drive_for(Duration::from_millis(200));
    }
    assert_eq!(pair.client.in_flight_len(), 0);
    assert!(pair.client.is_quiet());
}

#[test]
fn a_line_feed_by_itself_is_enter_in_shells_only() {
    let mut pair = established(Options::of(SHELL));
    for (text, expected) in [
        (&b"\n"[..], &b"\r"[..]),
        (b"ab\n", b"ab\n"),
        (b"\n\n", b"\n\n"),
        (b"\r", b"\r"),
    ] {
        write(&mut pair, text);
        pair.drive_for(SECOND);
        let sent = sent(&pair, PayloadType::Output);
        assert_eq!(sent.last().unwrap(), expected);
    }
    let mut pair = Pair::established(Options::of(COMMAND));
    pair.drive_for(SECOND);
    write(&mut pair, b"\n");
    pair.drive_for(SECOND);
    assert_eq!(sent(&pair, PayloadType::Output), [&b"\n"[..]]);
}

#[test]
fn the_last_line_feed_of_a_long_paste_stays_one() {
    let config = Config {
        stream_send_len: 1024,
        ..Config::default()
    };
    let mut paste = vec![b'x'; 5 * 1024];
    paste.push(b'\n');
    let mut pair = Pair::new(Options {
        config,
        ..Options::of(SHELL)
    });
    pair.plan(StreamId::OUTPUT, Behaviour::Talk(2), paste.into());
    pair.plan(StreamId::ERROR, Behaviour::Talk(0), Bytes::new());
    pair.connect();
    pair.complete(MINUTE);
}

#[test]
fn signals_reach_a_command_and_nothing_else_does() {
    let mut pair = Pair::established(Options::of(COMMAND).encrypted());
    pair.drive_for(SECOND);
    for signal in [Signal::Interrupt, Signal::Quit] {
        let mut byte = Bytes::copy_from_slice(&[signal.byte()]);
        let streams = pair.client.streams().unwrap();
        streams.write(StreamId::OUTPUT, &mut byte);
        pair.drive_for(SECOND);
        assert_eq!(
            pair.agent_events.last(),
            Some(&AgentEvent::Signalled(signal))
        );
    }
    let before = pair.agent_events.len();
    write(&mut pair, b"input that a command does not read");
    pair.drive_for(SECOND);
    assert_eq!(pair.agent_events.len(), before);
    assert!(
        pair.target.connections[&StreamId::OUTPUT]
            .received
            .is_empty()
    );
}

#[test]
fn an_exit_code_comes_after_all_output() {
    for code in [0, 1, 7, 127, 255, -1] {
        let mut pair = Pair::new(Options::of(COMMAND));
        pair.plan(StreamId::OUTPUT, Behaviour::Source(40 * KIB), Bytes::new());
        pair.plan(StreamId::ERROR, Behaviour::Source(40 * KIB), Bytes::new());
        pair.connect();
        pair.drive_bounded(MINUTE, Pair::is_established);
        pair.agent.exit(pair.now, code);
        pair.drive_bounded(MINUTE, |pair| {
            pair.agent_events.contains(&AgentEvent::Exited)
        });
        assert_eq!(pair.client.streams().unwrap().exit_code(), Some(code));
        pair.close_channel("");
        pair.drive_for(SECOND);
        assert!(
            pair.user
                .transfers
                .values()
                .all(|it| it.received.len() == 40 * KIB)
        );
        assert_eq!(pair.user.ended, [StreamId::OUTPUT, StreamId::ERROR]);
        let last = pair.agent_wires.last().unwrap();
        assert!(last.ends_with(br#""SessionState":"Terminating","SessionId":"session"}"#));
    }
}

#[test]
fn documents_that_do_not_separate_outputs_report_no_exit_code() {
    for session_type in [
        SHELL,
        SessionType::NonInteractiveCommands {
            separates_outputs: false,
        },
    ] {
        let mut pair = established(Options::of(session_type));
        pair.agent.exit(pair.now, 7);
        pair.drive_bounded(MINUTE, |pair| {
            pair.agent_events.contains(&AgentEvent::Exited)
        });
        assert_eq!(pair.client.streams().unwrap().exit_code(), None);
    }
}

#[test]
fn an_agent_waits_two_seconds_for_the_last_acknowledgements() {
    let mut pair = established(Options::of(COMMAND));
    pair.down.lose_if(|_| true);
    pair.agent.exit(pair.now, 7);
    let start = pair.now;
    pair.drive_bounded(MINUTE, |pair| {
        pair.agent_events.contains(&AgentEvent::Exited)
    });
    assert_eq!(pair.now - start, 2 * SECOND);
}

#[test]
fn streams_end_cleanly_only_if_nothing_of_them_is_missing() {
    let ended = |pair: &mut Pair, output: &str| {
        pair.close_channel(output);
        pair.drive_for(SECOND);
        !pair.user.ended.is_empty()
    };
    let mut pair = established(Options::of(SHELL));
    assert!(ended(&mut pair, ""));

    let mut pair = established(Options::of(SHELL));
    let timed_out = "Your session timed out due to inactivity and has been terminated.";
    assert!(!ended(&mut pair, timed_out));
    let output = timed_out.to_owned();
    assert_eq!(
        pair.close_reason(),
        Some(CloseReason::Peer {
            output,
            is_whole: true
        })
    );

    let mut pair = established(Options::of(SHELL));
    pair.forge(1000, PayloadType::Output, b"ahead of what is missing");
    assert!(!ended(&mut pair, ""));
    let missing = CloseReason::Peer {
        output: String::new(),
        is_whole: false,
    };
    assert_eq!(pair.close_reason(), Some(missing));
}

#[test]
fn no_flag_ends_a_shell() {
    let mut pair = established(Options::of(SHELL).encrypted());
    pair.client.terminate(pair.now);
    pair.drive_for(SECOND);
    assert_eq!(pair.close_reason(), Some(CloseReason::Terminated));
    assert!(sent(&pair, PayloadType::Flag).is_empty());
    // Nor would the agent take it.
    assert!(!pair.agent_events.contains(&AgentEvent::Terminated));
}

#[test]
fn what_does_not_belong_into_a_shell_is_passed_over() {
    let mut pair = established(Options::of(SHELL));
    let strange = [
        (PayloadType::HandshakeComplete, &b"{}"[..]),
        (PayloadType::EncryptionChallengeRequest, b"{}"),
        (PayloadType::ExitCode, b"EXIT_CODE: many"),
        (PayloadType::ExitCode, b"\xff\xfe"),
        (PayloadType::Flag, &[0, 0, 0, 2]),
        (PayloadType::Size, b"{}"),
        (PayloadType::Unknown(77), b"?"),
    ];
    for (at, (kind, payload)) in (1..).zip(strange) {
        pair.forge(at, kind, payload);
    }
    pair.forge(1 + strange.len() as i64, PayloadType::Output, b"still here");
    let streams = pair.client.streams().unwrap();
    assert_eq!(streams.exit_code(), None);
    assert!(streams.read(StreamId::OUTPUT).ends_with(b"still here"));
    assert_eq!(pair.close_reason(), None);
    let established = |event: &&Event| matches!(event, Event::Established(_));
    assert_eq!(pair.events.iter().filter(established).count(), 1);
}

#[test]
fn a_flood_of_both_outputs_stays_within_the_buffers() {
    let config = Config {
        receive_buffer_len: 64 * KIB,
        reorder_count: 16,
        ..Config::default()
    };
    let mut pair = established(Options {
        config,
        ..Options::of(SHELL)
    });
    let huge = noise(1, 100 * KIB);
    for sequence in 1..100 {
        if pair.client.is_receive_blocked() {
            break;
        }
        let kind = match sequence % 2 {
            0 => PayloadType::Output,
            _ => PayloadType::StandardError,
        };
        pair.forge(sequence, kind, &huge);
    }
    assert!(pair.client.is_receive_blocked());
    assert!(pair.client.buffered_len() < 400 * KIB);
    let streams = pair.client.streams().unwrap();
    for id in [
        StreamId::OUTPUT,
        StreamId::ERROR,
        StreamId::OUTPUT,
        StreamId::ERROR,
    ] {
        streams.read(id);
    }
    assert!(!pair.client.is_receive_blocked());
}
