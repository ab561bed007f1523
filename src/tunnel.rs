//! The life of a forward: keeps it supplied with a session, starts another one when the last is gone, and
//! additional ones when connections need them.
//!
//! It owns the sessions, and no state of the protocol. What survives a lost connection is [`Session`]'s
//! business; what happens here ends every connection of a session.

mod gate;
mod pool;
mod restart_policy;
mod sessions;
mod shared_pool;
mod starting;
mod supply;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use gate::{Gate, Lease, Passage, Refusal};
pub use pool::Shortage;

use crate::aws::{Aws, StartSession, Target};
use crate::backoff::Backoff;
use crate::failure::{Exit, Failure};
use crate::session::{self, Cause, Session, StartError};
use restart_policy::{Next, Policy};
use sessions::{Change, Closed, Ended, Sessions};
use shared_pool::Outlook;
use supply::Supply;

/// Age from which on a session counts as one that worked, so that the next one is started without delay.
const BACKOFF_RESET_AGE: Duration = Duration::from_secs(60);

/// Why an additional session is ended.
const NOT_NEEDED: &str = "no connection needs it";

/// What a tunnel is told to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What every session is started with.
    pub request: StartSession,
    /// How every session is carried.
    pub options: session::Options,
    /// Whether another session is started when one is gone. If not, the end of any session ends the tunnel.
    pub restarts: bool,
    /// Whether the destination is known by a name that the agent looks up, once for each session.
    pub can_host_move: bool,
}

impl Plan {
    /// Starts a session, and ends it again if its document is not one for connections.
    ///
    /// # Errors
    ///
    /// As [`Session::start`], and if the document is of another kind.
    pub async fn start(
        self,
        aws: Arc<Aws>,
        abandoned: &CancellationToken,
    ) -> Result<Session, StartError> {
        let session = Session::start(aws, self.request, self.options, abandoned).await?;
        if session.established().kind.is_port() {
            return Ok(session);
        }
        if let Err(failure) = session.close().await {
            tracing::warn!(%failure, "the session was not ended");
        }
        let message = "the document starts a shell or a command, not port forwarding";
        let failure = Failure::new(Exit::Failure, message).permanent();
        Err(StartError::Failed(
            failure.with_hint("choose a document whose sessionType is Port"),
        ))
    }
}

/// What becomes of a tunnel, for whoever tells the user.
pub trait Narrator: Send + 'static {
    /// A session works. `previous` is the one it follows.
    fn on_started(&mut self, session: &Session, previous: Option<Previous<'_>>);
    /// An additional session works, beside those there are.
    fn on_added(&mut self, session: &Session, reason: Shortage);
    /// An additional session was not started; told the first time.
    fn on_not_added(&mut self, failure: &Failure);
    /// One of several sessions is gone; its connections, if it had any, were reset.
    fn on_lost(&mut self, session_id: &str, reason: &str, connections: usize);
    /// The last session is gone; its connections were reset.
    fn on_gone(&mut self, session_id: &str, reason: &str, is_next_on_demand: bool);
    /// No session can be started until something changes: credentials, the target, or the way to the service.
    fn on_waiting(&mut self, failure: &Failure);
    /// A session was terminated; if not, `failed` says why it may go on.
    fn on_closed(&mut self, session_id: &str, reason: &str, failed: Option<Failure>);
    /// A start was interrupted, and may have begun a session nobody can end.
    fn on_abandoned(&mut self);
}

/// The session before, and how long there was none although there should have been.
#[derive(Debug, Clone, Copy)]
pub struct Previous<'a> {
    /// Session Manager's name for it.
    pub session_id: &'a str,
    /// Why it ended.
    pub reason: &'a str,
    /// How long its successor took.
    pub gap: Duration,
}

/// One forward's sessions.
pub struct Tunnel<N> {
    aws: Arc<Aws>,
    plan: Plan,
    narrator: N,
    supply: Supply,
    sessions: Sessions,
    policy: Policy,
    backoff: Backoff,
    /// The user knows that additional sessions may not be had.
    is_shortage_told: bool,
    stop: CancellationToken,
}

/// The last session, which has ended by itself.
struct Last {
    ended: Ended,
    /// How long the forward worked.
    age: Duration,
}

/// A session that is gone.
struct Gone {
    session_id: String,
    reason: String,
}

/// Why a tunnel carries no connection any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What went wrong.
    pub failure: Failure,
    /// The very first session came to nothing.
    pub is_at_start: bool,
}

/// What is said of a session that was terminated once too often.
fn given_up(failure: Failure) -> Failure {
    let message = format!("{}, as others before it within an hour", failure.message);
    Failure { message, ..failure }
        .with_hint("an administrator seems to mean it; start the forward again to go on")
}

/// Why a tunnel starts no further session.
enum Over {
    Stopped,
    Broken(Broken),
}

impl Over {
    fn broken(failure: Failure) -> Self {
        Self::Broken(Broken {
            failure,
            is_at_start: false,
        })
    }
}

impl<N: Narrator> Tunnel<N> {
    /// Creates a tunnel and the gate through which connections reach its sessions. It ends once
    /// `stop` is cancelled.
    pub fn new(aws: Arc<Aws>, plan: Plan, narrator: N, stop: CancellationToken) -> (Self, Gate) {
        let (supply, gate) = gate::new(plan.can_host_move);
        let tunnel = Self {
            aws,
            plan,
            narrator,
            supply,
            sessions: Sessions::default(),
            policy: Policy::default(),
            backoff: Backoff::default(),
            is_shortage_told: false,
            stop,
        };
        (tunnel, gate)
    }

    /// Keeps sessions running, beginning with `session` or, without one, with the first connection.
    /// Whichever run at last are terminated.
    ///
    /// # Errors
    ///
    /// Why there will be no further session.
    pub async fn run(mut self, session: Option<Session>) -> Result<(), Broken> {
        let over = match session {
            Some(session) => self.carry_on(session).await,
            None => match self.next(None, Next::OnDemand).await {
                Ok(session) => self.carry_on(session).await,
                Err(over) => over,
            },
        };
        let outcome = match over {
            Over::Stopped => Ok(()),
            Over::Broken(broken) => {
                let reason = broken.failure.message.clone();
                self.supply.announce(Outlook::Failed(reason));
                Err(broken)
            }
        };
        self.close_all("terminated").await;
        outcome
    }

    /// Runs sessions, and others when the last of them has ended.
    async fn carry_on(&mut self, mut session: Session) -> Over {
        loop {
            self.supply.announce(Outlook::Starting);
            let Some(last) = self.serve(session).await else {
                return Over::Stopped;
            };
            let Last { ended, age } = last;
            let Ended {
                session: ended,
                failure,
                ..
            } = ended;
            if age >= BACKOFF_RESET_AGE {
                self.backoff.reset();
            }
            let ended_cause = ended.cause();
            let next = match (self.plan.restarts, ended_cause) {
                (true, Some(cause)) => self.policy.after(cause, age, Instant::now()),
                _ => Next::Never,
            };
            // Whatever ended it: what has the target's name may be another node by now.
            self.plan.request.target.forget(ended.target());
            let gone = Gone {
                session_id: ended.id().to_owned(),
                reason: failure.message.clone(),
            };
            let is_over = matches!(next, Next::Never | Next::NotEvenOnce);
            if !is_over {
                let is_on_demand = next == Next::OnDemand;
                self.narrator
                    .on_gone(&gone.session_id, &gone.reason, is_on_demand);
            }
            self.sessions.close(ended, &gone.reason);
            self.sessions.close_all(&self.supply, &gone.reason);
            if is_over {
                let is_given_up = self.plan.restarts && ended_cause == Some(Cause::Terminated);
                return Over::Broken(Broken {
                    failure: match is_given_up {
                        true => given_up(failure),
                        false => failure,
                    },
                    is_at_start: next == Next::NotEvenOnce,
                });
            }
            session = match self.next(Some(gone), next).await {
                Ok(session) => session,
                Err(over) => return over,
            };
        }
    }

    /// Serves connections with a session, and with others as they need them, until the last one has ended;
    /// without restarts, until one has. Returns nothing if it was stopped.
    async fn serve(&mut self, session: Session) -> Option<Last> {
        let started = Instant::now();
        self.sessions.admit(session, &self.supply);
        loop {
            self.retire();
            self.start_missing();
            let change = tokio::select! {
                Some(change) = self.sessions.changed() => change,
                () = self.supply.changed() => continue,
                () = self.stop.cancelled() => return None,
            };
            match change {
                Change::Ended(ended) => {
                    self.supply.dismiss(ended.number);
                    if self.sessions.is_empty() || !self.plan.restarts {
                        let age = started.elapsed();
                        return Some(Last { ended, age });
                    }
                    self.lose(ended);
                }
                Change::Started(reason, Ok(session)) => {
                    self.narrator.on_added(&session, reason);
                    self.sessions.admit(session, &self.supply);
                }
                Change::Started(_, Err(error)) => self.go_without(error),
                Change::StartedLate(session) => self.sessions.close(session, NOT_NEEDED),
                Change::Closed(closed) => self.tell_closed(closed),
            }
        }
    }

    /// Goes on with the others when one of several sessions has ended by itself.
    fn lose(&mut self, ended: Ended) {
        let Ended {
            session,
            failure,
            age,
            ..
        } = ended;
        let reason = &failure.message;
        self.narrator
            .on_lost(session.id(), reason, session.lost_count());
        self.sessions.close(session, reason);
        if age < BACKOFF_RESET_AGE {
            // Another one might fare no better.
            self.supply.pause();
        }
    }

    /// Begins to start the additional sessions that connections wait for.
    fn start_missing(&mut self) {
        let (missing, reason) = self.supply.missing(self.sessions.starting_count());
        let Some(target) = self.sessions.target().map(Target::id) else {
            return;
        };
        let mut plan = self.plan.clone();
        // Whatever has the target's name by now: connections of a forward belong together.
        plan.request.target = target;
        for _ in 0..missing {
            let (plan, aws) = (plan.clone(), Arc::clone(&self.aws));
            let start = |abandoned| async move { plan.start(aws, &abandoned).await };
            self.sessions.start(reason, start);
        }
    }

    /// Ends additional sessions that nobody has needed for a while.
    fn retire(&mut self) {
        for number in self.supply.retire() {
            self.sessions.close_number(number, NOT_NEEDED);
        }
    }

    /// Has connections do with the sessions there are: an additional one was not started.
    fn go_without(&mut self, error: StartError) {
        match error {
            StartError::Failed(failure) => {
                tracing::debug!(%failure, "no additional session");
                if !std::mem::replace(&mut self.is_shortage_told, true) {
                    self.narrator.on_not_added(&failure);
                }
                match failure.is_permanent {
                    true => self.supply.stop_growing(),
                    false => self.supply.pause(),
                }
            }
            StartError::Interrupted { may_have_begun } => self.tell_interrupted(may_have_begun),
        }
    }

    fn tell_interrupted(&mut self, may_have_begun: bool) {
        if may_have_begun {
            self.narrator.on_abandoned();
        }
    }

    /// Ends every session there is, and every start, and waits until that is done.
    async fn close_all(&mut self, reason: &str) {
        self.sessions.close_all(&self.supply, reason);
        while let Some(change) = self.sessions.changed().await {
            self.settle(change, reason);
        }
    }

    /// Ends what there still is of sessions that are not to run any more.
    fn settle(&mut self, change: Change, reason: &str) {
        match change {
            Change::Closed(closed) => self.tell_closed(closed),
            Change::Started(_, Err(StartError::Interrupted { may_have_begun })) => {
                self.tell_interrupted(may_have_begun);
            }
            Change::Started(_, Err(StartError::Failed(failure))) => {
                tracing::debug!(%failure, "no additional session");
            }
            Change::Started(_, Ok(session))
            | Change::StartedLate(session)
            | Change::Ended(Ended { session, .. }) => self.sessions.close(session, reason),
        }
    }

    fn tell_closed(&mut self, closed: Closed) {
        let Closed {
            session_id,
            reason,
            failed,
        } = closed;
        self.narrator.on_closed(&session_id, &reason, failed);
    }
}

#[cfg(test)]
#[cfg(feature = "lab")]
mod tests;
