//! The lab's own names: where the hosts that targets can reach are, which can change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use super::lock;

/// Names with an address each. Others are looked up as this machine does.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    addresses: Mutex<BTreeMap<String, SocketAddr>>,
}

impl Hosts {
    /// Has a name mean an address from now on. Agents look names up when a session starts; port 0
    /// stands for the session's.
    pub(super) fn set(&self, name: &str, address: SocketAddr) {
        lock(&self.addresses).insert(name.to_owned(), address);
    }

    /// Where a host's port is, if the name is one of the lab's.
    pub(super) fn find(&self, name: &str, port: u16) -> Option<SocketAddr> {
        let mut address = lock(&self.addresses).get(name).copied()?;
        if address.port() == 0 {
            address.set_port(port);
        }
        Some(address)
    }

    /// All names, each with its address.
    pub(super) fn all(&self) -> BTreeMap<String, SocketAddr> {
        lock(&self.addresses).clone()
    }

    pub(super) fn clear(&self) {
        lock(&self.addresses).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_its_latest_address() {
        let hosts = Hosts::default();
        assert_eq!(hosts.find("db", 5432), None);
        hosts.set("db", "127.0.0.2:0".parse().unwrap());
        assert_eq!(
            hosts.find("db", 5432),
            Some("127.0.0.2:5432".parse().unwrap())
        );
        hosts.set("db", "[::1]:7".parse().unwrap());
        assert_eq!(hosts.find("db", 5432), Some("[::1]:7".parse().unwrap()));
    }
}
