//! Errors of the AWS SDK as failures a user can act on.

use std::error::Error;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::operation::RequestId;
use tracing::debug;

use super::{Aws, Identity, Service, denial};
use crate::failure::{Exit, Failure, SEE_DOCTOR};
use crate::net::proxy::Proxy;

impl Aws {
    /// Explains why the API call `action`, such as `ssm:StartSession`, did not succeed.
    pub(super) fn api_failure<E>(&self, action: &str, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        if let Some(service) = error.as_service_error()
            && let Some(code) = service.code()
        {
            // Not the message: that of a wrong signature quotes the session token.
            debug!(
                action,
                code,
                request_id = error.request_id(),
                "the API call failed"
            );
            let message = service.message().unwrap_or_default();
            return service_failure(action, code, message, &self.identity);
        }
        match error.raw_response() {
            Some(response) => self.foreign_answer(action, response),
            None => self.transport_failure(action, error),
        }
    }

    /// Explains an answer that has not the form of one from AWS.
    fn foreign_answer(&self, action: &str, response: &HttpResponse) -> Failure {
        let status = response.status().as_u16();
        Failure::new(
            Exit::Failure,
            format!(
                "{} answered {action} with HTTP status {status} and something that is not from AWS",
                self.endpoint_of(action)
            ),
        )
        .with_hint(format!(
            "a proxy may be in between, or the endpoint URL is wrong; {SEE_DOCTOR}"
        ))
    }

    /// Explains a call that got no answer at all.
    fn transport_failure<E>(&self, action: &str, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: Error + Send + Sync + 'static,
    {
        debug!(action, error = chain(error), "the API call got no answer");
        if let Some(credentials) = find_cause::<CredentialsError>(error) {
            return credentials_failure(credentials, &self.identity);
        }
        // Where the connection could not be made, it is known at which step and why.
        if let Some(failure) = find_cause::<Failure>(error) {
            let message = format!("{action} failed: {}", failure.message);
            return Failure {
                message,
                ..failure.clone()
            };
        }
        let host = self.endpoint_of(action);
        let is_timeout = matches!(error, SdkError::TimeoutError(_))
            || matches!(error, SdkError::DispatchFailure(dispatch) if dispatch.is_timeout());
        if is_timeout {
            let proxy = self.proxy_of(action);
            let through = proxy.map(|proxy| format!(" through the proxy {proxy}"));
            let through = through.unwrap_or_default();
            return Failure::new(
                Exit::Failure,
                format!("{host} did not answer {action} in time{through}"),
            )
            .with_hint(format!(
                "check the network, its proxy and firewall, and the region; {SEE_DOCTOR}"
            ));
        }
        let message = format!("{action} failed: cannot reach {host}: {}", root(error));
        Failure::new(Exit::Failure, message).with_hint(format!(
            "check the network, the region and the endpoint URL; {SEE_DOCTOR}"
        ))
    }

    /// The proxy through which `action` is called, where it is known.
    fn proxy_of(&self, action: &str) -> Option<&Proxy> {
        let address = self.address(Service::of_action(action)?);
        let proxy = self
            .connector
            .proxy_to(&address.host, address.port, address.is_tls);
        proxy.ok().flatten()
    }

    /// Who is called for `action`: the host, where it is known.
    fn endpoint_of(&self, action: &str) -> String {
        match action.split_once(':') {
            Some((service, _)) if service != "ssm" => format!("{service} in {}", self.region),
            _ => self.host.clone(),
        }
    }
}

/// Tells whether the error code says that the caller may not do what it asked for, whatever its
/// credentials' age.
pub(super) fn is_denial(code: &str) -> bool {
    let name = code.strip_suffix("Exception").unwrap_or(code);
    // EC2 Instance Connect says `AuthException`.
    matches!(
        name,
        "AccessDenied" | "Auth" | "UnauthorizedOperation" | "Forbidden"
    )
}

/// Explains an error code of the service.
fn service_failure(action: &str, code: &str, message: &str, identity: &Identity) -> Failure {
    // The service names some codes with the suffix and some without.
    let name = code.strip_suffix("Exception").unwrap_or(code);
    let message = one_line(message);
    let told = match message.is_empty() {
        true => code.to_owned(),
        false => format!("{code}: {message}"),
    };
    match name {
        _ if is_denial(code) => {
            Failure::new(Exit::Credentials, format!("{action} was denied: {told}"))
                .with_hint(denial::hint(action, &message))
                .denied(denial::of(&message))
        }
        "ExpiredToken" | "TokenRefreshRequired" => Failure::new(
            Exit::Credentials,
            format!("{action} failed: the AWS credentials have expired"),
        )
        .with_hint(identity.renew_hint()),
        "UnrecognizedClient"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "OptInRequired" => Failure::new(
            Exit::Credentials,
            format!("{action} failed: AWS does not accept the credentials ({code})"),
        )
        .with_hint(identity.renew_hint()),
        // The message is left out: it quotes the signed headers, and with them the session token.
        "InvalidSignature"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "RequestInTheFuture" => Failure::new(
            Exit::Credentials,
            format!("{action} failed: AWS does not accept the signature ({code})"),
        )
        .with_hint(
            "check that this machine's clock is right, then the secret access key, and that --region and --endpoint-url \
             belong together",
        ),
        "TargetNotConnected" => Failure::new(Exit::Target, told).with_hint(SEE_DOCTOR),
        "InvalidInstanceId" | "InvalidTarget" => Failure::new(
            Exit::Target,
            format!("{action} failed: {told}"),
        )
        .with_hint(
            "check the target's id, --region and --profile: `ssmfwd targets` lists what there is",
        ),
        "SubscriptionRequired" => {
            Failure::new(Exit::Credentials, format!("{action} failed: {told}"))
                .with_hint("the account is not activated for this service")
        }
        "InternalServerError"
        | "InternalServiceError"
        | "InternalFailure"
        | "ServiceUnavailable" => Failure::new(Exit::Failure, format!("{action} failed: {told}"))
            .with_hint(
                "the service is in trouble: try again, and look at the AWS Health Dashboard",
            ),
        "InvalidDocument" => Failure::new(Exit::Failure, format!("{action} failed: {told}"))
            .with_hint("the document does not exist in this account and region, or is not shared")
            .permanent(),
        "InvalidParameters" => Failure::new(Exit::Failure, format!("{action} failed: {told}"))
            .with_hint("check --parameter against the document's parameters: `aws ssm describe-document --name NAME` lists them")
            .permanent(),
        "Throttling" | "Throttled" | "RequestLimitExceeded" | "TooManyRequests" => {
            Failure::new(Exit::Failure, format!("{action} failed: {told}"))
                .with_hint("the account's rate limit is used up: wait a little and try again")
        }
        _ => Failure::new(Exit::Failure, format!("{action} failed: {told}")).with_hint(SEE_DOCTOR),
    }
}

/// Explains why there are no credentials.
pub(super) fn credentials_failure(error: &CredentialsError, identity: &Identity) -> Failure {
    // The outermost text only says that loading failed.
    let why = error.source().map_or_else(|| chain(error), chain);
    // The instance's metadata come last in the chain: whoever ends there has configured nothing.
    let is_nothing = matches!(error, CredentialsError::CredentialsNotLoaded(_));
    if is_nothing || why.contains("IMDS") {
        debug!(why, "no provider has credentials");
        let message = match &identity.profile {
            Some(profile) => format!("no AWS credentials: profile `{profile}` has none"),
            None => "no AWS credentials were found".to_owned(),
        };
        let hint = match identity.is_sso {
            true => identity.renew_hint(),
            false => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, run `aws configure` or \
                      `aws configure sso`, or select another profile with --profile"
                .to_owned(),
        };
        return Failure::new(Exit::Credentials, message).with_hint(hint);
    }
    let message = format!("the AWS credentials cannot be loaded: {why}");
    if let Some(failure) = find_cause::<Failure>(error) {
        let message = format!("the AWS credentials cannot be loaded: {}", failure.message);
        return Failure {
            message,
            ..failure.clone()
        };
    }
    if find_cause::<ConnectorError>(error).is_some() {
        // Nobody's credentials are wrong: an outage of the network must not ask for a login.
        return Failure::new(Exit::Failure, message).with_hint(
            "check the network: the credentials come from a service that cannot be reached",
        );
    }
    let hint = match error {
        CredentialsError::InvalidConfiguration(_) => {
            "correct the profile in the AWS configuration files".to_owned()
        }
        _ => identity.renew_hint(),
    };
    Failure::new(Exit::Credentials, message).with_hint(hint)
}

/// Joins an error with its causes in one line, leaving out what a cause repeats.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    one_line(&text)
}

/// Returns the text of the innermost cause, which for connections is the operating system's.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    one_line(&innermost.to_string())
}

/// Finds an error of type `T` among an error and its causes.
pub(crate) fn find_cause<'a, T: Error + 'static>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a T> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An `io::Error` reports the cause of what it wraps, not what it wraps.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| wrapped.downcast_ref()) {
            return Some(found);
        }
        current = error.source();
    }
    None
}

/// Makes text from elsewhere fit into one line of a terminal: no control characters, bounded.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .collect();
    let mut line = words.join(" ").trim().to_owned();
    if let Some((end, _)) = line.char_indices().nth(MAX_TEXT_LEN) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// Longest text of a service or a library that is repeated to the user, in characters. The
/// longest useful one, a denial that names two ARNs, is below 400.
const MAX_TEXT_LEN: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    fn sso() -> Identity {
        Identity {
            profile: Some("prod".into()),
            is_sso: true,
            ..Identity::default()
        }
    }

    #[test]
    fn denial_names_action_and_keeps_the_services_words() {
        let failure = service_failure(
            "ssm:StartSession",
            "AccessDeniedException",
            "User: u is not authorized to perform: ssm:StartSession on resource: arn:aws:ec2:::i-0abc",
            &sso(),
        );
        assert_eq!(failure.exit, Exit::Credentials);
        assert!(
            failure.message.contains("arn:aws:ec2:::i-0abc"),
            "{failure}"
        );
        assert!(
            failure
                .hint
                .unwrap()
                .contains("allow ssm:StartSession on arn:aws:ec2:::i-0abc")
        );
    }

    #[test]
    fn codes_map_to_exits() {
        for (code, exit) in [
            ("AccessDenied", Exit::Credentials),
            ("ExpiredTokenException", Exit::Credentials),
            ("UnrecognizedClientException", Exit::Credentials),
            ("InvalidSignatureException", Exit::Credentials),
            ("RequestTimeTooSkewed", Exit::Credentials),
            ("RequestExpired", Exit::Credentials),
            ("InvalidInstanceId", Exit::Target),
            ("InternalServerError", Exit::Failure),
            ("TargetNotConnected", Exit::Target),
            ("InvalidDocument", Exit::Failure),
            ("ThrottlingException", Exit::Failure),
            ("ThrottledException", Exit::Failure),
            ("SomethingNew", Exit::Failure),
        ] {
            let failure = service_failure("ssm:X", code, "m", &sso());
            assert_eq!(failure.exit, exit, "{code}");
            assert!(
                failure.hint.is_some(),
                "{code} says nothing of the next step"
            );
        }
    }

    #[test]
    fn expired_credentials_say_what_to_run() {
        let failure = service_failure("ssm:StartSession", "ExpiredToken", "", &sso());
        assert_eq!(
            failure.hint.as_deref(),
            Some("run `aws sso login --profile prod`")
        );
    }

    #[test]
    fn signature_errors_hide_the_services_message_and_mention_the_clock() {
        let failure = service_failure(
            "ssm:StartSession",
            "SignatureDoesNotMatch",
            "The canonical string should have been x-amz-security-token:SECRET",
            &sso(),
        );
        assert!(!failure.message.contains("SECRET"));
        let hint = failure.hint.unwrap();
        for cause in ["clock", "secret access key", "--region", "--endpoint-url"] {
            assert!(hint.contains(cause), "{hint}");
        }
    }

    #[test]
    fn missing_credentials_say_how_to_supply_them() {
        let error = CredentialsError::not_loaded_no_source();
        let failure = credentials_failure(&error, &Identity::default());
        assert_eq!(failure.exit, Exit::Credentials);
        assert!(failure.hint.unwrap().contains("aws configure"));
    }

    #[test]
    fn credentials_that_cannot_be_loaded_say_why() {
        let error = CredentialsError::provider_error("external process exited with code 3");
        let failure = credentials_failure(&error, &sso());
        assert_eq!(
            failure.message,
            "the AWS credentials cannot be loaded: external process exited with code 3"
        );
        let error = CredentialsError::invalid_configuration("infinite loop");
        let failure = credentials_failure(&error, &sso());
        assert!(failure.hint.unwrap().contains("correct the profile"));
    }

    #[test]
    fn text_from_elsewhere_is_one_bounded_line() {
        assert_eq!(one_line(" a\r\nb\u{1b}c \n"), "a  b c");
        assert_eq!(
            one_line(&"ä".repeat(2000)).chars().count(),
            MAX_TEXT_LEN + 1
        );
    }
}
