//! The session a forward cannot do without: when it is started, and how it is tried until it works.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::restart_policy::Next;
use super::shared_pool::Outlook;
use super::{Gone, NOT_NEEDED, Narrator, Over, Previous, Tunnel};
use crate::aws::{Aws, Target};
use crate::backoff::Backoff;
use crate::failure::{Exit, Failure};
use crate::session::{Session, StartError};

/// Time between two looks for credentials or for a machine that reboots, at first and at last.
const LOOK_BASE: Duration = Duration::from_secs(1);
const LOOK_CAP: Duration = Duration::from_secs(10);

impl<N: Narrator> Tunnel<N> {
    /// Starts the next session when it is time.
    pub(super) async fn next(&mut self, gone: Option<Gone>, next: Next) -> Result<Session, Over> {
        if next == Next::OnDemand {
            self.supply.announce(Outlook::Dormant);
            loop {
                tokio::select! {
                    () = self.supply.wanted() => break,
                    Some(change) = self.sessions.changed() => self.settle(change, NOT_NEEDED),
                    () = self.stop.cancelled() => return Err(Over::Stopped),
                }
            }
            self.supply.announce(Outlook::Starting);
        }
        let wanted = Instant::now();
        let session = self.start().await?;
        let previous = gone.as_ref().map(|gone| Previous {
            session_id: &gone.session_id,
            reason: &gone.reason,
            gap: wanted.elapsed(),
        });
        self.narrator.on_started(&session, previous);
        Ok(session)
    }

    /// Tries to start a session until one works, or none ever will.
    async fn start(&mut self) -> Result<Session, Over> {
        let mut looks: Option<Backoff> = None;
        let mut told = None;
        loop {
            let backoff = looks.as_mut().unwrap_or(&mut self.backoff);
            tokio::select! {
                () = backoff.pause(self.supply.wanted()) => {}
                () = self.stop.cancelled() => return Err(Over::Stopped),
            }
            let failure = match self.attempt().await? {
                Ok(session) => return Ok(session),
                Err(failure) => failure,
            };
            tracing::debug!(%failure, "no session yet");
            if failure.is_permanent {
                return Err(Over::broken(failure));
            }
            // Once, and again if it is something else by now.
            if told.replace(failure.exit) != Some(failure.exit) {
                self.narrator.on_waiting(&failure);
            }
            match failure.exit {
                Exit::Credentials | Exit::Target => {
                    looks.get_or_insert_with(|| Backoff::new(LOOK_BASE, LOOK_CAP));
                    self.look_after(&failure).await?;
                }
                _ => looks = None,
            }
        }
    }

    /// Tries to start a session once.
    async fn attempt(&mut self) -> Result<Result<Session, Failure>, Over> {
        let starting = self.plan.clone().start(Arc::clone(&self.aws), &self.stop);
        match starting.await {
            Ok(session) => Ok(Ok(session)),
            Err(StartError::Failed(failure)) => Ok(Err(failure)),
            Err(StartError::Interrupted { may_have_begun }) => {
                if may_have_begun {
                    self.narrator.on_abandoned();
                }
                Err(Over::Stopped)
            }
        }
    }

    /// Prepares another attempt after one that lacked credentials, or its target.
    async fn look_after(&mut self, failure: &Failure) -> Result<(), Over> {
        let (aws, target) = (&self.aws, &self.plan.request.target);
        let looking = async {
            match failure.exit {
                Exit::Target => wait_for_target(aws, target).await,
                _ => aws.reload_credentials().await,
            }
        };
        tokio::select! {
            () = looking => Ok(()),
            () = self.stop.cancelled() => Err(Over::Stopped),
        }
    }
}

/// Waits until there is a target whose agent is connected, as long as the service tells.
async fn wait_for_target(aws: &Aws, target: &Target) {
    let mut looks = Backoff::new(LOOK_BASE, LOOK_CAP);
    loop {
        let is_there = match aws.resolve(target).await {
            Ok(id) => {
                let is_connected = aws.is_connected(&id).await;
                if is_connected == Ok(false) {
                    target.forget(&id);
                }
                is_connected
            }
            Err(failure) if failure.exit == Exit::Target => Ok(false),
            Err(failure) => Err(failure),
        };
        if is_there != Ok(false) {
            return;
        }
        sleep(looks.delay()).await;
    }
}
