//! Why something does not work: checks, each of which looks at one thing and tells what it has found.
//!
//! The checks only return data. `command::doctor` decides which follows from which, and prints.

pub mod clock;
pub mod configuration;
pub mod connection;
pub mod dns;
mod grouping;
pub mod identity;
pub mod local;
pub mod permissions;
pub mod session;
pub mod target;

use serde::Serialize;

use crate::failure::{Exit, Failure, SEE_DOCTOR};

/// What is looked at, in the order in which a session needs it. Its name in JSON is part of the command-line contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Configuration files, environment, region.
    Configuration,
    /// What the endpoints' names stand for.
    Dns,
    /// TCP, proxy and TLS to an endpoint.
    Connection,
    /// This machine's clock against the service's.
    Clock,
    /// Where credentials come from, and for how long.
    Credentials,
    /// Whom the service takes the caller for.
    Identity,
    /// Whether the target is known and online.
    Target,
    /// What its agent can do.
    Agent,
    /// Whether the caller may start a session.
    StartSession,
    /// Whether the caller may resume and terminate its sessions.
    OwnSessions,
    /// Whether the session document exists and takes the parameters.
    Document,
    /// The account's preferences for sessions.
    Preferences,
    /// Whether the caller may use the key of encrypted sessions.
    Encryption,
    /// Whether the local address is free.
    LocalPort,
    /// A real session.
    Session,
    /// Whether the remote port answers in it.
    RemotePort,
}

impl Check {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Dns => "DNS",
            Self::Connection => "connection",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Identity => "identity",
            Self::Target => "target",
            Self::Agent => "agent",
            Self::Document => "document",
            Self::StartSession => "start session",
            Self::OwnSessions => "own sessions",
            Self::Preferences => "preferences",
            Self::Encryption => "encryption",
            Self::LocalPort => "local port",
            Self::Session => "session",
            Self::RemotePort => "remote port",
        }
    }
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing is wrong.
    Pass,
    /// It works, but not as well or as surely as it could.
    Warn,
    /// It cannot work like this.
    Fail,
    /// It was not looked at, or could not be.
    Skip,
}

/// What a check has found.
///
/// Its JSON is part of the command-line contract: members may be added, and are neither renamed nor removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename = "check")]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// Which one, if there are several: a service, a document, a forward. Services that one cause is common to are joined
    /// with commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How it went.
    pub outcome: Outcome,
    /// What was found: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The check that it needs, which has found no way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<Check>,
    /// The exit code that a failure leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The same.
    #[serde(skip)]
    pub exit: Option<Exit>,
}

impl Finding {
    fn new(check: Check, outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            check,
            subject: None,
            outcome,
            message: message.into(),
            fix: None,
            needs: None,
            exit_code: None,
            exit: None,
        }
    }

    /// Nothing is wrong.
    pub fn pass(check: Check, message: impl Into<String>) -> Self {
        Self::new(check, Outcome::Pass, message)
    }

    /// Something could be better.
    pub fn warn(check: Check, message: impl Into<String>) -> Self {
        Self::new(check, Outcome::Warn, message)
    }

    /// It cannot work like this.
    pub fn fail(check: Check, failure: &Failure) -> Self {
        Self {
            exit_code: Some(failure.exit as u8),
            exit: Some(failure.exit),
            ..Self::new(check, Outcome::Fail, failure.message.clone()).fixed_by(failure)
        }
    }

    /// It was not looked at, or could not be.
    pub fn skip(check: Check, message: impl Into<String>) -> Self {
        Self::new(check, Outcome::Skip, message)
    }

    /// It was not looked at, because `cause` found no way.
    pub fn needs(check: Check, cause: Check) -> Self {
        Self {
            needs: Some(cause),
            ..Self::skip(check, format!("not checked: it needs {}", cause.name()))
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }

    /// Adds what to do about it, as a failure tells; but not to run what is running.
    #[must_use]
    pub fn fixed_by(self, failure: &Failure) -> Self {
        let hint = failure.hint.as_deref();
        let hint = hint.map(|hint| hint.trim_end_matches(SEE_DOCTOR).trim_end_matches("; "));
        Self {
            fix: hint.filter(|hint| !hint.is_empty()).map(str::to_owned),
            ..self
        }
    }

    /// Says which one was looked at.
    #[must_use]
    pub fn of(self, subject: impl Into<String>) -> Self {
        Self {
            subject: Some(subject.into()),
            ..self
        }
    }
}

impl From<Finding> for Vec<Finding> {
    fn from(finding: Finding) -> Self {
        vec![finding]
    }
}

/// What nobody has asked to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untried {
    /// What would be.
    pub checks: Vec<Check>,
    /// How to ask.
    pub next: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_event_in_json() {
        let failure = Failure::new(Exit::Target, "it is off").with_hint("turn it on");
        let finding = Finding::fail(Check::RemotePort, &failure).of("80:0");
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            r#"{"event":"check","check":"remote_port","subject":"80:0","outcome":"fail","message":"it is off","fix":"turn it on","exit_code":4}"#
        );
        let finding = Finding::needs(Check::Agent, Check::Target);
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            r#"{"event":"check","check":"agent","outcome":"skip","message":"not checked: it needs target","needs":"target"}"#
        );
    }

    #[test]
    fn nobody_is_sent_in_circles() {
        let fix = |hint: &str| {
            let failure = Failure::new(Exit::Failure, "it").with_hint(hint);
            Finding::fail(Check::Target, &failure).fix
        };
        assert_eq!(fix(SEE_DOCTOR), None);
        assert_eq!(fix(&format!("look; {SEE_DOCTOR}")).as_deref(), Some("look"));
    }
}
