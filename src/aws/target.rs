//! What a target is called, and why one cannot be reached.

use std::time::Duration;

use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::primitives::DateTimeFormat;
use aws_sdk_ssm::types::{InstanceInformation, InstanceInformationStringFilter, PingStatus};
use tracing::debug;

use super::Aws;
use super::error::chain;
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
    /// Tells what kind of target an identifier names. The number of digits is left to the
    /// service.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] with the accepted forms if it is none of them.
    pub fn of(target: &str) -> Result<Self, Failure> {
        let kind = if target.strip_prefix("i-").is_some_and(is_hex) {
            Some(Self::Instance)
        } else if target.strip_prefix("mi-").is_some_and(is_hex) {
            Some(Self::Hybrid)
        } else if target.strip_prefix("ecs:").is_some_and(is_container) {
            Some(Self::EcsContainer)
        } else {
            None
        };
        kind.ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("`{target}` is not the identifier of a target"),
            )
            .with_hint(
                "a target is i-0123456789abcdef0, mi-0123456789abcdef0 or \
                     ecs:CLUSTER_TASK_RUNTIMEID",
            )
        })
    }
}

fn is_hex(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Checks `CLUSTER_TASK_RUNTIMEID`; the cluster's name may contain underscores itself.
fn is_container(name: &str) -> bool {
    let mut parts = name.rsplitn(3, '_');
    let is_name = |part: Option<&str>| {
        part.is_some_and(|part| {
            let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            !part.is_empty() && part.bytes().all(is_allowed)
        })
    };
    is_name(parts.next()) && is_name(parts.next()) && is_name(parts.next())
}

impl Aws {
    /// Explains why the service says that a target is not connected, as far as it can be found
    /// out.
    pub(super) async fn explain_unreachable(&self, target: &str, kind: TargetKind) -> Failure {
        // ECS tasks are not in the inventory of managed nodes.
        if kind == TargetKind::EcsContainer {
            return Failure::new(Exit::Target, format!("{target} is not connected")).with_hint(
                "the task must be running and have been started with execute-command enabled",
            );
        }
        match tokio::time::timeout(LOOKUP_DEADLINE, self.describe(target)).await {
            Ok(Ok(Some(node))) => explain_known(target, &node),
            Ok(Ok(None)) => explain_unknown(target, &self.region),
            Ok(Err(why)) => {
                debug!(target, why, "the inventory cannot be asked");
                explain_unspecific(target, &self.region)
            }
            Err(_) => explain_unspecific(target, &self.region),
        }
    }

    pub(super) async fn describe(
        &self,
        target: &str,
    ) -> Result<Option<InstanceInformation>, String> {
        let filter = InstanceInformationStringFilter::builder()
            .key("InstanceIds")
            .values(target)
            .build()
            .map_err(|error| chain(&error))?;
        let request = self.client.describe_instance_information().filters(filter);
        let output = request.send().await.map_err(|error| {
            let code = error.code().unwrap_or("no answer");
            code.to_owned()
        })?;
        let nodes = output.instance_information_list.unwrap_or_default();
        Ok(nodes
            .into_iter()
            .find(|node| node.instance_id() == Some(target)))
    }
}

/// Longest wait for the inventory. It only improves a message, so the user is not kept long.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn explain_unknown(target: &str, region: &str) -> Failure {
    Failure::new(
        Exit::Target,
        format!("{target} is not known to Systems Manager in this account in {region}"),
    )
    .with_hint(
        "check the identifier, --region and --profile; a new instance needs the agent, a role \
         with AmazonSSMManagedInstanceCore, and a way to reach Systems Manager",
    )
}

fn explain_known(target: &str, node: &InstanceInformation) -> Failure {
    let seen = node
        .last_ping_date_time()
        .and_then(|time| time.fmt(DateTimeFormat::DateTime).ok())
        .map(|time| format!(", last heard of at {time}"))
        .unwrap_or_default();
    match node.ping_status() {
        Some(PingStatus::Online) => Failure::new(
            Exit::Target,
            format!("{target} is online, but its agent takes no sessions{seen}"),
        )
        .with_hint(
            "its role must allow ssmmessages:CreateControlChannel, CreateDataChannel, \
             OpenControlChannel and OpenDataChannel, and it must reach the ssmmessages endpoint",
        ),
        status => {
            let status = status.map_or("unknown", PingStatus::as_str);
            Failure::new(
                Exit::Target,
                format!("{target} is not connected to Systems Manager ({status}{seen})"),
            )
            .with_hint("check that the machine runs, that its agent runs, and its network")
        }
    }
}

fn explain_unspecific(target: &str, region: &str) -> Failure {
    Failure::new(
        Exit::Target,
        format!("{target} is not connected to Systems Manager in {region}"),
    )
    .with_hint("check the identifier, --region and --profile, and that its agent runs")
}

#[cfg(test)]
mod tests {
    use aws_sdk_ssm::primitives::DateTime;

    use super::*;

    #[test]
    fn accepted_identifiers() {
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
            assert_eq!(TargetKind::of(target), Ok(kind), "{target}");
        }
    }

    #[test]
    fn refused_identifiers_say_what_is_accepted() {
        for target in [
            "",
            "i-",
            "i-xyz",
            "mi-",
            "web",
            "ecs:",
            "ecs:a_b",
            "ecs:_b_c",
            "ecs:a_b c_d",
            "i-0abc\n",
        ] {
            let failure = TargetKind::of(target).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{target:?}");
            assert!(failure.hint.unwrap().contains("ecs:CLUSTER_TASK_RUNTIMEID"));
        }
    }

    #[test]
    fn a_lost_node_is_told_from_one_that_takes_no_sessions() {
        let node = |status| {
            InstanceInformation::builder()
                .ping_status(status)
                .last_ping_date_time(DateTime::from_secs(1_767_323_045))
                .build()
        };
        let lost = explain_known("i-0abc", &node(PingStatus::ConnectionLost));
        assert!(lost.message.contains("ConnectionLost"), "{lost}");
        assert!(lost.message.contains("2026-01-02T03:04:05Z"), "{lost}");
        let online = explain_known("i-0abc", &node(PingStatus::Online));
        assert!(online.hint.unwrap().contains("CreateControlChannel"));
        assert_eq!(lost.exit, Exit::Target);
    }
}
