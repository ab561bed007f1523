//! The target and its agent.

use ssmfwd_protocol::version::Version;

use super::{Check, Finding};
use crate::aws::{Aws, Choice, Node, NodeState, Selector, Target, target};
use crate::failure::{Exit, Failure};
use crate::settings::ForwardSettings;
use crate::spec::REMOTE_HOST_DOCUMENT;

/// Finds the target, and whether its agent is connected.
pub async fn target(aws: &Aws, target: &Target) -> (Finding, Option<Node>) {
    match examine(aws, target).await {
        Ok((finding, node)) => (finding, Some(node)),
        Err(failure) => (Finding::fail(Check::Target, &failure), None),
    }
}

async fn examine(aws: &Aws, wanted: &Target) -> Result<(Finding, Node), Failure> {
    let id = match aws.choose(wanted).await.map_err(list_matches)? {
        Choice::One(id) => id,
        Choice::Several(nodes) => return Err(list_matches(target::ambiguous(wanted, nodes))),
    };
    let selector = Selector::Id(id.clone());
    let (mut node, denial) = match aws.find(&selector).await {
        Ok(found) => match found.nodes.into_iter().next() {
            Some(node) => (node, None),
            None => {
                return Err(aws
                    .nothing_found(&selector, &[])
                    .with_hint(unknown_hint(&id, aws.region())));
            }
        },
        // Whoever knows the id needs no inventory.
        Err(failure) if failure.exit == Exit::Credentials => {
            let node = Node {
                id,
                state: NodeState::Online,
                ..Node::default()
            };
            (node, Some(failure))
        }
        Err(failure) => return Err(failure),
    };
    // The inventory learns of the end of an agent only after minutes.
    let is_connected = match is_container(&node.id) {
        true => None,
        false => aws.is_connected(&node.id).await.ok(),
    };
    if let (None, Some(denial)) = (is_connected, denial) {
        let message = format!(
            "not known whether {} is online: {}",
            node.id, denial.message
        );
        let finding = Finding::skip(Check::Target, message).fixed_by(&denial);
        return Ok((finding, node));
    }
    if is_connected == Some(false) && node.last_ping.is_none() {
        // It is not from the inventory, and nothing else has said that it lives.
        node.state = NodeState::Offline;
    }
    if is_connected == Some(false) || is_connected.is_none() && node.state != NodeState::Online {
        return Err(offline(&node, aws.region()));
    }
    let message = format!("{} is online{}", called(&node), details(&node));
    Ok((Finding::pass(Check::Target, message), node))
}

/// Names what nothing tells apart, since a finding is one line.
fn list_matches(failure: Failure) -> Failure {
    if failure.matches.is_empty() {
        return failure;
    }
    let ids: Vec<_> = failure
        .matches
        .iter()
        .map(|node| node.id.as_str())
        .collect();
    Failure {
        message: format!("{}: {}", failure.message, ids.join(", ")),
        ..failure
    }
}

fn is_container(id: &str) -> bool {
    id.starts_with("ecs:")
}

fn called(node: &Node) -> String {
    match &node.name {
        Some(name) => format!("{} `{name}`", node.id),
        None => node.id.clone(),
    }
}

fn details(node: &Node) -> String {
    let details: Vec<_> = [&node.platform, &node.ip, &node.zone]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    match details.is_empty() {
        true => String::new(),
        false => format!(" ({})", details.join(", ")),
    }
}

/// What an instance needs before Systems Manager knows it.
fn unknown_hint(id: &str, region: &str) -> String {
    if is_container(id) {
        return CONTAINER_HINT.to_owned();
    }
    format!(
        "check the id, --region and --profile; an instance shows up once it has the agent, a role with \
         AmazonSSMManagedInstanceCore, and a way out to {}",
        ways_out(region)
    )
}

fn ways_out(region: &str) -> String {
    format!(
        "port 443 of ssm, ssmmessages and ec2messages in {region} (NAT, or VPC endpoints with private DNS whose security group \
         lets 443 in)"
    )
}

const CONTAINER_HINT: &str = "the task has to run, to have been started with execute-command enabled, and its task role needs \
                              ssmmessages:CreateControlChannel, CreateDataChannel, OpenControlChannel and OpenDataChannel";

fn offline(node: &Node, region: &str) -> Failure {
    let seen = node.last_ping.as_ref();
    let seen = seen
        .map(|time| format!(", last heard of at {time}"))
        .unwrap_or_default();
    let (message, hint) = match (is_container(&node.id), node.state) {
        (true, _) => (format!("{} takes no sessions", called(node)), CONTAINER_HINT.to_owned()),
        // It says it lives, over another channel than sessions need.
        (false, NodeState::Online) => (
            format!("{} is online, but its agent takes no sessions{seen}", called(node)),
            "it may have stopped some minutes ago; else its role has to allow ssmmessages:CreateControlChannel, CreateDataChannel, \
             OpenControlChannel and OpenDataChannel, and it has to reach ssmmessages on port 443"
                .to_owned(),
        ),
        (false, _) => (
            format!("{} is not connected{seen}", called(node)),
            format!(
                "check that it runs, that its agent does (systemctl status amazon-ssm-agent), that it has kept its role with \
                 AmazonSSMManagedInstanceCore, and its way out to {}",
                ways_out(region)
            ),
        ),
    };
    Failure::new(Exit::Target, message).with_hint(hint)
}

const UPDATE_HINT: &str =
    "update the agent: aws ssm send-command --document-name AWS-UpdateSSMAgent --instance-ids ID";

/// Tells what the agent can do, and whether that is enough for the forwards.
pub fn agent(node: &Node, forwards: &[ForwardSettings]) -> Finding {
    let check = Check::Agent;
    let version = node.agent_version.as_deref();
    let Some((text, version)) =
        version.and_then(|text| Some((text, text.parse::<Version>().ok()?)))
    else {
        return Finding::skip(check, "its version is not known");
    };
    let remote = forwards
        .iter()
        .find(|forward| forward.document == REMOTE_HOST_DOCUMENT);
    if let Some(forward) = remote.filter(|_| !version.agent_reaches_remote_hosts()) {
        let message = format!(
            "version {text} cannot connect to hosts behind the target, as {} needs",
            forward.spec
        );
        let failure = Failure::new(Exit::Failure, format!("{message}: 3.1.1374.0 can"));
        return Finding::fail(
            check,
            &failure.with_hint(UPDATE_HINT.replace("ID", &node.id)),
        );
    }
    if !version.agent_multiplexes() {
        let message =
            format!("version {text} carries one connection at a time: 3.0.196.0 carries many");
        return Finding::warn(check, message).fix(UPDATE_HINT.replace("ID", &node.id));
    }
    let hosts = match version.agent_reaches_remote_hosts() {
        true => "and to hosts behind the target",
        false => "but not to hosts behind the target",
    };
    Finding::pass(
        check,
        format!("version {text}: many connections in one session, {hosts}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn node(state: NodeState, version: &str) -> Node {
        Node {
            id: "i-0abc".to_owned(),
            state,
            agent_version: Some(version.to_owned()),
            last_ping: Some("2026-01-02T03:04:05Z".to_owned()),
            ..Node::default()
        }
    }

    #[test]
    fn an_offline_target_is_told_what_it_lacks() {
        let lost = offline(&node(NodeState::Lost, "3.3.0.0"), "eu-west-1");
        assert_eq!(
            lost.message,
            "i-0abc is not connected, last heard of at 2026-01-02T03:04:05Z"
        );
        let hint = lost.hint.unwrap();
        for part in [
            "role",
            "ssmmessages and ec2messages in eu-west-1",
            "security group",
            "private DNS",
            "systemctl",
        ] {
            assert!(hint.contains(part), "{hint}");
        }
        let half = offline(&node(NodeState::Online, "3.3.0.0"), "eu-west-1");
        assert!(half.message.contains("takes no sessions"), "{half}");
    }

    #[test]
    fn an_agents_version_is_judged_by_what_is_wanted() {
        let forward = |text: &str| ForwardSettings {
            spec: text.parse().unwrap(),
            document: text
                .parse::<crate::spec::Forward>()
                .unwrap()
                .document()
                .to_owned(),
            parameters: Default::default(),
        };
        let judge = |version: &str, text: &str| {
            agent(&node(NodeState::Online, version), &[forward(text)]).outcome
        };
        assert_eq!(judge("3.3.987.0", "db:5432"), Outcome::Pass);
        assert_eq!(judge("3.1.1.0", "db:5432"), Outcome::Fail);
        assert_eq!(judge("3.1.1.0", "5432"), Outcome::Pass);
        assert_eq!(judge("2.3.0.0", "5432"), Outcome::Warn);
        assert_eq!(judge("?", "5432"), Outcome::Skip);
    }
}
