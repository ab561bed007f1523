//! The task that carries a session over one connection after the other.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ssmfwd_protocol::channel::{Established, Event};
use ssmfwd_protocol::{Channel, Endpoint};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::Ended;
use super::data_key::KeyMaker;
use super::notice::{Notice, Observer};
use super::offline::Offline;
use super::options::Options;
use super::renewal::renew;
use super::resume::{Impossible, Reconnection, Resumer};
use super::waiters::Waiters;
use crate::aws::{Aws, Resumption};
use crate::backoff::Backoff;
use crate::driver::{Disconnect, drive};
use crate::endpoint::Shared;
use crate::net::liveness::{Activity, Watched};
use crate::net::websocket::Socket;

/// How long a session is tried to be resumed: the longest a session may live (`maxSessionDuration` is
/// 1,440 minutes at most: "Session document schema" in the Systems Manager user guide).
const MAX_OUTAGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a new connection must have lasted to count as one that works, if it brings no message: a
/// token that is not accepted has it closed at once.
const PROBATION: Duration = Duration::from_secs(2);

/// How long replacing a working connection may take without being worth mentioning.
const UNNOTICED: Duration = Duration::from_secs(1);

/// What carries one session.
pub(super) struct Carrier {
    pub(super) aws: Arc<Aws>,
    pub(super) session_id: String,
    pub(super) shared: Shared<Channel>,
    pub(super) options: Options,
    pub(super) key_maker: KeyMaker,
    /// Whether there is a connection.
    pub(super) is_connected: watch::Sender<bool>,
    /// Who waits for one.
    pub(super) waiters: Waiters,
    /// Whoever waits for the handshake; without it done, nothing is resumed.
    pub(super) established: Option<oneshot::Sender<Established>>,
}

/// How one connection ceased to carry the session.
enum Left {
    Ended(Ended),
    Lost(Disconnect),
    /// It works, and is to be replaced.
    Renewed(Resumption),
}

/// The time without a connection.
struct Outage {
    since: Instant,
    is_planned: bool,
    /// What was lost, for people.
    reason: String,
    is_reported: bool,
}

/// Ends the streams with the task, even if that panics or is aborted: nothing would ever come of them.
struct EndedOnDrop(Shared<Channel>);

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Carrier {
    /// Carries the session to its end, over `socket` first. The channel has been told of that one.
    pub(super) async fn run(mut self, socket: Socket) -> Ended {
        let _streams = EndedOnDrop(self.shared.clone());
        self.carry(socket).await
    }

    async fn carry(&mut self, mut socket: Socket) -> Ended {
        let mut backoff = Backoff::default();
        let mut pending_outage = None;
        loop {
            let connected = Instant::now();
            let left = self.attend(socket, &mut pending_outage).await;
            backoff.after_connection(connected.elapsed());
            let (reason, resumption) = match left {
                Left::Ended(ended) => return ended,
                Left::Lost(lost) if !self.can_resume() => return Ended::Disconnected(lost),
                Left::Lost(lost) => (lost.to_string(), None),
                Left::Renewed(resumption) => (
                    "the service is about to close it".to_owned(),
                    Some(resumption),
                ),
            };
            self.is_connected.send_replace(false);
            tracing::debug!(session_id = self.session_id, reason, "connection over");
            let is_planned = resumption.is_some();
            let outage = pending_outage.get_or_insert_with(|| Outage {
                since: Instant::now(),
                is_planned,
                reason,
                is_reported: false,
            });
            socket = match self.replace(outage, resumption, &mut backoff).await {
                Ok(socket) => socket,
                Err(ended) => return ended,
            };
        }
    }

    fn can_resume(&self) -> bool {
        self.options.can_resume && self.established.is_none()
    }

    /// Drives the channel over one connection, until that is lost or to be replaced, or the session
    /// ends.
    async fn attend(&mut self, socket: Socket, outage: &mut Option<Outage>) -> Left {
        let connected = Instant::now();
        let activity = Activity::default();
        let watched = Watched::new(socket, self.options.liveness, activity.clone());
        let (shared, key_maker) = (&self.shared, &mut self.key_maker);
        let established = &mut self.established;
        let (options, session_id) = (&self.options, &self.session_id);
        let mut driving = pin!(drive(shared, watched, |event| match event {
            Event::DataKeyNeeded { key_id, challenge } => {
                key_maker.answer(shared, key_id, challenge);
                ControlFlow::Continue(())
            }
            Event::Unanswered => {
                let silence = options.config.answer_timeout;
                options
                    .observer
                    .notify(session_id, Notice::Unanswered { silence });
                ControlFlow::Continue(())
            }
            Event::Answered(gap) => {
                options
                    .observer
                    .notify(session_id, Notice::Answered { gap });
                ControlFlow::Continue(())
            }
            event => on_event(event, established),
        }));
        let mut working = pin!(timeout(PROBATION, activity.first_received()));
        let mut renewing = pin!(renew(
            &self.aws,
            &self.session_id,
            &self.shared,
            &activity,
            &self.options
        ));
        let mut is_working = false;
        loop {
            tokio::select! {
                // A connection that is lost already has not worked.
                biased;
                ended = &mut driving => return match ended {
                    Ok(ended) => Left::Ended(ended),
                    Err(disconnect) => Left::Lost(disconnect),
                },
                _ = &mut working, if !is_working => {
                    is_working = true;
                    self.is_connected.send_replace(true);
                    if let Some(outage) = outage.take() {
                        let notice = Notice::Resumed {
                            gap: connected - outage.since,
                            is_planned: outage.is_planned,
                        };
                        self.options.observer.notify(&self.session_id, notice);
                    }
                }
                resumption = &mut renewing => return Left::Renewed(resumption),
            }
        }
    }

    /// Opens another connection and tells the channel of it, whose deadlines go on meanwhile.
    async fn replace(
        &mut self,
        outage: &mut Outage,
        resumption: Option<Resumption>,
        backoff: &mut Backoff,
    ) -> Result<Socket, Ended> {
        self.shared
            .with(|channel| channel.handle_disconnected(Instant::now().into_std()));
        let has_streams = self.shared.with(|channel| {
            let streams = channel.streams();
            streams.is_some_and(|streams| streams.stream_count() > 0)
        });
        let _users_of_streams = has_streams.then(|| self.waiters.join());
        let waiting = drive(&self.shared, Offline, |event| on_event(event, &mut None));
        let observer = &self.options.observer;
        let resumer = Resumer::new(
            &self.aws,
            &self.session_id,
            observer,
            backoff,
            &self.waiters,
        );
        let resumed = tokio::select! {
            // The end of the session, then the news of the loss, come before anything that follows.
            biased;
            ended = waiting => return Err(ended.unwrap_or_else(Ended::Disconnected)),
            never = report(outage, observer, &self.session_id) => match never {},
            resumed = timeout(MAX_OUTAGE, resumer.run(resumption)) => resumed,
        };
        let lost = outage.reason.clone();
        let Reconnection { socket, token } = match resumed {
            Ok(Ok(reconnection)) => reconnection,
            Ok(Err(Impossible::Gone)) => return Err(Ended::Gone { lost }),
            Ok(Err(Impossible::Refused(failure))) => return Err(Ended::Refused { lost, failure }),
            Err(_) => return Err(Ended::Unreachable { lost }),
        };
        self.shared.with(|channel| {
            channel.handle_connected(Instant::now().into_std(), token.expose());
        });
        Ok(socket)
    }
}

fn on_event(
    event: Event,
    established_tx: &mut Option<oneshot::Sender<Established>>,
) -> ControlFlow<Ended> {
    match event {
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
    }
}

/// Tells of an outage, once: at once, or when a planned one lasts.
async fn report(outage: &mut Outage, observer: &Observer, session_id: &str) -> Infallible {
    if !outage.is_reported {
        if outage.is_planned {
            sleep(UNNOTICED).await;
        }
        outage.is_reported = true;
        let reason = outage.reason.clone();
        observer.notify(session_id, Notice::Lost { reason });
    }
    std::future::pending().await
}
