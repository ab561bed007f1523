//! A session from StartSession to TerminateSession.

mod ending;

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ssmfwd_protocol::Channel;
use ssmfwd_protocol::channel::{CloseReason, Established, Event};
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::error::OpenError;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::aws::{Aws, StartSession, StartedSession};
use crate::driver::{Disconnect, drive};
use crate::endpoint::Shared;
use crate::failure::{Exit, Failure};
use crate::net::websocket;
use crate::stream::Stream;

/// How long the end of a session may take, flag and API call together. The flag's share is
/// [`Config::close_timeout`].
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A running session. [`Session::close`] ends it; [`Session::ended`] waits for others to.
#[derive(Debug)]
pub struct Session {
    id: String,
    established: Established,
    shared: Shared<Channel>,
    aws: Arc<Aws>,
    driver: AbortOnDropHandle<Ended>,
    /// How it ended, once it did so without having been asked to.
    end: Option<String>,
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

/// How a session ended.
#[derive(Debug)]
pub enum Ended {
    /// The channel has a reason.
    Closed(CloseReason),
    /// The connection that carried it was lost.
    Disconnected(Disconnect),
    /// The task that drove it was lost, which nothing but a bug or the end of the process does.
    Aborted,
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
        config: Config,
        shutdown: &CancellationToken,
    ) -> Result<Self, StartError> {
        let started = begin(&aws, &request, shutdown).await?;
        let id = started.session_id.clone();
        tracing::debug!(session = id, target = request.target, "session started");
        let connected = tokio::select! {
            connected = connect(Arc::clone(&aws), started, config) => {
                connected.map_err(StartError::Failed)
            }
            () = shutdown.cancelled() => Err(StartError::Interrupted {
                may_have_begun: false,
            }),
        };
        match connected {
            Ok((shared, established, driver)) => Ok(Self {
                id,
                established,
                shared,
                aws,
                driver,
                end: None,
            }),
            Err(error) => {
                terminate(&aws, &id).await;
                Err(error)
            }
        }
    }

    /// The session's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the handshake brought.
    pub fn established(&self) -> &Established {
        &self.established
    }

    /// Returns what opens streams of this session, without owning it.
    pub fn opener(&self) -> Opener {
        Opener(self.shared.clone())
    }

    /// Waits for the session to end without having been asked to.
    pub async fn ended(&mut self) -> Failure {
        let ended = (&mut self.driver).await.unwrap_or(Ended::Aborted);
        let failure = ending::explain(&ended, &self.id);
        self.end = Some(failure.message.clone());
        failure
    }

    /// How the session ended by itself, if it did.
    pub fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// Ends the session: the flag, then the API call. Takes at most three seconds.
    ///
    /// # Errors
    ///
    /// If the session may go on nevertheless.
    pub async fn close(self) -> Result<(), Failure> {
        let closing = async {
            self.shared
                .with(|channel| channel.terminate(Instant::now()));
            if !self.driver.is_finished() {
                let _: Result<Ended, _> = self.driver.await;
            }
            self.shared.with(|channel| {
                let (rtt, retransmitted) = (channel.rtt(), channel.retransmitted_count());
                tracing::debug!(session = self.id, ?rtt, retransmitted, "channel closed");
            });
            self.aws.terminate_session(&self.id).await
        };
        match timeout(CLOSE_TIMEOUT, closing).await {
            Ok(terminated) => terminated,
            Err(_) => Err(Failure::new(
                Exit::Failure,
                "the service did not answer in time",
            )),
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
}

/// Calls StartSession. If interrupted meanwhile, ends the session that may begin nevertheless.
async fn begin(
    aws: &Aws,
    request: &StartSession,
    shutdown: &CancellationToken,
) -> Result<StartedSession, StartError> {
    let mut starting = pin!(aws.start_session(request));
    tokio::select! {
        started = &mut starting => return started.map_err(StartError::Failed),
        () = shutdown.cancelled() => {}
    }
    let abandoning = async {
        if let Ok(started) = starting.await {
            terminate(aws, &started.session_id).await;
        }
    };
    let abandoned = timeout(CLOSE_TIMEOUT, abandoning).await;
    Err(StartError::Interrupted {
        may_have_begun: abandoned.is_err(),
    })
}

/// Opens the data channel, and waits for the end of the handshake.
async fn connect(
    aws: Arc<Aws>,
    started: StartedSession,
    config: Config,
) -> Result<(Shared<Channel>, Established, AbortOnDropHandle<Ended>), Failure> {
    let socket = websocket::open(&aws, &started.stream_url).await?;
    let now = Instant::now();
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut channel = Channel::new(config, fastrand::u64(..), now, unix);
    channel.handle_connected(now, started.token.expose());
    let shared = Shared::new(channel);

    let (established_tx, established_rx) = oneshot::channel();
    let driven = shared.clone();
    let driver = tokio::spawn(async move {
        let mut established_tx = Some(established_tx);
        let ended = drive(&driven, socket, |event| match event {
            Event::Established(established) => {
                if let Some(tx) = established_tx.take() {
                    // Nobody waits any more if the start was interrupted.
                    let _: Result<(), Established> = tx.send(established);
                }
                ControlFlow::Continue(())
            }
            Event::Closed(reason) => ControlFlow::Break(Ended::Closed(reason)),
            unknown => {
                tracing::debug!(?unknown, "event passed over");
                ControlFlow::Continue(())
            }
        })
        .await
        .unwrap_or_else(Ended::Disconnected);
        driven.end();
        ended
    });
    let driver = AbortOnDropHandle::new(driver);
    match established_rx.await {
        Ok(established) => Ok((shared, established, driver)),
        Err(_) => {
            let ended = driver.await.unwrap_or(Ended::Aborted);
            Err(ending::explain(&ended, &started.session_id))
        }
    }
}

/// Calls TerminateSession, whose failure is logged: there is nobody left to act on it.
async fn terminate(aws: &Aws, session_id: &str) {
    match timeout(CLOSE_TIMEOUT, aws.terminate_session(session_id)).await {
        Ok(Ok(())) => tracing::debug!(session_id, "session terminated"),
        Ok(Err(failure)) => tracing::warn!(session_id, %failure, "the session was not terminated"),
        Err(_) => tracing::warn!(session_id, "the session was not terminated in time"),
    }
}
