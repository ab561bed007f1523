//! How long round trips take.

use std::time::Duration;

/// Payload bytes of a ping and of its answer.
pub(crate) const PING_LEN: usize = 64;

/// The measured round trips of one ping-pong.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Sorts the samples of one ping-pong, the first tenth of which warms up.
    pub(crate) fn new(mut samples: Vec<Duration>) -> Self {
        samples.drain(..samples.len() / 10);
        samples.sort_unstable();
        Self(samples)
    }

    /// The time that so many of a hundred do not exceed, in microseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let at = self.0.len() * percent / 100;
        self.0
            .get(at)
            .map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e6)
    }
}
