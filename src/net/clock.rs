//! Notices that time has passed which no timer has counted.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// How far wall clock and timers may drift apart between two looks: corrections of the clock by NTP
/// are below a second, suspends that matter are above.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Compares the wall clock with the clock of the timers, which stands still while the machine sleeps.
pub(crate) struct ClockWatch {
    wall: Box<dyn Fn() -> SystemTime + Send>,
    last: (Instant, SystemTime),
}

impl ClockWatch {
    pub(crate) fn new() -> Self {
        Self::with_wall(SystemTime::now)
    }

    pub(crate) fn with_wall(wall: impl Fn() -> SystemTime + Send + 'static) -> Self {
        Self {
            last: (Instant::now(), wall()),
            wall: Box::new(wall),
        }
    }

    /// Returns whether the machine has slept, or its wall clock has been set, since the last look.
    pub(crate) fn has_jumped(&mut self, now: Instant) -> bool {
        let (then, wall_then) = self.last;
        let wall_now = (self.wall)();
        self.last = (now, wall_now);
        let expected = wall_then + now.saturating_duration_since(then);
        let difference = match wall_now.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        difference > TOLERANCE
    }

    /// Waits until the machine has slept or its clock was set.
    pub(crate) async fn jumped(&mut self) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            if self.has_jumped(Instant::now()) {
                return;
            }
        }
    }
}

/// Time between two looks: how late a suspend is noticed at most.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A wall clock that goes with the timers, and can be set ahead or back.
    #[derive(Clone)]
    pub(crate) struct Wall {
        started: Instant,
        /// Seconds since the epoch at `started`.
        offset: Arc<AtomicU64>,
    }

    impl Wall {
        pub(crate) fn new() -> Self {
            Self {
                started: Instant::now(),
                offset: Arc::new(AtomicU64::new(1_000_000)),
            }
        }

        pub(crate) fn set(&self, seconds: u64) {
            self.offset.store(seconds, Ordering::Relaxed);
        }

        pub(crate) fn watch(&self) -> ClockWatch {
            let wall = self.clone();
            ClockWatch::with_wall(move || {
                let offset = Duration::from_secs(wall.offset.load(Ordering::Relaxed));
                SystemTime::UNIX_EPOCH + offset + wall.started.elapsed()
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Wall;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_that_passes_for_both_is_no_jump() {
        let mut watch = Wall::new().watch();
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(60)).await;
            assert!(!watch.has_jumped(Instant::now()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_is_noticed_once_either_way() {
        let wall = Wall::new();
        let mut watch = wall.watch();
        for seconds in [1_003_600, 1_000_000] {
            wall.set(seconds);
            assert!(watch.has_jumped(Instant::now()));
            assert!(!watch.has_jumped(Instant::now()));
        }
        wall.set(1_000_001);
        assert!(!watch.has_jumped(Instant::now()));
    }
}
