//! Random operations on random networks.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use ssmfwd_protocol::channel::CloseReason;
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::MessageType;

use crate::support::{Behaviour, Faults, Options, Pair, for_each_seed, noise};

const MINUTE: Duration = Duration::from_secs(60);
const SCHEDULE_COUNT: u64 = 150;

fn random_faults(rng: &mut Rng) -> Faults {
    let mut probability = |max: f64| if rng.bool() { 0.0 } else { rng.f64() * max };
    Faults {
        loss: probability(0.2),
        duplication: probability(0.2),
        reordering: probability(0.2),
        delay: Duration::from_millis((probability(1.0) * probability(2000.0)) as u64),
        jitter: Duration::from_millis(probability(300.0) as u64),
        rate: None,
    }
}

fn random_config(rng: &mut Rng) -> Config {
    let mut between = |low: usize, high: usize| rng.usize(low..high);
    Config {
        payload_len: between(64, 4096),
        send_window_len: between(2_000, 500_000),
        stream_send_len: between(100, 65_536),
        receive_buffer_len: between(10_000, 1_000_000),
        reorder_count: between(10, 10_000),
        reorder_len: between(10_000, 1_000_000),
        ..Config::default()
    }
}

fn random_operation(pair: &mut Pair, rng: &mut Rng) {
    match rng.u8(..20) {
        0..8 => open(pair, rng),
        8 => {
            let ids: Vec<_> = pair.user.transfers.keys().copied().collect();
            if let Some(id) = rng.choice(ids) {
                pair.abort(id);
            }
        }
        9 => {
            pair.disconnect_client();
            wait(pair, rng, 2000);
            pair.connect();
        }
        10 => {
            pair.disconnect_agent();
            wait(pair, rng, 2000);
            pair.connect();
        }
        11 => pair.signal_agent(MessageType::PausePublication),
        12 => pair.signal_agent(MessageType::StartPublication),
        13 => pair.up.faults = random_faults(rng),
        14 => pair.down.faults = random_faults(rng),
        15 => {
            let interval = rng.u64(1..1000);
            pair.user.read_interval = rng.bool().then_some(Duration::from_millis(interval));
        }
        _ => wait(pair, rng, 500),
    }
}

fn open(pair: &mut Pair, rng: &mut Rng) {
    let max_len = if rng.bool() { 200 } else { 60_000 };
    let behaviour = match rng.u8(..8) {
        0 => Behaviour::Refuse,
        1 | 2 => Behaviour::Sink,
        3 | 4 => Behaviour::Source(rng.usize(1..max_len)),
        _ => Behaviour::Echo,
    };
    let upload = noise(rng.u64(..), rng.usize(1..max_len));
    let write_len = rng.usize(1..2000).max(upload.len() / 1000);
    pair.open_in_pieces(behaviour, upload, write_len);
}

fn wait(pair: &mut Pair, rng: &mut Rng, max_millis: u64) {
    pair.drive_for(Duration::from_millis(rng.u64(..max_millis)));
}

#[test]
fn every_byte_arrives_once_and_in_order_whatever_happens() {
    for_each_seed(SCHEDULE_COUNT, |seed| {
        let mut rng = Rng::with_seed(seed);
        let agent_version = if rng.bool() {
            "3.3.987.0"
        } else {
            "3.2.1041.0"
        };
        let config = random_config(&mut rng);
        let options = Options {
            seed,
            config,
            agent_version,
            ..Options::default()
        };
        let mut pair = Pair::established(options.clone());
        pair.up.faults = random_faults(&mut rng);
        pair.down.faults = random_faults(&mut rng);
        for _ in 0..rng.usize(5..40) {
            random_operation(&mut pair, &mut rng);
        }
        // Whatever is broken stays so for a while; then only the agent's slow repair takes time.
        pair.drive_for(10 * MINUTE);
        pair.signal_agent(MessageType::StartPublication);
        pair.up.faults = Faults::delay(10);
        pair.down.faults = Faults::delay(10);
        pair.complete(600 * MINUTE);

        let config = options.config;
        let queued_len = pair.user.transfers.len() * config.stream_send_len;
        let message_len = config.payload_len + 2000;
        let bound = config.send_window_len + config.receive_buffer_len + config.reorder_len;
        assert!(
            pair.peak_len <= bound + queued_len + 2 * message_len,
            "{} bytes",
            pair.peak_len
        );
    });
}

#[test]
fn a_session_ends_whatever_happens() {
    for_each_seed(SCHEDULE_COUNT, |seed| {
        let mut rng = Rng::with_seed(seed);
        let config = random_config(&mut rng);
        let options = Options {
            seed,
            config,
            ..Options::default()
        };
        let mut pair = Pair::established(options);
        pair.up.faults = random_faults(&mut rng);
        pair.down.faults = random_faults(&mut rng);
        for _ in 0..rng.usize(..20) {
            random_operation(&mut pair, &mut rng);
        }
        pair.client.terminate(pair.now);
        let close_timeout = Config::default().close_timeout;
        pair.drive_bounded(close_timeout, |pair| pair.close_reason().is_some());
        assert_eq!(pair.close_reason(), Some(CloseReason::Terminated));
    });
}

#[test]
fn one_connection_after_the_other_survives_random_networks() {
    let busy_count = Cell::new(0);
    for_each_seed(SCHEDULE_COUNT / 3, |seed| {
        let mut rng = Rng::with_seed(seed);
        let agent_version = "3.0.100.0";
        let mut pair = Pair::established(Options {
            seed,
            agent_version,
            ..Options::default()
        });
        for _ in 0..5 {
            pair.up.faults = random_faults(&mut rng);
            // An agent so old does not repeat an acknowledgement that was lost.
            pair.down.faults = Faults {
                loss: 0.0,
                ..random_faults(&mut rng)
            };
            let upload = noise(rng.u64(..), rng.usize(1..20_000));
            let mut is_open = pair.open(Behaviour::Echo, upload.clone()).is_ok();
            for _ in 0..60 {
                if !is_open {
                    pair.drive_for(MINUTE);
                    is_open = pair.open(Behaviour::Echo, upload.clone()).is_ok();
                }
            }
            if !is_open {
                // It was, with a connection: the session carries no more.
                busy_count.set(busy_count.get() + 1);
                break;
            }
            if rng.u8(..6) == 0 {
                wait(&mut pair, &mut rng, 500);
                pair.disconnect_client();
                wait(&mut pair, &mut rng, 500);
                pair.connect();
            }
            pair.drive_bounded(60 * MINUTE, |pair| pair.user.is_done());
        }
        pair.check();
        let uploads = pair
            .user
            .transfers
            .values()
            .map(|it| Bytes::clone(&it.upload));
        let received = pair
            .target
            .connections
            .values()
            .map(|it| Bytes::copy_from_slice(&it.received));
        assert!(uploads.eq(received));
    });
    assert!(busy_count.get() < SCHEDULE_COUNT / 6, "{busy_count:?}");
}
