//! How a session is carried.

use std::time::Duration;

use ssmfwd_protocol::config::Config;
use tokio_util::sync::CancellationToken;

use super::notice::Observer;
use crate::net::liveness::Liveness;

/// How a session is carried.
#[derive(Debug, Clone)]
pub struct Options {
    /// Settings of the data channel.
    pub config: Config,
    /// When its connection counts as dead.
    pub liveness: Liveness,
    /// Whether a lost connection is replaced; if not, its loss ends the session.
    pub can_resume: bool,
    /// Age at which a connection is replaced before the service closes it, at a quiet moment.
    ///
    /// The gateway closes every connection after about 60 minutes (`protocol/README.md`, "Closing"); ten minutes
    /// are left to find a moment at which nothing is under way.
    pub renew_after: Duration,
    /// Who is told what becomes of the connection.
    pub observer: Observer,
    /// Once it is cancelled, [`Session::finish`](super::Session::finish) waits for nothing.
    pub hurry: CancellationToken,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: Config::default(),
            liveness: Liveness::default(),
            can_resume: true,
            renew_after: Duration::from_secs(50 * 60),
            observer: Observer::default(),
            hurry: CancellationToken::new(),
        }
    }
}
