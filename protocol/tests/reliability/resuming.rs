//! Channels that are lost and replaced.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ssmfwd_protocol::Endpoint;
use ssmfwd_protocol::channel::Event;
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::{Message, MessageType};

use crate::support::{Behaviour, Faults, Options, Pair, for_each_seed, noise};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const KIB: usize = 1024;

fn busy_pair(seed: u64) -> Pair {
    let mut pair = Pair::established(Options {
        seed,
        ..Options::default()
    });
    pair.open(Behaviour::Echo, noise(1, 60 * KIB)).unwrap();
    pair.open(Behaviour::Sink, noise(2, 60 * KIB)).unwrap();
    pair.open(Behaviour::Source(60 * KIB), Bytes::from_static(b"GET"))
        .unwrap();
    pair
}

#[test]
fn a_transfer_survives_the_loss_of_the_clients_channel_at_any_moment() {
    for millis in (0..60).step_by(3) {
        let mut pair = busy_pair(millis);
        pair.drive_for(Duration::from_millis(millis));
        pair.disconnect_client();
        pair.drive_for(5 * SECOND);
        pair.connect();
        pair.complete(20 * MINUTE);
        assert_eq!(pair.hellos.len(), 2);
    }
}

#[test]
fn a_transfer_survives_the_loss_of_the_agents_channel_at_any_moment() {
    for millis in (0..60).step_by(3) {
        let mut pair = busy_pair(millis);
        pair.drive_for(Duration::from_millis(millis));
        pair.disconnect_agent();
        pair.drive_for(5 * SECOND);
        pair.connect();
        pair.complete(20 * MINUTE);
    }
}

#[test]
fn channels_lost_again_and_again_do_not_stop_a_transfer() {
    for_each_seed(4, |seed| {
        let mut pair = busy_pair(seed);
        for _ in 0..10 {
            pair.drive_for(Duration::from_millis(35));
            pair.disconnect_client();
            pair.drive_for(Duration::from_millis(50));
            pair.disconnect_agent();
            pair.connect();
        }
        pair.complete(30 * MINUTE);
    });
}

#[test]
fn the_handshake_survives_a_lost_channel_at_any_moment() {
    for millis in 0..60 {
        let mut pair = Pair::new(Options::default());
        pair.connect();
        pair.drive_for(Duration::from_millis(millis));
        pair.disconnect_client();
        pair.drive_for(SECOND);
        pair.connect();
        pair.drive_bounded(10 * SECOND, Pair::is_established);
        pair.open(Behaviour::Echo, noise(1, 5000)).unwrap();
        pair.complete(MINUTE);
    }
}

/// The kinds and numbers of what the client sends from now on.
fn record_sent(pair: &mut Pair) -> Rc<RefCell<Vec<(MessageType, i64)>>> {
    let sent = Rc::new(RefCell::new(Vec::new()));
    let recorded = sent.clone();
    pair.up.lose_if(move |wire| {
        let message = Message::decode(Bytes::copy_from_slice(wire)).unwrap();
        let header = message.header;
        recorded
            .borrow_mut()
            .push((header.message_type, header.sequence));
        false
    });
    sent
}

#[test]
fn a_new_channel_gets_an_acknowledgement_and_then_everything_unacknowledged_at_once_in_order() {
    let mut pair = Pair::established(Options::default().faults(Faults::delay(50)));
    pair.drive_for(SECOND);
    let before = record_sent(&mut pair);
    // More than the window holds, so that new data waits behind what is repeated.
    pair.open(Behaviour::Sink, noise(1, 3000 * KIB)).unwrap();
    pair.drive_for(Duration::from_millis(20));
    pair.disconnect_client();
    pair.drive_for(5 * SECOND);
    let after = record_sent(&mut pair);
    pair.connect();
    pair.drive_for(Duration::ZERO);

    let before = before.take();
    assert!(before.len() > 50, "{} messages", before.len());
    let after = after.take();
    assert_eq!(after[0].0, MessageType::Acknowledge);
    let mut repeated = after;
    repeated.retain(|(kind, _)| *kind != MessageType::Acknowledge);
    assert_eq!(repeated, before);
    pair.complete(MINUTE);
}

#[test]
fn acknowledgements_lost_with_a_channel_are_repeated_on_the_next() {
    let mut pair = Pair::established(Options::default());
    pair.drive_for(SECOND);
    pair.up
        .lose_if(|wire| wire[4..].starts_with(b"acknowledge"));
    pair.open(Behaviour::Source(200 * KIB), Bytes::from_static(b"GET"))
        .unwrap();
    pair.drive_for(Duration::from_millis(50));
    pair.disconnect_client();
    pair.up.lose_no_more();
    pair.connect();
    let start = pair.now;
    pair.complete(MINUTE);
    // The agent would repeat its 200 messages at ten a second.
    assert!(pair.now - start < SECOND, "{:?}", pair.now - start);
}

#[test]
fn a_pause_of_the_agent_ends_with_the_clients_return() {
    let mut pair = Pair::established(Options::default());
    pair.open(Behaviour::Source(500 * KIB), Bytes::from_static(b"GET"))
        .unwrap();
    pair.drive_for(15 * Duration::from_millis(1));
    pair.drive_bounded(MINUTE, |pair| !pair.target.connections.is_empty());
    pair.drive_for(SECOND);
    pair.disconnect_client();
    pair.signal_agent(MessageType::PausePublication);
    pair.drive_for(MINUTE);
    pair.connect();
    pair.complete(30 * MINUTE);
}

#[test]
fn an_idle_agent_that_was_paused_is_woken_by_the_clients_return() {
    let mut pair = Pair::established(Options::default());
    let id = pair.client.streams().unwrap().open().unwrap();
    pair.drive_for(SECOND);
    pair.disconnect_client();
    pair.signal_agent(MessageType::PausePublication);
    pair.drive_for(SECOND);
    pair.connect();
    pair.drive_for(SECOND);
    pair.agent
        .streams()
        .unwrap()
        .write(id, &mut Bytes::from_static(b"answer"));
    let arrived = Rc::new(Cell::new(false));
    let seen = arrived.clone();
    pair.down.lose_if(move |wire| {
        seen.set(seen.get() || wire.ends_with(b"answer"));
        false
    });
    pair.drive_for(SECOND);
    assert!(arrived.get(), "the agent is still paused");
}

#[test]
fn a_backed_off_timeout_does_not_outlive_its_channel() {
    let mut pair = Pair::established(Options::default());
    pair.up.lose_if(|_| true);
    pair.open(Behaviour::Echo, noise(1, 10)).unwrap();
    pair.drive_for(40 * SECOND);
    pair.disconnect_client();
    pair.up.lose_no_more();
    // The repetition on the new channel is lost once more.
    let mut count = 0;
    pair.up.lose_if(move |wire| {
        let is_data = wire[4..].starts_with(b"input_stream_data");
        count += u32::from(is_data);
        is_data && count == 1
    });
    pair.connect();
    let start = pair.now;
    pair.complete(MINUTE);
    assert!(pair.now - start < SECOND, "{:?}", pair.now - start);
}

#[test]
fn writes_are_taken_while_the_channel_is_lost_up_to_their_share() {
    let config = Config::default();
    let share = config.stream_send_len;
    let mut pair = Pair::established(Options {
        config,
        ..Options::default()
    });
    pair.drive_for(SECOND);
    pair.disconnect_client();
    pair.open(Behaviour::Echo, noise(1, 500 * KIB)).unwrap();
    pair.drive_for(MINUTE);
    assert_eq!(pair.client.buffered_len(), share);
    assert!(pair.client.streams().is_some());
    pair.connect();
    pair.complete(20 * MINUTE);
}

/// The acknowledgement of what goes ahead of all data dies with the connection, and old agents give it once.
#[test]
fn a_connection_lost_just_after_the_handshake_ends_nothing() {
    for agent_version in ["3.1.1511.0", "3.3.987.0"] {
        let mut pair = Pair::new(Options {
            agent_version,
            ..Options::default()
        });
        pair.down
            .lose_if(|wire| wire[4..].starts_with(b"acknowledge"));
        pair.connect();
        pair.drive_bounded(Duration::from_secs(15), Pair::is_established);
        pair.disconnect_client();
        pair.drive_for(Duration::from_secs(40));
        pair.down.lose_no_more();
        pair.connect();
        let id = pair.open(Behaviour::Echo, noise(1, 5000)).unwrap();
        pair.drive_bounded(Duration::from_secs(60), |pair| {
            pair.user.transfers[&id].is_done
        });
        assert_eq!(pair.close_reason(), None);
    }
}

#[test]
fn an_agent_that_is_gone_is_told_of_and_waited_for() {
    let told = |pair: &Pair| {
        let is_told = |event: &&Event| matches!(event, Event::Unanswered | Event::Answered(_));
        let told: Vec<Event> = pair.events.iter().filter(is_told).cloned().collect();
        told
    };
    let mut pair = Pair::established(Options::default());
    let id = pair.open(Behaviour::Echo, noise(1, 5000)).unwrap();
    pair.drive_for(600 * SECOND);
    assert_eq!(told(&pair), []);

    pair.disconnect_agent();
    let other = pair.open(Behaviour::Echo, noise(2, 5000)).unwrap();
    pair.drive_for(44 * SECOND);
    assert_eq!(told(&pair), []);
    pair.drive_for(2 * SECOND);
    assert_eq!(told(&pair), [Event::Unanswered]);
    pair.drive_for(14 * SECOND);
    pair.connect();
    pair.drive_for(20 * SECOND);
    let [Event::Unanswered, Event::Answered(gap)] = told(&pair)[..] else {
        panic!("{:?}", told(&pair));
    };
    assert!((60..75).contains(&gap.as_secs()), "{gap:?}");
    assert!(pair.user.transfers[&id].is_done && pair.user.transfers[&other].is_done);

    // A lost connection has words of its own.
    pair.open(Behaviour::Echo, noise(3, 5000)).unwrap();
    pair.disconnect_client();
    pair.drive_for(600 * SECOND);
    assert_eq!(told(&pair).len(), 2);
}
