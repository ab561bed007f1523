//! How long to wait before the next attempt.

use std::time::Duration;

use tokio::time::sleep;

/// Longest time between two attempts that somebody waits for. The half minute between others is half of what connections
/// wait at all.
const IMPATIENCE: Duration = Duration::from_secs(5);

/// Delays between attempts: each is random between nothing and a ceiling that doubles up to a cap.
///
/// "Full jitter", which spreads clients that failed together better than a delay with a random part
/// (AWS Architecture Blog, "Exponential Backoff And Jitter").
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt_count: u32,
}

impl Backoff {
    /// Creates delays below `base` at first and below `cap` at last.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            attempt_count: 0,
        }
    }

    /// Waits before the next attempt; after five seconds no longer than until `wanted` is over, which tells that somebody
    /// waits for it.
    pub async fn pause(&mut self, wanted: impl Future<Output = ()>) {
        let wanted = async {
            sleep(IMPATIENCE).await;
            wanted.await;
        };
        tokio::select! {
            () = sleep(self.delay()) => {}
            () = wanted => {}
        }
    }

    /// Returns how long to wait before the next attempt.
    pub fn delay(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.attempt_count = self.attempt_count.saturating_add(1);
        ceiling.mul_f64(fastrand::f64())
    }

    /// A connection has ended that had been made so long ago: one that did not last was no success.
    pub fn after_connection(&mut self, lasted: Duration) {
        if lasted >= LASTING {
            self.reset();
        }
    }

    /// Starts again with the shortest delays: something has worked.
    pub fn reset(&mut self) {
        self.attempt_count = 0;
    }

    fn ceiling(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.attempt_count).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

/// How long a connection must last for the next attempt to be an early one: as long as the longest delay, so that a path
/// on which every connection dies soon is not tried more often than one on which none is made.
const LASTING: Duration = Duration::from_secs(30);

impl Default for Backoff {
    /// 0.2 s to 30 s: soon enough for a network that is back at once, and rare enough for the account's
    /// limits (6 ResumeSession and 3 StartSession a second).
    fn default() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_stays_there() {
        let mut backoff = Backoff::default();
        let mut ceilings = Vec::new();
        for _ in 0..100 {
            ceilings.push(backoff.ceiling().as_millis());
            assert!(backoff.delay() <= backoff.cap);
        }
        let expected = [
            200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000,
        ];
        assert_eq!(ceilings[..10], expected);
        assert_eq!(ceilings[99], 30_000);
    }

    #[test]
    fn connections_that_do_not_last_make_it_slower() {
        let mut backoff = Backoff::default();
        for _ in 0..3 {
            backoff.delay();
            backoff.after_connection(LASTING / 2);
        }
        assert_eq!(backoff.ceiling().as_millis(), 1600);
        backoff.after_connection(LASTING);
        assert_eq!(backoff.ceiling().as_millis(), 200);
    }

    #[test]
    fn success_makes_it_quick_again() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.delay();
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_millis(200));
    }
    /// How long an attempt is waited for that `wanted` tells of, and that would else be made after a long time.
    async fn pause(wanted: impl Future<Output = ()>) -> Duration {
        const LONG: Duration = Duration::from_secs(1_000_000_000);
        let start = Instant::now();
        Backoff::new(LONG, LONG).pause(wanted).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_somebody_waits_for_is_made_soon_but_not_at_once() {
        assert_eq!(pause(ready(())).await, IMPATIENCE);
        assert_eq!(pause(sleep(3 * IMPATIENCE)).await, 3 * IMPATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_nobody_waits_for_takes_its_time() {
        assert!(pause(pending()).await > 3 * IMPATIENCE);
    }
}
