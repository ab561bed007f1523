//! The Elastic Container Service: ExecuteCommand and DescribeTasks.
//!
//! A target `ecs:CLUSTER_TASK_RUNTIMEID` is a task with one container.

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
    let (machine, task) = find(&machines, &cluster, &task)?;
    if let Some(container) = request.container
        && container != CONTAINER
    {
        return Err(invalid("The container does not exist in the task."));
    }
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
        "containerArn": container_arn(task),
        "containerName": CONTAINER,
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
            Ok((machine, task)) => tasks.push(describe(task, machine.target.online)),
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

fn describe(task: Task<'_>, is_online: bool) -> Value {
    let agent_status = if is_online { "RUNNING" } else { "STOPPED" };
    json!({
        "taskArn": task.arn(),
        "clusterArn": task.cluster_arn(),
        "taskDefinitionArn": format!("{ARN_PREFIX}:task-definition/lab:1"),
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "enableExecuteCommand": true,
        "launchType": "FARGATE",
        "containers": [{
            "containerArn": container_arn(task),
            "taskArn": task.arn(),
            "name": CONTAINER,
            "runtimeId": task.runtime_id,
            "lastStatus": "RUNNING",
            "managedAgents": [{"name": "ExecuteCommandAgent", "lastStatus": agent_status}],
        }],
    })
}

fn find<'a>(
    machines: &'a [Machine],
    cluster: &str,
    task: &str,
) -> Result<(&'a Machine, Task<'a>), ApiError> {
    let with_task = |machine: &'a Machine| Some((machine, Task::of(&machine.target)?));
    let all = || machines.iter().filter_map(with_task);
    let cluster_name = last_segment(cluster);
    if !all().any(|(_, task)| task.cluster == cluster_name) {
        return Err(ApiError::new(
            "ClusterNotFoundException",
            "Cluster not found.",
        ));
    }
    all()
        .find(|(_, found)| found.is_called(cluster, task))
        .ok_or_else(|| invalid("The task provided in the request was not found."))
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

fn container_arn(task: Task<'_>) -> String {
    let Task { cluster, id, .. } = task;
    format!("{ARN_PREFIX}:container/{cluster}/{id}/{CONTAINER}")
}

fn default_cluster() -> String {
    "default".to_owned()
}

/// What an ARN ends in; of a mere name, all of it.
fn last_segment(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

const ARN_PREFIX: &str = "arn:aws:ecs:us-east-1:000000000000";

/// The name of every task's only container.
const CONTAINER: &str = "app";

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
