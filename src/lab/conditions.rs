//! What goes wrong in the lab at this moment: the standing chaos, and what holds for a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::chaos::{Chaos, Condition};
use super::hosts::Hosts;
use super::lock;
use super::stall::Streams;

/// The one place that faults are looked up in; everything that can fail holds on to it.
#[derive(Debug)]
pub(super) struct Conditions {
    state: watch::Sender<State>,
    /// Counts changes of the standing chaos.
    version: AtomicU64,
    /// Whether anything may hold: spares the usual case the look at the clock.
    is_any_held: AtomicBool,
    /// How often the credentials were renewed.
    generation: AtomicU64,
    pub(super) hosts: Hosts,
    pub(super) streams: Streams,
    /// Sockets that were dropped in a black hole: their peers learn of it afterwards.
    kept_open: Mutex<Vec<TcpStream>>,
}

#[derive(Debug)]
pub(super) struct State {
    chaos: Arc<Chaos>,
    /// When each condition ends; those that have ended may linger.
    ends: BTreeMap<Condition, Instant>,
}

impl Conditions {
    pub(super) fn new(chaos: Chaos) -> Self {
        let state = State {
            chaos: Arc::new(chaos),
            ends: BTreeMap::new(),
        };
        Self {
            state: watch::Sender::new(state),
            version: AtomicU64::new(0),
            is_any_held: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            hosts: Hosts::default(),
            streams: Streams::default(),
            kept_open: Mutex::default(),
        }
    }

    /// The standing chaos.
    pub(super) fn chaos(&self) -> Arc<Chaos> {
        self.state.borrow().chaos.clone()
    }

    /// What time the services have it.
    pub(super) fn now(&self) -> SystemTime {
        SystemTime::now() + self.chaos().clock_ahead
    }

    /// Changes with every change of the standing chaos.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Changes the standing chaos.
    pub(super) fn update(&self, change: impl FnOnce(&mut Chaos)) {
        self.state.send_modify(|state| {
            change(Arc::make_mut(&mut state.chaos));
            self.version.fetch_add(1, Ordering::Release);
        });
    }

    /// Has `condition` hold from now on for `length`, which replaces an earlier time.
    pub(super) fn hold(&self, condition: Condition, length: Duration) {
        self.state.send_modify(|state| {
            state.ends.insert(condition, Instant::now() + length);
            self.is_any_held.store(true, Ordering::Release);
        });
    }

    /// Ends everything that holds.
    pub(super) fn release_all(&self) {
        self.state.send_modify(|state| {
            state.ends.clear();
            self.is_any_held.store(false, Ordering::Release);
        });
    }

    /// Makes the credentials that are good so far expired ones.
    pub(super) fn renew_credentials(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// The session token of the credentials that are good; none are needed before the first renewal.
    pub(super) fn session_token(&self) -> Option<String> {
        match self.generation.load(Ordering::Relaxed) {
            0 => None,
            generation => Some(format!("lab-session-token-{generation}")),
        }
    }

    pub(super) fn holds(&self, condition: Condition) -> bool {
        self.is_any_held.load(Ordering::Acquire) && self.state.borrow().end(condition).is_some()
    }

    /// What holds at the moment, each with the time that is left of it.
    pub(super) fn held(&self) -> Vec<(Condition, Duration)> {
        let state = self.state.borrow();
        let ends = state.ends.keys().filter_map(|condition| {
            let end = state.end(*condition)?;
            Some((*condition, end.saturating_duration_since(Instant::now())))
        });
        ends.collect()
    }

    /// Waits until `condition` holds, or no longer does.
    pub(super) async fn until(&self, condition: Condition, is_held: bool) {
        let mut state = self.state.subscribe();
        loop {
            let end = state.borrow_and_update().end(condition);
            if end.is_some() == is_held {
                return;
            }
            tokio::select! {
                // The sender is `self`.
                _ = state.changed() => {}
                () = sleep_until(end) => {}
            }
        }
    }

    /// Waits until the moment that `deadline` makes of the standing chaos has passed.
    pub(super) async fn passed(&self, deadline: impl Fn(&Chaos) -> Option<Instant>) {
        let mut state = self.state.subscribe();
        loop {
            let deadline = deadline(&state.borrow_and_update().chaos);
            tokio::select! {
                // The sender is `self`.
                _ = state.changed() => {}
                () = sleep_until(deadline) => return,
            }
        }
    }

    /// Keeps a socket open up to the end of the black hole.
    pub(super) fn keep_open(&self, socket: TcpStream) {
        lock(&self.kept_open).push(socket);
        if !self.holds(Condition::BlackHole) {
            lock(&self.kept_open).clear();
        }
    }

    /// Closes the sockets that were dropped in a black hole whenever one has ended.
    pub(super) async fn close_after_black_holes(&self) {
        loop {
            self.until(Condition::BlackHole, true).await;
            self.until(Condition::BlackHole, false).await;
            lock(&self.kept_open).clear();
        }
    }
}

impl State {
    fn end(&self, condition: Condition) -> Option<Instant> {
        let end = self.ends.get(&condition).copied();
        end.filter(|end| *end > Instant::now())
    }
}

/// Sleeps until `deadline`, for ever without one.
pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_condition_ends_when_its_time_is_over() {
        let conditions = Conditions::new(Chaos::default());
        let start = Instant::now();
        assert!(!conditions.holds(Condition::BlackHole));
        conditions.hold(Condition::BlackHole, Duration::from_secs(5));
        assert!(conditions.holds(Condition::BlackHole));
        assert!(!conditions.holds(Condition::FailUpgrades));
        conditions.until(Condition::BlackHole, true).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        conditions.until(Condition::BlackHole, false).await;
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(!conditions.holds(Condition::BlackHole));
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_can_be_ended_before_and_prolonged() {
        let conditions = Conditions::new(Chaos::default());
        let start = Instant::now();
        conditions.hold(Condition::BlackHole, Duration::from_secs(5));
        let prolong = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            conditions.hold(Condition::BlackHole, Duration::from_secs(5));
        };
        tokio::join!(conditions.until(Condition::BlackHole, false), prolong);
        assert_eq!(start.elapsed().as_secs(), 9);
        conditions.hold(Condition::BlackHole, Duration::from_secs(5));
        conditions.hold(Condition::BlackHole, Duration::ZERO);
        assert!(!conditions.holds(Condition::BlackHole));
        conditions.hold(Condition::BlackHole, Duration::from_secs(5));
        conditions.release_all();
        conditions.until(Condition::BlackHole, false).await;
        assert_eq!(start.elapsed().as_secs(), 9);
    }
}
