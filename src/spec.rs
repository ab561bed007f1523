//! The FORWARD grammar: `[HOST:]RPORT[:LOCAL]`, remote side first.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use error::ParseForwardError;
pub use host::Host;

mod error;
mod host;
#[cfg(test)]
mod tests;

/// The document for ports of the target itself.
pub const PORT_DOCUMENT: &str = "AWS-StartPortForwardingSession";
/// The document for ports of hosts the target can reach. The agent refuses loopback hosts with it.
pub const REMOTE_HOST_DOCUMENT: &str = "AWS-StartPortForwardingSessionToRemoteHost";

/// One forward as the user wrote it: a remote port and the local address it appears at.
///
/// `Display` writes the shortest text that parses to the same value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The host as written; `None` means the target itself, see also [`Forward::is_to_target`].
    pub host: Option<Host>,
    /// The port on `host`: 1 to 65535.
    pub remote_port: u16,
    /// Where the local side listens.
    pub local: Local,
}

/// The local side of a forward, as asked for: port 0 still means "any free port" here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// A port on `localhost`, that is 127.0.0.1 and ::1.
    Loopback(u16),
    /// One IP address and port, written out.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Forward {
    /// Tells whether the remote port is on the target itself: no host, or a loopback one.
    pub fn is_to_target(&self) -> bool {
        self.host.as_ref().is_none_or(Host::is_loopback)
    }

    /// Tells whether the remote port is on another host that is known by a name, which may come to mean
    /// another address.
    pub fn is_to_host_by_name(&self) -> bool {
        !self.is_to_target() && matches!(self.host, Some(Host::Name(_)))
    }

    /// The Session Manager document that serves this forward.
    pub fn document(&self) -> &'static str {
        if self.is_to_target() {
            PORT_DOCUMENT
        } else {
            REMOTE_HOST_DOCUMENT
        }
    }
}

impl FromStr for Forward {
    type Err = ParseForwardError;

    fn from_str(text: &str) -> Result<Self, ParseForwardError> {
        parse(text).map_err(|error| {
            // Whatever else seems wrong, a bare IPv6 address is the cause of it.
            match starts_with_bare_ipv6(text) {
                true => ParseForwardError::BareIpv6,
                false => error,
            }
        })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}:")?;
        }
        write!(f, "{}", self.remote_port)?;
        if self.local != Local::Loopback(self.remote_port) {
            write!(f, ":{}", self.local)?;
        }
        Ok(())
    }
}

impl Local {
    /// The port asked for, 0 being any free one; a Unix socket has none.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Loopback(port) => Some(*port),
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// Tells whether other machines may be able to connect.
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Self::Loopback(_) | Self::Unix(_) => false,
        }
    }

    /// Tells whether listening on both at once is bound to fail.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(a), Self::Unix(b)) => a == b,
            _ if self.port() != other.port() || self.port() == Some(0) => false,
            (Self::Loopback(_), Self::Loopback(_)) => true,
            (Self::Loopback(_), Self::Tcp(address)) | (Self::Tcp(address), Self::Loopback(_)) => {
                is_localhost(address) || address.ip().is_unspecified()
            }
            (Self::Tcp(a), Self::Tcp(b)) => {
                let same_family = a.is_ipv4() == b.is_ipv4();
                a.ip() == b.ip()
                    || same_family && (a.ip().is_unspecified() || b.ip().is_unspecified())
            }
            (Self::Unix(_), _) | (_, Self::Unix(_)) => false,
        }
    }
}

/// Tells whether `address` is one of the two that `localhost` stands for; 127.0.0.2 is not.
fn is_localhost(address: &SocketAddr) -> bool {
    address.ip() == Ipv4Addr::LOCALHOST || address.ip() == Ipv6Addr::LOCALHOST
}

impl FromStr for Local {
    type Err = ParseForwardError;

    fn from_str(text: &str) -> Result<Self, ParseForwardError> {
        let path = match text.strip_prefix("unix:") {
            Some(path) => Some(path),
            None => (text.starts_with('/') || text.starts_with("./")).then_some(text),
        };
        if let Some(path) = path {
            let names_file = Path::new(path).file_name().is_some() && !path.ends_with('/');
            return match names_file {
                true => Ok(Self::Unix(PathBuf::from(path))),
                false => Err(ParseForwardError::SocketName(path.to_owned())),
            };
        }
        if is_number(text) {
            return match text.parse() {
                Ok(port) => Ok(Self::Loopback(port)),
                Err(_) => Err(ParseForwardError::LocalPort(text.to_owned())),
            };
        }
        match text.parse() {
            Ok(address) => Ok(Self::Tcp(address)),
            Err(_) => Err(ParseForwardError::Local(text.to_owned())),
        }
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(port) => write!(f, "{port}"),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => {
                let text = path.to_string_lossy();
                match text.starts_with('/') || text.starts_with("./") {
                    true => f.write_str(&text),
                    false => write!(f, "unix:{text}"),
                }
            }
        }
    }
}

/// Splits `text` from the left: what looks like a host, then the port, and the rest is local, colons included.
fn parse(text: &str) -> Result<Forward, ParseForwardError> {
    if text.is_empty() {
        return Err(ParseForwardError::Empty);
    }
    let (host, rest) = split_host(text)?;
    let (port, local) = match rest.split_once(':') {
        Some((port, local)) => (port, Some(local)),
        None => (rest, None),
    };
    // `parse` alone would take "+80".
    let remote_port = match port.parse() {
        Ok(number @ 1..) if is_number(port) => number,
        _ => return Err(remote_port_error(host, port)),
    };
    let local = match local {
        Some("") => return Err(ParseForwardError::LocalMissing),
        Some(local) => local.parse()?,
        None => Local::Loopback(remote_port),
    };
    Ok(Forward {
        host,
        remote_port,
        local,
    })
}

/// Takes the host off the front of `text`; a first part that is all digits is the port already.
fn split_host(text: &str) -> Result<(Option<Host>, &str), ParseForwardError> {
    if let Some(inner) = text.strip_prefix('[') {
        let Some((address, rest)) = inner.split_once(']') else {
            return Err(ParseForwardError::UnclosedBracket);
        };
        let Ok(address) = address.parse::<Ipv6Addr>() else {
            return Err(ParseForwardError::Ipv6(address.to_owned()));
        };
        let host = Host::Ip(address.into());
        return match rest.strip_prefix(':') {
            Some(rest) => Ok((Some(host), rest)),
            None => Err(ParseForwardError::RemotePortMissing(host.to_string())),
        };
    }
    let (first, rest) = match text.split_once(':') {
        Some((first, rest)) => (first, Some(rest)),
        None => (text, None),
    };
    if is_number(first) {
        return Ok((None, text));
    }
    let host: Host = first.parse()?;
    match rest {
        Some(rest) => Ok((Some(host), rest)),
        None => Err(ParseForwardError::RemotePortMissing(host.to_string())),
    }
}

fn remote_port_error(host: Option<Host>, port: &str) -> ParseForwardError {
    match host {
        Some(host) if port.is_empty() => ParseForwardError::RemotePortMissing(host.to_string()),
        _ if is_number(port) => ParseForwardError::RemotePortRange(port.to_owned()),
        _ => ParseForwardError::RemotePort(port.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Tells whether `text`, up to one of its colons or its end, is an IPv6 address without brackets.
fn starts_with_bare_ipv6(text: &str) -> bool {
    let colons = text.match_indices(':').map(|(at, _)| at);
    colons
        .chain([text.len()])
        .any(|end| text[..end].parse::<Ipv6Addr>().is_ok())
}
