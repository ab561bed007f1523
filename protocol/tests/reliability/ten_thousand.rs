//! Ten thousand short sessions, each with its own faults at its own moments.
//!
//! Every one is delivered exactly or ended with a reason; none waits for ever.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use ssmfwd_protocol::channel::CloseReason;
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::MessageType;

use crate::support::{Behaviour, Faults, Options, Pair, for_each_seed_in_parallel, noise};

const SCHEDULE_COUNT: u64 = 10_000;
const MINUTE: Duration = Duration::from_secs(60);
const CURRENT: &str = "3.3.987.0";
/// Multiplexes, and does not acknowledge repetitions.
const FORGETFUL: &str = "3.1.1000.0";
/// The same, one connection at a time.
const BASIC: &str = "3.0.100.0";

fn probability(rng: &mut Rng, max: f64) -> f64 {
    if rng.bool() { 0.0 } else { rng.f64() * max }
}

fn millis(rng: &mut Rng, max: u64) -> Duration {
    Duration::from_millis(rng.u64(..max))
}

fn random_faults(rng: &mut Rng) -> Faults {
    Faults {
        loss: probability(rng, 0.3),
        duplication: probability(rng, 0.3),
        reordering: probability(rng, 0.3),
        delay: millis(rng, 100),
        jitter: millis(rng, 50),
        rate: rng.bool().then(|| rng.u32(20_000..1_000_000)),
    }
}

fn random_config(rng: &mut Rng) -> Config {
    Config {
        payload_len: rng.usize(64..1500),
        send_window_len: rng.usize(1000..20_000),
        stream_send_len: rng.usize(100..4000),
        receive_buffer_len: rng.usize(1000..20_000),
        stream_receive_len: rng.usize(500..5000),
        stream_unanswered_len: rng.usize(500..5000),
        reorder_count: rng.usize(4..100),
        reorder_len: rng.usize(2000..20_000),
        ..Config::default()
    }
}

fn open(pair: &mut Pair, rng: &mut Rng, is_basic: bool, refuses: bool) {
    let upload = noise(rng.u64(..), rng.usize(1..3000));
    let behaviour = match rng.u8(..8) {
        0 if refuses && !is_basic => Behaviour::Refuse,
        1 if !refuses && !is_basic => Behaviour::HangUp(rng.usize(..upload.len())),
        2 if !is_basic => Behaviour::Stall,
        3 => Behaviour::Sink,
        4 | 5 => Behaviour::Source(rng.usize(1..3000)),
        _ => Behaviour::Echo,
    };
    let upload = match behaviour {
        Behaviour::Source(_) => Bytes::from_static(b"GET"),
        _ => upload,
    };
    // An agent without multiplexing may be busy.
    let behaviour = if is_basic { Behaviour::Echo } else { behaviour };
    let _ = pair.open(behaviour, upload);
}

fn operate(pair: &mut Pair, rng: &mut Rng, is_basic: bool, refuses: bool) {
    match rng.u8(..24) {
        0..9 => open(pair, rng, is_basic, refuses),
        9 if !is_basic => {
            let ids: Vec<_> = pair.user.transfers.keys().copied().collect();
            if let Some(id) = rng.choice(ids) {
                pair.abort(id);
            }
        }
        10 | 11 => {
            pair.disconnect_client();
            pair.drive_for(millis(rng, 1000));
            pair.connect();
        }
        12 => {
            pair.disconnect_agent();
            pair.drive_for(millis(rng, 1000));
            pair.connect();
        }
        13 => pair.signal_agent(MessageType::PausePublication),
        14 => pair.signal_agent(MessageType::StartPublication),
        15 => pair.up.faults = random_faults(rng),
        16 => pair.down.faults = random_faults(rng),
        17 => {
            pair.user.read_interval = rng
                .bool()
                .then(|| millis(rng, 500) + Duration::from_millis(1))
        }
        18 => pair
            .up
            .lose_if(|wire| wire[4..].starts_with(b"acknowledge")),
        19 => pair
            .down
            .lose_if(|wire| wire[4..].starts_with(b"acknowledge")),
        20 => {
            pair.up.lose_no_more();
            pair.down.lose_no_more();
        }
        _ => pair.drive_for(millis(rng, 300)),
    }
}

/// Ends all faults.
fn heal(pair: &mut Pair) {
    pair.up.faults = Faults::delay(10);
    pair.down.faults = Faults::delay(10);
    pair.up.lose_no_more();
    pair.down.lose_no_more();
    pair.user.read_interval = None;
    pair.target.release();
    pair.connect();
    pair.signal_agent(MessageType::StartPublication);
}

/// Everything has been brought where it was to go.
fn is_delivered(pair: &Pair) -> bool {
    let is_received = |(id, connection): (_, &crate::support::Connection)| {
        pair.user.transfers.get(id).is_none_or(|transfer| {
            transfer.is_aborted
                || !matches!(connection.behaviour, Behaviour::Echo | Behaviour::Sink)
                || connection.received.len() == transfer.upload.len()
        })
    };
    let connections = &pair.target.connections;
    pair.user.is_done()
        && pair.agent.is_drained()
        && pair
            .user
            .transfers
            .iter()
            .all(|(id, it)| it.is_aborted || connections.contains_key(id))
        && connections.iter().all(is_received)
}

fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let agent_version = match rng.u8(..8) {
        0 => FORGETFUL,
        1 => BASIC,
        _ => CURRENT,
    };
    let (is_basic, refuses) = (agent_version == BASIC, rng.bool());
    let mut pair = Pair::new(Options {
        seed,
        config: random_config(&mut rng),
        agent_version,
        ..Options::default()
    });
    pair.connect();
    if rng.u8(..4) == 0 {
        pair.drive_for(millis(&mut rng, 80));
        pair.disconnect_client();
        pair.drive_for(millis(&mut rng, 500));
        pair.connect();
    }
    let is_up = |pair: &Pair| pair.is_established() || pair.close_reason().is_some();
    pair.drive_bounded(MINUTE, is_up);
    pair.up.faults = random_faults(&mut rng);
    pair.down.faults = random_faults(&mut rng);
    for _ in 0..rng.usize(3..30) {
        operate(&mut pair, &mut rng, is_basic, refuses);
    }
    match rng.u8(..16) {
        0 | 1 => pair.client.terminate(pair.now),
        2 => pair.close_channel("over"),
        _ => heal(&mut pair),
    }
    let is_over = |pair: &Pair| match agent_version {
        CURRENT => pair.is_done(),
        // What stays unacknowledged was delivered.
        _ => is_delivered(pair),
    };
    pair.drive_bounded(60 * MINUTE, |pair| {
        is_over(pair) || pair.close_reason().is_some()
    });
    pair.check();
    match pair.close_reason() {
        None | Some(CloseReason::Terminated) => {}
        Some(CloseReason::Peer { output, .. }) => assert_eq!(output, "over"),
        // The acknowledgement of the frame that tries the path was lost for good.
        Some(CloseReason::HandshakeTimedOut { .. }) => assert_ne!(agent_version, CURRENT),
        Some(reason) => panic!("ended by {reason:?}"),
    }
}

#[test]
fn ten_thousand_schedules_are_delivered_exactly_or_ended_with_a_reason() {
    for_each_seed_in_parallel(SCHEDULE_COUNT, run);
}
