//! How often operations may be called.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Gives callers their turns, so that a quota is not exceeded by many of one process at once.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// Calls that may come at once after a pause.
    burst: u32,
    /// When the next call would be due without bursts.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// As many calls a second, and at once.
    pub(super) fn per_second(count: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / count,
            burst: count,
            next: Mutex::default(),
        }
    }

    /// Waits for the caller's turn. One that is not waited for is lost.
    pub(super) async fn turn(&self) {
        let now = Instant::now();
        let due = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let due = next.unwrap_or(now).max(now);
            *next = Some(due + self.interval);
            due
        };
        let ahead = self.interval * (self.burst - 1);
        sleep_until(due.checked_sub(ahead).unwrap_or(now)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_come_at_once_until_there_are_too_many() {
        let pace = Pace::per_second(3);
        let start = Instant::now();
        for _ in 0..3 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..6 {
            pace.turn().await;
        }
        let elapsed = start.elapsed().as_millis();
        assert!((1990..=2010).contains(&elapsed), "{elapsed} ms");
        tokio::time::sleep(Duration::from_secs(5)).await;
        let start = Instant::now();
        for _ in 0..3 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
