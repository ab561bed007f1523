//! Agents old and new.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ssmfwd_protocol::agent::AgentEvent;
use ssmfwd_protocol::channel::Event;
use ssmfwd_protocol::error::OpenError;
use ssmfwd_protocol::message::{Message, MessageType};
use ssmfwd_protocol::{Endpoint, SessionKind, StreamId};

use crate::support::{Behaviour, Faults, Options, Pair, for_each_seed, noise};

const MINUTE: Duration = Duration::from_secs(60);
const BASIC: &str = "3.0.100.0";
const KEEP_ALIVE: &str = "3.1.1000.0";
const CURRENT: &str = "3.3.987.0";

fn established(agent_version: &'static str, seed: u64, faults: Faults) -> Pair {
    let options = Options {
        agent_version,
        seed,
        ..Options::default()
    };
    Pair::established(options.faults(faults))
}

#[test]
fn both_ends_agree_on_multiplexing() {
    for (version, is_multiplexed) in [(CURRENT, true), (BASIC, false), (KEEP_ALIVE, true)] {
        let mut pair = established(version, 1, Faults::delay(10));
        let Some(Event::Established(established)) = pair.events.first() else {
            panic!("no handshake");
        };
        assert_eq!(established.kind, SessionKind::Port { is_multiplexed });
        assert_eq!(established.agent_version.unwrap().to_string(), version);
        let streams = pair.agent.streams().unwrap();
        assert_eq!(streams.is_multiplexed(), is_multiplexed);
    }
}

/// Opens a connection once the agent is done with the one before.
fn open_when_free(pair: &mut Pair, behaviour: Behaviour, upload: Bytes) -> StreamId {
    let available = pair.user.available_count;
    pair.open(behaviour, upload.clone())
        .unwrap_or_else(|error| {
            assert_eq!(error, OpenError::Busy);
            pair.drive_bounded(5 * MINUTE, |pair| pair.user.available_count > available);
            pair.open(behaviour, upload).unwrap()
        })
}

/// Runs one connection after the other, as an agent without multiplexing wants it.
fn run_in_turn(pair: &mut Pair, transfers: u64) {
    for number in 0..transfers {
        let upload = noise(number, 20_000);
        let behaviour = if number % 2 == 0 {
            Behaviour::Echo
        } else {
            Behaviour::Sink
        };
        open_when_free(pair, behaviour, upload);
        pair.drive_bounded(5 * MINUTE, |pair| pair.user.is_done());
    }
    pair.complete(5 * MINUTE);
    assert_eq!(pair.target.connections.len() as u64, transfers);
}

#[test]
fn an_old_agent_serves_one_connection_after_the_other() {
    for loss in [0.0, 0.05, 0.2] {
        for_each_seed(8, |seed| {
            let faults = Faults {
                loss,
                reordering: loss,
                ..Faults::delay(20)
            };
            let mut pair = established(BASIC, seed, Faults::delay(20));
            pair.up.faults = faults;
            // Of its acknowledgements none may be lost: it gives no second one.
            pair.down.faults = Faults {
                loss: 0.0,
                ..faults
            };
            run_in_turn(&mut pair, 6);
        });
    }
}

#[test]
fn a_connection_does_not_start_before_the_one_before_it_has_reached_an_old_agent() {
    let mut pair = established(BASIC, 1, Faults::delay(20));
    // The last data message of the first connection is held back; the flag behind it is not.
    let (mut seen, is_held) = (0, Rc::new(Cell::new(true)));
    let held = is_held.clone();
    pair.up.lose_if(move |wire| {
        let is_data = wire[4..].starts_with(b"input_stream_data") && wire[115] == 1;
        seen += u32::from(is_data);
        is_data && seen >= 3 && held.get()
    });
    pair.open(Behaviour::Sink, noise(1, 3000)).unwrap();
    // Not so long that it must have been delivered.
    pair.drive_for(Duration::from_millis(500));
    assert_eq!(
        pair.open(Behaviour::Sink, noise(2, 3000)),
        Err(OpenError::Busy)
    );
    is_held.set(false);
    pair.drive_bounded(MINUTE, |pair| pair.user.available_count == 1);
    pair.open(Behaviour::Sink, noise(2, 3000)).unwrap();
    pair.complete(MINUTE);
    assert_eq!(pair.target.connections.len(), 2);
}

#[test]
fn what_an_old_agent_refuses_at_first_is_not_taken_for_delivered() {
    let mut pair = established(BASIC, 1, Faults::delay(1));
    pair.up.faults.rate = Some(1_000_000);
    // Until its connection is there the agent drops the first message of it, and stores those behind.
    let is_ready = Rc::new(Cell::new(false));
    let (ready, mut first) = (is_ready.clone(), None);
    pair.up.lose_if(move |wire| {
        let header = Message::decode(Bytes::copy_from_slice(wire))
            .unwrap()
            .header;
        let is_data = header.message_type == MessageType::InputStreamData;
        let is_first = is_data && *first.get_or_insert(header.sequence) == header.sequence;
        is_first && !ready.get()
    });
    pair.open(Behaviour::Echo, noise(1, 300_000)).unwrap();
    pair.drive_for(Duration::from_secs(10));
    is_ready.set(true);
    pair.complete(MINUTE);
}

#[test]
fn a_lost_acknowledgement_keeps_no_connection_waiting_for_ever() {
    // Of the last data, or of the flag.
    for is_flags in [false, true] {
        let mut pair = established(BASIC, 1, Faults::delay(20));
        run_in_turn(&mut pair, 1);
        let upload = Bytes::from_static(b"the last");
        let last = open_when_free(&mut pair, Behaviour::Sink, upload);
        if is_flags {
            pair.drive_for(Duration::from_secs(1));
        }
        pair.down
            .lose_if(|wire| wire[4..].starts_with(b"acknowledge"));
        pair.drive_for(Duration::from_secs(1));
        pair.abort(last);
        pair.drive_for(Duration::from_millis(30));
        pair.down.lose_no_more();
        open_when_free(&mut pair, Behaviour::Echo, noise(2, 3000));
        pair.complete(MINUTE);
    }
}

/// A session with a download of which the first bytes have arrived; `lose` has some of what the agent sends lost from its
/// begin on.
fn downloading(lose: fn(&mut Pair)) -> (Pair, StreamId) {
    let mut pair = established(BASIC, 1, Faults::delay(20));
    // The agent has connected the first one before its destination was told what to do with it.
    run_in_turn(&mut pair, 1);
    pair.down.faults.rate = Some(1_000_000);
    lose(&mut pair);
    let download = open_when_free(
        &mut pair,
        Behaviour::Source(100_000),
        Bytes::from_static(b"GET"),
    );
    pair.drive_bounded(MINUTE, |pair| {
        !pair.user.transfers[&download].received.is_empty()
    });
    assert!(!pair.user.transfers[&download].is_done);
    (pair, download)
}

/// Gives up the download, of which the agent repeats ten messages a second, and opens another connection.
fn follow(mut pair: Pair, download: StreamId) {
    pair.abort(download);
    open_when_free(&mut pair, Behaviour::Echo, noise(2, 3000));
    pair.complete(MINUTE);
}

fn replace_clients_channel(pair: &mut Pair) {
    pair.disconnect_client();
    pair.drive_for(Duration::from_secs(1));
    pair.connect();
}

fn replace_agents_channel(pair: &mut Pair) {
    pair.disconnect_agent();
    pair.signal_client(MessageType::PausePublication);
    pair.drive_for(Duration::from_secs(1));
    pair.connect();
    pair.signal_client(MessageType::StartPublication);
}

#[test]
fn what_is_missing_of_a_connection_is_not_given_to_the_next_one() {
    let (mut pair, download) = downloading(|pair| {
        let mut count = 0;
        pair.down.lose_if(move |wire| {
            let is_data = wire[4..].starts_with(b"output_stream_data");
            count += u32::from(is_data);
            is_data && (5..25).contains(&count)
        });
    });
    pair.drive_for(Duration::from_millis(100));
    follow(pair, download);
}

#[test]
fn what_is_missing_at_the_end_of_a_connection_is_not_given_to_the_next_one() {
    for replace in [replace_clients_channel, replace_agents_channel] {
        let (mut pair, download) = downloading(|_| {});
        replace(&mut pair);
        follow(pair, download);
    }
}

#[test]
fn an_agent_that_wants_keep_alives_hears_something_every_thirty_seconds() {
    let mut pair = established(KEEP_ALIVE, 1, Faults::delay(20));
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    pair.up.lose_if(move |wire| {
        let is_data = wire[4..].starts_with(b"input_stream_data");
        counted.set(counted.get() + u32::from(is_data));
        false
    });
    pair.drive_for(MINUTE);
    for _ in 0..5 {
        count.set(0);
        pair.drive_for(Duration::from_secs(25));
        assert!(count.get() > 0);
    }
    pair.open(Behaviour::Echo, noise(1, 5000)).unwrap();
    pair.complete(MINUTE);
}

#[test]
fn an_agent_of_today_hears_nothing_while_nothing_happens() {
    let mut pair = established(CURRENT, 1, Faults::delay(20));
    pair.drive_for(Duration::from_secs(5));
    pair.up.lose_if(|_| panic!("the client sent something"));
    pair.drive_for(60 * MINUTE);
    assert_eq!(pair.client.poll_timeout(), None);
}

#[test]
fn keep_alives_do_not_pile_up_while_the_client_is_cut_off() {
    let mut pair = established(KEEP_ALIVE, 1, Faults::delay(20));
    pair.drive_for(Duration::from_secs(5));
    pair.disconnect_client();
    pair.drive_for(60 * MINUTE);
    pair.connect();
    let sent_len = Rc::new(Cell::new(0));
    let counted = sent_len.clone();
    pair.up.lose_if(move |wire| {
        let is_data = wire[4..].starts_with(b"input_stream_data");
        counted.set(counted.get() + if is_data { wire.len() - 120 } else { 0 });
        false
    });
    pair.drive_for(Duration::from_secs(1));
    assert_eq!(sent_len.get(), 8);
}

#[test]
fn a_refusal_by_an_old_agent_ends_its_session() {
    let mut pair = established(BASIC, 1, Faults::delay(20));
    let first = pair
        .open(Behaviour::Sink, Bytes::from_static(b"?"))
        .unwrap();
    pair.drive_for(Duration::from_secs(1));
    pair.client.streams().unwrap().finish(first);
    pair.drive_for(Duration::from_secs(1));
    pair.open(Behaviour::Refuse, Bytes::from_static(b"?"))
        .unwrap();
    pair.drive_for(Duration::from_secs(1));
    let failed = AgentEvent::Failed(String::new());
    assert_eq!(pair.agent_events.last(), Some(&failed));
}

#[test]
fn a_refusal_is_told_from_an_early_end() {
    for_each_seed(8, |seed| {
        let faults = Faults {
            loss: 0.1,
            ..Faults::delay(20)
        };
        let mut pair = established(CURRENT, seed, faults);
        for number in 0..20 {
            let behaviour = match number % 2 {
                0 => Behaviour::Refuse,
                _ => Behaviour::Source(1),
            };
            pair.open(behaviour, Bytes::from_static(b"?")).unwrap();
        }
        pair.complete(10 * MINUTE);
    });
}

#[test]
fn a_refusal_of_a_stream_given_up_sticks_to_no_other() {
    let mut pair = established(CURRENT, 1, Faults::delay(20));
    let given_up = pair.open(Behaviour::Refuse, Bytes::new()).unwrap();
    pair.drive_for(Duration::from_millis(25));
    pair.abort(given_up);
    pair.drive_for(MINUTE);
    // Closed by the destination without a byte: no refusal.
    pair.open(Behaviour::Source(0), Bytes::from_static(b"?"))
        .unwrap();
    pair.complete(MINUTE);
}
