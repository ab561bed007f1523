//! A session from StartSession to TerminateSession, over as many connections as that takes.

mod carrier;
mod console;
mod data_key;
mod ending;
mod explanation;
mod notice;
mod offline;
pub mod options;
mod renewal;
mod resume;
mod waiters;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ssmfwd_protocol::channel::{CloseReason, Established};
use ssmfwd_protocol::error::OpenError;
use ssmfwd_protocol::{Channel, Endpoint};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use notice::{Notice, Observer};
pub use options::Options;
pub use waiters::Waiters;

use crate::aws::{Aws, NotStarted, StartSession, StartedSession};
use crate::driver::Disconnect;
use crate::endpoint::Shared;
use crate::failure::{Exit, Failure};
use crate::net::websocket;
use crate::stream::Stream;
use carrier::Carrier;

pub use console::Console;

use data_key::KeyMaker;

/// How long the end of a session may take, flag and API call together. The flag's share is
/// [`ssmfwd_protocol::config::Config::close_timeout`].
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the delivery of what was written may take without being worth mentioning.
pub const UNNOTICED: Duration = Duration::from_secs(2);

/// A running session. [`Session::close`] ends it; [`Session::ended`] waits for others to.
///
/// A lost connection does not end it, unless [`Options::can_resume`] says so: streams stay open, what is
/// written to them waits, and another connection is opened for as long as the service keeps the
/// session.
#[derive(Debug)]
pub struct Session {
    id: String,
    target: String,
    established: Established,
    shared: Shared<Channel>,
    aws: Arc<Aws>,
    observer: Observer,
    hurry: CancellationToken,
    is_connected: watch::Receiver<bool>,
    waiters: Waiters,
    carrier: AbortOnDropHandle<Ended>,
    /// How it ended, once it did so without having been asked to.
    end: Option<End>,
}

/// How a session ended without having been asked to.
#[derive(Debug, Clone)]
struct End {
    message: String,
    cause: Cause,
    is_over: bool,
    /// What service or agent said.
    output: Option<String>,
    is_in_order: bool,
}

/// Why a session was not started.
#[derive(Debug)]
pub enum StartError {
    /// The user did not want it any more.
    Interrupted {
        /// StartSession was not answered in time, so that there may be a session nobody can end.
        may_have_begun: bool,
    },
    /// The service, the network or the agent refused.
    Failed(Failure),
}

/// Why the data channel of a session could not be used.
#[derive(Debug)]
pub enum NotOpened {
    /// The user did not want it any more.
    Interrupted,
    /// The service, the network or the agent refused.
    Failed(Failure),
    /// Service or agent ended the session instead, which is over.
    Over {
        failure: Failure,
        /// What they said.
        output: String,
    },
}

impl From<Failure> for NotOpened {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<NotOpened> for StartError {
    fn from(not_opened: NotOpened) -> Self {
        match not_opened {
            NotOpened::Interrupted => Self::Interrupted {
                may_have_begun: false,
            },
            NotOpened::Failed(failure) | NotOpened::Over { failure, .. } => Self::Failed(failure),
        }
    }
}

/// Why a session ended by itself, as far as it matters for starting another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The account's idle timeout or maximum duration.
    TimedOut,
    /// Somebody terminated it, or the agent did: nobody says who.
    Terminated,
    /// The agent could not do what it was asked for, and said why.
    Failed,
    /// Something between here and the agent went wrong.
    Fault,
    /// A session of this kind will never work with this program.
    Unsupported,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The channel has a reason.
    Closed(CloseReason),
    /// The connection that carried it was lost, and was not to be replaced.
    Disconnected(Disconnect),
    /// The service knew nothing of it any more when its connection was to be replaced.
    Gone {
        /// Why the connection was lost.
        lost: String,
    },
    /// The service did not replace its connection.
    Refused {
        /// Why the connection was lost.
        lost: String,
        failure: Failure,
    },
    /// No connection could be opened for as long as a session can live.
    Unreachable {
        /// Why the connection was lost.
        lost: String,
    },
    /// The task that carried it was lost, which nothing but a bug or the end of the process does.
    Aborted,
}

impl Ended {
    /// What service or agent said, if it was they who ended the session.
    fn into_output(self) -> Option<String> {
        match self {
            Self::Closed(CloseReason::Peer { output, .. }) => Some(output),
            _ => None,
        }
    }
}

impl Session {
    /// Starts a session and waits until connections can be opened.
    ///
    /// However this fails, and whenever `shutdown` interrupts it, no session is left behind that the
    /// service has told of within three seconds.
    ///
    /// # Errors
    ///
    /// What the service, the network or the agent refused, or that it was interrupted.
    pub async fn start(
        aws: Arc<Aws>,
        request: StartSession,
        options: Options,
        shutdown: &CancellationToken,
    ) -> Result<Self, StartError> {
        let target = tokio::select! {
            target = prepare(&aws, &request) => target.map_err(StartError::Failed)?,
            () = shutdown.cancelled() => return Err(StartError::Interrupted {
                may_have_begun: false,
            }),
        };
        let started = begin(&aws, &target, &request, shutdown).await?;
        tracing::debug!(session_id = started.session_id, target, "session started");
        Ok(Self::open(aws, started, &target, options, shutdown).await?)
    }

    /// Opens the data channel of a session that somebody has started, and waits until connections can
    /// be opened. `target` is what StartSession was asked for: the data key of an encrypted session is
    /// bound to it.
    ///
    /// # Errors
    ///
    /// As [`Session::start`]; the session is terminated then.
    pub async fn open(
        aws: Arc<Aws>,
        started: StartedSession,
        target: &str,
        options: Options,
        shutdown: &CancellationToken,
    ) -> Result<Self, NotOpened> {
        let id = started.session_id.clone();
        let connected = tokio::select! {
            connected = connect(Arc::clone(&aws), started, target, options) => connected,
            () = shutdown.cancelled() => Err(NotOpened::Interrupted),
        };
        if let Err(NotOpened::Interrupted | NotOpened::Failed(_)) = connected {
            aws.abandon(&id).await;
        }
        connected
    }

    /// The session's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The identifier of the target it goes to.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// What the handshake brought.
    pub fn established(&self) -> &Established {
        &self.established
    }

    /// Returns what opens streams of this session, without owning it.
    pub fn opener(&self) -> Opener {
        Opener(self.shared.clone())
    }

    /// Returns whether there is a connection at the moment; without one, what is written to streams
    /// waits.
    pub fn connection(&self) -> watch::Receiver<bool> {
        self.is_connected.clone()
    }

    /// Returns those who wait while there is no connection, to be joined.
    pub fn waiters(&self) -> Waiters {
        self.waiters.clone()
    }

    /// Waits for the session to end without having been asked to.
    pub async fn ended(&mut self) -> Failure {
        let ended = (&mut self.carrier).await.unwrap_or(Ended::Aborted);
        let failure = explanation::explain(&ended, &self.id);
        self.end = Some(End {
            message: failure.message.clone(),
            cause: ending::cause(&ended),
            is_over: ending::is_over(&ended),
            is_in_order: matches!(&ended, Ended::Closed(reason) if reason.is_in_order()),
            output: ended.into_output(),
        });
        failure
    }

    /// How the session ended by itself, if it did.
    pub fn end(&self) -> Option<&str> {
        self.end.as_ref().map(|end| end.message.as_str())
    }

    /// Whether service or agent ended the session without a complaint, and nothing that came from it is known to be
    /// missing.
    pub fn is_in_order(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.is_in_order)
    }

    /// What service or agent said when they ended the session; empty if they had nothing to complain of.
    pub fn output(&self) -> Option<&str> {
        self.end.as_ref()?.output.as_deref()
    }

    /// How many connections it had when it ended by itself.
    pub fn lost_count(&self) -> usize {
        self.shared.lock().lost_count
    }

    /// Whether the service knew nothing of the session any more when its connection was to be replaced.
    pub fn is_gone(&self) -> bool {
        let end = self.end.as_ref();
        end.is_some_and(|end| end.is_over && end.output.is_none())
    }

    /// Why the session ended by itself, if it did.
    pub fn cause(&self) -> Option<Cause> {
        self.end.as_ref().map(|end| end.cause)
    }

    /// Ends the session once what was written to its streams is delivered, which takes as long as the agent acknowledges
    /// some of it every now and then, or as soon as [`Options::hurry`] is cancelled. What was not delivered is told to the
    /// observer.
    ///
    /// # Errors
    ///
    /// As [`Session::close`].
    pub async fn finish(mut self) -> Result<(), Failure> {
        if self.end.is_none() {
            self.shared.refuse_writes();
            self.shared.with(|channel| channel.finish(Instant::now()));
            if !self.carrier.is_finished() {
                let (observer, shared) = (&self.observer, &self.shared);
                tokio::select! {
                    _ = &mut self.carrier => {}
                    () = self.hurry.cancelled() => {}
                    never = tell_if_slow(observer, &self.id, shared) => match never {},
                }
            }
        }
        let (id, observer) = (self.id.clone(), self.observer.clone());
        let shared = self.shared.clone();
        let closed = self.close().await;
        let len = shared.lock().endpoint.undelivered_len();
        if len > 0 {
            observer.notify(&id, Notice::Undelivered { len });
        }
        closed
    }

    /// Ends the session: the flag, then the API call. Takes at most three seconds. [`Session::finish`] waits for what is
    /// under way.
    ///
    /// # Errors
    ///
    /// If the session may go on nevertheless.
    pub async fn close(self) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let closing = async {
            self.shared
                .with(|channel| channel.terminate(Instant::now()));
            if !self.carrier.is_finished() {
                let _: Result<Ended, _> = self.carrier.await;
            }
            self.shared.with(|channel| {
                let (rtt, retransmitted) = (channel.rtt(), channel.retransmitted_count());
                tracing::debug!(session_id = self.id, ?rtt, retransmitted, "channel closed");
            });
            if self.end.is_some_and(|end| end.is_over) {
                return Ok(());
            }
            self.aws.terminate_session(&self.id).await
        };
        let closed = timeout(CLOSE_TIMEOUT, closing).await.unwrap_or_else(|_| {
            let message = "the service did not answer in time";
            Err(Failure::new(Exit::Failure, message))
        });
        match closed {
            // The agent ends it, and tells the service.
            Err(failure) if shared.lock().endpoint.is_terminated() => {
                tracing::debug!(%failure, "TerminateSession was not needed");
                Ok(())
            }
            closed => closed,
        }
    }
}

/// Opens streams of a session.
#[derive(Debug, Clone)]
pub struct Opener(Shared<Channel>);

impl Opener {
    /// Opens a stream; waits while the agent carries another one and can carry only one.
    ///
    /// # Errors
    ///
    /// If the session is over, or has no more streams.
    pub async fn open(&self) -> Result<Stream<Channel>, OpenError> {
        self.0.open().await
    }

    /// Opens the connection of a session that is over, if something has come from it.
    pub fn open_remains(&self) -> Option<Stream<Channel>> {
        self.0.open_remains()
    }

    /// Whether one of its streams may come to block the session
    /// ([`StreamEvent::Stalled`](ssmfwd_protocol::streams::StreamEvent::Stalled)).
    pub fn is_stalled(&self) -> bool {
        let mut state = self.0.lock();
        let streams = state.endpoint.streams();
        streams.is_some_and(|streams| streams.stalled_streams().next().is_some())
    }

    /// Whether it has streams, or something written to one is not delivered yet.
    pub fn has_streams(&self) -> bool {
        let mut state = self.0.lock();
        let streams = state.endpoint.streams();
        let has_streams = streams.is_some_and(|streams| streams.stream_count() > 0);
        has_streams || !state.endpoint.is_idle()
    }

    /// Whether anything that has come from the far side was read.
    pub fn has_received(&self) -> bool {
        self.0.lock().has_received
    }
}

/// Tells the observer when everything written takes a while to be delivered.
async fn tell_if_slow(
    observer: &Observer,
    session_id: &str,
    shared: &Shared<Channel>,
) -> Infallible {
    sleep(UNNOTICED).await;
    if shared.lock().endpoint.undelivered_len() > 0 {
        observer.notify(session_id, Notice::Delivering);
    }
    std::future::pending().await
}

/// Does what StartSession needs and can be interrupted without a trace: finds the target, and the credentials, for which a
/// person may be asked, and waits until it may be called.
async fn prepare(aws: &Aws, request: &StartSession) -> Result<String, Failure> {
    let target = aws.resolve(&request.target).await?;
    aws.credentials().await?;
    aws.turn_to_start().await;
    Ok(target)
}

/// Calls StartSession. If interrupted meanwhile, ends the session that may begin nevertheless.
async fn begin(
    aws: &Aws,
    target: &str,
    request: &StartSession,
    shutdown: &CancellationToken,
) -> Result<StartedSession, StartError> {
    let mut starting = pin!(aws.start_session(target, request));
    let started = tokio::select! {
        started = &mut starting => started,
        () = shutdown.cancelled() => {
            let abandoning = async {
                if let Ok(started) = starting.await {
                    aws.abandon(&started.session_id).await;
                }
            };
            let abandoned = timeout(CLOSE_TIMEOUT, abandoning).await;
            return Err(StartError::Interrupted {
                may_have_begun: abandoned.is_err(),
            });
        }
    };
    match started {
        Ok(started) => Ok(started),
        Err(NotStarted::Failed(failure)) => Err(StartError::Failed(failure)),
        Err(NotStarted::NotConnected) => tokio::select! {
            failure = aws.explain_unreachable(target) => Err(StartError::Failed(failure)),
            () = shutdown.cancelled() => Err(StartError::Interrupted {
                may_have_begun: false,
            }),
        },
    }
}

/// Opens the data channel, and waits for the end of the handshake.
async fn connect(
    aws: Arc<Aws>,
    started: StartedSession,
    target: &str,
    mut options: Options,
) -> Result<Session, NotOpened> {
    let socket = websocket::open(&aws, &started.stream_url).await?;
    // Whoever signed the URL beforehand did not mean it to be replaced.
    options.can_resume &= !started.stream_url.is_presigned();
    let now = Instant::now();
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut channel = Channel::new(options.config.clone(), fastrand::u64(..), now, unix);
    channel.handle_connected(now, started.token.expose());
    let shared = Shared::new(channel);

    let (established_tx, established_rx) = oneshot::channel();
    let (is_connected_tx, is_connected) = watch::channel(true);
    let waiters = Waiters::default();
    let key_maker = KeyMaker::new(Arc::clone(&aws), &started.session_id, target);
    let refusal = key_maker.refusal();
    let (observer, hurry) = (options.observer.clone(), options.hurry.clone());
    let carrier = Carrier {
        aws: Arc::clone(&aws),
        session_id: started.session_id.clone(),
        shared: shared.clone(),
        options,
        key_maker,
        is_connected: is_connected_tx,
        waiters: waiters.clone(),
        established: Some(established_tx),
    };
    let carrier = AbortOnDropHandle::new(tokio::spawn(carrier.run(socket)));
    match established_rx.await {
        Ok(established) => Ok(Session {
            id: started.session_id,
            target: target.to_owned(),
            established,
            shared,
            aws,
            observer,
            hurry,
            is_connected,
            waiters,
            carrier,
            end: None,
        }),
        Err(_) => {
            let ended = carrier.await.unwrap_or(Ended::Aborted);
            if let Some(failure) = refusal.get() {
                return Err(failure.clone().into());
            }
            let failure = explanation::explain(&ended, &started.session_id);
            Err(match ended.into_output() {
                Some(output) => NotOpened::Over { failure, output },
                None => NotOpened::Failed(failure),
            })
        }
    }
}

#[cfg(test)]
#[cfg(feature = "lab")]
mod tests;
