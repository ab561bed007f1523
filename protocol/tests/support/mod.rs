//! A client and an agent in simulated time, joined by links that lose, repeat, delay and reorder.

mod link;
mod pair;
mod target;
mod user;

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;

pub(crate) use link::Faults;
pub(crate) use pair::{DATA_KEY, Options, Pair};
pub(crate) use target::{Behaviour, Connection};

/// Some instant: tests only ever add to it.
#[expect(
    clippy::disallowed_methods,
    reason = "simulated time needs one instant to start from"
)]
pub(crate) fn any_instant() -> Instant {
    Instant::now()
}

/// Bytes that repeat nowhere near, so that a swap or a hole shows.
pub(crate) fn noise(seed: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    Rng::with_seed(seed).fill(&mut bytes);
    bytes.into()
}

/// Runs `test` for each seed, or only for the one in `SSMFWD_SEED`; a failure names its seed.
pub(crate) fn for_each_seed(count: u64, test: impl Fn(u64)) {
    for seed in seeds(count) {
        let named = NameSeed(seed);
        test(seed);
        drop(named);
    }
}

/// The same on all processors.
pub(crate) fn for_each_seed_in_parallel(count: u64, test: impl Fn(u64) + Sync) {
    let thread_count = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..thread_count {
            let test = &test;
            scope.spawn(move || {
                for seed in seeds(count).skip(first).step_by(thread_count) {
                    let named = NameSeed(seed);
                    test(seed);
                    drop(named);
                }
            });
        }
    });
}

fn seeds(count: u64) -> Range<u64> {
    let only =
        std::env::var("SSMFWD_SEED").map(|text| text.parse().expect("SSMFWD_SEED: a number"));
    only.map_or(0..count, |seed| seed..seed + 1)
}

struct NameSeed(u64);

impl Drop for NameSeed {
    #[expect(
        clippy::print_stderr,
        reason = "the test harness shows it with the failure"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "failed with seed {0}; run SSMFWD_SEED={0} to repeat it",
                self.0
            );
        }
    }
}
