//! The Systems Manager API: JSON 1.1 over POST, the operation named in `X-Amz-Target`.

mod document;
mod instances;
mod sessions;

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::auth::{AuthError, Service, Verifier};
use super::server::Answer;
use super::{Shared, auth, clock};

/// Answers one API request.
pub(super) fn answer(shared: &std::sync::Arc<Shared>, request: &Parts, body: &[u8]) -> Answer {
    let result =
        authorize(shared, request, body).and_then(|operation| dispatch(shared, operation, body));
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

/// Verifies the signature and returns the operation's name, unless that is to be denied.
fn authorize<'a>(shared: &Shared, request: &'a Parts, body: &[u8]) -> Result<&'a str, ApiError> {
    Verifier::default().verify(Service::Ssm, request, body, SystemTime::now())?;
    auth::check_expiry(request, &shared.conditions)?;
    let target = request.headers.get("x-amz-target");
    let operation = target
        .and_then(|target| target.to_str().ok()?.strip_prefix("AmazonSSM."))
        .ok_or_else(unknown_operation)?;
    if shared.conditions.chaos().deny.contains(operation) {
        return Err(denied(operation, body));
    }
    Ok(operation)
}

fn dispatch(
    shared: &std::sync::Arc<Shared>,
    operation: &str,
    body: &[u8],
) -> Result<Value, ApiError> {
    match operation {
        "StartSession" => sessions::start(shared, parse(body)?),
        "ResumeSession" => sessions::resume(shared, parse(body)?),
        "TerminateSession" => sessions::terminate(shared, parse(body)?),
        "DescribeSessions" => sessions::describe(shared, parse(body)?),
        "DescribeInstanceInformation" => instances::describe(shared, parse(body)?),
        "GetConnectionStatus" => instances::connection_status(shared, parse(body)?),
        _ => Err(unknown_operation()),
    }
}

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

fn denied(operation: &str, body: &[u8]) -> ApiError {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Resource {
        target: Option<String>,
    }
    let target = serde_json::from_slice(body).ok();
    let resource = match target.and_then(|resource: Resource| resource.target) {
        Some(target) => format!("arn:aws:ec2:us-east-1:000000000000:instance/{target}"),
        None => "arn:aws:ssm:us-east-1:000000000000:*".to_owned(),
    };
    ApiError::new(
        "AccessDeniedException",
        format!(
            "User: arn:aws:iam::000000000000:user/lab-user is not authorized to perform: \
             ssm:{operation} on resource: {resource} because no identity-based policy allows the \
             ssm:{operation} action"
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
    max_results: Option<usize>,
    next_token: Option<&str>,
) -> Result<(Vec<Value>, Option<String>), ApiError> {
    let start = match next_token {
        None | Some("") => 0,
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::new("InvalidNextToken", "The specified token is not valid."))?,
    };
    let limit = max_results.unwrap_or(MAX_PAGE_LEN).clamp(1, MAX_PAGE_LEN);
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

/// Entries of a list in one answer.
const MAX_PAGE_LEN: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_pages() {
        let items = || (0..5).map(Value::from).collect::<Vec<_>>();
        let (first, next) = page(items(), Some(2), None).unwrap();
        assert_eq!(
            (first, next.as_deref()),
            (vec![0.into(), 1.into()], Some("2"))
        );
        let (last, next) = page(items(), Some(2), Some("4")).unwrap();
        assert_eq!((last, next), (vec![4.into()], None));
        let beyond = usize::MAX.to_string();
        assert_eq!(page(items(), None, Some(&beyond)).unwrap(), (vec![], None));
        assert_eq!(
            page(items(), None, Some("x")).unwrap_err().code,
            "InvalidNextToken"
        );
    }

    #[test]
    fn broken_json_and_wrong_types_are_told_apart() {
        let code = |body: &[u8]| parse::<Vec<String>>(body).unwrap_err().code;
        assert_eq!(code(b"["), "SerializationException");
        assert_eq!(code(b"[1]"), "ValidationException");
    }

    #[test]
    fn a_denial_names_action_and_resource() {
        let error = denied("StartSession", br#"{"Target":"i-0abc"}"#);
        assert!(
            error
                .message
                .contains("perform: ssm:StartSession on resource: ")
        );
        assert!(error.message.contains("instance/i-0abc because"));
        assert!(
            denied("ResumeSession", b"not json")
                .message
                .contains(":* because")
        );
    }
}
