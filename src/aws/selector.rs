//! What a target is called: the grammar of TARGET.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::failure::{Exit, Failure};

/// The kinds of targets Session Manager knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// An EC2 instance: `i-` and hexadecimal digits.
    Instance,
    /// A machine registered by hybrid activation: `mi-` and hexadecimal digits.
    Hybrid,
    /// A container of an ECS task: `ecs:CLUSTER_TASK_RUNTIMEID`.
    EcsContainer,
}

impl TargetKind {
    /// Tells what kind of target an identifier names, if it is one. The number of digits is left to
    /// the service.
    pub fn of(id: &str) -> Option<Self> {
        if id.strip_prefix("i-").is_some_and(is_hex) {
            Some(Self::Instance)
        } else if id.strip_prefix("mi-").is_some_and(is_hex) {
            Some(Self::Hybrid)
        } else if id.strip_prefix("ecs:").is_some_and(is_container) {
            Some(Self::EcsContainer)
        } else {
            None
        }
    }
}

/// What a user calls a target. `Display` writes it as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The identifier itself; see [`TargetKind`].
    Id(String),
    /// Managed nodes with a tag: `tag:Key=Value`.
    Tag {
        /// The tag's key.
        key: String,
        /// The tag's value; the inventory cannot be asked for empty ones.
        value: String,
    },
    /// Any online instance of an Auto Scaling group: `asg:NAME`.
    Group(String),
    /// The managed node with a private IP address.
    Address(IpAddr),
    /// A container of ECS: `ecs:CLUSTER/SERVICE[/CONTAINER]` or `ecs:CLUSTER/TASKID[/CONTAINER]`.
    Container(ContainerSelector),
    /// The managed node with this `Name` tag, or else with this name or computer name.
    Name(String),
}

/// Names a container of ECS, or those of a service's tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSelector {
    /// The cluster's short name.
    pub cluster: String,
    /// The name of a service, or the id of a task.
    pub owner: String,
    /// The container's name in the task definition; without it, every container is meant.
    pub container: Option<String>,
}

impl Selector {
    /// Whether one of several matches is as good as another.
    pub fn takes_any(&self) -> bool {
        matches!(self, Self::Group(_))
    }
}

impl FromStr for Selector {
    type Err = Failure;

    /// # Errors
    ///
    /// [`Exit::Usage`] with the accepted forms.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let malformed = |message: String, hint: &str| {
            Err(Failure::new(Exit::Usage, message).with_hint(hint.to_owned()))
        };
        if text.is_empty() || text.chars().any(char::is_control) {
            return malformed(
                format!("`{}` is not a target", text.escape_debug()),
                ACCEPTED,
            );
        }
        if TargetKind::of(text).is_some() {
            return Ok(Self::Id(text.to_owned()));
        }
        if let Some(tag) = text.strip_prefix("tag:") {
            return match tag.split_once('=') {
                Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok(Self::Tag {
                    key: key.to_owned(),
                    value: value.to_owned(),
                }),
                _ => malformed(
                    format!("`{text}` is not a tag"),
                    "write a tag's key and value, as in tag:Role=bastion",
                ),
            };
        }
        if let Some(group) = text.strip_prefix("asg:") {
            return match group {
                "" => malformed(
                    "`asg:` lacks the name of an Auto Scaling group".to_owned(),
                    "write it behind the colon, as in asg:web",
                ),
                group => Ok(Self::Group(group.to_owned())),
            };
        }
        if let Some(container) = text.strip_prefix("ecs:") {
            return match ContainerSelector::parse(container) {
                Some(selector) => Ok(Self::Container(selector)),
                None => malformed(
                    format!("`{text}` is not a target of ECS"),
                    "write ecs:CLUSTER/SERVICE, ecs:CLUSTER/TASKID, both with or without \
                     /CONTAINER, or ecs:CLUSTER_TASKID_RUNTIMEID",
                ),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Some(id) = id_of_resource_name(text) {
            return Ok(Self::Id(id.to_owned()));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(text) | Self::Name(text) => f.write_str(text),
            Self::Tag { key, value } => write!(f, "tag:{key}={value}"),
            Self::Group(name) => write!(f, "asg:{name}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Container(container) => write!(f, "ecs:{container}"),
        }
    }
}

impl ContainerSelector {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let selector = Self {
            cluster: parts.next()?.to_owned(),
            owner: parts.next()?.to_owned(),
            container: parts.next().map(str::to_owned),
        };
        let is_whole = parts.next().is_none()
            && is_ecs_name(&selector.cluster)
            && is_ecs_name(&selector.owner)
            && selector.container.as_deref().is_none_or(is_ecs_name);
        is_whole.then_some(selector)
    }

    /// Whether the owner can only be a task: such names of services would be strange.
    pub(crate) fn is_task(&self) -> bool {
        // Ids have 32 hexadecimal digits; before 2020 they were UUIDs.
        let digits = self.owner.bytes().filter(|b| *b != b'-').count();
        let is_id = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        digits == 32 && self.owner.bytes().all(is_id)
    }
}

impl fmt::Display for ContainerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.owner)?;
        match &self.container {
            Some(container) => write!(f, "/{container}"),
            None => Ok(()),
        }
    }
}

/// The address in EC2's private DNS name of an IPv4 address, such as `ip-10-0-1-24.ec2.internal`, or in its first label
/// alone, which is the usual host name.
pub(super) fn address_of_ip_name(name: &str) -> Option<Ipv4Addr> {
    let label = name.split('.').next()?.strip_prefix("ip-")?;
    label.replace('-', ".").parse().ok()
}

/// The id in EC2's private DNS name of an instance, such as `i-0abc.eu-west-1.compute.internal`.
fn id_of_resource_name(name: &str) -> Option<&str> {
    let (id, domain) = name.split_once('.')?;
    let is_private = domain == "ec2.internal" || domain.ends_with(".compute.internal");
    (is_private && TargetKind::of(id) == Some(TargetKind::Instance)).then_some(id)
}

fn is_hex(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Checks `CLUSTER_TASK_RUNTIMEID`; the cluster's name may contain underscores itself.
fn is_container(name: &str) -> bool {
    let mut parts = name.rsplitn(3, '_');
    let is_name = |part: Option<&str>| part.is_some_and(is_ecs_name);
    is_name(parts.next()) && is_name(parts.next()) && is_name(parts.next())
}

fn is_ecs_name(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !name.is_empty() && name.bytes().all(is_allowed)
}

const ACCEPTED: &str = "a target is an id such as i-0123456789abcdef0, a Name tag, tag:Key=Value, \
                        asg:NAME, a private IP address or host name, ecs:CLUSTER/SERVICE, or an \
                        @alias of the configuration file";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_taken_as_they_are() {
        for (target, kind) in [
            ("i-0abc", TargetKind::Instance),
            ("i-0123456789abcdef0", TargetKind::Instance),
            ("mi-0123456789abcdef0", TargetKind::Hybrid),
            ("ecs:web_0af1_0af1-265927825", TargetKind::EcsContainer),
            (
                "ecs:my_web-cluster_0af1_0af1-265927825",
                TargetKind::EcsContainer,
            ),
        ] {
            assert_eq!(TargetKind::of(target), Some(kind), "{target}");
            assert_eq!(target.parse(), Ok(Selector::Id(target.into())));
        }
        for other in [
            "", "i-", "i-xyz", "mi-", "web", "ecs:", "ecs:a_b", "ecs:_b_c", "i-0abc\n",
        ] {
            assert_eq!(TargetKind::of(other), None, "{other:?}");
        }
    }

    fn container(cluster: &str, owner: &str, container: Option<&str>) -> Selector {
        Selector::Container(ContainerSelector {
            cluster: cluster.into(),
            owner: owner.into(),
            container: container.map(str::to_owned),
        })
    }

    #[test]
    fn names_of_every_kind() {
        let name = |name: &str| Selector::Name(name.into());
        let tag = |key: &str, value: &str| Selector::Tag {
            key: key.into(),
            value: value.into(),
        };
        for (text, selector) in [
            ("web", name("web")),
            ("i-am-a-server", name("i-am-a-server")),
            ("web server 1", name("web server 1")),
            ("db.corp.example", name("db.corp.example")),
            (
                "ip-10-0-1-24.ec2.internal",
                name("ip-10-0-1-24.ec2.internal"),
            ),
            ("i-0abc.prod", name("i-0abc.prod")),
            (
                "i-0abc.eu-west-1.compute.internal",
                Selector::Id("i-0abc".into()),
            ),
            ("i-0abc.ec2.internal", Selector::Id("i-0abc".into())),
            ("tag:Role=bastion", tag("Role", "bastion")),
            (
                "tag:aws:cloudformation:stack-name=a=b",
                tag("aws:cloudformation:stack-name", "a=b"),
            ),
            ("asg:blue", Selector::Group("blue".into())),
            ("10.0.1.24", Selector::Address([10, 0, 1, 24].into())),
            ("fd00::1", Selector::Address("fd00::1".parse().unwrap())),
            ("ecs:prod/web", container("prod", "web", None)),
            ("ecs:prod/web/app", container("prod", "web", Some("app"))),
        ] {
            assert_eq!(text.parse(), Ok(selector), "{text}");
        }
    }

    #[test]
    fn a_selector_is_shown_as_it_is_typed() {
        for text in [
            "i-0abc",
            "web",
            "tag:a=b",
            "asg:x",
            "10.0.0.1",
            "ecs:a/b",
            "ecs:a/b/c",
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_target_says_what_is() {
        for (text, hint) in [
            ("", "ecs:CLUSTER/SERVICE"),
            ("a\nb", "Name tag"),
            ("tag:Role", "tag:Role=bastion"),
            ("tag:=x", "tag:Role=bastion"),
            ("tag:Empty=", "tag:Role=bastion"),
            ("asg:", "asg:web"),
            ("ecs:", "ecs:CLUSTER/SERVICE"),
            ("ecs:web", "ecs:CLUSTER/SERVICE"),
            ("ecs:web/", "ecs:CLUSTER/SERVICE"),
            ("ecs:a/b/c/d", "ecs:CLUSTER/SERVICE"),
            ("ecs:a_b c_d", "ecs:CLUSTER/SERVICE"),
        ] {
            let failure = text.parse::<Selector>().unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{text:?}");
            assert!(failure.hint.unwrap().contains(hint), "{text:?}");
        }
    }

    #[test]
    fn a_task_is_told_from_a_service_by_its_id() {
        for (owner, is_task) in [
            ("0123456789abcdef0123456789abcdef", true),
            ("01234567-89ab-cdef-0123-456789abcdef", true),
            ("web", false),
            ("deadbeef", false),
        ] {
            let Selector::Container(selector) = container("c", owner, None) else {
                unreachable!()
            };
            assert_eq!(selector.is_task(), is_task, "{owner}");
        }
    }

    #[test]
    fn private_dns_names_hold_addresses() {
        for (name, address) in [
            (
                "ip-10-0-1-24.eu-west-1.compute.internal",
                Some([10, 0, 1, 24]),
            ),
            ("ip-10-0-1-24", Some([10, 0, 1, 24])),
            ("ip-10-0-1", None),
            ("web.ec2.internal", None),
        ] {
            assert_eq!(
                address_of_ip_name(name),
                address.map(Ipv4Addr::from),
                "{name}"
            );
        }
    }
}
