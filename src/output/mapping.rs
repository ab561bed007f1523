//! What a forward is, for events.

use serde::Serialize;

use crate::local::Address;
use crate::spec::Forward;

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
    pub(super) fn locator(&self) -> String {
        let scheme = match (self.port, self.remote_port) {
            (Some(_), 80 | 3000 | 8000 | 8080 | 8888) => "http://",
            (Some(_), 443 | 8443) => "https://",
            _ => "",
        };
        format!("{scheme}{}", self.address)
    }
}
