//! Streams that share a session: none is starved, and what a stalled one costs the others.

use std::time::Duration;

use bytes::Bytes;
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::{Endpoint, StreamId, Transmit};

use crate::support::{Behaviour, Faults, Options, Pair, noise};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A path of 30 ms whose upload passes at the rate an agent has downwards.
fn throttled(config: Config) -> Pair {
    let up = Faults {
        rate: Some(870_000),
        ..Faults::delay(15)
    };
    Pair::established(Options {
        config,
        up,
        down: Faults::delay(15),
        ..Options::default()
    })
}

/// Time from the opening of a stream to the echo of its 64 bytes.
fn echo_time(pair: &mut Pair) -> Duration {
    let start = pair.now;
    let id = pair.open(Behaviour::Echo, noise(1, 64)).unwrap();
    pair.drive_bounded(MINUTE, |pair| pair.user.transfers[&id].is_done);
    pair.now - start
}

#[test]
fn acknowledgements_leave_room_for_data() {
    let mut pair = Pair::established(Options::default());
    pair.drive_for(SECOND);
    let streams = pair.client.streams().unwrap();
    let id = streams.open().unwrap();
    streams.write(id, &mut noise(1, 64));
    // Each is acknowledged, a repetition too.
    let mut sent = pair.agent_wires.iter();
    let repetition = sent.find(|wire| wire[4..].starts_with(b"output_stream_data"));
    let repetition = repetition.unwrap().clone();
    for _ in 0..100 {
        pair.client.handle_message(pair.now, repetition.clone());
    }
    let transmitted = std::iter::from_fn(|| pair.client.poll_transmit(pair.now));
    let is_data: Vec<bool> = transmitted
        .map(|transmit| match transmit {
            Transmit::Binary(wire) => wire[4..].starts_with(b"input_stream_data"),
            Transmit::Text(_) => false,
        })
        .collect();
    assert_eq!(is_data.len(), 101);
    assert!(is_data[..10].contains(&true), "{is_data:?}");
}

fn stalled_streams(pair: &mut Pair) -> Vec<StreamId> {
    pair.client.streams().unwrap().stalled_streams().collect()
}

#[test]
fn sixty_four_bytes_are_not_starved_by_bulk_streams() {
    let mut pair = throttled(Config::default());
    for number in 0..16 {
        pair.open(Behaviour::Sink, noise(number, MIB)).unwrap();
    }
    pair.drive_for(2 * SECOND);
    for _ in 0..10 {
        let time = echo_time(&mut pair);
        // The round trip, the window's short queue, and one message of each other stream.
        let bound = 30 * MS + 25 * MS + 17 * Duration::from_micros(1400);
        assert!(time < bound, "{time:?}");
        pair.drive_for(333 * MS);
    }
}

#[test]
fn bulk_streams_get_equal_shares() {
    let mut pair = throttled(Config::default());
    let ids: Vec<_> = (0..4)
        .map(|number| pair.open(Behaviour::Sink, noise(number, 4 * MIB)).unwrap())
        .collect();
    pair.drive_for(10 * SECOND);
    let received = ids
        .iter()
        .map(|id| pair.target.connections[id].received.len());
    let (min, max) = (received.clone().min().unwrap(), received.max().unwrap());
    assert!(max - min <= 64 * KIB, "{min} to {max}");
    assert!(4 * min > 6 * MIB, "{min}");
}

#[test]
fn a_stalled_reader_is_reported_and_the_others_go_on() {
    let mut pair = Pair::established(Options::default());
    let stalled = pair
        .open(Behaviour::Source(20 * MIB), Bytes::from_static(b"GET"))
        .unwrap();
    pair.user.stall(stalled, true);
    pair.drive_for(SECOND);
    assert!(pair.user.transfers[&stalled].was_stalled);
    assert_eq!(stalled_streams(&mut pair), [stalled]);
    assert!(!pair.client.is_receive_blocked());

    let other = pair.open(Behaviour::Echo, noise(2, 2 * MIB)).unwrap();
    pair.drive_bounded(MINUTE, |pair| pair.user.transfers[&other].is_done);
    assert!(!pair.user.transfers[&other].was_stalled);

    pair.user.stall(stalled, false);
    pair.complete(MINUTE);
    assert_eq!(stalled_streams(&mut pair), []);
}

#[test]
fn acknowledgements_and_the_end_of_the_session_pass_a_stalled_reader() {
    let mut pair = Pair::established(Options::default());
    let stalled = pair
        .open(Behaviour::Source(20 * MIB), Bytes::from_static(b"GET"))
        .unwrap();
    pair.user.stall(stalled, true);
    pair.drive_for(SECOND);
    pair.open(Behaviour::Sink, noise(2, 8 * MIB)).unwrap();
    pair.drive_bounded(MINUTE, |pair| {
        pair.target
            .connections
            .values()
            .any(|it| it.received.len() == 8 * MIB)
    });
    pair.close_channel("over");
    pair.drive_bounded(SECOND, |pair| pair.close_reason().is_some());
}

#[test]
fn a_stalled_reader_holds_the_session_back_in_the_end_and_loses_nothing() {
    let config = Config {
        receive_buffer_len: MIB,
        stream_receive_len: 256 * KIB,
        ..Config::default()
    };
    let bound = config.receive_buffer_len + config.reorder_len / 8;
    let mut pair = Pair::established(Options {
        config,
        ..Options::default()
    });
    let stalled = pair
        .open(Behaviour::Source(8 * MIB), Bytes::from_static(b"GET"))
        .unwrap();
    pair.user.stall(stalled, true);
    pair.drive_for(MINUTE);
    assert!(pair.client.is_receive_blocked());
    assert!(pair.peak_len < bound, "{} bytes", pair.peak_len);
    pair.user.stall(stalled, false);
    pair.complete(10 * MINUTE);
}

#[test]
fn a_stalled_target_that_is_sent_too_much_blocks_its_session_and_is_reported_before() {
    let mut pair = throttled(Config::default());
    let stalled = pair.open(Behaviour::Stall, noise(1, 8 * MIB)).unwrap();
    pair.drive_for(2 * SECOND);
    assert_eq!(stalled_streams(&mut pair), [stalled]);
    assert!(!pair.agent.is_receive_blocked());
    assert!(echo_time(&mut pair) < 100 * MS);
    // Nothing on the wire tells this target from one that reads and says nothing.
    pair.drive_for(10 * SECOND);
    assert!(pair.agent.is_receive_blocked());
    let other = pair.open(Behaviour::Echo, noise(2, 64)).unwrap();
    pair.drive_for(MINUTE);
    assert!(!pair.user.transfers[&other].is_done);
    pair.target.release();
    pair.complete(10 * MINUTE);
}
