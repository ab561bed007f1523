//! The APIs of Systems Manager and of the services its clients use beside it: JSON 1.1 over POST,
//! service and operation named in `X-Amz-Target`.

mod document;
mod documents;
mod ecs;
mod instance_connect;
mod instances;
mod kms;
mod sessions;
mod sts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::auth::{AuthError, Service, Verifier};
use super::chaos::Condition;
use super::server::Answer;
use super::{Shared, auth, clock};

/// Answers one API request.
pub(super) fn answer(shared: &Arc<Shared>, request: &Parts, body: &[u8]) -> Answer {
    if sts::is_asked(request) {
        return sts::answer(shared, request, body);
    }
    let result = authorize(shared, request, body).and_then(|call| dispatch(shared, call, body));
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            tracing::debug!(
                code = error.code,
                message = error.message,
                "API request refused"
            );
            let body = json!({"__type": error.code, "message": error.message});
            (error.status, body)
        }
    };
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static("application/x-amz-json-1.1");
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if let Ok(id) = HeaderValue::try_from(request_id()) {
        headers.insert("x-amzn-requestid", id);
    }
    answer
}

/// What a request asks for, once its signature has been found good.
#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    service: Service,
    operation: &'a str,
    /// The region it was signed for.
    region: &'a str,
}

/// Verifies the signature and finds out what the request asks for, unless that is to be denied.
fn authorize<'a>(
    shared: &'a Shared,
    request: &'a Parts,
    body: &[u8],
) -> Result<Call<'a>, ApiError> {
    let target = request.headers.get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok());
    let named = target.and_then(|target| {
        let service = |(prefix, service)| Some((service, target.strip_prefix(prefix)?));
        SERVICES.into_iter().find_map(service)
    });
    let (service, operation) = named.unwrap_or((Service::Ssm, ""));
    let region = verify(shared, service, request, body)?;
    auth::check_expiry(request, &shared.conditions)?;
    if shared.conditions.holds(Condition::FailCalls) {
        return Err(ApiError::failed());
    }
    let chaos = shared.conditions.chaos();
    if chaos.forbid.contains(operation) {
        return Err(denied(service, operation, body, Policy::ServiceControl));
    }
    if chaos.deny.contains(operation) {
        return Err(denied(service, operation, body, Policy::Identity));
    }
    Ok(Call {
        service,
        operation,
        region,
    })
}

/// Verifies the signature and returns the region it is for: the lab's, or one that has keys.
fn verify<'a>(
    shared: &'a Shared,
    service: Service,
    request: &Parts,
    body: &[u8],
) -> Result<&'a str, AuthError> {
    let now = shared.conditions.now();
    let verified = Verifier::default().verify(service, request, body, now);
    if verified != Err(AuthError::WrongScope) || service != Service::Kms {
        return verified.map(|()| auth::REGION);
    }
    let mut regions = shared.keyring.regions();
    let is_for = |region: &&str| {
        let verifier = Verifier::default().in_region(region);
        verifier.verify(service, request, body, now).is_ok()
    };
    regions.find(is_for).ok_or(AuthError::WrongScope)
}

fn dispatch(shared: &Arc<Shared>, call: Call<'_>, body: &[u8]) -> Result<Value, ApiError> {
    let region = call.region;
    match (call.service, call.operation) {
        (Service::Ssm, "StartSession") => sessions::start(shared, parse(body)?),
        (Service::Ssm, "ResumeSession") => sessions::resume(shared, parse(body)?),
        (Service::Ssm, "TerminateSession") => sessions::terminate(shared, parse(body)?),
        (Service::Ssm, "DescribeSessions") => sessions::describe(shared, parse(body)?),
        (Service::Ssm, "DescribeInstanceInformation") => instances::describe(shared, parse(body)?),
        (Service::Ssm, "DescribeInstanceProperties") => {
            instances::describe_properties(shared, parse(body)?)
        }
        (Service::Ssm, "GetConnectionStatus") => instances::connection_status(shared, parse(body)?),
        (Service::Ssm, "DescribeDocument") => documents::describe(shared, parse(body)?),
        (Service::Ssm, "GetDocument") => documents::get(shared, parse(body)?),
        (Service::Kms, "GenerateDataKey") => kms::generate_data_key(shared, region, parse(body)?),
        (Service::Kms, "Decrypt") => kms::decrypt(shared, region, parse(body)?),
        (Service::Ecs, "ExecuteCommand") => ecs::execute_command(shared, parse(body)?),
        (Service::Ecs, "ListTasks") => ecs::list_tasks(shared, parse(body)?),
        (Service::Ecs, "DescribeTasks") => ecs::describe_tasks(shared, parse(body)?),
        (Service::InstanceConnect, "SendSSHPublicKey") => {
            instance_connect::send(shared, parse(body)?)
        }
        _ => Err(unknown_operation()),
    }
}

/// What [`dispatch`] knows, which is what can be denied.
pub(super) const OPERATIONS: [&str; 15] = [
    "StartSession",
    "ResumeSession",
    "TerminateSession",
    "DescribeSessions",
    "DescribeInstanceInformation",
    "DescribeInstanceProperties",
    "GetConnectionStatus",
    "DescribeDocument",
    "GetDocument",
    "GenerateDataKey",
    "Decrypt",
    "ExecuteCommand",
    "ListTasks",
    "DescribeTasks",
    "SendSSHPublicKey",
];

/// What the services' operations are prefixed with.
const SERVICES: [(&str, Service); 4] = [
    ("AmazonSSM.", Service::Ssm),
    ("TrentService.", Service::Kms),
    ("AmazonEC2ContainerServiceV20141113.", Service::Ecs),
    ("AWSEC2InstanceConnectService.", Service::InstanceConnect),
];

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let code = match error.classify() {
            serde_json::error::Category::Data => "ValidationException",
            _ => "SerializationException",
        };
        ApiError::new(code, error.to_string())
    })
}

/// A refusal, as a client sees it.
#[derive(Debug, PartialEq, Eq)]
struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            message: message.into(),
        }
    }

    /// The service's own fault.
    fn failed() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            ..Self::new(
                "InternalServerError",
                "An error occurred on the server side.",
            )
        }
    }

    /// A required request field that is missing.
    fn missing(field: &str) -> Self {
        let message = format!(
            "1 validation error detected: Value null at '{field}' failed to satisfy constraint: \
             Member must not be null"
        );
        Self::new("ValidationException", message)
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let mut answer = Self::new(error.code(), error.to_string());
        answer.status = match error {
            AuthError::UnknownKey | AuthError::Expired | AuthError::ExpiredToken => {
                StatusCode::BAD_REQUEST
            }
            AuthError::Missing
            | AuthError::Incomplete
            | AuthError::WrongScope
            | AuthError::WrongSignature => StatusCode::FORBIDDEN,
        };
        answer
    }
}

fn unknown_operation() -> ApiError {
    ApiError::new(
        "UnknownOperationException",
        "The lab does not know this operation.",
    )
}

/// Who says no.
#[derive(Debug, Clone, Copy)]
enum Policy {
    /// None of the caller's policies says yes.
    Identity,
    /// The organization.
    ServiceControl,
}

fn denied(service: Service, operation: &str, body: &[u8], policy: Policy) -> ApiError {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Resource {
        target: Option<String>,
        key_id: Option<String>,
    }
    let service = service.name();
    let account = format!("arn:aws:{service}:us-east-1:000000000000");
    let resource = match serde_json::from_slice(body) {
        Ok(Resource {
            target: Some(target),
            ..
        }) => format!("arn:aws:ec2:us-east-1:000000000000:instance/{target}"),
        Ok(Resource {
            key_id: Some(key), ..
        }) => match key.starts_with("arn:") {
            true => key,
            false => format!("{account}:key/{key}"),
        },
        _ => format!("{account}:*"),
    };
    not_authorized(service, operation, &resource, policy)
}

fn not_authorized(
    service: &'static str,
    operation: &str,
    resource: &str,
    policy: Policy,
) -> ApiError {
    let why = match policy {
        Policy::Identity => {
            format!("because no identity-based policy allows the {service}:{operation} action")
        }
        Policy::ServiceControl => "with an explicit deny in a service control policy".to_owned(),
    };
    ApiError::new(
        "AccessDeniedException",
        format!(
            "User: arn:aws:iam::000000000000:user/lab-user is not authorized to perform: \
             {service}:{operation} on resource: {resource} {why}"
        ),
    )
}

fn request_id() -> String {
    let bytes = fastrand::u128(..).to_ne_bytes();
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    id.to_string()
}

/// Cuts a page out of `items` as `MaxResults` and `NextToken` ask, and returns it with the token
/// of the next one.
fn page(
    items: Vec<Value>,
    max_len: usize,
    max_results: Option<usize>,
    next_token: Option<&str>,
) -> Result<(Vec<Value>, Option<String>), ApiError> {
    let start = match next_token {
        None | Some("") => 0,
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::new("InvalidNextToken", "The specified token is not valid."))?,
    };
    let limit = max_results.unwrap_or(max_len).clamp(1, max_len);
    let end = limit.saturating_add(start);
    let next = (end < items.len()).then(|| end.to_string());
    Ok((items.into_iter().skip(start).take(limit).collect(), next))
}

/// A time as the API writes it: seconds since the epoch.
fn date(time: SystemTime) -> Value {
    Value::from(clock::epoch_seconds(time))
}

/// Parameters of a document, as in StartSession.
type Parameters = BTreeMap<String, Vec<String>>;

/// Entries of a list in one answer, of most operations.
const MAX_PAGE_LEN: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::testing;

    #[test]
    fn a_list_is_cut_into_pages() {
        let items = || (0..5).map(Value::from).collect::<Vec<_>>();
        let (first, next) = page(items(), MAX_PAGE_LEN, Some(2), None).unwrap();
        assert_eq!(
            (first, next.as_deref()),
            (vec![0.into(), 1.into()], Some("2"))
        );
        let (last, next) = page(items(), MAX_PAGE_LEN, Some(2), Some("4")).unwrap();
        assert_eq!((last, next), (vec![4.into()], None));
        let beyond = usize::MAX.to_string();
        assert_eq!(
            page(items(), MAX_PAGE_LEN, None, Some(&beyond)).unwrap(),
            (vec![], None)
        );
        assert_eq!(
            page(items(), MAX_PAGE_LEN, None, Some("x"))
                .unwrap_err()
                .code,
            "InvalidNextToken"
        );
    }

    #[tokio::test]
    async fn every_operation_that_can_be_denied_is_known() {
        let lab = testing::lab(|_| {}).await;
        for operation in OPERATIONS {
            let is_known = SERVICES.into_iter().any(|(_, service)| {
                let call = Call {
                    service,
                    operation,
                    region: auth::REGION,
                };
                dispatch(&lab.shared, call, b"{}") != Err(unknown_operation())
            });
            assert!(is_known, "{operation}");
        }
    }

    #[test]
    fn broken_json_and_wrong_types_are_told_apart() {
        let code = |body: &[u8]| parse::<Vec<String>>(body).unwrap_err().code;
        assert_eq!(code(b"["), "SerializationException");
        assert_eq!(code(b"[1]"), "ValidationException");
    }

    #[test]
    fn a_denial_names_action_and_resource() {
        let message = |service, operation: &str, body: &[u8]| {
            denied(service, operation, body, Policy::Identity).message
        };
        let start = message(Service::Ssm, "StartSession", br#"{"Target":"i-0abc"}"#);
        assert!(start.contains("perform: ssm:StartSession on resource: "));
        assert!(start.contains("instance/i-0abc because"));
        assert!(message(Service::Ssm, "ResumeSession", b"not json").contains(":* because"));
        let arn = "arn:aws:kms:us-east-1:000000000000:key/1";
        for id in ["1", arn] {
            let body = json!({"KeyId": id}).to_string();
            let data_key = message(Service::Kms, "GenerateDataKey", body.as_bytes());
            let expected = format!("perform: kms:GenerateDataKey on resource: {arn} because");
            assert!(data_key.contains(&expected), "{data_key}");
        }
    }
}
