//! Keeps a forward supplied with a session: starts another one when the one it has is gone.
//!
//! It owns no state of the protocol. What survives a lost connection is [`Session`]'s business; what
//! happens here ends every connection of the forward.

mod gate;
mod policy;
mod starting;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use gate::{Gate, Passage, Refusal};

use crate::aws::{Aws, StartSession};
use crate::backoff::Backoff;
use crate::failure::{Exit, Failure};
use crate::session::{self, Session, StartError};
use gate::State;
use policy::{Next, Policy};

/// Age from which on a session counts as one that worked, so that the next one is started without delay.
const SOUND_AGE: Duration = Duration::from_secs(60);

/// What a tunnel is told to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What every session is started with.
    pub request: StartSession,
    /// How every session is carried.
    pub options: session::Options,
    /// Whether another session is started when one is gone.
    pub restarts: bool,
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
    /// The session is gone; its connections were reset.
    fn on_gone(&mut self, session_id: &str, reason: &str, is_next_on_demand: bool);
    /// No session can be started until something changes: credentials, or the target.
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

/// One forward's sessions, one after the other.
pub struct Tunnel<N> {
    aws: Arc<Aws>,
    plan: Plan,
    narrator: N,
    state: watch::Sender<State>,
    demand: gate::Demand,
    policy: Policy,
    backoff: Backoff,
    stop: CancellationToken,
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
        let (state, gate) = gate::new();
        let tunnel = Self {
            aws,
            plan,
            narrator,
            state,
            demand: gate.demand(),
            policy: Policy::default(),
            backoff: Backoff::default(),
            stop,
        };
        (tunnel, gate)
    }

    /// Keeps sessions running, beginning with `session` or, without one, with the first connection.
    /// Whichever runs at last is terminated.
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
        match over {
            Over::Stopped => Ok(()),
            Over::Broken(broken) => {
                let reason = broken.failure.message.clone();
                self.state.send_replace(State::Failed(reason));
                Err(broken)
            }
        }
    }

    /// Runs one session after the other.
    async fn carry_on(&mut self, mut session: Session) -> Over {
        loop {
            let started = Instant::now();
            self.state.send_replace(State::up(&session));
            let failure = tokio::select! {
                failure = session.ended() => failure,
                () = self.stop.cancelled() => {
                    self.close(session, "terminated").await;
                    return Over::Stopped;
                }
            };
            let age = started.elapsed();
            if age >= SOUND_AGE {
                self.backoff.reset();
            }
            let cause = session.cause();
            let next = match (self.plan.restarts, cause) {
                (true, Some(cause)) => self.policy.after(cause, age, Instant::now()),
                _ => Next::Never,
            };
            let gone = Gone {
                session_id: session.id().to_owned(),
                reason: failure.message.clone(),
            };
            self.state.send_replace(State::Starting);
            if matches!(next, Next::Never | Next::NotEvenOnce) {
                self.close(session, &gone.reason).await;
                return Over::Broken(Broken {
                    failure,
                    is_at_start: next == Next::NotEvenOnce,
                });
            }
            let is_on_demand = next == Next::OnDemand;
            self.narrator
                .on_gone(&gone.session_id, &gone.reason, is_on_demand);
            self.close(session, &gone.reason).await;
            session = match self.next(Some(gone), next).await {
                Ok(session) => session,
                Err(over) => return over,
            };
        }
    }

    async fn close(&mut self, session: Session, reason: &str) {
        let session_id = session.id().to_owned();
        let failed = session.close().await.err();
        self.narrator.on_closed(&session_id, reason, failed);
    }
}
