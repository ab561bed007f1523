//! Credentials, and whose they are.

use std::time::{Duration, SystemTime};

use super::{Check, Finding};
use crate::aws::{Aws, Caller, CallerError};
use crate::failure::{Exit, Failure};

/// Credentials that expire sooner than this are worth a word: a session that is resumed or replaced needs others.
const SOON: Duration = Duration::from_secs(15 * 60);

/// Looks the credentials up.
pub async fn credentials(aws: &Aws) -> (Finding, Option<()>) {
    let credentials = match aws.credentials().await {
        Ok(credentials) => credentials,
        Err(failure) => return (Finding::fail(Check::Credentials, &failure), None),
    };
    let source = aws.credentials_source(&credentials);
    let finding = match credentials.expiry() {
        None if credentials.session_token().is_some() => Finding::pass(
            Check::Credentials,
            format!("{source}; they expire, and do not say when"),
        ),
        None => Finding::pass(Check::Credentials, format!("{source}; they do not expire")),
        Some(expiry) => match expiry.duration_since(SystemTime::now()) {
            Ok(left) if left > SOON => Finding::pass(
                Check::Credentials,
                format!("{source}; they expire in {}", minutes(left)),
            ),
            Ok(left) => Finding::warn(
                Check::Credentials,
                format!("{source}; they expire in {}", minutes(left)),
            )
            .fix(aws.renew_hint()),
            Err(_) => {
                let message = format!("{source}; they have expired");
                let failure = Failure::new(Exit::Credentials, message).with_hint(aws.renew_hint());
                return (Finding::fail(Check::Credentials, &failure), None);
            }
        },
    };
    (finding, Some(()))
}

fn minutes(time: Duration) -> String {
    match time.as_secs() / 60 {
        minutes @ 0..120 => format!("{minutes} min"),
        minutes => format!("{} h", minutes / 60),
    }
}

/// Whom the credentials belong to.
pub enum Identity {
    /// As STS says.
    Known(Finding, Caller),
    /// Nobody: they are no good.
    Refused(Finding),
    /// STS cannot be asked. Sessions do without it, so that it is no failure.
    Unreachable(Finding),
}

/// Asks whose they are.
pub async fn identity(aws: &Aws) -> Identity {
    let check = Check::Identity;
    match aws.caller().await {
        Ok(caller) => {
            let message = format!("{} in account {}", caller.arn, caller.account);
            Identity::Known(Finding::pass(check, message), caller)
        }
        Err(CallerError::Refused(failure)) => Identity::Refused(Finding::fail(check, &failure)),
        Err(CallerError::Unreachable(failure)) => {
            let message = format!("not known, which sessions do without: {}", failure.message);
            Identity::Unreachable(Finding::warn(check, message).fixed_by(&failure))
        }
    }
}
