//! What is known of a target.

use std::net::IpAddr;

use aws_sdk_ssm::primitives::DateTimeFormat;
use aws_sdk_ssm::types::{InstanceInformation, PingStatus};
use serde::Serialize;
use ssmfwd_protocol::version::Version;

use super::selector::address_of_ip_name;

/// A managed node, or a container of ECS.
///
/// Its JSON is part of the command-line contract: members may be added, and are neither renamed nor removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    /// What StartSession calls it.
    pub id: String,
    /// Its `Name` tag or, without one, the name it was registered with; of a container, CLUSTER/SERVICE/CONTAINER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it can be reached.
    pub state: NodeState,
    /// The version of its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// Whether one session carries many connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiplexing: Option<bool>,
    /// Whether hosts behind it can be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_host: Option<bool>,
    /// The Availability Zone, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The private IP address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The host name it reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computer_name: Option<String>,
    /// Operating system and its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// When it was last heard of, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ping: Option<String>,
}

/// Whether a node can be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Its agent is connected, or was some minutes ago.
    Online,
    /// Its agent has not been heard of for some time.
    Lost,
    /// It takes no sessions, or it is not known whether it does.
    #[default]
    Offline,
}

impl NodeState {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Lost => "lost",
            Self::Offline => "offline",
        }
    }
}

impl Node {
    pub(super) fn of(node: InstanceInformation) -> Option<Self> {
        let agent_version = node.agent_version.filter(|version| !version.is_empty());
        let version: Option<Version> = agent_version.as_deref().and_then(|text| text.parse().ok());
        let platform = [node.platform_name, node.platform_version];
        let platform: Vec<_> = platform.into_iter().flatten().collect();
        Some(Self {
            id: node.instance_id?,
            name: node.name.filter(|name| !name.is_empty()),
            state: match node.ping_status {
                Some(PingStatus::Online) => NodeState::Online,
                Some(PingStatus::ConnectionLost) => NodeState::Lost,
                _ => NodeState::Offline,
            },
            agent_version,
            multiplexing: version.map(Version::agent_multiplexes),
            remote_host: version.map(Version::agent_reaches_remote_hosts),
            zone: None,
            ip: node.ip_address.filter(|address| !address.is_empty()),
            computer_name: node.computer_name.filter(|name| !name.is_empty()),
            platform: (!platform.is_empty()).then(|| platform.join(" ")),
            last_ping: node
                .last_ping_date_time
                .and_then(|time| time.fmt(DateTimeFormat::DateTime).ok()),
        })
    }

    /// Whether it was registered with this name, reports it as its host name, in full or up to the first dot, or has
    /// the address that EC2's private DNS name consists of. Host names have no case.
    pub(super) fn is_called(&self, name: &str) -> bool {
        if self.name.as_deref() == Some(name) {
            return true;
        }
        let is_host = self.computer_name.as_deref().is_some_and(|full| {
            let label = full.split('.').next().unwrap_or(full);
            full.eq_ignore_ascii_case(name) || label.eq_ignore_ascii_case(name)
        });
        is_host || address_of_ip_name(name).is_some_and(|address| self.has_address(address.into()))
    }

    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        let own = self.ip.as_deref().and_then(|ip| ip.parse().ok());
        own == Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_called_by_its_host_name_or_address() {
        let node = Node {
            name: Some("db".into()),
            computer_name: Some("EC2AMAZ-1.corp.example".into()),
            ip: Some("10.0.1.24".into()),
            ..Node::default()
        };
        for name in [
            "db",
            "EC2AMAZ-1.corp.example",
            "ec2amaz-1.corp.example",
            "ec2amaz-1",
            "ip-10-0-1-24.eu-west-1.compute.internal",
        ] {
            assert!(node.is_called(name), "{name}");
        }
        for name in ["DB", "ec2amaz", "corp.example", "ip-10-0-1-25"] {
            assert!(!node.is_called(name), "{name}");
        }
        assert!(node.has_address([10, 0, 1, 24].into()));
        assert!(!Node::default().has_address([0, 0, 0, 0].into()));
    }

    #[test]
    fn an_agent_that_says_no_version_is_not_judged() {
        let node = |version: &str| {
            let information = InstanceInformation::builder()
                .instance_id("i-1")
                .agent_version(version);
            Node::of(information.build()).unwrap()
        };
        let current = node("3.3.987.0");
        assert_eq!(
            (current.multiplexing, current.remote_host),
            (Some(true), Some(true))
        );
        let old = node("3.0.196.0");
        assert_eq!(
            (old.multiplexing, old.remote_host),
            (Some(false), Some(false))
        );
        assert_eq!(node("").multiplexing, None);
        assert_eq!(node("latest").remote_host, None);
    }
}
