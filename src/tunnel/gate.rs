//! Where connections get a session, and wait for one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ssmfwd_protocol::Channel;
use ssmfwd_protocol::error::OpenError;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::pool::{Claim, Number, Poolable};
use super::shared_pool::{Entrance, SharedPool, any_connected};
use super::supply::Supply;
use crate::stream::Stream;

/// Connections that may wait at a time, for a session or for their turn in one. Browsers open a handful each,
/// and pools of database clients a few dozen.
const MAX_WAITING: usize = 256;

/// How long a connection waits for a session. Longer than a session takes to start and a resume to notice
/// that the network is back, and about as long as people and programs are patient.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long a connection waits for a better session than those there are. Starting one takes about two
/// seconds; after ten, the service has something else to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives connections streams. Clones give to the same forward's.
#[derive(Debug, Clone)]
pub struct Gate {
    shared: Arc<SharedPool>,
    waiting: Arc<Semaphore>,
}

/// What has got through.
#[derive(Debug)]
pub struct Passage {
    /// The connection's stream.
    pub stream: Stream<Channel>,
    /// Its hold on the session, to be kept as long as the connection lasts.
    pub lease: Lease,
}

/// A connection's hold on its session.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<SharedPool>,
    number: Number,
    entrance: Entrance,
}

/// Why a connection got no stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Too many were waiting already.
    Crowded,
    /// It has waited for too long.
    TimedOut,
    /// There will be no session, for this reason.
    Failed(String),
    /// The session has no more streams.
    Full(OpenError),
    /// The tunnel is stopped.
    Stopped,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crowded => write!(
                f,
                "{MAX_WAITING} others were waiting for the session already"
            ),
            Self::TimedOut => write!(f, "there was no session for {} s", MAX_WAIT.as_secs()),
            Self::Failed(reason) => f.write_str(reason),
            Self::Full(error) => write!(f, "{error}"),
            Self::Stopped => f.write_str("the session ended"),
        }
    }
}

/// Creates a gate, and what the tunnel keeps it with. `can_host_move` says whether the destination is known
/// by a name.
pub(super) fn new(can_host_move: bool) -> (Supply, Gate) {
    let shared = Arc::new(SharedPool::new(can_host_move));
    let supply = Supply::new(Arc::clone(&shared));
    let gate = Gate {
        shared,
        waiting: Arc::new(Semaphore::new(MAX_WAITING)),
    };
    (supply, gate)
}

impl Gate {
    /// Waits until no connection will ever get through any more.
    pub async fn failed(&self) {
        self.shared.failed().await;
    }

    /// Opens a stream in the session that is best for it; waits for one that has a connection, but not for
    /// ever. Whoever does not want it any more drops the future.
    ///
    /// With an agent that carries one connection at a time, the time until it is one's turn is not limited.
    ///
    /// # Errors
    ///
    /// Why the connection is to be reset.
    pub async fn open(&self) -> Result<Passage, Refusal> {
        loop {
            let lease = match self.shared.claim(true) {
                Claim::Granted(number, entrance) => self.lease(number, entrance),
                Claim::Scarce { .. } | Claim::Offline => self.wait().await?,
            };
            match lease.entrance.opener.open().await {
                Ok(stream) => return Ok(Passage { stream, lease }),
                // The others, or its successor, are asked next, once the tunnel has taken this one out.
                Err(OpenError::Ended) => tokio::task::yield_now().await,
                Err(error) => return Err(Refusal::Full(error)),
            }
        }
    }

    /// Waits until there is a session to be had.
    async fn wait(&self) -> Result<Lease, Refusal> {
        let mut state = self.shared.state.subscribe();
        let _place = self.waiting.try_acquire().map_err(|_| Refusal::Crowded)?;
        let mut absence: Option<Instant> = None;
        let mut scarcity: Option<Instant> = None;
        let mut wish = None;
        loop {
            // What changes from here on is noticed.
            state.mark_unchanged();
            let offline = self.shared.offline();
            let is_patient = scarcity.is_none_or(|end| Instant::now() < end);
            let (is_wanted, end) = match self.shared.claim(is_patient) {
                Claim::Granted(number, entrance) => {
                    return Ok(self.lease(number, entrance));
                }
                Claim::Scarce { can_grow } => {
                    absence = None;
                    let end = *scarcity.get_or_insert_with(|| Instant::now() + PATIENCE);
                    (can_grow, is_patient.then_some(end))
                }
                Claim::Offline => {
                    let is_wanted = self.shared.is_session_wanted()?;
                    let end = *absence.get_or_insert_with(|| Instant::now() + MAX_WAIT);
                    if end <= Instant::now() {
                        return Err(Refusal::TimedOut);
                    }
                    (is_wanted, Some(end))
                }
            };
            if is_wanted != wish.is_some() {
                wish = is_wanted.then(|| self.shared.wish());
            }
            tokio::select! {
                // The sender is the shared pool's.
                _ = state.changed() => {}
                () = any_connected(offline) => {}
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {}
            }
        }
    }

    fn lease(&self, number: Number, entrance: Entrance) -> Lease {
        Lease {
            shared: Arc::clone(&self.shared),
            number,
            entrance,
        }
    }
}

impl Lease {
    /// Whether other connections can have streams of the session at the same time.
    pub fn is_multiplexed(&self) -> bool {
        self.entrance.is_multiplexed()
    }

    /// Says that the agent could not connect to the destination.
    pub fn report_refusal(&self) {
        self.shared.state.send_if_modified(|state| {
            state.pool.on_refused(self.number, Instant::now());
            // It matters to connections that are still to come.
            false
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared
            .state
            .send_if_modified(|state| state.pool.release(self.number, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::shared_pool::Outlook;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_but_not_for_ever() {
        let (_supply, gate) = new(false);
        let start = Instant::now();
        assert_eq!(gate.open().await.unwrap_err(), Refusal::TimedOut);
        assert_eq!(start.elapsed(), MAX_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_can_wait_are_refused_at_once() {
        let (_supply, gate) = new(false);
        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                let gate = gate.clone();
                tokio::spawn(async move { gate.open().await.unwrap_err() })
            })
            .collect();
        while gate.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.open().await.unwrap_err(), Refusal::Crowded);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), Refusal::TimedOut);
        }
        assert_eq!(gate.open().await.unwrap_err(), Refusal::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_wakes_a_dormant_tunnel() {
        let (mut supply, gate) = new(false);
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.open().await.unwrap_err() }
        });
        tokio::task::yield_now().await;
        supply.announce(Outlook::Dormant);
        supply.wanted().await;
        supply.announce(Outlook::Failed("denied".to_owned()));
        assert_eq!(waiting.await.unwrap(), Refusal::Failed("denied".to_owned()));
        // Nobody is left who would want one.
        assert_eq!(*gate.shared.wishes.borrow(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_being_started_is_wanted_too() {
        let (mut supply, gate) = new(false);
        let waiting = tokio::spawn(async move { gate.open().await.unwrap_err() });
        let wanted = tokio::time::timeout(MAX_WAIT, supply.wanted()).await;
        assert_eq!(wanted, Ok(()));
        assert!(!waiting.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_tunnel_that_stops_is_let_go() {
        let (supply, gate) = new(false);
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.open().await.unwrap_err() }
        });
        tokio::task::yield_now().await;
        drop(supply);
        assert_eq!(waiting.await.unwrap(), Refusal::Stopped);
        assert_eq!(gate.open().await.unwrap_err(), Refusal::Stopped);
    }
}
