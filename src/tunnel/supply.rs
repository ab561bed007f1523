//! The tunnel's side of what it shares with its connections.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::pool::{Number, Pool, Shortage};
use super::shared_pool::{Entrance, Outlook, SharedPool, State};
use crate::session::Session;

/// Lets connections use sessions, and knows what they want. Dropping it refuses whoever waits or comes.
#[derive(Debug)]
pub(super) struct Supply {
    shared: Arc<SharedPool>,
    state: watch::Receiver<State>,
    wishes: watch::Receiver<usize>,
}

impl Supply {
    pub(super) fn new(shared: Arc<SharedPool>) -> Self {
        Self {
            state: shared.state.subscribe(),
            wishes: shared.wishes.subscribe(),
            shared,
        }
    }

    /// Lets connections use a session.
    pub(super) fn admit(&self, session: &Session) -> Number {
        let entrance = Entrance::new(session);
        self.change(|pool| pool.add(entrance, Instant::now()))
    }

    /// Keeps connections from a session.
    pub(super) fn dismiss(&self, number: Number) {
        self.change(|pool| pool.remove(number));
    }

    /// Says what connections may hope for while there is no session.
    pub(super) fn announce(&self, outlook: Outlook) {
        self.shared
            .state
            .send_modify(|state| state.outlook = outlook);
    }

    /// Dismisses the sessions that are not needed any more.
    pub(super) fn retire(&self) -> Vec<Number> {
        let mut retired = Vec::new();
        self.shared.state.send_if_modified(|state| {
            retired = state.pool.retire(Instant::now());
            !retired.is_empty()
        });
        retired
    }

    /// Has connections do with the sessions there are for a while.
    pub(super) fn pause(&self) {
        self.change(|pool| pool.pause(Instant::now()));
    }

    /// Has connections do with the sessions there are, until there is none.
    pub(super) fn stop_growing(&self) {
        self.change(Pool::stop_growing);
    }

    /// How many sessions are to be started beside those that are `starting`, and what for.
    ///
    /// Wakes connections that wait although there is a session for one of them: no news comes from a
    /// stream that is stalled no longer.
    pub(super) fn missing(&mut self, starting: usize) -> (usize, Shortage) {
        let waiting = *self.wishes.borrow();
        let mut answer = None;
        let is_modified = self.shared.state.send_if_modified(|state| {
            let pool = &state.pool;
            let missing = pool.missing(waiting, starting, Instant::now());
            answer = Some((missing, pool.shortage()));
            waiting > 0 && pool.offered_count() > 0
        });
        if is_modified {
            // It is no news to the tunnel.
            self.state.mark_unchanged();
        }
        answer.unwrap_or((0, Shortage::Stalled))
    }

    /// Waits until there may be something to do: connections have come, gone or changed their wishes, or
    /// time has passed.
    pub(super) async fn changed(&mut self) {
        let next_look = self.state.borrow().pool.next_look(Instant::now());
        let look = async {
            match next_look {
                Some(next_look) => sleep_until(next_look).await,
                None => pending().await,
            }
        };
        // The senders are this one's own.
        tokio::select! {
            _ = self.state.changed() => {}
            _ = self.wishes.changed() => {}
            () = look => {}
        }
    }

    /// Waits for a connection that wants a session.
    pub(super) async fn wanted(&mut self) {
        // The sender is this one's own.
        let _ = self.wishes.wait_for(|count| *count > 0).await;
    }

    fn change<T: Default>(&self, change: impl FnOnce(&mut Pool<Entrance>) -> T) -> T {
        let mut outcome = T::default();
        self.shared
            .state
            .send_modify(|state| outcome = change(&mut state.pool));
        outcome
    }
}

impl Drop for Supply {
    fn drop(&mut self) {
        self.shared.state.send_modify(|state| {
            if !matches!(state.outlook, Outlook::Failed(_)) {
                state.outlook = Outlook::Stopped;
            }
        });
    }
}
