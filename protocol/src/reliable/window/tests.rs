use std::collections::VecDeque;

use bytes::Bytes;
use fastrand::Rng;

use super::*;
use crate::config::Retransmission;
use crate::reliable::send::SendBuffer;
use crate::testing;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Wire bytes of a message of the default length.
const MESSAGE_LEN: usize = 1144;
const CEILING_LEN: usize = 3_670_016;

/// A path to the agent with a queue in front of its bottleneck, and back.
#[derive(Debug, Clone, Copy)]
struct Path {
    /// Bytes per second.
    rate: f64,
    /// Round trip when the queue is empty.
    rtt: Duration,
    /// Probability that a message is lost.
    loss: f64,
    /// A policer's bucket in bytes: what exceeds the rate is lost, and nothing is queued.
    policed_len: Option<f64>,
}

impl Path {
    fn new(rate: f64, rtt: Duration) -> Self {
        Self {
            rate,
            rtt,
            loss: 0.0,
            policed_len: None,
        }
    }
}

/// An upload that always has something to send, over a path that can change.
struct Upload {
    path: Path,
    rng: Rng,
    now: Instant,
    send: SendBuffer,
    /// When acknowledgements arrive, and for which message.
    acks: VecDeque<(Instant, i64)>,
    /// When the bottleneck has sent everything in its queue.
    idle_at: Instant,
    tokens: f64,
    tokens_at: Instant,
    acked_count: usize,
    sent_count: usize,
    /// Longest that a message waited for the bottleneck.
    max_queue: Duration,
}

impl Upload {
    fn new(path: Path) -> Self {
        let now = testing::any_instant();
        let window = Window::adaptive(CEILING_LEN, MESSAGE_LEN);
        let mut send = SendBuffer::new(Retransmission::default(), window);
        // The handshake has measured the round trip.
        send.push(now, Bytes::from_static(&[0; MESSAGE_LEN]));
        let now = now + path.rtt;
        send.on_ack(now, 0);
        Self {
            path,
            rng: Rng::with_seed(1),
            now,
            send,
            acks: VecDeque::new(),
            idle_at: now,
            tokens: path.policed_len.unwrap_or_default(),
            tokens_at: now,
            acked_count: 0,
            sent_count: 0,
            max_queue: Duration::ZERO,
        }
    }

    /// Uploads for so long, and returns the bytes delivered per second.
    fn run(&mut self, time: Duration) -> f64 {
        let deadline = self.now + time;
        self.max_queue = Duration::ZERO;
        (self.acked_count, self.sent_count) = (0, 0);
        loop {
            self.transmit();
            let ack = self.acks.front().map(|(at, _)| *at);
            let timeout = self.send.next_timeout();
            let next = ack.into_iter().chain(timeout).min().unwrap();
            if next > deadline {
                break;
            }
            self.now = self.now.max(next);
            if ack.is_some_and(|at| at <= self.now) {
                self.take_acks();
            } else {
                self.send.on_timeout(self.now);
            }
        }
        self.now = deadline;
        (self.acked_count * MESSAGE_LEN) as f64 / time.as_secs_f64()
    }

    /// Takes every acknowledgement that has arrived, before anything can be sent.
    fn take_acks(&mut self) {
        while let Some((_, sequence)) = self.acks.pop_front_if(|(at, _)| *at <= self.now) {
            let before = self.send.unacked_len();
            self.send.on_ack(self.now, sequence);
            self.acked_count += usize::from(self.send.unacked_len() < before);
        }
    }

    fn transmit(&mut self) {
        loop {
            let sequence = if let Some(frame) = self.send.poll_retransmit(self.now) {
                i64::from_be_bytes(frame[..8].try_into().unwrap())
            } else if self.send.is_window_open() {
                let sequence = self.send.next_sequence();
                let mut frame = vec![0; MESSAGE_LEN];
                frame[..8].copy_from_slice(&sequence.to_be_bytes());
                self.send.push(self.now, Bytes::from(frame));
                sequence
            } else {
                return;
            };
            self.sent_count += 1;
            self.carry(sequence);
        }
    }

    fn carry(&mut self, sequence: i64) {
        if self.rng.f64() < self.path.loss {
            return;
        }
        if let Some(bucket_len) = self.path.policed_len {
            let elapsed = (self.now - self.tokens_at).as_secs_f64();
            self.tokens = (self.tokens + elapsed * self.path.rate).min(bucket_len);
            self.tokens_at = self.now;
            if self.tokens < MESSAGE_LEN as f64 {
                return;
            }
            self.tokens -= MESSAGE_LEN as f64;
            self.acks.push_back((self.now + self.path.rtt, sequence));
            return;
        }
        let queue = self.idle_at.saturating_duration_since(self.now);
        self.max_queue = self.max_queue.max(queue);
        let sending = Duration::from_secs_f64(MESSAGE_LEN as f64 / self.path.rate);
        self.idle_at = self.now + queue + sending;
        let arrival = self.idle_at + self.path.rtt;
        // A path that has become shorter does not let acknowledgements overtake one another.
        let last = self.acks.back().map_or(arrival, |(at, _)| *at);
        self.acks.push_back((arrival.max(last), sequence));
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are the point: cargo test window -- --nocapture"
)]
fn report(name: &str, upload: &Upload, rate: f64) {
    println!(
        "{name:<44} {:>6.2} of {:>6.2} MB/s ({:>3.0} %), queue up to {:>4} ms, window {:>4} KiB, repeated {:>4.1} %",
        rate / 1e6,
        upload.path.rate / 1e6,
        100.0 * rate / upload.path.rate,
        upload.max_queue.as_millis(),
        upload.send.window_len() / 1024,
        100.0 * (1.0 - upload.acked_count as f64 / upload.sent_count as f64).max(0.0),
    );
}

/// Rates and round trips from a throttled service far away to a fast one nearby.
const PATHS: [(f64, u64); 9] = [
    (0.1e6, 50),
    (0.87e6, 1),
    (0.87e6, 30),
    (0.87e6, 200),
    (0.87e6, 800),
    (12.5e6, 1),
    (12.5e6, 30),
    (12.5e6, 200),
    (100e6, 5),
];

#[test]
fn every_path_is_filled_without_a_long_queue() {
    for (rate, millis) in PATHS {
        let path = Path::new(rate, Duration::from_millis(millis));
        let mut upload = Upload::new(path);
        let start = upload.run(3 * SECOND);
        report(&format!("{millis} ms, first 3 s"), &upload, start);
        let start_queue = upload.max_queue;
        let steady = upload.run(20 * SECOND);
        report(&format!("{millis} ms, then"), &upload, steady);
        assert!(steady > 0.9 * rate);
        let bound = path.rtt * 3 / 4 + Duration::from_secs_f64(20_000.0 / rate).max(40 * MS);
        assert!(upload.max_queue < bound, "{:?}", upload.max_queue);
        let initial = Duration::from_secs_f64(INITIAL_LEN as f64 / rate);
        assert!(
            start_queue < initial + 3 * path.rtt + 30 * MS,
            "{start_queue:?}"
        );
    }
}

#[test]
fn a_hundred_megabits_at_two_hundred_milliseconds_are_reached_within_seconds() {
    let mut upload = Upload::new(Path::new(12.5e6, 200 * MS));
    upload.run(2 * SECOND);
    let rate = upload.run(SECOND);
    report("200 ms, third second", &upload, rate);
    assert!(rate > 0.9 * 12.5e6);
}

#[test]
fn acknowledgements_that_come_together_open_the_window() {
    // Nothing spreads them on their way: those of a whole window are there before the next message is sent.
    let mut upload = Upload::new(Path::new(1e15, 400 * MS));
    let rate = upload.run(10 * SECOND);
    report("400 ms, acknowledged all at once", &upload, rate);
    assert_eq!(upload.send.window_len(), CEILING_LEN);
}

#[test]
fn random_loss_does_not_shrink_the_window() {
    for loss in [0.01, 0.05] {
        for (rate, millis) in [(0.87e6, 30), (0.87e6, 200), (12.5e6, 30), (12.5e6, 100)] {
            let mut upload = Upload::new(Path {
                loss,
                ..Path::new(rate, Duration::from_millis(millis))
            });
            upload.run(5 * SECOND);
            let reached = upload.run(20 * SECOND);
            report(&format!("{millis} ms, loss {loss}"), &upload, reached);
            // Each repetition is sent in place of a new message.
            assert!(reached > (0.9 - 2.0 * loss) * rate);
            assert!(upload.max_queue < Duration::from_millis(millis) + 100 * MS);
        }
    }
}

#[test]
fn a_policer_is_not_fought() {
    for (rate, millis) in [(0.87e6, 30), (0.87e6, 200), (12.5e6, 100)] {
        let mut upload = Upload::new(Path {
            policed_len: Some(rate / 5.0),
            ..Path::new(rate, Duration::from_millis(millis))
        });
        upload.run(10 * SECOND);
        let reached = upload.run(20 * SECOND);
        report(&format!("{millis} ms, policed"), &upload, reached);
        assert!(reached > 0.6 * rate);
        let repeated = 1.0 - upload.acked_count as f64 / upload.sent_count as f64;
        assert!(repeated < 0.15, "{repeated}");
    }
}

#[test]
fn a_path_that_gets_slower_has_no_long_queue_for_long() {
    let mut upload = Upload::new(Path::new(12.5e6, 30 * MS));
    upload.run(5 * SECOND);
    upload.path.rate = 0.87e6;
    upload.run(3 * SECOND);
    let rate = upload.run(10 * SECOND);
    report("30 ms, after 12.5 MB/s", &upload, rate);
    assert!(rate > 0.9 * 0.87e6);
    assert!(upload.max_queue < 60 * MS, "{:?}", upload.max_queue);
}

#[test]
fn a_path_that_gets_faster_is_filled_within_seconds() {
    let mut upload = Upload::new(Path::new(0.87e6, 30 * MS));
    upload.run(20 * SECOND);
    upload.path.rate = 12.5e6;
    upload.run(3 * SECOND);
    let rate = upload.run(10 * SECOND);
    report("30 ms, after 0.87 MB/s", &upload, rate);
    assert!(rate > 0.9 * 12.5e6);
}

#[test]
fn a_path_that_gets_longer_is_filled_once_the_old_round_trip_is_forgotten() {
    let mut upload = Upload::new(Path::new(12.5e6, 30 * MS));
    upload.run(20 * SECOND);
    upload.path.rtt = 150 * MS;
    let change = upload.run(15 * SECOND);
    report("30 ms become 150 ms, 15 s", &upload, change);
    let rate = upload.run(30 * SECOND);
    report("150 ms, after 30 ms", &upload, rate);
    assert!(rate > 0.9 * 12.5e6);
}

#[test]
fn a_path_that_gets_a_thousand_times_as_long_is_filled_within_half_a_minute() {
    for (rate, before, after) in [
        (0.87e6, MS / 2, 2 * SECOND),
        (0.87e6, MS, 400 * MS),
        (12.5e6, 5 * MS, 200 * MS),
    ] {
        let mut upload = Upload::new(Path::new(rate, before));
        upload.run(20 * SECOND);
        upload.path.rtt = after;
        let change = upload.run(30 * SECOND);
        report(
            &format!("{before:?} become {after:?}, 30 s"),
            &upload,
            change,
        );
        let reached = upload.run(10 * SECOND);
        report(&format!("{after:?}, after {before:?}"), &upload, reached);
        assert!(reached > 0.8 * rate);
    }
}

/// Acknowledges everything that is sent, one message every `interval`, for `count` messages.
fn trickle(window: &mut Window, now: &mut Instant, first: u64, count: u64) {
    for order in first..first + count {
        *now += 100 * MS;
        window.on_ack(
            *now,
            Acked {
                len: MESSAGE_LEN,
                order,
                next_order: order + 1,
                rtt: Some(50 * MS),
                is_limited: false,
            },
        );
    }
}

#[test]
fn an_application_that_sends_little_does_not_open_the_window() {
    let mut now = testing::any_instant();
    let mut window = Window::adaptive(CEILING_LEN, MESSAGE_LEN);
    trickle(&mut window, &mut now, 0, 1000);
    assert_eq!(window.len(), INITIAL_LEN);

    let mut upload = Upload::new(Path::new(0.87e6, 200 * MS));
    upload.run(20 * SECOND);
    // Enough to end the round, and the measurement of the path, that were under way.
    trickle(&mut upload.send.window, &mut upload.now, 1_000_000, 5);
    let len = upload.send.window_len();
    trickle(&mut upload.send.window, &mut upload.now, 1_000_005, 1000);
    assert_eq!(upload.send.window_len(), len);
}

#[test]
fn a_new_connection_starts_with_half_the_window_and_a_quarter_of_a_mebibyte_at_most() {
    let mut upload = Upload::new(Path::new(12.5e6, 200 * MS));
    upload.run(20 * SECOND);
    assert!(upload.send.window_len() > 2 * RESTART_LEN);
    upload.send.retransmit_all();
    assert_eq!(upload.send.window_len(), RESTART_LEN);
    upload.send.retransmit_all();
    assert_eq!(upload.send.window_len(), RESTART_LEN / 2);
    for _ in 0..10 {
        upload.send.retransmit_all();
    }
    assert_eq!(upload.send.window_len(), INITIAL_LEN);
}

#[test]
fn the_window_keeps_to_its_bounds() {
    let mut window = Window::adaptive(CEILING_LEN, MESSAGE_LEN);
    for _ in 0..100 {
        window.scale(0.5);
    }
    assert_eq!(window.len(), FLOOR_COUNT * MESSAGE_LEN);
    for _ in 0..100 {
        window.scale(1.25);
    }
    assert_eq!(window.len(), CEILING_LEN);
    assert_eq!(Window::adaptive(2000, MESSAGE_LEN).len(), 2000);
    assert_eq!(Window::fixed(CEILING_LEN).len(), CEILING_LEN);
}
