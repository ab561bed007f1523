//! Where connections wait for a session.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ssmfwd_protocol::Channel;
use ssmfwd_protocol::error::OpenError;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

use crate::session::{Opener, Session};
use crate::stream::Stream;

/// Connections that may wait at a time. Browsers open a handful each, and pools a few dozen.
const MAX_WAITING: usize = 256;

/// How long a connection waits. Longer than a session takes to start and a resume to notice that the
/// network is back, and about as long as people and programs are patient.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// What a tunnel has to offer at the moment.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// There is a session, with or without a connection.
    Up(Entrance),
    /// One is being started, or waited for.
    Starting,
    /// The next connection has one started.
    Dormant,
    /// There will be none, for this reason.
    Failed(String),
}

/// What opens streams of a session that works.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    opener: Opener,
    is_connected: watch::Receiver<bool>,
    is_multiplexed: bool,
}

impl State {
    pub(super) fn up(session: &Session) -> Self {
        Self::Up(Entrance {
            opener: session.opener(),
            is_connected: session.connection(),
            is_multiplexed: session.established().kind.is_multiplexed(),
        })
    }
}

/// Gives connections streams. Clones give to the same forward's.
#[derive(Debug, Clone)]
pub struct Gate {
    state: watch::Receiver<State>,
    demand: Demand,
    waiting: Arc<Semaphore>,
}

/// What has got through.
#[derive(Debug)]
pub struct Passage {
    /// The connection's stream.
    pub stream: Stream<Channel>,
    /// Whether other connections can have streams at the same time.
    pub is_multiplexed: bool,
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

pub(super) fn new() -> (watch::Sender<State>, Gate) {
    let (sender, state) = watch::channel(State::Starting);
    let gate = Gate {
        state,
        demand: Demand::default(),
        waiting: Arc::new(Semaphore::new(MAX_WAITING)),
    };
    (sender, gate)
}

impl Gate {
    /// Opens a stream; waits for a session that has a connection, but not for ever.
    ///
    /// With an agent that carries one connection at a time, waiting for one's turn is not limited.
    ///
    /// # Errors
    ///
    /// Why the connection is to be reset.
    pub async fn open(&self) -> Result<Passage, Refusal> {
        let mut state = self.state.clone();
        loop {
            let entrance = match self.ready_entrance(&mut state) {
                Some(entrance) => entrance,
                None => self.wait(&mut state).await?,
            };
            match entrance.opener.open().await {
                Ok(stream) => {
                    return Ok(Passage {
                        stream,
                        is_multiplexed: entrance.is_multiplexed,
                    });
                }
                // Its successor is announced in a moment.
                Err(OpenError::Ended) => state.changed().await.map_err(|_| Refusal::Stopped)?,
                Err(error) => return Err(Refusal::Full(error)),
            }
        }
    }

    pub(super) fn demand(&self) -> Demand {
        self.demand.clone()
    }

    fn ready_entrance(&self, state: &mut watch::Receiver<State>) -> Option<Entrance> {
        match &*state.borrow_and_update() {
            State::Up(entrance) if *entrance.is_connected.borrow() => Some(entrance.clone()),
            _ => None,
        }
    }

    async fn wait(&self, state: &mut watch::Receiver<State>) -> Result<Entrance, Refusal> {
        let _place = self.waiting.try_acquire().map_err(|_| Refusal::Crowded)?;
        let waiting = timeout(MAX_WAIT, self.entrance(state)).await;
        waiting.map_err(|_| Refusal::TimedOut)?
    }

    /// Waits for a session that has a connection.
    async fn entrance(&self, state: &mut watch::Receiver<State>) -> Result<Entrance, Refusal> {
        loop {
            let current = state.borrow_and_update().clone();
            match current {
                State::Failed(reason) => return Err(Refusal::Failed(reason)),
                State::Dormant => self.demand.raise(),
                State::Starting => {}
                State::Up(entrance) => {
                    let mut is_connected = entrance.is_connected.clone();
                    let is_connected = tokio::select! {
                        connected = is_connected.wait_for(|is_connected| *is_connected) => {
                            connected.is_ok()
                        }
                        changed = state.changed() => {
                            changed.map_err(|_| Refusal::Stopped)?;
                            continue;
                        }
                    };
                    if is_connected {
                        return Ok(entrance);
                    }
                }
            }
            state.changed().await.map_err(|_| Refusal::Stopped)?;
        }
    }
}

/// Connections' wish for a session.
#[derive(Debug, Clone, Default)]
pub(super) struct Demand(Arc<Notify>);

impl Demand {
    fn raise(&self) {
        self.0.notify_one();
    }

    /// Forgets wishes that were granted together with another one.
    pub(super) fn forget(&self) {
        let _: Option<()> = self.0.notified().now_or_never();
    }

    /// Waits for a connection that wants a session.
    pub(super) async fn arrived(&self) {
        self.0.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_but_not_for_ever() {
        let (_state, gate) = new();
        let start = tokio::time::Instant::now();
        assert_eq!(gate.open().await.unwrap_err(), Refusal::TimedOut);
        assert_eq!(start.elapsed(), MAX_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_can_wait_are_refused_at_once() {
        let (_state, gate) = new();
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
        let (state, gate) = new();
        state.send_replace(State::Dormant);
        let demand = gate.demand();
        let waiting = tokio::spawn(async move { gate.open().await.unwrap_err() });
        demand.arrived().await;
        state.send_replace(State::Failed("denied".to_owned()));
        assert_eq!(waiting.await.unwrap(), Refusal::Failed("denied".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_tunnel_that_stops_is_let_go() {
        let (state, gate) = new();
        let waiting = tokio::spawn(async move { gate.open().await.unwrap_err() });
        tokio::task::yield_now().await;
        drop(state);
        assert_eq!(waiting.await.unwrap(), Refusal::Stopped);
    }
}
