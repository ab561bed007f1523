//! One direction's faults: decides when, how often and in which order frames come out.
//!
//! Pure: time is passed in and randomness comes from the seed, so a schedule can be replayed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Chaos;

/// Frames under way in one direction.
///
/// Put frames in with [`FrameFaults::admit`], take out what has arrived with [`FrameFaults::poll`], and poll
/// again at [`FrameFaults::next_deadline`].
#[derive(Debug)]
pub(in crate::lab) struct FrameFaults<T> {
    chaos: Arc<Chaos>,
    rng: fastrand::Rng,
    /// In order of arrival; arrival times never decrease.
    scheduled: VecDeque<Scheduled<T>>,
    /// Arrived, held back until later frames have passed.
    held: Vec<Held<T>>,
    /// Let go after having been held back.
    released: VecDeque<T>,
}

#[derive(Debug)]
struct Scheduled<T> {
    arrival: Instant,
    /// How many later frames overtake this one; 0 for a frame that is not reordered.
    overtakers: u8,
    frame: T,
}

#[derive(Debug)]
struct Held<T> {
    overtakers: u8,
    deadline: Instant,
    frame: T,
}

/// What faults do to a frame itself.
pub(in crate::lab) trait Alter {
    /// Changes one bit of the frame's data, if it has any, so that nothing about the frame tells.
    fn alter(&mut self, rng: &mut fastrand::Rng);
}

impl<T: Alter + Clone> FrameFaults<T> {
    /// Creates one direction; `stream` tells the directions and sessions of one seed apart.
    pub(in crate::lab) fn new(chaos: &Arc<Chaos>, stream: u64) -> Self {
        let seed = chaos.seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            chaos: chaos.clone(),
            rng: fastrand::Rng::with_seed(seed),
            scheduled: VecDeque::new(),
            held: Vec::new(),
            released: VecDeque::new(),
        }
    }

    /// Treats frames that are admitted from now on by another chaos; random choices go on.
    pub(in crate::lab) fn follow(&mut self, chaos: &Arc<Chaos>) {
        self.chaos = chaos.clone();
    }

    /// Whether every frame comes out as it goes in, at once, and none is under way.
    pub(in crate::lab) fn is_transparent(&self) -> bool {
        self.under_way_len() == 0 && !self.chaos.affects_frames()
    }

    /// Takes a frame that was sent at `now`.
    pub(in crate::lab) fn admit(&mut self, now: Instant, mut frame: T) {
        let is_dropped = self.chaos.drop.roll(&mut self.rng);
        let is_duplicated = self.chaos.duplicate.roll(&mut self.rng);
        let is_altered = self.chaos.alter.roll(&mut self.rng);
        if is_dropped {
            return;
        }
        if is_altered {
            frame.alter(&mut self.rng);
        }
        if is_duplicated {
            self.schedule(now, frame.clone());
        }
        self.schedule(now, frame);
    }

    /// Returns the next frame that has arrived by `now`.
    #[must_use]
    pub(in crate::lab) fn poll(&mut self, now: Instant) -> Option<T> {
        loop {
            self.release_held(|held| held.deadline <= now);
            if let Some(frame) = self.released.pop_front() {
                return Some(frame);
            }
            let next = self.scheduled.pop_front_if(|next| next.arrival <= now)?;
            if next.overtakers == 0 {
                for held in &mut self.held {
                    held.overtakers = held.overtakers.saturating_sub(1);
                }
                self.release_held(|held| held.overtakers == 0);
                return Some(next.frame);
            }
            self.held.push(Held {
                overtakers: next.overtakers,
                deadline: next.arrival + MAX_HOLD,
                frame: next.frame,
            });
        }
    }

    /// When [`FrameFaults::poll`] has something to return, if no frame is admitted before.
    pub(in crate::lab) fn next_deadline(&self) -> Option<Instant> {
        let arrival = self.scheduled.front().map(|next| next.arrival);
        let release = self.held.iter().map(|held| held.deadline).min();
        arrival.into_iter().chain(release).min()
    }

    /// Whether as many frames are under way as may be: admit no more until some have been polled.
    pub(in crate::lab) fn is_full(&self) -> bool {
        self.under_way_len() >= MAX_UNDER_WAY
    }

    fn under_way_len(&self) -> usize {
        self.scheduled.len() + self.held.len() + self.released.len()
    }

    fn schedule(&mut self, now: Instant, frame: T) {
        let jitter = self.chaos.jitter.mul_f64(self.rng.f64());
        let overtakers = match self.chaos.reorder.roll(&mut self.rng) {
            true => self.rng.u8(1..=MAX_OVERTAKERS),
            false => 0,
        };
        let arrival = now + self.chaos.delay + jitter;
        let after = self.scheduled.back().map_or(arrival, |last| last.arrival);
        self.scheduled.push_back(Scheduled {
            arrival: arrival.max(after),
            overtakers,
            frame,
        });
    }

    fn release_held(&mut self, is_due: impl Fn(&Held<T>) -> bool) {
        let due = self.held.extract_if(.., |held| is_due(held));
        self.released.extend(due.map(|held| held.frame));
    }
}

/// How many later frames may overtake a reordered one.
const MAX_OVERTAKERS: u8 = 3;

/// How long a reordered frame is held when nothing overtakes it.
const MAX_HOLD: Duration = Duration::from_millis(50);

/// Frames under way in one direction: 4 MiB of the usual kibibyte messages.
const MAX_UNDER_WAY: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    impl Alter for u32 {
        fn alter(&mut self, rng: &mut fastrand::Rng) {
            *self ^= 1 << rng.u32(..Self::BITS);
        }
    }

    /// Sends 0..count, one a millisecond, and returns (arrival in ms, frame).
    fn run(chaos: &str, count: u32) -> Vec<(u64, u32)> {
        let mut faults = FrameFaults::new(&Arc::new(chaos.parse().unwrap()), 1);
        let start = Instant::now();
        let mut out = Vec::new();
        for step in 0..=u64::from(count) + 2_000 {
            let now = start + Duration::from_millis(step);
            if step < u64::from(count) {
                faults.admit(now, u32::try_from(step).unwrap());
            }
            while let Some(frame) = faults.poll(now) {
                out.push((step, frame));
            }
        }
        assert_eq!(faults.next_deadline(), None, "frames left behind");
        out
    }

    fn frames(out: &[(u64, u32)]) -> Vec<u32> {
        out.iter().map(|(_, frame)| *frame).collect()
    }

    #[test]
    fn delay_and_jitter_keep_the_order() {
        let out = run("delay=20ms,jitter=30ms,seed=3", 500);
        assert_eq!(frames(&out), (0..500).collect::<Vec<_>>());
        assert!(out.iter().all(|(at, frame)| {
            let took = at - u64::from(*frame);
            (20..=51).contains(&took)
        }));
        assert!(out.iter().any(|(at, frame)| at - u64::from(*frame) > 30));
    }

    #[test]
    fn dropped_frames_are_gone() {
        let out = frames(&run("drop=20%,seed=1", 5_000));
        assert!((3_800..4_200).contains(&out.len()), "{}", out.len());
        assert!(out.is_sorted());
    }

    #[test]
    fn duplicated_frames_arrive_twice() {
        let out = frames(&run("duplicate=10%,seed=1", 5_000));
        assert!((5_400..5_600).contains(&out.len()), "{}", out.len());
        assert!(out.is_sorted());
    }

    #[test]
    fn reordered_frames_are_overtaken_by_one_to_three_others() {
        let out = frames(&run("reorder=2%,seed=5", 5_000));
        assert!(!out.is_sorted());
        let mut sorted = out.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..5_000).collect::<Vec<_>>());
        for (position, frame) in out.iter().enumerate() {
            let late = position as i64 - i64::from(*frame);
            assert!((-8..=8).contains(&late), "{frame} at {position}");
        }
    }

    #[test]
    fn a_reordered_frame_that_nothing_overtakes_comes_after_50_ms() {
        let out = run("reorder=100%,seed=1", 1);
        assert_eq!(out, [(50, 0)]);
    }

    #[test]
    fn altered_frames_differ_by_a_bit() {
        let out = frames(&run("alter=10%,seed=1", 5_000));
        let difference = |(sent, arrived): (u32, &u32)| (sent ^ arrived).count_ones();
        let altered = (0..).zip(&out).map(difference).filter(|bits| *bits > 0);
        let altered: Vec<u32> = altered.collect();
        assert!((400..600).contains(&altered.len()), "{}", altered.len());
        assert!(altered.iter().all(|bits| *bits == 1));
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let chaos = "delay=5ms,jitter=9ms,drop=5%,duplicate=5%,reorder=5%";
        let first = run(&format!("{chaos},seed=7"), 1_000);
        assert_eq!(first, run(&format!("{chaos},seed=7"), 1_000));
        assert_ne!(first, run(&format!("{chaos},seed=8"), 1_000));
    }

    #[test]
    fn directions_of_one_seed_differ() {
        let chaos = Arc::new("drop=50%,seed=7".parse().unwrap());
        let survivors = |stream| {
            let mut faults = FrameFaults::new(&chaos, stream);
            let now = Instant::now();
            (0..100).for_each(|frame| faults.admit(now, frame));
            std::iter::from_fn(|| faults.poll(now)).collect::<Vec<_>>()
        };
        assert_ne!(survivors(0), survivors(1));
    }

    #[test]
    fn a_full_direction_says_so() {
        let mut faults = FrameFaults::new(&Arc::new("delay=1s".parse().unwrap()), 0);
        let now = Instant::now();
        let admitted = std::iter::from_fn(|| (!faults.is_full()).then(|| faults.admit(now, 0)));
        assert_eq!(admitted.count(), MAX_UNDER_WAY);
        assert!(faults.poll(now).is_none());
        assert!(faults.poll(now + Duration::from_secs(1)).is_some());
        assert!(!faults.is_full());
    }
}
