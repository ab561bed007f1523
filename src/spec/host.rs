//! The host of a forward.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::ParseForwardError;

/// A host the target is to dial, resolved by the target and not here.
///
/// `Display` writes IPv6 in brackets, as the FORWARD grammar does; see [`Host::to_parameter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A DNS name, spelled as the user did.
    Name(String),
    /// An IP address.
    Ip(IpAddr),
}

impl Host {
    /// Tells whether the host, seen from the target, is the target: `localhost` and the loopback addresses.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost")
            }
            Self::Ip(address) => address.to_canonical().is_loopback(),
        }
    }

    /// The value of a document's `host` parameter: no brackets.
    pub fn to_parameter(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Ip(address) => address.to_string(),
        }
    }
}

impl FromStr for Host {
    type Err = ParseForwardError;

    /// Parses a DNS name or IPv4 address; IPv6 comes in brackets, which the caller takes off.
    fn from_str(text: &str) -> Result<Self, ParseForwardError> {
        if text.is_empty() {
            return Err(ParseForwardError::HostMissing);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(address.into()));
        }
        let is_numeric = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        if is_numeric {
            return Err(ParseForwardError::Ipv4(text.to_owned()));
        }
        match is_dns_name(text) {
            true => Ok(Self::Name(text.to_owned())),
            false => Err(ParseForwardError::Host(text.to_owned())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Checks the shape RFC 1035 gives a name, with `_` as real zones have it and one dot allowed at the end.
fn is_dns_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}
