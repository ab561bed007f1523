//! What the program reports, for people and for programs.

#[cfg(feature = "lab")]
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Mapping, Verbosity, nodes, one_line};
use crate::aws::Node;
use crate::failure::Failure;
use crate::local::pump::Outcome;

/// Something the user or a program may want to know.
///
/// As JSON, an object whose `event` is the variant's name in snake case and whose other members are the fields as
/// named here. Both are part of the command-line contract: members may be added, and are neither renamed nor removed.
/// `Display` is the sentence for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The local address is being listened on. Connections are accepted, and wait for the session.
    Listening {
        #[serde(flatten)]
        mapping: Mapping,
        /// No session is started before the first connection.
        #[serde(skip_serializing_if = "is_false")]
        lazy: bool,
    },
    /// The session runs: the forward works.
    Connected {
        #[serde(flatten)]
        mapping: Mapping,
        /// The id of the target, which may have been given by a name.
        target_id: String,
        /// Session Manager's name for the session.
        session_id: String,
        /// What the agent says it is, such as `3.3.987.0`.
        agent_version: String,
    },
    /// A local connection was accepted.
    ConnectionOpened {
        /// The forward, as in [`Mapping::forward`].
        forward: String,
        /// The connection's number, counted from 1 over all forwards.
        connection: u64,
        /// Who connected: an IP address and port, or a process.
        peer: String,
    },
    /// A local connection ended.
    ConnectionClosed {
        /// The forward, as in [`Mapping::forward`].
        forward: String,
        /// The number of its [`Event::ConnectionOpened`].
        connection: u64,
        /// Bytes that went to the remote side.
        sent: u64,
        /// Bytes that came from the remote side.
        received: u64,
        /// How it ended: `closed` when both sides were done, or `held_too_long`, `refused`, `lost`, `reset`.
        outcome: Outcome,
        /// Why it was not left to both sides to end; absent when they were done with it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A forward, or a session that serves none, does not work at the moment; what that takes is under way.
    Reconnecting {
        /// The forward, as in [`Mapping::forward`].
        #[serde(skip_serializing_if = "Option::is_none")]
        forward: Option<String>,
        /// The session that is, or was, the forward's.
        session_id: String,
        /// What was lost and why.
        reason: String,
        /// What is done about it.
        action: Action,
    },
    /// A forward, or a session that serves none, does not work until something is done, or happens, elsewhere.
    Waiting {
        /// The forward, as in [`Mapping::forward`].
        #[serde(skip_serializing_if = "Option::is_none")]
        forward: Option<String>,
        /// The session, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        session_id: Option<String>,
        /// What is missing.
        reason: String,
        /// What to do about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// A forward, or a session that serves none, works again over another connection; nothing was lost.
    Resumed {
        /// The forward, as in [`Mapping::forward`].
        #[serde(skip_serializing_if = "Option::is_none")]
        forward: Option<String>,
        /// Session Manager's name for the session.
        session_id: String,
        /// How long there was no connection, in seconds.
        gap: f64,
        /// The connection was replaced before the service would have closed it. There is no
        /// [`Event::Reconnecting`] before, unless it takes more than a second.
        planned: bool,
    },
    /// The forward works again with another session; connections of the last one were reset.
    Restarted {
        /// The forward, as in [`Mapping::forward`].
        forward: String,
        /// Session Manager's name for the new session.
        session_id: String,
        /// The session that it follows.
        previous_session_id: String,
        /// Why that one ended.
        reason: String,
        /// How long it took since it was wanted, in seconds.
        gap: f64,
    },
    /// An additional session runs: connections that the others cannot serve as well go there.
    SessionStarted {
        /// The forward, as in [`Mapping::forward`].
        forward: String,
        /// Session Manager's name for the session.
        session_id: String,
        /// Why the others are not enough.
        reason: String,
    },
    /// One of several sessions is gone; its connections were reset, and the others go on.
    SessionLost {
        /// The forward, as in [`Mapping::forward`].
        forward: String,
        /// Session Manager's name for the session.
        session_id: String,
        /// Why it ended.
        reason: String,
        /// How many connections were reset.
        connections: usize,
    },
    /// The command has ended, and what it has written takes a while to be delivered.
    Delivering,
    /// A session ended.
    Closed {
        /// Session Manager's name for the session.
        session_id: String,
        /// Who ended it and why.
        reason: String,
    },
    /// The lab runs.
    #[cfg(feature = "lab")]
    LabStarted {
        /// Where its API is.
        endpoint_url: String,
        /// The targets that exist in it.
        targets: Vec<String>,
        /// The environment that makes AWS tools use it.
        environment: BTreeMap<&'static str, String>,
    },
    /// The configuration of `ssh` has the stanza.
    SshConfigInstalled {
        /// The file it is in.
        path: String,
        /// Whether the file had to be changed for it.
        is_changed: bool,
        /// A copy of the file as it was before; absent if there was none, or nothing had to be changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        backup: Option<String>,
    },
    /// What the account's administrator has to say to whoever starts a session.
    Notice { message: String },
    /// Something to be careful about; the program goes on.
    Warning { message: String },
    /// What the program failed at.
    Error {
        /// What failed and why.
        message: String,
        /// What to do about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        /// The targets between which nothing tells; absent where there are none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        matches: Vec<Node>,
        /// The exit code the failure leads to.
        exit_code: u8,
    },
}

/// What is done about a forward that does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The session is resumed; connections wait.
    Resume,
    /// Another session is started; connections, if there were any, were reset.
    Restart,
    /// Another session is started with the next connection; connections, if there were any, were reset.
    RestartOnDemand,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Event {
    /// The lowest verbosity at which people are told of the event.
    pub fn verbosity(&self) -> Verbosity {
        match self {
            Self::Error { .. } => Verbosity::Quiet,
            Self::Connected { .. }
            | Self::Delivering
            | Self::SshConfigInstalled { .. }
            | Self::Notice { .. }
            | Self::Warning { .. } => Verbosity::Normal,
            #[cfg(feature = "lab")]
            Self::LabStarted { .. } => Verbosity::Normal,
            Self::ConnectionClosed {
                outcome: Outcome::Refused,
                ..
            } => Verbosity::Normal,
            Self::Reconnecting { .. } | Self::Waiting { .. } | Self::Restarted { .. } => {
                Verbosity::Normal
            }
            // Nobody has noticed.
            Self::Resumed {
                planned: true, gap, ..
            } if *gap < 1.0 => Verbosity::Verbose,
            Self::Resumed { .. } | Self::Listening { lazy: true, .. } => Verbosity::Normal,
            Self::SessionLost { connections, .. } if *connections > 0 => Verbosity::Normal,
            Self::Listening { .. }
            | Self::SessionStarted { .. }
            | Self::SessionLost { .. }
            | Self::Closed { .. }
            | Self::ConnectionOpened { .. }
            | Self::ConnectionClosed { .. } => Verbosity::Verbose,
        }
    }
}

/// What an event is about: a forward, or else a session.
struct Subject<'a>(Option<&'a String>, Option<&'a String>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Some(forward), _) => f.write_str(forward),
            Self(None, Some(session_id)) => write!(f, "session {session_id}"),
            Self(None, None) => f.write_str("the session"),
        }
    }
}

/// What others say, as a part of a sentence of ours.
fn clause(text: &str) -> String {
    let mut text = one_line(text);
    text.truncate(text.trim_end_matches('.').len());
    text
}

/// A time in seconds as people say it.
struct Gap(f64);

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            gap if gap < 10.0 => write!(f, "{gap:.1} s"),
            gap if gap < 120.0 => write!(f, "{gap:.0} s"),
            gap if gap < 7200.0 => write!(f, "{:.0} min", gap / 60.0),
            gap => write!(f, "{:.1} h", gap / 3600.0),
        }
    }
}

impl From<&Failure> for Event {
    fn from(failure: &Failure) -> Self {
        Self::Error {
            message: failure.message.clone(),
            hint: failure.hint.clone(),
            matches: failure.matches.clone(),
            exit_code: failure.exit as u8,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { mapping, lazy } => {
                write!(f, "{}: listening on {}", mapping.forward, mapping.address)?;
                match lazy {
                    true => f.write_str(", the first connection starts a session"),
                    false => Ok(()),
                }
            }
            Self::Reconnecting {
                forward,
                session_id,
                reason,
                action,
            } => {
                let subject = Subject(forward.as_ref(), Some(session_id));
                let reason = clause(reason);
                let consequence = match action {
                    // What matters comes first: there may be no room for more.
                    Action::Resume if forward.is_none() => {
                        return write!(f, "{subject}: reconnecting, {reason}");
                    }
                    Action::Resume => "reconnecting, open connections wait",
                    Action::Restart => "any open connections were reset, starting a new session",
                    Action::RestartOnDemand => {
                        "any open connections were reset, the next one starts a new session"
                    }
                };
                write!(f, "{subject}: {reason}; {consequence}")
            }
            Self::Waiting {
                forward,
                session_id,
                reason,
                hint,
            } => {
                let subject = Subject(forward.as_ref(), session_id.as_ref());
                write!(f, "{subject}: waiting, {}", clause(reason))?;
                match hint {
                    Some(hint) => write!(f, "; {}", one_line(hint)),
                    None => Ok(()),
                }
            }
            Self::Resumed {
                forward,
                session_id,
                gap,
                ..
            } => {
                let (subject, gap) = (Subject(forward.as_ref(), Some(session_id)), Gap(*gap));
                write!(
                    f,
                    "{subject}: connected again after {gap}, nothing was lost"
                )
            }
            Self::Restarted { forward, gap, .. } => {
                write!(
                    f,
                    "{forward}: works again with a new session after {}",
                    Gap(*gap)
                )
            }
            Self::Connected {
                mapping, target_id, ..
            } => {
                let Mapping {
                    target,
                    remote_host,
                    remote_port,
                    ..
                } = mapping;
                match remote_host {
                    Some(host) => write!(f, "{host}:{remote_port} through {target}")?,
                    None => write!(f, "{remote_port} of {target}")?,
                }
                if target_id != target {
                    write!(f, " ({target_id})")?;
                }
                write!(f, " is now {}", mapping.locator())
            }
            Self::ConnectionOpened {
                forward,
                connection,
                peer,
            } => {
                write!(f, "connection {connection} of {forward} opened by {peer}")
            }
            Self::ConnectionClosed {
                forward,
                connection,
                sent,
                received,
                outcome,
                reason,
            } => {
                let subject = format!("connection {connection} of {forward}");
                let carried = format!("{sent} bytes sent, {received} bytes received");
                match (reason.as_ref().map(one_line), outcome) {
                    (None, _) => write!(f, "{subject} closed: {carried}"),
                    // The local side has ended it, and has nothing left to be reset if it has gone away.
                    (Some(reason), Outcome::HeldTooLong) => {
                        write!(f, "{subject} closed: {carried}; {reason}")
                    }
                    (Some(reason), _) => write!(f, "{subject} was reset: {reason}"),
                }
            }
            Self::SessionStarted {
                forward, reason, ..
            } => write!(
                f,
                "{forward}: another session was started, {}",
                one_line(reason)
            ),
            Self::SessionLost {
                forward,
                reason,
                connections,
                ..
            } => {
                let connections = match connections {
                    0 => "no connection used it".to_owned(),
                    1 => "its connection was reset".to_owned(),
                    count => format!("its {count} connections were reset"),
                };
                write!(
                    f,
                    "{forward}: {}; {connections}, others go on",
                    clause(reason)
                )
            }
            Self::Delivering => f.write_str(
                "waiting until everything that the command has written is delivered, Ctrl-C gives up",
            ),
            Self::Closed { session_id, reason } => {
                let (session, reason) = (format!("session {session_id}"), one_line(reason));
                match reason.starts_with(&session) {
                    true => f.write_str(&reason),
                    false => write!(f, "{session} ended: {reason}"),
                }
            }
            Self::SshConfigInstalled {
                path,
                is_changed,
                backup,
            } => match (is_changed, backup) {
                (false, _) => write!(f, "the stanza is in {path} already"),
                (true, None) => write!(f, "the stanza is in {path}, a new file"),
                (true, Some(backup)) => {
                    write!(f, "the stanza is in {path}; as it was before: {backup}")
                }
            },
            #[cfg(feature = "lab")]
            Self::LabStarted {
                endpoint_url,
                targets,
                ..
            } => write!(
                f,
                "the lab serves {} at {endpoint_url} until it is interrupted",
                targets.join(", ")
            ),
            Self::Notice { message } => write!(f, "{}", one_line(message)),
            Self::Warning { message } => write!(f, "warning: {}", one_line(message)),
            Self::Error {
                message,
                hint,
                matches,
                ..
            } => {
                write!(f, "error: {}", one_line(message))?;
                if !matches.is_empty() {
                    let mut lines = nodes::lines(matches).into_iter();
                    lines.try_for_each(|line| write!(f, "\n  {line}"))?;
                }
                match hint {
                    Some(hint) => write!(f, "\nhint: {}", one_line(hint)),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
