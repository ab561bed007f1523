//! Sessions that end once everything is delivered.

use std::time::Duration;

use ssmfwd_protocol::StreamId;
use ssmfwd_protocol::channel::CloseReason;
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::PayloadType;

use crate::support::{Behaviour, Faults, Options, Pair, noise};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const LEN: usize = 50_000;

/// A session with an upload that is finished as far as its writer is concerned.
fn uploading(options: Options) -> (Pair, StreamId) {
    let mut pair = Pair::established(options);
    pair.drive_for(MINUTE);
    let id = pair.open(Behaviour::Sink, noise(1, LEN)).unwrap();
    pair.drive_for(Duration::ZERO);
    (pair, id)
}

fn received_len(pair: &Pair, id: StreamId) -> usize {
    let connection = pair.target.connections.get(&id);
    connection.map_or(0, |connection| connection.received.len())
}

fn is_closed(pair: &Pair) -> bool {
    pair.close_reason().is_some()
}

#[test]
fn a_slow_path_delivers_all_of_it() {
    let (mut pair, id) = uploading(Options::default().faults(Faults::delay(3000)));
    pair.drive_for(SECOND);
    pair.client.finish(pair.now);
    pair.drive_bounded(10 * MINUTE, is_closed);
    assert_eq!(pair.close_reason(), Some(CloseReason::Terminated));
    assert_eq!(received_len(&pair, id), LEN);
    assert_eq!(pair.client.undelivered_len(), 0);
}

#[test]
fn an_outage_is_waited_out() {
    for millis in 0..30 {
        let (mut pair, id) = uploading(Options::default());
        pair.drive_for(Duration::from_millis(millis));
        pair.disconnect_client();
        if pair.client.undelivered_len() == 0 {
            assert!(millis >= 20);
            return;
        }
        pair.client.finish(pair.now);
        pair.drive_for(20 * SECOND);
        assert!(!is_closed(&pair));
        pair.connect();
        pair.drive_bounded(MINUTE, is_closed);
        assert_eq!(received_len(&pair, id), LEN);
        assert_eq!(pair.client.undelivered_len(), 0);
    }
}

#[test]
fn without_headway_the_end_comes_and_tells_what_is_left() {
    let limit = Config::default().delivery_timeout;
    let mut pair = Pair::established(Options::default());
    pair.drive_for(MINUTE);
    pair.up
        .lose_if(|wire| wire[4..].starts_with(b"input_stream_data"));
    let id = pair.open(Behaviour::Sink, noise(1, LEN)).unwrap();
    pair.drive_for(Duration::ZERO);
    pair.client.finish(pair.now);
    let start = pair.now;
    pair.drive_bounded(MINUTE, is_closed);
    assert_eq!(pair.now - start, limit + Config::default().close_timeout);
    assert!(pair.client.undelivered_len() >= LEN);
    assert_eq!(received_len(&pair, id), 0);

    let (mut pair, _) = uploading(Options::default());
    pair.disconnect_client();
    pair.client.finish(pair.now);
    let start = pair.now;
    pair.drive_bounded(MINUTE, is_closed);
    assert_eq!(pair.now - start, limit);
    assert!(pair.client.undelivered_len() > 0);
}

/// Agents before 3.2.1041 do not acknowledge what they have had already.
#[test]
fn a_lost_last_acknowledgement_of_an_old_agent_does_not_hold_the_end_up() {
    let (mut pair, id) = uploading(Options {
        agent_version: "3.1.1511.0",
        ..Options::default()
    });
    pair.down
        .lose_if(|wire| wire[4..].starts_with(b"acknowledge"));
    pair.client.finish(pair.now);
    pair.drive_bounded(SECOND, |pair| received_len(pair, id) == LEN);
    pair.disconnect_client();
    pair.down.lose_no_more();
    pair.connect();
    let start = pair.now;
    pair.drive_bounded(MINUTE, is_closed);
    assert!(pair.now - start < 15 * SECOND, "{:?}", pair.now - start);
    assert_eq!(pair.client.undelivered_len(), 0);
}

#[test]
fn an_idle_session_ends_at_once() {
    let mut pair = Pair::established(Options::default());
    pair.drive_for(SECOND);
    pair.client.finish(pair.now);
    let start = pair.now;
    pair.drive_bounded(SECOND, is_closed);
    assert!(pair.now - start < Duration::from_millis(100));

    let mut pair = Pair::new(Options::default());
    pair.client.finish(pair.now);
    pair.drive_bounded(Duration::ZERO, is_closed);
    assert_eq!(pair.client.undelivered_len(), 0);
}

#[test]
fn silence_is_the_peers_only_if_it_has_everything() {
    let (mut pair, id) = uploading(Options::default());
    let mut mark = None;
    assert!(!pair.client.is_settled(id, &mut mark));
    pair.drive_for(10 * SECOND);
    assert!(pair.client.is_settled(id, &mut mark));
    pair.disconnect_client();
    assert!(!pair.client.is_settled(id, &mut mark));
    pair.connect();
    pair.drive_for(SECOND);
    assert!(pair.client.is_settled(id, &mut mark));
    // Others do not matter.
    pair.up
        .lose_if(|wire| wire[4..].starts_with(b"input_stream_data"));
    pair.open(Behaviour::Sink, noise(2, LEN)).unwrap();
    pair.drive_for(SECOND);
    assert!(pair.client.is_settled(id, &mut mark));
    pair.forge(1000, PayloadType::Output, b"ahead");
    assert!(!pair.client.is_settled(id, &mut mark));
}
