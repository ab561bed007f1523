//! What has arrived at the ends of a cell's connections, and when.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Counts what arrives at both ends, over all connections.
pub(crate) struct Tally {
    counts: Mutex<Counts>,
    received_len: watch::Sender<u64>,
}

struct Counts {
    /// Exchanges under way.
    open: u32,
    /// When something arrived last, or could have.
    last: Instant,
    longest_pause: Duration,
    corrupted_len: u64,
}

/// An exchange under way, for which time without anything arriving counts as a pause.
pub(crate) struct Open<'a>(&'a Tally);

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            counts: Mutex::new(Counts {
                open: 0,
                last: Instant::now(),
                longest_pause: Duration::ZERO,
                corrupted_len: 0,
            }),
            received_len: watch::Sender::new(0),
        }
    }

    /// Notes that an exchange begins.
    pub(crate) fn open(&self) -> Open<'_> {
        let mut counts = self.counts.lock().unwrap();
        if counts.open == 0 {
            counts.last = Instant::now();
        }
        counts.open += 1;
        Open(self)
    }

    /// Notes bytes that have arrived, of which some are not those that were sent.
    pub(crate) fn arrived(&self, count: usize, wrong_count: usize) {
        let mut counts = self.counts.lock().unwrap();
        counts.pause();
        counts.corrupted_len += wrong_count as u64;
        drop(counts);
        self.received_len.send_modify(|len| *len += count as u64);
    }

    /// Waits until so many bytes have arrived.
    pub(crate) async fn reached(&self, len: u64) {
        let mut received_len = self.received_len.subscribe();
        // The sender is `self`.
        let _ = received_len.wait_for(|received| *received >= len).await;
    }

    /// Bytes that arrived and were not those that were sent.
    pub(crate) fn corrupted_len(&self) -> u64 {
        self.counts.lock().unwrap().corrupted_len
    }

    /// The longest time in which nothing arrived, although some exchange was under way.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.counts.lock().unwrap().longest_pause
    }
}

impl Counts {
    fn pause(&mut self) {
        let now = Instant::now();
        self.longest_pause = self.longest_pause.max(now - self.last);
        self.last = now;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock().unwrap();
        counts.pause();
        counts.open -= 1;
    }
}
