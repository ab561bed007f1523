//! Failures as the user meets them, and the exit codes they map to.

use std::fmt;
use std::process::ExitCode;

use crate::aws::Node;

/// Why the process ends, as its exit code. The numbers are part of the command-line contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Anything that has no code of its own.
    Failure = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Credentials are missing, expired, or do not permit the call.
    Credentials = 3,
    /// The target is unknown or not connected to Systems Manager.
    Target = 4,
    /// A local address cannot be listened on.
    Address = 5,
    /// The service or the agent ended a session that was running.
    SessionEnded = 6,
    /// The user has interrupted it before there was a result. As in shells: 128 and SIGINT's number.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The next step where the cause is not known for sure. The end of a hint, or all of it.
pub const SEE_DOCTOR: &str = "`ssmfwd doctor TARGET` looks for the cause";

/// How a policy denies a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// None allows it.
    Unallowed,
    /// One forbids it, which no other can change by allowing it.
    Forbidden,
}

/// What failed and why, in one line, with at most one line about what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The process's exit code if nobody handles the failure.
    pub exit: Exit,
    /// What failed and why: lower case, no full stop.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// The nodes between which nothing tells.
    pub matches: Vec<Node>,
    /// Neither time nor other credentials for the same caller will change the answer.
    pub is_permanent: bool,
    /// How it is denied, if it is.
    pub denial: Option<Denial>,
}

impl Failure {
    /// Creates a failure without a hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            matches: Vec::new(),
            is_permanent: false,
            denial: None,
        }
    }

    /// Marks it as denied, which trying again does not cure.
    #[must_use]
    pub fn denied(mut self, denial: Denial) -> Self {
        self.denial = Some(denial);
        self.permanent()
    }

    /// Marks it as one that trying again does not cure.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.is_permanent = true;
        self
    }

    /// Adds the nodes to choose from.
    #[must_use]
    pub fn with_matches(mut self, matches: Vec<Node>) -> Self {
        self.matches = matches;
        self
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
