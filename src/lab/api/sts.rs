//! The Security Token Service: GetCallerIdentity, in the older protocol of forms and XML.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::request_id;
use crate::lab::Shared;
use crate::lab::auth::{self, AuthError, Service, Verifier};
use crate::lab::chaos::Condition;
use crate::lab::server::Answer;

/// Whether a request is for this service: the others take JSON.
pub(super) fn is_asked(request: &Parts) -> bool {
    let content_type = request.headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| {
        value
            .as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    })
}

/// Answers one request.
pub(super) fn answer(shared: &Shared, request: &Parts, body: &[u8]) -> Answer {
    let mut form = url::form_urlencoded::parse(body);
    let is_known = form.any(|(name, value)| name == "Action" && value == "GetCallerIdentity");
    let verified = Verifier::default().verify(Service::Sts, request, body, shared.conditions.now());
    let verified = verified.and_then(|()| auth::check_expiry(request, &shared.conditions));
    let (status, body) = match (verified, is_known) {
        _ if shared.conditions.holds(Condition::FailCalls) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            error("InternalFailure", "The lab fails all calls."),
        ),
        (Ok(()), true) => (StatusCode::OK, identity()),
        (Ok(()), false) => refusal("InvalidAction", "The lab does not know this operation."),
        (Err(error), _) => refusal(code(error), &error.to_string()),
    };
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static("text/xml");
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    answer
}

fn identity() -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::000000000000:user/lab-user</Arn><UserId>AIDALAB00000000000000</UserId>\
         <Account>000000000000</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></GetCallerIdentityResponse>",
        request_id()
    )
}

fn refusal(code: &str, message: &str) -> (StatusCode, String) {
    (StatusCode::FORBIDDEN, error(code, message))
}

fn error(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
        request_id()
    )
}

/// The code this service has for it.
fn code(error: AuthError) -> &'static str {
    match error {
        AuthError::UnknownKey => "InvalidClientTokenId",
        AuthError::WrongScope | AuthError::WrongSignature | AuthError::Expired => {
            "SignatureDoesNotMatch"
        }
        AuthError::ExpiredToken => "ExpiredToken",
        AuthError::Missing | AuthError::Incomplete => error.code(),
    }
}

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
