//! The local side: where connections come from.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use listener::Listener;
pub use stream::LocalStream;

pub mod finishing;
pub mod half_close;
mod listener;
#[cfg(target_os = "linux")]
mod owner;
pub mod pump;
mod silence;
pub mod stdio;
mod stream;
#[cfg(unix)]
mod unix;

/// Where a forward listens, every port known. `Display` writes it as an address a person can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A port on `localhost`: 127.0.0.1, and ::1 where the machine has IPv6.
    Localhost(u16),
    /// One IP address and port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The port; a Unix socket has none.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Localhost(port) => Some(*port),
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The environment of `-- COMMAND`: where it finds the forwards, the first one under unnumbered names too.
pub fn environment(addresses: &[Address]) -> Vec<(String, String)> {
    let numbered = addresses.iter().enumerate();
    let numbered = numbered.map(|(index, address)| (format!("_{}", index + 1), address));
    let first = addresses.first().map(|address| (String::new(), address));
    let variables = |(suffix, address): (String, &Address)| {
        let variable = |name, value| (format!("SSMFWD_{name}{suffix}"), value);
        match address {
            Address::Localhost(port) => vec![
                variable("HOST", "localhost".to_owned()),
                variable("PORT", port.to_string()),
            ],
            Address::Tcp(address) => vec![
                variable("HOST", address.ip().to_string()),
                variable("PORT", address.port().to_string()),
            ],
            Address::Unix(path) => vec![variable("SOCKET", path.display().to_string())],
        }
    };
    first
        .into_iter()
        .chain(numbered)
        .flat_map(variables)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_finds_every_forward_in_its_environment() {
        let addresses = [
            Address::Localhost(9090),
            Address::Unix("/run/pg.sock".into()),
            Address::Tcp("[::1]:80".parse().unwrap()),
        ];
        let expected = [
            ("SSMFWD_HOST", "localhost"),
            ("SSMFWD_PORT", "9090"),
            ("SSMFWD_HOST_1", "localhost"),
            ("SSMFWD_PORT_1", "9090"),
            ("SSMFWD_SOCKET_2", "/run/pg.sock"),
            ("SSMFWD_HOST_3", "::1"),
            ("SSMFWD_PORT_3", "80"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(environment(&addresses), expected);
    }
}
