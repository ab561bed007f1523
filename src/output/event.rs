//! What the program reports, for people and for programs.

#[cfg(feature = "lab")]
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Verbosity, one_line};
use crate::failure::Failure;
use crate::local::Address;
use crate::local::pump::Outcome;
use crate::spec::Forward;

/// Something the user or a program may want to know.
///
/// As JSON, an object whose `event` is the variant's name in snake case and whose other members are the fields as
/// named here. Both are part of the command-line contract: members may be added, and are neither renamed nor removed.
/// `Display` is the sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The local address is being listened on. Connections are accepted, and wait for the session.
    Listening {
        #[serde(flatten)]
        mapping: Mapping,
    },
    /// The session runs: the forward works.
    Connected {
        #[serde(flatten)]
        mapping: Mapping,
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
        /// Why the connection was reset; absent when both sides were done with it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
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
        /// The exit code the failure leads to.
        exit_code: u8,
    },
}

/// What is forwarded to where. Its members stand beside `event` in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mapping {
    /// The target the traffic goes through.
    pub target: String,
    /// The forward in its shortest spelling, as in `80:9090`.
    pub forward: String,
    /// The host behind the target; absent for a port of the target itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_host: Option<String>,
    /// The port on the target or the host.
    pub remote_port: u16,
    /// The local address, as in `localhost:9090`, `0.0.0.0:9090` or `/run/pg.sock`.
    pub address: String,
    /// The local port; absent for a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Mapping {
    /// Describes `forward` through `target`, listening at `address`.
    pub fn new(target: &str, forward: &Forward, address: &Address) -> Self {
        let remote_host = forward.host.as_ref().filter(|host| !host.is_loopback());
        Self {
            target: target.to_owned(),
            forward: forward.to_string(),
            remote_host: remote_host.map(ToString::to_string),
            remote_port: forward.remote_port,
            address: address.to_string(),
            port: address.port(),
        }
    }

    /// The local address as one would open it: a URL where the remote port suggests a web server.
    fn locator(&self) -> String {
        let scheme = match (self.port, self.remote_port) {
            (Some(_), 80 | 3000 | 8000 | 8080 | 8888) => "http://",
            (Some(_), 443 | 8443) => "https://",
            _ => "",
        };
        format!("{scheme}{}", self.address)
    }
}

impl Event {
    /// The lowest verbosity at which people are told of the event.
    pub fn verbosity(&self) -> Verbosity {
        match self {
            Self::Error { .. } => Verbosity::Quiet,
            Self::Connected { .. } | Self::Notice { .. } | Self::Warning { .. } => {
                Verbosity::Normal
            }
            #[cfg(feature = "lab")]
            Self::LabStarted { .. } => Verbosity::Normal,
            Self::ConnectionClosed {
                outcome: Outcome::Refused,
                ..
            } => Verbosity::Normal,
            Self::Listening { .. }
            | Self::Closed { .. }
            | Self::ConnectionOpened { .. }
            | Self::ConnectionClosed { .. } => Verbosity::Verbose,
        }
    }
}

impl From<&Failure> for Event {
    fn from(failure: &Failure) -> Self {
        Self::Error {
            message: failure.message.clone(),
            hint: failure.hint.clone(),
            exit_code: failure.exit as u8,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { mapping } => write!(f, "listening on {}", mapping.address),
            Self::Connected { mapping, .. } => {
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
                outcome: _,
                reason,
            } => match reason {
                Some(reason) => write!(
                    f,
                    "connection {connection} of {forward} was reset: {}",
                    one_line(reason)
                ),
                None => write!(
                    f,
                    "connection {connection} of {forward} closed: {sent} bytes sent, {received} bytes received"
                ),
            },
            Self::Closed { session_id, reason } => {
                write!(f, "session {session_id} ended: {}", one_line(reason))
            }
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
            Self::Error { message, hint, .. } => {
                write!(f, "error: {}", one_line(message))?;
                match hint {
                    Some(hint) => write!(f, "\nhint: {}", one_line(hint)),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::failure::Exit;

    fn connected(forward: &str, address: Address) -> Event {
        Event::Connected {
            mapping: Mapping::new("i-0abc", &forward.parse().unwrap(), &address),
            session_id: "me-0123".into(),
            agent_version: "3.3.987.0".into(),
        }
    }

    #[test]
    fn a_forward_is_announced_the_way_it_is_used() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        let table = [
            (
                "80:9090",
                Address::Localhost(9090),
                "80 of i-0abc is now http://localhost:9090",
            ),
            (
                "443:0",
                Address::Localhost(4443),
                "443 of i-0abc is now https://localhost:4443",
            ),
            (
                "localhost:5432",
                Address::Localhost(5432),
                "5432 of i-0abc is now localhost:5432",
            ),
            (
                "80:[::1]:90",
                tcp("[::1]:90"),
                "80 of i-0abc is now http://[::1]:90",
            ),
            (
                "80:/a.sock",
                Address::Unix("/a.sock".into()),
                "80 of i-0abc is now /a.sock",
            ),
            (
                "db.internal:5432:15432",
                Address::Localhost(15432),
                "db.internal:5432 through i-0abc is now localhost:15432",
            ),
            (
                "[fd00::1]:80:1",
                Address::Localhost(1),
                "[fd00::1]:80 through i-0abc is now http://localhost:1",
            ),
        ];
        for (forward, address, sentence) in table {
            assert_eq!(connected(forward, address).to_string(), sentence);
        }
    }

    #[test]
    fn json_names_are_stable() {
        let listening = Event::Listening {
            mapping: Mapping::new(
                "i-0abc",
                &"5432:./x".parse().unwrap(),
                &Address::Unix("./x".into()),
            ),
        };
        let opened = Event::ConnectionOpened {
            forward: "80".into(),
            connection: 1,
            peer: "127.0.0.1:5".into(),
        };
        let closed = |outcome, reason| Event::ConnectionClosed {
            forward: "80".into(),
            connection: 1,
            sent: 2,
            received: 3,
            outcome,
            reason,
        };
        let table = [
            (
                listening,
                json!({"event": "listening", "target": "i-0abc", "forward": "5432:./x", "remote_port": 5432,
                       "address": "./x"}),
            ),
            (
                connected("db:1:2", Address::Localhost(2)),
                json!({"event": "connected", "target": "i-0abc", "forward": "db:1:2", "remote_host": "db",
                       "remote_port": 1, "address": "localhost:2", "port": 2, "session_id": "me-0123",
                       "agent_version": "3.3.987.0"}),
            ),
            (
                opened,
                json!({"event": "connection_opened", "forward": "80", "connection": 1, "peer": "127.0.0.1:5"}),
            ),
            (
                closed(Outcome::Closed, None),
                json!({"event": "connection_closed", "forward": "80", "connection": 1, "sent": 2, "received": 3,
                       "outcome": "closed"}),
            ),
            (
                closed(Outcome::Refused, Some("refused".into())),
                json!({"event": "connection_closed", "forward": "80", "connection": 1, "sent": 2, "received": 3,
                       "outcome": "refused", "reason": "refused"}),
            ),
            (
                Event::Closed {
                    session_id: "me-0123".into(),
                    reason: "timed out".into(),
                },
                json!({"event": "closed", "session_id": "me-0123", "reason": "timed out"}),
            ),
            (
                Event::from(&Failure::new(Exit::Address, "busy").with_hint("another")),
                json!({"event": "error", "message": "busy", "hint": "another", "exit_code": 5}),
            ),
            (
                Event::from(&Failure::new(Exit::Failure, "broken")),
                json!({"event": "error", "message": "broken", "exit_code": 1}),
            ),
        ];
        for (event, expected) in table {
            assert_eq!(serde_json::to_value(&event).unwrap(), expected);
        }
    }

    #[test]
    fn only_a_refused_connection_is_worth_a_line() {
        let closed = |outcome, reason: Option<&str>| Event::ConnectionClosed {
            forward: "80".into(),
            connection: 1,
            sent: 0,
            received: 0,
            outcome,
            reason: reason.map(str::to_owned),
        };
        assert_eq!(
            closed(Outcome::Closed, None).verbosity(),
            Verbosity::Verbose
        );
        let lost = closed(Outcome::Lost, Some("the session ended"));
        assert_eq!(lost.verbosity(), Verbosity::Verbose);
        let refused = closed(Outcome::Refused, Some("refused\n"));
        assert_eq!(refused.verbosity(), Verbosity::Normal);
        assert_eq!(refused.to_string(), "connection 1 of 80 was reset: refused");
    }
}
