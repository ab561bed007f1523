//! Replacing a connection that works, before the service closes it.

use std::time::Duration;

use ssmfwd_protocol::Channel;
use tokio::time::{sleep, timeout};

use super::options::Options;
use crate::aws::{Aws, ResumeError, Resumption};
use crate::endpoint::Shared;
use crate::net::liveness::Activity;

/// How long no message must have gone either way for a moment to be quiet. What the agent has under way
/// when its connection breaks costs 0.1 s a message.
const QUIET: Duration = Duration::from_millis(200);

/// How long a token in hand may wait for a quiet moment, which may be over when the service has given it.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

/// Time between attempts to replace a connection that still works.
const RENEWAL_RETRY: Duration = Duration::from_secs(60);

/// Waits until the connection should be replaced, and asks the service for what that takes. As long as
/// it does not give it, the connection that works is kept.
pub(super) async fn renew(
    aws: &Aws,
    session_id: &str,
    shared: &Shared<Channel>,
    activity: &Activity,
    options: &Options,
) -> Resumption {
    if !options.can_resume {
        return std::future::pending().await;
    }
    // Sessions that were started together must not all be resumed at once.
    let spread = options.renew_after.mul_f64(fastrand::f64() / 10.0);
    sleep(options.renew_after + spread).await;
    loop {
        quiet_moment(shared, activity).await;
        match aws.resume_session(session_id).await {
            Ok(resumption) => {
                let _: Result<(), _> =
                    timeout(TOKEN_PATIENCE, quiet_moment(shared, activity)).await;
                return resumption;
            }
            Err(ResumeError::Refused(failure)) => {
                tracing::debug!(session_id, %failure, "not to be replaced ahead of time");
                return std::future::pending().await;
            }
            Err(error) => tracing::debug!(session_id, ?error, "not replaced ahead of time"),
        }
        sleep(RENEWAL_RETRY).await;
    }
}

/// Waits until nothing is under way, as far as this end can tell.
async fn quiet_moment(shared: &Shared<Channel>, activity: &Activity) {
    loop {
        let message_count = activity.message_count();
        sleep(QUIET).await;
        // Before the looks, or a message in between would be missed.
        let next_message = activity.next_message();
        if activity.message_count() != message_count {
            continue;
        }
        if shared.lock().endpoint.is_quiet() {
            return;
        }
        next_message.await;
    }
}

#[cfg(test)]
mod tests;
