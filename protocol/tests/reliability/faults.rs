//! One fault at a time.

use std::time::Duration;

use bytes::Bytes;
use ssmfwd_protocol::Endpoint;
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::MessageType;

use crate::support::{Behaviour, Faults, Options, Pair, for_each_seed, noise};

const MINUTE: Duration = Duration::from_secs(60);
const KIB: usize = 1024;

/// Carries data both ways at once, over several streams, and checks it.
fn transfer(options: Options) -> Pair {
    let mut pair = Pair::established(options);
    pair.open(Behaviour::Echo, noise(1, 100 * KIB)).unwrap();
    pair.open(Behaviour::Sink, noise(2, 200 * KIB)).unwrap();
    pair.open(Behaviour::Source(200 * KIB), Bytes::from_static(b"GET"))
        .unwrap();
    pair.complete(30 * MINUTE);
    pair
}

#[test]
fn loss_of_data_and_acknowledgements_is_repaired() {
    for loss in [0.0, 0.01, 0.05, 0.2] {
        for_each_seed(8, |seed| {
            let faults = Faults {
                loss,
                ..Faults::delay(20)
            };
            let options = Options {
                seed,
                ..Options::default()
            }
            .faults(faults);
            let pair = transfer(options);
            assert_eq!(pair.client.retransmitted_count() > 0, loss > 0.0, "{loss}");
        });
    }
}

#[test]
fn duplicates_are_delivered_once() {
    for_each_seed(8, |seed| {
        let faults = Faults {
            duplication: 0.3,
            ..Faults::delay(20)
        };
        transfer(
            Options {
                seed,
                ..Options::default()
            }
            .faults(faults),
        );
    });
}

#[test]
fn order_is_restored() {
    for_each_seed(8, |seed| {
        let faults = Faults {
            reordering: 0.2,
            ..Faults::delay(20)
        };
        transfer(
            Options {
                seed,
                ..Options::default()
            }
            .faults(faults),
        );
    });
}

#[test]
fn delays_up_to_two_seconds_are_borne() {
    for millis in [0, 1, 80, 500, 2000] {
        for jitter in [0, millis / 2] {
            let faults = Faults {
                jitter: Duration::from_millis(jitter),
                ..Faults::delay(millis)
            };
            transfer(Options::default().faults(faults));
        }
    }
}

#[test]
fn everything_at_once_is_borne() {
    for_each_seed(16, |seed| {
        let faults = Faults {
            loss: 0.1,
            duplication: 0.1,
            reordering: 0.1,
            delay: Duration::from_millis(100),
            jitter: Duration::from_millis(50),
            rate: None,
        };
        transfer(
            Options {
                seed,
                ..Options::default()
            }
            .faults(faults),
        );
    });
}

#[test]
fn a_lost_message_whose_repetition_is_not_acknowledged_is_repaired_at_both_ends() {
    for is_up in [true, false] {
        let mut pair = Pair::established(Options::default());
        // The first data message and then the first acknowledgement of its repetition are lost.
        let (data, ack) = if is_up {
            (&mut pair.up, &mut pair.down)
        } else {
            (&mut pair.down, &mut pair.up)
        };
        let (mut lost_data, mut lost_ack) = (0, 0);
        data.lose_if(move |wire| is_stream_data(wire) && counted(&mut lost_data) <= 1);
        ack.lose_if(move |wire| {
            wire[4..].starts_with(b"acknowledge") && counted(&mut lost_ack) <= 1
        });
        pair.open(Behaviour::Echo, noise(1, 10)).unwrap();
        pair.complete(MINUTE);
        assert!(
            pair.elapsed() < Duration::from_secs(3),
            "{:?}",
            pair.elapsed()
        );
    }
}

fn counted(count: &mut u32) -> u32 {
    *count += 1;
    *count
}

fn is_stream_data(wire: &[u8]) -> bool {
    let kind = &wire[4..];
    kind.starts_with(b"input_stream_data") || kind.starts_with(b"output_stream_data")
}

#[test]
fn one_lost_message_in_a_flow_is_repaired_within_two_round_trips() {
    let mut pair = Pair::established(Options::default().faults(Faults::delay(50)));
    pair.drive_for(Duration::from_secs(1));
    let mut count = 0;
    pair.up
        .lose_if(move |wire| is_stream_data(wire) && counted(&mut count) == 10);
    let start = pair.now;
    pair.open(Behaviour::Sink, noise(1, 100 * KIB)).unwrap();
    pair.complete(MINUTE);
    assert_eq!(pair.client.retransmitted_count(), 1);
    assert!(
        pair.now - start < Duration::from_millis(260),
        "{:?}",
        pair.now - start
    );
}

#[test]
fn a_busy_but_lossless_path_draws_no_repetition() {
    let mut pair = Pair::established(Options::default().faults(Faults::delay(90)));
    pair.open(Behaviour::Echo, noise(1, 2000 * KIB)).unwrap();
    pair.complete(MINUTE);
    assert_eq!(pair.client.retransmitted_count(), 0);
}

#[test]
fn a_pause_of_the_agent_ends_with_the_next_input() {
    let mut pair = Pair::established(Options::default());
    pair.open(Behaviour::Source(300 * KIB), Bytes::from_static(b"GET"))
        .unwrap();
    pair.drive_for(Duration::from_millis(5));
    pair.signal_agent(MessageType::PausePublication);
    pair.complete(MINUTE);
}

#[test]
fn a_paused_agent_keeps_its_data_until_it_is_told_to_start() {
    let mut pair = Pair::established(Options::default());
    let id = pair.client.streams().unwrap().open().unwrap();
    pair.drive_for(Duration::from_secs(1));
    pair.signal_agent(MessageType::PausePublication);
    let mut data = Bytes::from_static(b"data");
    pair.agent.streams().unwrap().write(id, &mut data);
    assert_eq!(pair.agent.poll_transmit(pair.now), None);
    pair.signal_agent(MessageType::StartPublication);
    assert!(pair.agent.poll_transmit(pair.now).is_some());
}

#[test]
fn a_slow_reader_gets_everything_and_bounds_memory() {
    let config = Config {
        receive_buffer_len: 64 * KIB,
        send_window_len: 64 * KIB,
        ..Config::default()
    };
    let mut pair = Pair::established(Options {
        config,
        ..Options::default()
    });
    pair.user.read_interval = Some(Duration::from_millis(500));
    pair.open(Behaviour::Source(1000 * KIB), Bytes::from_static(b"GET"))
        .unwrap();
    pair.complete(10 * MINUTE);
    assert!(pair.peak_len < 128 * KIB, "{} bytes", pair.peak_len);
}

#[test]
fn a_stalled_target_costs_no_more_than_its_share() {
    let mut pair = Pair::established(Options::default());
    let stalled = pair.open(Behaviour::Stall, noise(1, 3000 * KIB)).unwrap();
    pair.open(Behaviour::Echo, noise(2, 100 * KIB)).unwrap();
    pair.drive_bounded(MINUTE, |pair| pair.user.is_done());
    pair.target.release();
    pair.complete(MINUTE);
    assert_eq!(pair.target.connections[&stalled].received.len(), 3000 * KIB);
}

#[test]
fn ten_thousand_small_writes_are_carried_in_few_messages() {
    for_each_seed(3, |seed| {
        let faults = Faults {
            loss: 0.02,
            ..Faults::delay(20)
        };
        let mut pair = Pair::established(
            Options {
                seed,
                ..Options::default()
            }
            .faults(faults),
        );
        let upload = noise(seed, 10_000 * 7);
        pair.open_in_pieces(Behaviour::Echo, upload, 7);
        pair.complete(30 * MINUTE);
    });
}

#[test]
fn many_streams_share_a_session() {
    for_each_seed(2, |seed| {
        let faults = Faults {
            loss: 0.02,
            ..Faults::delay(20)
        };
        let mut pair = Pair::established(
            Options {
                seed,
                ..Options::default()
            }
            .faults(faults),
        );
        for number in 0..1000_u64 {
            let upload = noise(number, 100 + number as usize % 1000);
            let behaviour = match number % 4 {
                0 => Behaviour::Sink,
                1 => Behaviour::Source(3000),
                2 => Behaviour::Refuse,
                _ => Behaviour::Echo,
            };
            pair.open(behaviour, upload).unwrap();
        }
        pair.complete(30 * MINUTE);
        assert_eq!(pair.client.streams().unwrap().stream_count(), 0);
        assert_eq!(pair.agent.streams().unwrap().stream_count(), 0);
    });
}

#[test]
fn memory_stays_bounded_while_nothing_is_acknowledged() {
    let config = Config {
        send_window_len: 256 * KIB,
        ..Config::default()
    };
    let bound = config.send_window_len + config.stream_send_len + 8 * KIB;
    let mut pair = Pair::established(Options {
        config,
        ..Options::default()
    });
    pair.drive_for(Duration::from_secs(1));
    pair.down.lose_if(|_| true);
    pair.open(Behaviour::Sink, noise(1, 2000 * KIB)).unwrap();
    pair.drive_for(MINUTE);
    assert!(pair.peak_len <= bound, "{} bytes", pair.peak_len);
    pair.down.lose_no_more();
    pair.complete(10 * MINUTE);
}

#[test]
fn memory_stays_bounded_behind_a_missing_message() {
    let config = Config {
        reorder_len: 100 * KIB,
        receive_buffer_len: 64 * KIB,
        ..Config::default()
    };
    let bound = config.reorder_len + config.receive_buffer_len + 64 * KIB;
    let mut pair = Pair::established(Options {
        config,
        ..Options::default()
    });
    let mut first = None;
    // The agent's first data message never arrives, whatever comes after it.
    pair.down.lose_if(move |wire| {
        is_stream_data(wire) && *first.get_or_insert_with(|| sequence(wire)) == sequence(wire)
    });
    pair.open(Behaviour::Source(1000 * KIB), Bytes::from_static(b"GET"))
        .unwrap();
    pair.drive_for(Duration::from_secs(20));
    assert!(pair.peak_len <= bound, "{} bytes", pair.peak_len);
    pair.down.lose_no_more();
    pair.complete(60 * MINUTE);
}

fn sequence(wire: &[u8]) -> i64 {
    i64::from_be_bytes(wire[48..56].try_into().unwrap())
}
