//! The Elastic Container Service: ExecuteCommand, ListTasks and DescribeTasks.
//!
//! A target `ecs:CLUSTER_TASK_RUNTIMEID` is a container; a task has as many as there are targets that name it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, Parameters, sessions};
use crate::lab::document::Content;
use crate::lab::session::NewSession;
use crate::lab::{Machine, Shared, Target};

/// The parts of an ECS target's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Task<'a> {
    cluster: &'a str,
    id: &'a str,
    runtime_id: &'a str,
}

impl<'a> Task<'a> {
    fn of(target: &'a Target) -> Option<Self> {
        // Of the three only the cluster's name may have underscores.
        let mut parts = target.id.strip_prefix("ecs:")?.rsplitn(3, '_');
        let (runtime_id, id) = (parts.next()?, parts.next()?);
        let cluster = parts.next()?;
        Some(Self {
            cluster,
            id,
            runtime_id,
        })
    }

    fn arn(self) -> String {
        format!("{ARN_PREFIX}:task/{}/{}", self.cluster, self.id)
    }

    fn cluster_arn(self) -> String {
        cluster_arn(self.cluster)
    }

    /// Whether a request that names this cluster and task, by name or ARN, means this one.
    fn is_called(self, cluster: &str, task: &str) -> bool {
        let (last_of_cluster, last_of_task) = (last_segment(cluster), last_segment(task));
        self.cluster == last_of_cluster && self.id == last_of_task
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecuteCommand {
    cluster: Option<String>,
    container: Option<String>,
    command: Option<String>,
    interactive: Option<bool>,
    task: Option<String>,
}

pub(super) fn execute_command(
    shared: &Arc<Shared>,
    request: ExecuteCommand,
) -> Result<Value, ApiError> {
    let command = request.command.ok_or_else(|| missing("command"))?;
    let task = request.task.ok_or_else(|| missing("task"))?;
    let cluster = request.cluster.unwrap_or_else(default_cluster);
    if request.interactive != Some(true) {
        return Err(invalid("Interactive is the only mode supported currently."));
    }
    let machines = shared.machines.all();
    let containers = find(&machines, &cluster, &task)?;
    let is_wanted = |(machine, _): &&(&Machine, Task<'_>)| match &request.container {
        Some(name) => *name == machine.target.container,
        None => true,
    };
    let Some(&(machine, task)) = containers.iter().find(is_wanted) else {
        return Err(invalid("The container does not exist in the task."));
    };
    if !machine.target.online {
        let message = "The execute command failed because execute command was not enabled when \
                       the task was run or the execute command agent isn't running. Wait and try \
                       again or run a new task with execute command enabled and try again.";
        return Err(ApiError::new("TargetNotConnectedException", message));
    }
    let new = NewSession {
        target: machine.target.id.clone(),
        document: "AmazonECS-ExecuteInteractiveCommand".to_owned(),
        parameters: Parameters::from([("command".to_owned(), vec![command.clone()])]),
        reason: None,
    };
    let content = Content::InteractiveCommand {
        command,
        is_in_container: true,
    };
    let started = sessions::open(shared, machine, new, content)?;
    Ok(json!({
        "clusterArn": task.cluster_arn(),
        "containerArn": container_arn(task, &machine.target),
        "containerName": machine.target.container,
        "interactive": true,
        "session": {
            "sessionId": started["SessionId"],
            "streamUrl": started["StreamUrl"],
            "tokenValue": started["TokenValue"],
        },
        "taskArn": task.arn(),
    }))
}

#[derive(Debug, Deserialize)]
pub(super) struct DescribeTasks {
    cluster: Option<String>,
    tasks: Option<Vec<String>>,
}

pub(super) fn describe_tasks(shared: &Shared, request: DescribeTasks) -> Result<Value, ApiError> {
    let cluster = request.cluster.unwrap_or_else(default_cluster);
    let machines = shared.machines.all();
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for name in request.tasks.ok_or_else(|| missing("tasks"))? {
        match find(&machines, &cluster, &name) {
            Ok(containers) => tasks.extend(describe(&containers)),
            Err(error) if error.code == "ClusterNotFoundException" => return Err(error),
            Err(_) => {
                let id = last_segment(&name);
                let cluster = last_segment(&cluster);
                let arn = format!("{ARN_PREFIX}:task/{cluster}/{id}");
                failures.push(json!({"arn": arn, "reason": "MISSING"}));
            }
        }
    }
    Ok(json!({"tasks": tasks, "failures": failures}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListTasks {
    cluster: Option<String>,
    service_name: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

pub(super) fn list_tasks(shared: &Shared, request: ListTasks) -> Result<Value, ApiError> {
    let cluster = request.cluster.unwrap_or_else(default_cluster);
    let machines = shared.machines.all();
    let mut containers = in_cluster(&machines, &cluster)?;
    if let Some(service) = request.service_name {
        let service = last_segment(&service);
        containers.retain(|(machine, _)| machine.target.service.as_deref() == Some(service));
        if containers.is_empty() {
            return Err(ApiError::new(
                "ServiceNotFoundException",
                "Service not found.",
            ));
        }
    }
    let mut arns: Vec<_> = containers.iter().map(|(_, task)| task.arn()).collect();
    arns.sort();
    arns.dedup();
    let arns = arns.into_iter().map(Value::from).collect();
    let next_token = request.next_token.as_deref();
    let (arns, next_token) = super::page(arns, MAX_PAGE_LEN, request.max_results, next_token)?;
    Ok(json!({"taskArns": arns, "nextToken": next_token}))
}

/// A task, from its containers.
fn describe(containers: &[(&Machine, Task<'_>)]) -> Option<Value> {
    let (machine, task) = containers.first()?;
    let target = &machine.target;
    let group = target.service.as_ref();
    let group = group.map(|service| format!("service:{service}"));
    let containers: Vec<_> = containers
        .iter()
        .map(|(machine, task)| describe_container(&machine.target, *task))
        .collect();
    Some(json!({
        "taskArn": task.arn(),
        "clusterArn": task.cluster_arn(),
        "taskDefinitionArn": format!("{ARN_PREFIX}:task-definition/lab:1"),
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "enableExecuteCommand": true,
        "launchType": "FARGATE",
        "group": group,
        "availabilityZone": target.zone,
        "containers": containers,
    }))
}

fn describe_container(target: &Target, task: Task<'_>) -> Value {
    let agent_status = match target.online {
        true => "RUNNING",
        false => "STOPPED",
    };
    json!({
        "containerArn": container_arn(task, target),
        "taskArn": task.arn(),
        "name": target.container,
        "runtimeId": task.runtime_id,
        "lastStatus": "RUNNING",
        "networkInterfaces": [{"privateIpv4Address": target.ip.to_string()}],
        "managedAgents": [{"name": "ExecuteCommandAgent", "lastStatus": agent_status}],
    })
}

/// The containers of a cluster.
fn in_cluster<'a>(
    machines: &'a [Machine],
    cluster: &str,
) -> Result<Vec<(&'a Machine, Task<'a>)>, ApiError> {
    let with_task = |machine: &'a Machine| Some((machine, Task::of(&machine.target)?));
    let cluster_name = last_segment(cluster);
    let mut containers: Vec<_> = machines.iter().filter_map(with_task).collect();
    containers.retain(|(_, task)| task.cluster == cluster_name);
    match containers.is_empty() {
        true => Err(ApiError::new(
            "ClusterNotFoundException",
            "Cluster not found.",
        )),
        false => Ok(containers),
    }
}

/// The containers of a task, one at least.
fn find<'a>(
    machines: &'a [Machine],
    cluster: &str,
    task: &str,
) -> Result<Vec<(&'a Machine, Task<'a>)>, ApiError> {
    let mut containers = in_cluster(machines, cluster)?;
    containers.retain(|(_, found)| found.is_called(cluster, task));
    match containers.is_empty() {
        true => Err(invalid("The task provided in the request was not found.")),
        false => Ok(containers),
    }
}

fn invalid(message: &str) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

fn missing(field: &str) -> ApiError {
    invalid(&format!("{field} cannot be empty."))
}

fn cluster_arn(name: &str) -> String {
    format!("{ARN_PREFIX}:cluster/{name}")
}

fn container_arn(task: Task<'_>, target: &Target) -> String {
    let Task { cluster, id, .. } = task;
    format!("{ARN_PREFIX}:container/{cluster}/{id}/{}", target.container)
}

fn default_cluster() -> String {
    "default".to_owned()
}

/// What an ARN ends in; of a mere name, all of it.
fn last_segment(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Entries of a list in one answer. Source: the API's reference.
const MAX_PAGE_LEN: usize = 100;

const ARN_PREFIX: &str = "arn:aws:ecs:us-east-1:000000000000";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::testing::{ecs, lab};

    const TARGET: &str = "ecs:my_cluster_0123abcd_0123abcd-265927825";

    #[tokio::test]
    async fn a_command_in_a_task_is_a_session_with_its_target() {
        let lab = lab(|config| config.targets.push(Target::new(TARGET))).await;
        let described = json!({"cluster": "my_cluster", "tasks": ["0123abcd", "ffff"]});
        let (status, described) = ecs(&lab, "DescribeTasks", described).await;
        assert_eq!(status, 200, "{described}");
        let container = &described["tasks"][0]["containers"][0];
        assert_eq!(container["runtimeId"], "0123abcd-265927825");
        assert_eq!(described["failures"][0]["reason"], "MISSING");
        let executed = json!({
            "cluster": "my_cluster",
            "task": described["tasks"][0]["taskArn"],
            "container": container["name"],
            "command": "echo",
            "interactive": true,
        });
        let (status, executed) = ecs(&lab, "ExecuteCommand", executed).await;
        assert_eq!(status, 200, "{executed}");
        let [session] = lab.sessions().try_into().unwrap();
        assert_eq!(session.target, TARGET);
        assert_eq!(executed["session"]["sessionId"], *session.id);
        assert!(session.id.starts_with("ecs-execute-command-"));
        assert!(executed["session"]["tokenValue"].is_string());
        assert!(executed["session"]["streamUrl"].is_string());
        assert_eq!(executed["containerName"], container["name"]);
    }

    #[tokio::test]
    async fn what_cannot_be_executed_is_refused() {
        let lab = lab(|config| {
            let offline = Target {
                online: false,
                ..Target::new(TARGET)
            };
            config.targets.push(offline);
        })
        .await;
        let request = |cluster: &str, task: &str, container: &str, interactive: bool| {
            json!({
                "cluster": cluster, "task": task, "container": container,
                "command": "ls", "interactive": interactive,
            })
        };
        for (code, request) in [
            (
                "TargetNotConnectedException",
                request("my_cluster", "0123abcd", "app", true),
            ),
            (
                "InvalidParameterException",
                request("my_cluster", "0123abcd", "app", false),
            ),
            (
                "InvalidParameterException",
                request("my_cluster", "0123abcd", "web", true),
            ),
            (
                "InvalidParameterException",
                request("my_cluster", "0123", "app", true),
            ),
            (
                "ClusterNotFoundException",
                request("cluster", "0123abcd", "app", true),
            ),
        ] {
            let (status, answer) = ecs(&lab, "ExecuteCommand", request.clone()).await;
            assert_eq!(
                (status, answer["__type"].as_str()),
                (400, Some(code)),
                "{request}"
            );
        }
    }

    #[test]
    fn a_target_is_taken_apart_from_its_end() {
        let target = Target::new("ecs:my_big_cluster_0123abcd_0123abcd-265927825");
        let task = Task::of(&target).unwrap();
        assert_eq!(
            task,
            Task {
                cluster: "my_big_cluster",
                id: "0123abcd",
                runtime_id: "0123abcd-265927825",
            }
        );
        assert!(task.is_called("my_big_cluster", "0123abcd"));
        assert!(task.is_called(&task.cluster_arn(), &task.arn()));
        assert!(!task.is_called("cluster", "0123abcd"));
        for other in ["i-0abc", "ecs:cluster_task"] {
            assert_eq!(Task::of(&Target::new(other)), None, "{other}");
        }
    }
}
