//! The sessions of a forward: those that run, and the tasks that start and close others.

use std::collections::HashMap;
use std::future::pending;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pool::{Number, Shortage};
use super::supply::Supply;
use crate::failure::{Exit, Failure};
use crate::session::{Session, StartError};

/// The sessions of a forward. Everything in it is to be ended with [`Sessions::close_all`].
#[derive(Default)]
pub(super) struct Sessions {
    running: Vec<Running>,
    starting: JoinSet<Start>,
    ending: JoinSet<Result<(), Failure>>,
    /// Which session each task of `ending` closes, and why.
    closings: HashMap<task::Id, Closing>,
    /// Interrupts what is being started.
    abandoned: CancellationToken,
}

#[derive(Default)]
struct Closing {
    session_id: String,
    reason: String,
}

/// An additional session that was to be started.
struct Start {
    reason: Shortage,
    /// Cancelled if it is not wanted any more.
    abandoned: CancellationToken,
    result: Result<Session, StartError>,
}

/// A running session.
struct Running {
    number: Number,
    session: Session,
    admitted: Instant,
}

/// What has become of a session.
pub(super) enum Change {
    /// It has ended by itself, and is to be closed.
    Ended(Ended),
    /// An additional one works, or was not started.
    Started(Shortage, Result<Session, StartError>),
    /// One works although its start was interrupted, and is to be closed.
    StartedLate(Session),
    /// It is closed.
    Closed(Closed),
}

/// How a session ended by itself.
pub(super) struct Ended {
    pub(super) number: Number,
    pub(super) session: Session,
    pub(super) failure: Failure,
    /// How long it had run.
    pub(super) age: Duration,
}

/// How closing a session went.
pub(super) struct Closed {
    pub(super) session_id: String,
    pub(super) reason: String,
    /// Why it may go on, if it does.
    pub(super) failed: Option<Failure>,
}

impl Sessions {
    /// Lets a session run.
    pub(super) fn admit(&mut self, session: Session, supply: &Supply) {
        let number = supply.admit(&session);
        self.running.push(Running {
            number,
            session,
            admitted: Instant::now(),
        });
    }

    /// Begins to start a session with `start`, which is told by its argument when the session is not wanted any
    /// more.
    pub(super) fn start<F>(&mut self, reason: Shortage, start: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<Session, StartError>> + Send + 'static,
    {
        let abandoned = self.abandoned.clone();
        let starting = start(abandoned.clone());
        self.starting.spawn(async move {
            Start {
                reason,
                result: starting.await,
                abandoned,
            }
        });
    }

    /// Begins to close a session once what was written to it is delivered, for a reason that is for people.
    pub(super) fn close(&mut self, session: Session, reason: &str) {
        let closing = Closing {
            session_id: session.id().to_owned(),
            reason: reason.to_owned(),
        };
        self.close_by(closing, session.finish());
    }

    fn close_by(
        &mut self,
        closing: Closing,
        close: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) {
        let task = self.ending.spawn(close);
        self.closings.insert(task.id(), closing);
    }

    /// Begins to close the running session of this number.
    pub(super) fn close_number(&mut self, number: Number, reason: &str) {
        if let Some(at) = self
            .running
            .iter()
            .position(|running| running.number == number)
        {
            let session = self.running.swap_remove(at).session;
            self.close(session, reason);
        }
    }

    /// Begins to close whatever runs and to interrupt whatever is being started.
    pub(super) fn close_all(&mut self, supply: &Supply, reason: &str) {
        std::mem::take(&mut self.abandoned).cancel();
        for Running {
            number, session, ..
        } in std::mem::take(&mut self.running)
        {
            supply.dismiss(number);
            self.close(session, reason);
        }
    }

    /// Whether no session runs.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The node that the sessions go to; none if none runs.
    pub(super) fn target(&self) -> Option<&str> {
        self.running.first().map(|running| running.session.target())
    }

    /// Sessions that are being started.
    pub(super) fn starting_count(&self) -> usize {
        self.starting.len()
    }

    /// Waits for what happens next; nothing does if there are no sessions. Losing the future loses nothing.
    pub(super) async fn changed(&mut self) -> Option<Change> {
        let is_any_running = !self.running.is_empty();
        tokio::select! {
            (at, failure) = first_ended(&mut self.running), if is_any_running => {
                let Running { number, session, admitted } = self.running.swap_remove(at);
                let age = admitted.elapsed();
                Some(Change::Ended(Ended { number, session, failure, age }))
            }
            Some(started) = self.starting.join_next() => Some(match started {
                Ok(Start { abandoned, result: Ok(session), .. }) if abandoned.is_cancelled() => {
                    Change::StartedLate(session)
                }
                Ok(Start { reason, result, .. }) => Change::Started(reason, result),
                Err(error) => {
                    let failure = StartError::Failed(dropped(&error));
                    Change::Started(Shortage::Stalled, Err(failure))
                }
            }),
            Some(closed) = self.ending.join_next_with_id() => {
                let (task, closed) = closed.unwrap_or_else(|error| (error.id(), Err(dropped(&error))));
                let Closing { session_id, reason } = self.closings.remove(&task).unwrap_or_default();
                let failed = closed.err();
                Some(Change::Closed(Closed { session_id, reason, failed }))
            }
            else => None,
        }
    }
}

fn dropped(error: &JoinError) -> Failure {
    let message = format!("a session was dropped by a fault in ssmfwd: {error}");
    Failure::new(Exit::Failure, message)
}

/// Waits until one of the sessions has ended by itself, and says which and how.
async fn first_ended(running: &mut [Running]) -> (usize, Failure) {
    if running.is_empty() {
        return pending().await;
    }
    let endings = running
        .iter_mut()
        .map(|running| Box::pin(running.session.ended()));
    let (failure, at, _) = select_all(endings).await;
    (at, failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_while_it_closes_a_session_has_failed_and_ends_nothing_else() {
        let mut sessions = Sessions::default();
        let closing = |session_id: &str| Closing {
            session_id: session_id.to_owned(),
            reason: "not needed".to_owned(),
        };
        sessions.close_by(closing("s-1"), async { panic!("on purpose") });
        sessions.close_by(closing("s-2"), async { Ok(()) });
        let mut failures = HashMap::new();
        while let Some(Change::Closed(closed)) = sessions.changed().await {
            assert_eq!(closed.reason, "not needed");
            failures.insert(closed.session_id, closed.failed);
        }
        let [panicked, closed] = ["s-1", "s-2"].map(|id| failures.remove(id).unwrap());
        let failure = panicked.unwrap();
        assert!(failure.message.contains("a fault in ssmfwd"), "{failure}");
        assert_eq!(closed, None);
    }
}
