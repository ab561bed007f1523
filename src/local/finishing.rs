//! The end of connections whose maker has ended, and wants what it has written delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::{
    CancellationToken, WaitForCancellationFuture, WaitForCancellationFutureOwned,
};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long the session may take nothing of what a connection that is to end has still to send.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long connections that others than the one who has ended hold open may go on, and how long those of the one may wait for
/// a session.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that are to end once everything written to them is taken.
#[derive(Debug, Clone, Default)]
pub struct Finishing {
    begun: CancellationToken,
    over: CancellationToken,
    unread: TaskTracker,
    has_lost: Arc<AtomicBool>,
}

/// What the local side of a connection may have written and nobody has taken yet. Dropped before that is
/// [done](Self::done), it is lost.
#[derive(Debug)]
pub struct Unread {
    finishing: Finishing,
    token: Option<TaskTrackerToken>,
}

impl Finishing {
    /// From now on, connections are to end.
    pub fn begin(&self) {
        self.begun.cancel();
        self.unread.close();
    }

    /// Waits until they are to.
    pub fn begun(&self) -> WaitForCancellationFuture<'_> {
        self.begun.cancelled()
    }

    /// From now on, connections take nothing more: what was taken is delivered, and their local sides are reset.
    pub fn end(&self) {
        self.over.cancel();
    }

    /// Waits until everything that local sides had written when it began was taken or lost; returns whether all of it
    /// was taken.
    pub async fn caught_up(&self) -> bool {
        self.unread.wait().await;
        !self.has_lost.load(Ordering::Relaxed)
    }

    /// Adds a connection.
    pub fn unread(&self) -> Unread {
        Unread {
            finishing: self.clone(),
            token: Some(self.unread.token()),
        }
    }
}

impl Unread {
    /// There is nothing left, or nobody who wants it delivered.
    pub fn done(&mut self) {
        self.token = None;
    }

    /// Waits until the connection must not take any more.
    pub fn is_over(&self) -> WaitForCancellationFutureOwned {
        self.finishing.over.clone().cancelled_owned()
    }

    /// Waits until the connection is to end.
    pub fn is_wanted(&self) -> WaitForCancellationFutureOwned {
        self.finishing.begun.clone().cancelled_owned()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if self.token.is_some() && self.finishing.begun.is_cancelled() {
            self.finishing.has_lost.store(true, Ordering::Relaxed);
        }
    }
}
