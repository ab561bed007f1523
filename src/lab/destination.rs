//! Where an agent connects to for the streams of a session.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

use super::hosts::Hosts;
use super::service::PortTable;

/// The addresses of a session's destination, in the order they are tried.
///
/// They are looked up once, when the session starts, as the agent does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    addresses: Vec<SocketAddr>,
}

/// Why a session has no destination; the texts are the agent's, and end up in `channel_closed`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DestinationError {
    #[error("Port number is empty in session properties.")]
    NoPort,
    #[error("Forwarding to IP address {0} is forbidden.")]
    Forbidden(String),
    #[error("lookup {0}: no such host")]
    UnknownHost(String),
}

impl Destination {
    /// Finds the destination that a session's properties name.
    ///
    /// Without a `host` it is the target itself: a built-in service, or whatever listens on that
    /// port of this machine. The lab's own hosts may be anywhere, on loopback too.
    pub(super) async fn resolve(
        properties: &BTreeMap<String, String>,
        services: &PortTable,
        hosts: &Hosts,
    ) -> Result<Self, DestinationError> {
        let port = properties
            .get("portNumber")
            .and_then(|port| port.parse().ok());
        let port: u16 = port.ok_or(DestinationError::NoPort)?;
        let host = properties.get("host").map_or("", String::as_str);
        if let (true, Some(address)) = (host.is_empty(), services.find(port)) {
            return Ok(Self {
                addresses: vec![address],
            });
        }
        if let Some(address) = hosts.find(host, port) {
            return Ok(Self {
                addresses: vec![address],
            });
        }
        let name = if host.is_empty() { "localhost" } else { host };
        let unknown = || DestinationError::UnknownHost(name.to_owned());
        let found = tokio::net::lookup_host((name, port)).await;
        let addresses: Vec<_> = found.map_err(|_| unknown())?.collect();
        if addresses.is_empty() {
            return Err(unknown());
        }
        if !host.is_empty() && addresses.iter().any(|address| is_forbidden(address.ip())) {
            return Err(DestinationError::Forbidden(host.to_owned()));
        }
        Ok(Self { addresses })
    }

    /// Connects to the first address that accepts, with no deadline but the system's.
    ///
    /// # Errors
    ///
    /// The last address's error when none accepts.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(self.addresses.as_slice()).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }
}

/// Whether the agent refuses to forward to this address when it is named as a remote host.
fn is_forbidden(address: IpAddr) -> bool {
    address.is_loopback() || AWS_SERVICES.iter().any(|text| text.parse() == Ok(address))
}

/// Instance metadata, DNS, time and licensing: the agent's `DefaultDeniedPortForwardingRemoteIPs`.
const AWS_SERVICES: [&str; 9] = [
    "169.254.169.254",
    "fd00:ec2::254",
    "169.254.169.253",
    "fd00:ec2::253",
    "169.254.169.123",
    "fd00:ec2::123",
    "169.254.169.250",
    "169.254.169.251",
    "fd00:ec2::240",
];

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;

    async fn resolve(host: &str, port: &str) -> Result<Destination, DestinationError> {
        let properties = [("host", host), ("portNumber", port)];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let hosts = Hosts::default();
        hosts.set("db.internal", "127.0.0.2:0".parse().unwrap());
        Destination::resolve(&BTreeMap::from(properties), &PortTable::default(), &hosts).await
    }

    #[tokio::test]
    async fn a_well_known_port_is_the_built_in_service() {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let services = PortTable::start("i-0abc", &tracker, &shutdown)
            .await
            .unwrap();
        let properties = BTreeMap::from([("portNumber".to_owned(), "7".to_owned())]);
        let hosts = Hosts::default();
        let destination = Destination::resolve(&properties, &services, &hosts);
        let destination = destination.await.unwrap();
        assert_eq!(destination.addresses, [services.find(7).unwrap()]);
    }

    #[tokio::test]
    async fn any_other_port_is_this_machines() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let destination = resolve("", &address.port().to_string()).await.unwrap();
        let socket = destination.connect().await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), address);
        drop((socket, listener));
        let refused = destination.connect().await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn loopback_and_the_platforms_own_addresses_are_forbidden_as_hosts() {
        for host in [
            "127.0.0.1",
            "::1",
            "localhost",
            "169.254.169.254",
            "fd00:ec2::254",
        ] {
            let error = resolve(host, "80").await.unwrap_err();
            let expected = format!("Forwarding to IP address {host} is forbidden.");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_host_of_the_lab_is_where_the_lab_says() {
        let destination = resolve("db.internal", "5432").await.unwrap();
        assert_eq!(destination.addresses, ["127.0.0.2:5432".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_host_that_does_not_exist_and_a_port_that_is_none_are_told() {
        let unknown = resolve("nowhere.invalid", "80").await.unwrap_err();
        assert_eq!(unknown.to_string(), "lookup nowhere.invalid: no such host");
        assert_eq!(resolve("", "").await, Err(DestinationError::NoPort));
        assert_eq!(resolve("", "65536").await, Err(DestinationError::NoPort));
    }
}
