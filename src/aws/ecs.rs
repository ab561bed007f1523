//! The two operations of ECS that lead from a service or a task to the containers Session Manager can reach.
//!
//! The SDK's crate for ECS is as large as all others here together; this speaks the same protocol (AWS JSON 1.1) with the
//! SDK's own HTTP client, retries and signatures.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_sdk_ssm::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sdk_ssm::config::http::{HttpRequest, HttpResponse};
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{
    HttpStatusCodeClassifier, TransientErrorClassifier,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::selector::ContainerSelector;
use super::{Aws, Node, NodeState, Service};
use crate::failure::{Exit, Failure};

/// What stands between the two parts of an operation's header.
const API: &str = "AmazonEC2ContainerServiceV20141113";

/// Most tasks in one request or answer. Source: the API's reference.
const MAX_TASKS: usize = 100;

impl Aws {
    /// Finds the containers a selector names, whether they can be reached or not.
    ///
    /// # Errors
    ///
    /// [`Exit::Target`] if there is no such cluster, [`Exit::Credentials`] if a call is not permitted, and
    /// [`Exit::Failure`] if ECS cannot be reached or refuses.
    pub(super) async fn containers(
        &self,
        selector: &ContainerSelector,
    ) -> Result<Vec<Node>, Failure> {
        // Looked up before the calls, whose deadlines do not allow for a person typing a code.
        self.credentials().await?;
        let owner = || vec![selector.owner.clone()];
        let (ids, service) = match selector.is_task() {
            true => (owner(), None),
            false => match self.tasks_of_service(selector).await? {
                Some(ids) => (ids, Some(selector.owner.as_str())),
                // There is no such service. Perhaps it is a task after all.
                None => (owner(), None),
            },
        };
        let mut nodes = Vec::new();
        for ids in ids.chunks(MAX_TASKS) {
            let tasks = self.describe_tasks(&selector.cluster, ids).await?;
            let containers = tasks.iter().flat_map(|task| task.nodes(selector, service));
            nodes.extend(containers);
        }
        Ok(nodes)
    }

    /// Lists a service's running tasks by their ARNs; `None` if there is no such service.
    async fn tasks_of_service(
        &self,
        selector: &ContainerSelector,
    ) -> Result<Option<Vec<String>>, Failure> {
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            #[serde(default)]
            task_arns: Vec<String>,
            next_token: Option<String>,
        }

        let mut arns = Vec::new();
        let mut next_token: Option<String> = None;
        loop {
            let mut request = json!({
                "cluster": selector.cluster,
                "serviceName": selector.owner,
                "desiredStatus": "RUNNING",
                "maxResults": MAX_TASKS,
            });
            if let Some(token) = &next_token {
                request["nextToken"] = token.as_str().into();
            }
            let page: Page = match self.ecs("ListTasks", request).await {
                Ok(page) => page,
                Err(error) if is_absent_service(error.code()) => return Ok(None),
                Err(error) => {
                    return Err(self.ecs_failure("ecs:ListTasks", &error, &selector.cluster));
                }
            };
            arns.extend(page.task_arns);
            let next = page.next_token.filter(|token| !token.is_empty());
            // The same again would lead to the same page for ever.
            if next.is_none() || next == next_token {
                return Ok(Some(arns));
            }
            next_token = next;
        }
    }

    async fn describe_tasks(&self, cluster: &str, ids: &[String]) -> Result<Vec<Task>, Failure> {
        #[derive(Debug, Deserialize)]
        struct Tasks {
            #[serde(default)]
            tasks: Vec<Task>,
        }

        let request = json!({"cluster": cluster, "tasks": ids});
        let described: Result<Tasks, _> = self.ecs("DescribeTasks", request).await;
        match described {
            Ok(tasks) => Ok(tasks.tasks),
            // What cannot be the id of a task is refused as such.
            Err(error) if error.code() == Some("InvalidParameterException") => Ok(Vec::new()),
            Err(error) => Err(self.ecs_failure("ecs:DescribeTasks", &error, cluster)),
        }
    }

    fn ecs_failure(
        &self,
        action: &str,
        error: &SdkError<Refusal, HttpResponse>,
        cluster: &str,
    ) -> Failure {
        match error.code() {
            Some("ClusterNotFoundException") => Failure::new(
                Exit::Target,
                format!("there is no ECS cluster `{cluster}` {}", self.place()),
            )
            .with_hint("check the cluster's name, --region and --profile"),
            _ => self.api_failure(action, error),
        }
    }

    /// Calls an operation, and once more if the answer has told that the signature's time was wrong.
    async fn ecs<T>(
        &self,
        operation: &'static str,
        request: Value,
    ) -> Result<T, SdkError<Refusal, HttpResponse>>
    where
        T: for<'de> Deserialize<'de> + fmt::Debug + Send + Sync + 'static,
    {
        let clock = self.connector.clock();
        let correction = clock.correction();
        match self.ecs_once(operation, &request).await {
            Err(error)
                if error.as_service_error().is_some() && clock.correction() != correction =>
            {
                self.ecs_once(operation, &request).await
            }
            answer => answer,
        }
    }

    async fn ecs_once<T>(
        &self,
        operation: &'static str,
        request: &Value,
    ) -> Result<T, SdkError<Refusal, HttpResponse>>
    where
        T: for<'de> Deserialize<'de> + fmt::Debug + Send + Sync + 'static,
    {
        let credentials = self.credentials().await;
        let credentials = credentials.map_err(SdkError::construction_failure)?;
        let url = self.ecs_endpoint().await;
        let url = url.map_err(SdkError::construction_failure)?;
        let region = self.region().to_owned();
        let mut call = Operation::builder()
            .service_name("ECS")
            .operation_name(operation)
            .endpoint_url(&url)
            .no_auth()
            .standard_retry(&RetryConfig::standard())
            .retry_classifier(AwsErrorCodeClassifier::<Refusal>::new())
            .retry_classifier(HttpStatusCodeClassifier::default())
            .retry_classifier(TransientErrorClassifier::<Refusal>::new());
        if let Some(client) = self.sdk.http_client() {
            call = call.http_client(client);
        }
        if let Some(timeouts) = self.sdk.timeout_config() {
            call = call.timeout_config(timeouts.clone());
        }
        let connector = Arc::clone(&self.connector);
        let call = call
            .serializer(move |body: String| {
                let now = connector.clock().now();
                signed(&credentials, &region, &url, operation, now, body)
            })
            .deserializer(parse::<T>)
            .build();
        call.invoke(request.to_string()).await
    }

    /// Where ECS is: what the user configured for it, or the public endpoint.
    async fn ecs_endpoint(&self) -> Result<String, BoxError> {
        match self.endpoints.get(Service::Ecs) {
            Some(url) => Ok(url.to_string()),
            None => {
                let (use_fips, use_dual_stack) = (self.sdk.use_fips(), self.sdk.use_dual_stack());
                public_endpoint(self.region(), use_fips, use_dual_stack).await
            }
        }
    }
}

/// The endpoint of ECS in a region.
///
/// It is named as the one of Systems Manager is, in every partition, with FIPS and with dual-stack; but where all endpoints of
/// Systems Manager have FIPS and do not say so, as in GovCloud, that of ECS does. Source: the AWS General Reference.
async fn public_endpoint(
    region: &str,
    use_fips: Option<bool>,
    use_dual_stack: Option<bool>,
) -> Result<String, BoxError> {
    let params = Params::builder()
        .region(region)
        .set_use_fips(use_fips)
        .set_use_dual_stack(use_dual_stack)
        .build()?;
    let endpoint = ResolveEndpoint::resolve_endpoint(&DefaultResolver::new(), &params).await?;
    let url = endpoint.url().replacen("://ssm", "://ecs", 1);
    Ok(match use_fips {
        Some(true) => url.replacen("://ecs.", "://ecs-fips.", 1),
        _ => url,
    })
}

/// Makes the request, and signs it: ECS has no operation that needs anything else.
fn signed(
    credentials: &Credentials,
    region: &str,
    url: &str,
    operation: &str,
    now: SystemTime,
    body: String,
) -> Result<HttpRequest, BoxError> {
    let target = format!("{API}.{operation}");
    let headers = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", target.as_str()),
    ];
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("ecs")
        .time(now)
        .settings(SigningSettings::default())
        .build()?
        .into();
    let signable = SignableRequest::new(
        "POST",
        url,
        headers.into_iter(),
        SignableBody::Bytes(body.as_bytes()),
    )?;
    let (instructions, _signature) = sign(signable, &params)?.into_parts();
    let mut request = HttpRequest::new(body.into());
    request.set_method("POST")?;
    request.set_uri("/")?;
    let own = headers.map(|(name, value)| (name, value.to_owned()));
    let (signed, _query) = instructions.into_parts();
    let signed = signed
        .iter()
        .map(|header| (header.name(), header.value().to_owned()));
    for (name, value) in own.into_iter().chain(signed) {
        request.headers_mut().try_insert(name.to_owned(), value)?;
    }
    Ok(request)
}

fn parse<T: for<'de> Deserialize<'de>>(
    response: &HttpResponse,
) -> Result<T, OrchestratorError<Refusal>> {
    let body = response.body().bytes().unwrap_or_default();
    let unreadable = |error: serde_json::Error| OrchestratorError::response(Box::new(error));
    if response.status().is_success() {
        return serde_json::from_slice(body).map_err(unreadable);
    }
    let refusal: Body = serde_json::from_slice(body).map_err(unreadable)?;
    // A namespace may stand before the code.
    let code = refusal.code.rsplit('#').next().unwrap_or_default();
    let metadata = ErrorMetadata::builder()
        .code(code)
        .message(refusal.message.unwrap_or_default());
    Err(OrchestratorError::operation(Refusal(metadata.build())))
}

/// The body of a refusal.
#[derive(Debug, Deserialize)]
struct Body {
    #[serde(rename = "__type")]
    code: String,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// What ECS answered instead of doing what it was asked for.
#[derive(Debug)]
struct Refusal(ErrorMetadata);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Refusal {}

impl ProvideErrorMetadata for Refusal {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

fn is_absent_service(code: Option<&str>) -> bool {
    matches!(
        code,
        Some("ServiceNotFoundException" | "ServiceNotActiveException")
    )
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    task_arn: String,
    cluster_arn: String,
    last_status: Option<String>,
    availability_zone: Option<String>,
    platform_family: Option<String>,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    /// Absent until the container runs.
    runtime_id: Option<String>,
    #[serde(default)]
    managed_agents: Vec<ManagedAgent>,
    #[serde(default)]
    network_interfaces: Vec<NetworkInterface>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedAgent {
    name: String,
    last_status: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkInterface {
    private_ipv4_address: Option<String>,
}

impl Task {
    /// The containers that the selector names; those that do not run have no id.
    fn nodes(&self, selector: &ContainerSelector, service: Option<&str>) -> Vec<Node> {
        let is_named = |container: &&Container| match &selector.container {
            Some(name) => *name == container.name,
            None => true,
        };
        let named = self.containers.iter().filter(is_named);
        named
            .filter_map(|container| self.node(container, service))
            .collect()
    }

    fn node(&self, container: &Container, service: Option<&str>) -> Option<Node> {
        let (cluster, task) = (
            last_segment(&self.cluster_arn),
            last_segment(&self.task_arn),
        );
        let runtime_id = container.runtime_id.as_deref()?;
        let owner = service.unwrap_or(task);
        let address = container.network_interfaces.first();
        Some(Node {
            id: format!("ecs:{cluster}_{task}_{runtime_id}"),
            name: Some(format!("{cluster}/{owner}/{}", container.name)),
            state: match self.is_online(container) {
                true => NodeState::Online,
                false => NodeState::Offline,
            },
            zone: self.availability_zone.clone(),
            ip: address.and_then(|address| address.private_ipv4_address.clone()),
            platform: self.platform_family.clone(),
            ..Node::default()
        })
    }

    /// Whether the agent runs with which the task was started if execute-command is enabled.
    fn is_online(&self, container: &Container) -> bool {
        let is_running = |status: &Option<String>| status.as_deref() == Some("RUNNING");
        let mut agents = container.managed_agents.iter();
        is_running(&self.last_status)
            && agents
                .any(|agent| agent.name == "ExecuteCommandAgent" && is_running(&agent.last_status))
    }
}

/// What an ARN ends in.
fn last_segment(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn endpoints_follow_partition_fips_and_dual_stack() {
        for (region, use_fips, use_dual_stack, expected) in [
            ("eu-west-1", false, false, "ecs.eu-west-1.amazonaws.com"),
            ("us-east-1", true, false, "ecs-fips.us-east-1.amazonaws.com"),
            ("us-east-1", false, true, "ecs.us-east-1.api.aws"),
            (
                "us-gov-west-1",
                false,
                false,
                "ecs.us-gov-west-1.amazonaws.com",
            ),
            (
                "us-gov-west-1",
                true,
                false,
                "ecs-fips.us-gov-west-1.amazonaws.com",
            ),
            (
                "cn-north-1",
                false,
                false,
                "ecs.cn-north-1.amazonaws.com.cn",
            ),
        ] {
            let url = public_endpoint(region, Some(use_fips), Some(use_dual_stack)).await;
            assert_eq!(url.unwrap(), format!("https://{expected}"));
        }
    }
}
