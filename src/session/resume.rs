//! Attempts to open a new connection for a session that has lost its own.

use std::time::Duration;

use tokio::time::Instant;

use crate::aws::{Aws, ResumeError, Resumption, Token};
use crate::backoff::Backoff;
use crate::failure::{Exit, Failure};
use crate::net::clock::ClockWatch;
use crate::net::websocket::{self, Socket};

use super::notice::{Notice, Observer};
use super::waiters::Waiters;

/// Time between two looks for credentials, at first and at last: who has just logged in does not want
/// to wait.
const CREDENTIALS_BASE: Duration = Duration::from_secs(1);
const CREDENTIALS_CAP: Duration = Duration::from_secs(10);

/// Upgrades denied in a row that are taken for more than a token that has lost its worth: another one has been asked for
/// each time.
const DENIAL_COUNT: u32 = 3;

/// How long attempts may fail before people are told of what.
const UNTOLD: Duration = Duration::from_secs(30);

/// A connection for a session, on which its token has yet to be sent.
pub(super) struct Reconnection {
    pub(super) socket: Socket,
    pub(super) token: Token,
}

/// Why a session can have no other connection.
#[derive(Debug)]
pub(super) enum Impossible {
    /// It is over.
    Gone,
    /// The service does not resume it.
    Refused(Failure),
}

/// Opens connections for one session.
pub(super) struct Resumer<'a> {
    aws: &'a Aws,
    session_id: &'a str,
    observer: &'a Observer,
    backoff: &'a mut Backoff,
    waiters: &'a Waiters,
    /// Between attempts that wait for credentials; the user has been told of those.
    credentials_backoff: Option<Backoff>,
    /// Upgrades denied in a row.
    denial_count: u32,
    since: Instant,
    /// People know why it takes so long.
    is_told: bool,
}

impl<'a> Resumer<'a> {
    /// Creates a resumer; `backoff` remembers earlier attempts that came to nothing, and there are more of them as
    /// long as there are `waiters`.
    pub(super) fn new(
        aws: &'a Aws,
        session_id: &'a str,
        observer: &'a Observer,
        backoff: &'a mut Backoff,
        waiters: &'a Waiters,
    ) -> Self {
        Self {
            aws,
            session_id,
            observer,
            backoff,
            waiters,
            credentials_backoff: None,
            denial_count: 0,
            since: Instant::now(),
            is_told: false,
        }
    }

    /// Tries until there is a connection, or there cannot be any.
    ///
    /// `resumption` is what the first attempt uses, if the service has been asked already.
    pub(super) async fn run(
        mut self,
        mut resumption: Option<Resumption>,
    ) -> Result<Reconnection, Impossible> {
        loop {
            let resumption = match resumption.take() {
                Some(resumption) => resumption,
                None => {
                    self.pause().await;
                    match self.ask().await? {
                        Some(resumption) => resumption,
                        None => continue,
                    }
                }
            };
            match websocket::open(self.aws, &resumption.stream_url).await {
                Ok(socket) => {
                    return Ok(Reconnection {
                        socket,
                        token: resumption.token,
                    });
                }
                Err(failure) if failure.exit == Exit::Credentials => self.on_denied(failure),
                // The proxy's refusal.
                Err(failure) if failure.is_permanent => {
                    return Err(Impossible::Refused(failure));
                }
                // Whatever else it was, the next attempt has another token, URL and signature.
                Err(failure) => self.on_transient(failure),
            }
        }
    }

    /// Waits before an attempt, but not across a sleep: what was wrong may be long over.
    async fn pause(&mut self) {
        let backoff = self.credentials_backoff.as_mut();
        let backoff = backoff.unwrap_or(self.backoff);
        let mut clock = ClockWatch::new();
        tokio::select! {
            () = backoff.pause(self.waiters.any()) => {}
            () = clock.jumped() => self.backoff.reset(),
        }
    }

    /// Calls ResumeSession; `None` if that is to be tried again.
    async fn ask(&mut self) -> Result<Option<Resumption>, Impossible> {
        if self.credentials_backoff.is_some() {
            self.aws.reload_credentials().await;
        }
        match self.aws.resume_session(self.session_id).await {
            Ok(resumption) => return Ok(Some(resumption)),
            Err(ResumeError::Gone) => return Err(Impossible::Gone),
            Err(ResumeError::Refused(failure)) => return Err(Impossible::Refused(failure)),
            Err(ResumeError::Credentials(failure)) => self.on_credentials(failure),
            Err(ResumeError::Transient(failure)) => self.on_transient(failure),
        }
        Ok(None)
    }

    /// The gateway has denied an upgrade. That may be of the token, which is replaced; again and again it is of the caller.
    fn on_denied(&mut self, failure: Failure) {
        self.denial_count = self.denial_count.saturating_add(1);
        if self.denial_count < DENIAL_COUNT {
            self.on_failure(&failure);
        } else {
            self.on_credentials(failure);
        }
    }

    /// Tells the user, once, what has to be done about the credentials.
    fn on_credentials(&mut self, failure: Failure) {
        self.on_failure(&failure);
        if self.credentials_backoff.is_none() {
            self.credentials_backoff = Some(Backoff::new(CREDENTIALS_BASE, CREDENTIALS_CAP));
            self.observer
                .notify(self.session_id, Notice::Paused { failure });
        }
    }

    /// Tells the user, once, what is in the way if that lasts.
    fn on_transient(&mut self, failure: Failure) {
        self.denial_count = 0;
        self.on_failure(&failure);
        if !self.is_told && self.since.elapsed() >= UNTOLD {
            self.is_told = true;
            self.observer
                .notify(self.session_id, Notice::Paused { failure });
        }
    }

    fn on_failure(&self, failure: &Failure) {
        tracing::debug!(session_id = self.session_id, %failure, "not resumed yet");
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use tokio::sync::mpsc;

    use super::*;
    use crate::aws::Options;

    #[tokio::test(start_paused = true)]
    async fn what_is_in_the_way_for_long_is_told() {
        let options = Options {
            region: Some("us-east-1".into()),
            // Nobody listens there.
            endpoint_url: Some("http://127.0.0.1:1".to_owned()),
            credentials: Some(Credentials::new("AKID", "S3CR3T", None, None, "test")),
            ..Options::default()
        };
        let aws = Aws::load(&options).await.unwrap();
        let (told, mut notices) = mpsc::unbounded_channel();
        let observer = Observer::new(move |_, notice| told.send(notice).unwrap());
        let (mut backoff, waiters) = (Backoff::default(), Waiters::default());
        let start = Instant::now();
        let resumer = Resumer::new(&aws, "s-1", &observer, &mut backoff, &waiters);
        let notice = tokio::select! {
            _ = resumer.run(None) => panic!("it is not over"),
            notice = notices.recv() => notice,
            () = tokio::time::sleep(10 * UNTOLD) => panic!("nothing was told"),
        };
        assert!(start.elapsed() >= UNTOLD);
        let Some(Notice::Paused { failure }) = notice else {
            panic!("{notice:?}");
        };
        assert!(failure.message.contains("refused"), "{failure}");
    }
}
