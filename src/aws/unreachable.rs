//! Why a target cannot be reached.

use std::time::Duration;

use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::primitives::DateTimeFormat;
use aws_sdk_ssm::types::{InstanceInformation, InstanceInformationStringFilter, PingStatus};
use tracing::debug;

use super::error::chain;
use super::{Aws, TargetKind};
use crate::failure::{Exit, Failure, SEE_DOCTOR};

impl Aws {
    /// Explains why the service says that a target is not connected, as far as it can be found
    /// out in five seconds.
    pub async fn explain_unreachable(&self, target: &str) -> Failure {
        // ECS tasks are not in the inventory of managed nodes.
        if TargetKind::of(target) == Some(TargetKind::EcsContainer) {
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
            .with_hint(format!(
                "check that the machine runs, that its agent runs, and its network; {SEE_DOCTOR}"
            ))
        }
    }
}

fn explain_unspecific(target: &str, region: &str) -> Failure {
    Failure::new(
        Exit::Target,
        format!("{target} is not connected to Systems Manager in {region}"),
    )
    .with_hint(format!(
        "check the identifier, --region and --profile, and that its agent runs; {SEE_DOCTOR}"
    ))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ssm::primitives::DateTime;

    use super::*;

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
