//! What a forward's tunnel and its connections share: which sessions there are, and who uses them.

use std::future::pending;

use futures_util::future::select_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::gate::Refusal;
use super::pool::{Claim, Pool, Poolable};
use crate::session::{Opener, Session, Waiters};

/// The tunnel writes which sessions there are, connections which of them they use and whether they want
/// another one.
#[derive(Debug)]
pub(super) struct SharedPool {
    pub(super) state: watch::Sender<State>,
    /// Connections that wait for a session to be started.
    pub(super) wishes: watch::Sender<usize>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) pool: Pool<Entrance>,
    /// What holds while the pool is empty.
    pub(super) outlook: Outlook,
}

/// What connections may hope for when there is no session.
#[derive(Debug, Clone)]
pub(super) enum Outlook {
    /// One is being started, or waited for.
    Starting,
    /// The next connection has one started.
    Dormant,
    /// There will be none, for this reason.
    Failed(String),
    /// The tunnel is stopped.
    Stopped,
}

/// What opens streams of a session that works.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    pub(super) opener: Opener,
    is_connected: watch::Receiver<bool>,
    waiters: Waiters,
    is_multiplexed: bool,
}

impl Entrance {
    pub(super) fn new(session: &Session) -> Self {
        Self {
            opener: session.opener(),
            is_connected: session.connection(),
            waiters: session.waiters(),
            is_multiplexed: session.established().kind.is_multiplexed(),
        }
    }

    /// Waits until the session has a connection.
    async fn connected(mut self) {
        let _waiting = self.waiters.join();
        if self.is_connected.wait_for(|value| *value).await.is_err() {
            // The tunnel is about to say so.
            pending().await
        }
    }
}

impl Poolable for Entrance {
    fn is_connected(&self) -> bool {
        // Nobody writes there any more once the session is over.
        *self.is_connected.borrow() && self.is_connected.has_changed().is_ok()
    }

    fn is_stalled(&self) -> bool {
        self.opener.is_stalled()
    }

    fn is_multiplexed(&self) -> bool {
        self.is_multiplexed
    }

    fn has_streams(&self) -> bool {
        self.opener.has_streams()
    }

    fn has_received(&self) -> bool {
        self.opener.has_received()
    }
}

impl SharedPool {
    /// Creates a pool without sessions; one is being started. `can_host_move` as for [`Pool::new`].
    pub(super) fn new(can_host_move: bool) -> Self {
        let state = State {
            pool: Pool::new(can_host_move),
            outlook: Outlook::Starting,
        };
        Self {
            state: watch::Sender::new(state),
            wishes: watch::Sender::new(0),
        }
    }

    /// Chooses a session for a connection, as [`Pool::claim`].
    pub(super) fn claim(&self, is_patient: bool) -> Claim<Entrance> {
        let mut claim = Claim::Offline;
        self.state.send_if_modified(|state| {
            claim = state.pool.claim(is_patient, Instant::now());
            // What has one session less to choose from waits for other news.
            false
        });
        claim
    }

    /// Whether there is no session, so that one is started, or tried sooner, if a connection wants it.
    ///
    /// # Errors
    ///
    /// If there will be none.
    pub(super) fn is_session_wanted(&self) -> Result<bool, Refusal> {
        let state = self.state.borrow();
        match &state.outlook {
            Outlook::Starting | Outlook::Dormant => Ok(state.pool.sessions().next().is_none()),
            Outlook::Failed(reason) => Err(Refusal::Failed(reason.clone())),
            Outlook::Stopped => Err(Refusal::Stopped),
        }
    }

    /// Waits until there will be no session any more.
    pub(super) async fn failed(&self) {
        let mut states = self.state.subscribe();
        let failed = states.wait_for(|state| matches!(state.outlook, Outlook::Failed(_)));
        // The sender is this one's own.
        let _ = failed.await;
    }

    /// Asks for a session, until what is returned is dropped.
    pub(super) fn wish(&self) -> Wish<'_> {
        self.wishes.send_modify(|count| *count += 1);
        Wish(self)
    }

    /// The sessions that have no connection.
    pub(super) fn offline(&self) -> Vec<Entrance> {
        let state = self.state.borrow();
        let offline = state
            .pool
            .sessions()
            .filter(|session| !*session.is_connected.borrow());
        offline.cloned().collect()
    }
}

/// Waits until one of these sessions has a connection.
pub(super) async fn any_connected(offline: Vec<Entrance>) {
    if offline.is_empty() {
        return pending().await;
    }
    select_all(
        offline
            .into_iter()
            .map(|session| Box::pin(session.connected())),
    )
    .await;
}

/// A connection's wish for a session, until it is dropped.
pub(super) struct Wish<'a>(&'a SharedPool);

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        self.0.wishes.send_modify(|count| *count -= 1);
    }
}
