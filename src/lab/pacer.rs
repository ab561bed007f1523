//! Keeps agents as slow as the real one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::lock;

/// Gives the data of one session its turns: one each 1.1 ms, however many streams there are.
///
/// The real agent sleeps 1 ms after each message and reaches 0.87 MB/s (measured). Clones share the
/// turns.
#[derive(Debug, Clone)]
pub(super) struct Pacer {
    next: Arc<Mutex<Instant>>,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            next: Arc::new(Mutex::new(Instant::now())),
        }
    }
}

impl Pacer {
    /// Waits for the caller's turn.
    pub(super) async fn turn(&self) {
        let turn = {
            let mut next = lock(&self.next);
            let earliest = Instant::now().checked_sub(MAX_CATCH_UP);
            let turn = earliest.map_or(*next, |earliest| earliest.max(*next));
            *next = turn + INTERVAL;
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

/// Time from one message to the next.
const INTERVAL: Duration = Duration::from_micros(1100);

/// How far turns may lie back: evens out a timer that is only exact to the millisecond.
const MAX_CATCH_UP: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_come_each_1100_microseconds_whoever_takes_them() {
        let pacer = Pacer::default();
        let start = Instant::now();
        for _ in 0..1_000 {
            let other = pacer.clone();
            tokio::join!(pacer.turn(), other.turn());
        }
        let elapsed = start.elapsed();
        let expected = INTERVAL * 2_000;
        assert!(elapsed >= expected - MAX_CATCH_UP - INTERVAL, "{elapsed:?}");
        assert!(elapsed <= expected + MAX_CATCH_UP, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_not_taken_are_lost() {
        let pacer = Pacer::default();
        tokio::time::advance(Duration::from_secs(1)).await;
        let start = Instant::now();
        for _ in 0..100 {
            pacer.turn().await;
        }
        assert!(start.elapsed() >= INTERVAL * 99 - MAX_CATCH_UP);
    }
}
