//! Versions of client and agent, and what they switch.
//!
//! Nothing on the wire signals a feature: both ends compare version numbers and must come to the
//! same result ("Version gates" in the README; plugin `versionutil.go`, agent `port.go`).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The client version this crate claims on the wire.
///
/// At least 1.2.764.0, the first that signs the upgrade and the oldest AWS supports; above 1.2.331.0
/// the agent leaves smux keep-alive off, so that idle timeouts work.
pub const CLIENT_VERSION: &str = "1.2.764.0";

/// Up to four numbers, missing ones zero: `3.1.1511.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u32; 4]);

impl Version {
    /// Returns whether an agent of this version ends its session on a TerminateSession flag.
    pub fn agent_honours_terminate_flag(self) -> bool {
        self > Self([2, 3, 722, 0])
    }

    /// Returns whether an agent of this version multiplexes connections with smux.
    pub fn agent_multiplexes(self) -> bool {
        self > Self([3, 0, 196, 0])
    }

    /// Returns whether an agent of this version connects to hosts other than its own.
    ///
    /// Source: "Version gates" in the README; release notes of the agent.
    pub fn agent_reaches_remote_hosts(self) -> bool {
        self >= Self([3, 1, 1374, 0])
    }

    /// Returns whether an agent of this version reports the exit code of a command whose outputs it keeps apart.
    ///
    /// Source: "Version gates" in the README; release notes of the agent.
    pub fn agent_reports_exit_code(self) -> bool {
        self >= Self([3, 1, 1511, 0])
    }

    /// Returns whether an agent of this version drops a mux session that stays silent for 30 s.
    pub fn agent_expects_keep_alive(self) -> bool {
        self <= Self([3, 1, 1511, 0])
    }

    /// Returns whether an agent of this version acknowledges a repetition of what it has delivered.
    ///
    /// Source: agent `datachannel.go`, commit b0e8d778.
    pub fn agent_acknowledges_repetitions(self) -> bool {
        self >= Self([3, 2, 1041, 0])
    }

    /// Returns whether a client of this version tells a command's standard error from its output.
    pub fn client_separates_outputs(self) -> bool {
        self > Self([1, 2, 295, 0])
    }

    /// Returns whether a client of this version multiplexes connections with smux.
    pub fn client_multiplexes(self) -> bool {
        self >= Self([1, 1, 70, 0])
    }
}

/// Text that is not one to four dot-separated numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a version is one to four numbers with dots between them, such as 3.3.987.0")]
pub struct ParseVersionError;

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = [0; 4];
        let mut places = numbers.iter_mut();
        for part in text.split('.') {
            let place = places.next().ok_or(ParseVersionError)?;
            *place = part.parse().map_err(|_| ParseVersionError)?;
        }
        Ok(Self(numbers))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn gates_are_strict_where_the_official_ends_are() {
        assert!(!version("3.0.196.0").agent_multiplexes());
        assert!(version("3.0.196.1").agent_multiplexes());
        assert!(!version("2.3.722.0").agent_honours_terminate_flag());
        assert!(version("2.3.756.0").agent_honours_terminate_flag());
        assert!(version("3.1.1374.0").agent_reaches_remote_hosts());
        assert!(!version("3.1.1260.0").agent_reaches_remote_hosts());
        assert!(version("3.1.1511.0").agent_expects_keep_alive());
        assert!(!version("3.1.1511.1").agent_expects_keep_alive());
        assert!(version("3.2.1041.0").agent_acknowledges_repetitions());
        assert!(!version("3.2.985.0").agent_acknowledges_repetitions());
        assert!(!version("1.2.295").client_separates_outputs());
        assert!(version("1.2.312.0").client_separates_outputs());
        assert!(version("1.1.70").client_multiplexes());
        assert!(!version("1.1.69.9").client_multiplexes());
    }

    #[test]
    fn the_claimed_version_opens_every_gate() {
        let claimed = version(CLIENT_VERSION);
        assert!(claimed.client_multiplexes());
        assert!(claimed >= version("1.2.764.0"));
    }

    #[test]
    fn short_versions_are_padded_with_zeros() {
        assert_eq!(version("3.3.987"), version("3.3.987.0"));
        assert_eq!(version("3.3.987").to_string(), "3.3.987.0");
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "3.", "a.b", "1.2.3.4.5", "-1", "99999999999"] {
            assert_eq!(text.parse::<Version>(), Err(ParseVersionError), "{text:?}");
        }
    }
}
