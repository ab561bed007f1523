//! Starting, resuming and terminating sessions.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_sdk_ssm::config;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::types::ConnectionStatus;
use tracing::{debug, warn};
use zeroize::Zeroizing;

use super::pace::Pace;
use super::repeatable::OnlyIfAnswered;
use super::{Aws, Service, StreamUrl, Target};
use crate::failure::{Exit, Failure, SEE_DOCTOR};

/// What to start a session with.
#[derive(Debug, Clone)]
pub struct StartSession {
    /// The target.
    pub target: Target,
    /// Name or ARN of the session document; without one, the account's shell is started.
    pub document: Option<String>,
    /// Parameters of the document. They may hold host names and commands.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// Shown in the session's history, 1 to 256 characters.
    pub reason: Option<String>,
}

/// A session the service has created and waits to be connected to.
#[derive(Debug)]
pub struct StartedSession {
    /// Identifier of the session; it may contain `@` and `.`.
    pub session_id: String,
    /// Authenticates the data channel.
    pub token: Token,
    /// Where the data channel is.
    pub stream_url: StreamUrl,
}

/// Why StartSession has started no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotStarted {
    /// The target is not connected. [`Aws::explain_unreachable`] finds out more.
    NotConnected,
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for NotStarted {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a new data channel for a running session is opened with.
#[derive(Debug)]
pub struct Resumption {
    /// Authenticates the data channel.
    pub token: Token,
    /// Where the data channel is, which may be elsewhere than before.
    pub stream_url: StreamUrl,
}

/// Why a session was not resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumeError {
    /// The session is over.
    Gone,
    /// The session cannot be resumed, now or later.
    Refused(Failure),
    /// There are no credentials the service accepts; others may work.
    Credentials(Failure),
    /// The service cannot be reached, or is in trouble.
    Transient(Failure),
}

/// The secret that opens a data channel. `Debug` does not show it, there is no `Display`, and it is wiped in the end.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Wraps a token.
    pub fn new(token: impl Into<String>) -> Self {
        Self(Zeroizing::new(token.into()))
    }

    /// Returns the secret itself, for the frame that opens the data channel and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// How often the operations of sessions may be called, per account and region: the quotas of Session Manager in the AWS General
/// Reference. Others may use them up as well.
#[derive(Debug)]
pub(super) struct Quotas {
    start: Pace,
    resume: Pace,
    terminate: Pace,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            start: Pace::per_second(3),
            resume: Pace::per_second(6),
            terminate: Pace::per_second(6),
        }
    }
}

impl Aws {
    /// Waits until another session may be started.
    pub async fn turn_to_start(&self) {
        self.quotas.start.turn().await;
    }

    /// Starts a session with the target `id`, which is what [`Aws::resolve`] makes of the request's, at its
    /// [turn](Self::turn_to_start). The caller must see to it that it is terminated.
    ///
    /// # Errors
    ///
    /// That the target is unknown or not connected, or else [`Exit::Credentials`] if the call is not
    /// permitted, [`Exit::Failure`] if the service cannot be reached in time, refuses, or answers
    /// nonsense.
    pub async fn start_session(
        &self,
        id: &str,
        request: &StartSession,
    ) -> Result<StartedSession, NotStarted> {
        // Looked up before the call, whose deadlines do not allow for a person typing a code.
        self.credentials().await?;
        let parameters = request.parameters.clone();
        let result = self
            .client
            .start_session()
            .target(id)
            .set_document_name(request.document.clone())
            .set_parameters((!parameters.is_empty()).then(|| parameters.into_iter().collect()))
            .set_reason(request.reason.clone())
            .customize()
            .config_override(
                config::Builder::new()
                    .retry_classifier(OnlyIfAnswered)
                    .retry_config(RetryConfig::standard().with_max_attempts(START_ATTEMPTS)),
            )
            .send()
            .await;
        let output = match result {
            Ok(output) => output,
            Err(error) if is_not_connected(error.code()) => {
                request.target.forget(id);
                return Err(NotStarted::NotConnected);
            }
            Err(error) => return Err(self.api_failure("ssm:StartSession", &error).into()),
        };

        let session_id = output
            .session_id
            .ok_or_else(|| incomplete("ssm:StartSession", "SessionId"))?;
        debug!(session_id, "session started");
        match complete("ssm:StartSession", output.token_value, output.stream_url) {
            Ok((token, stream_url)) => {
                Ok(self.adopt_session(session_id, token, &stream_url).await?)
            }
            Err(failure) => {
                self.abandon(&session_id).await;
                Err(failure.into())
            }
        }
    }

    /// Takes over a session that has been started, by whomever.
    ///
    /// # Errors
    ///
    /// [`Exit::Failure`] if its stream URL does not lead to Session Manager. It is terminated then.
    pub async fn adopt_session(
        &self,
        session_id: String,
        token: Token,
        stream_url: &str,
    ) -> Result<StartedSession, Failure> {
        match self.stream_url(stream_url) {
            Ok(stream_url) => Ok(StartedSession {
                session_id,
                token,
                stream_url,
            }),
            Err(failure) => {
                self.abandon(&session_id).await;
                Err(failure)
            }
        }
    }

    /// Checks a stream URL, and leads it to where the user has the message gateway.
    fn stream_url(&self, raw: &str) -> Result<StreamUrl, Failure> {
        match self.endpoints.get(Service::SsmMessages) {
            Some(gateway) => StreamUrl::at(gateway, raw, self.region()),
            None => StreamUrl::parse(raw, self.region(), self.endpoints.get(Service::Ssm)),
        }
    }

    /// Asks for a new token and stream URL of a session, whose data channel they replace.
    ///
    /// # Errors
    ///
    /// Whether, and what, it is worth to try again.
    pub async fn resume_session(&self, session_id: &str) -> Result<Resumption, ResumeError> {
        let looked_up = self.credentials().await;
        looked_up.map_err(|failure| match failure.is_permanent {
            true => ResumeError::Refused(failure),
            false => ResumeError::Credentials(failure),
        })?;
        self.quotas.resume.turn().await;
        let request = self.client.resume_session().session_id(session_id);
        let output = match request.send().await {
            Ok(output) => output,
            Err(error) => {
                let code = error.code().unwrap_or_default();
                if code.starts_with("DoesNotExist") {
                    return Err(ResumeError::Gone);
                }
                let failure = self.api_failure("ssm:ResumeSession", &error);
                return Err(match failure.exit {
                    _ if failure.is_permanent => ResumeError::Refused(failure),
                    Exit::Credentials => ResumeError::Credentials(failure),
                    _ => ResumeError::Transient(failure),
                });
            }
        };
        // What the service answers for a session that has timed out or was terminated.
        let Some(token) = output.token_value.filter(|token| !token.is_empty()) else {
            return Err(ResumeError::Gone);
        };
        let (token, stream_url) = complete("ssm:ResumeSession", Some(token), output.stream_url)
            .map_err(ResumeError::Refused)?;
        let stream_url = self.stream_url(&stream_url).map_err(ResumeError::Refused)?;
        Ok(Resumption { token, stream_url })
    }

    /// Tells whether the target's agent is connected, which it is not while the machine reboots.
    ///
    /// # Errors
    ///
    /// As [`start_session`](Self::start_session).
    pub async fn is_connected(&self, target: &str) -> Result<bool, Failure> {
        self.credentials().await?;
        let request = self.client.get_connection_status().target(target);
        match request.send().await {
            Ok(output) => Ok(output.status == Some(ConnectionStatus::Connected)),
            Err(error) => Err(self.api_failure("ssm:GetConnectionStatus", &error)),
        }
    }

    /// Terminates a session. One that is gone already counts as terminated.
    ///
    /// # Errors
    ///
    /// As [`start_session`](Self::start_session), except for the target.
    pub async fn terminate_session(&self, session_id: &str) -> Result<(), Failure> {
        self.credentials().await?;
        // Whoever ends many sessions has little time: a call that is refused is better than none.
        let _: Result<(), _> =
            tokio::time::timeout(TURN_PATIENCE, self.quotas.terminate.turn()).await;
        let request = self.client.terminate_session().session_id(session_id);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| code.starts_with("DoesNotExist")) =>
            {
                Ok(())
            }
            Err(error) => Err(self.api_failure("ssm:TerminateSession", &error)),
        }
    }

    /// Terminates a session that cannot be used, or is not wanted any more. A failure is logged: there is nobody left to act
    /// on it, and it must not hide why the session cannot be used.
    pub(crate) async fn abandon(&self, session_id: &str) {
        let terminating = self.terminate_session(session_id);
        match tokio::time::timeout(ABANDON_DEADLINE, terminating).await {
            Ok(Ok(())) => debug!(session_id, "session terminated"),
            Ok(Err(failure)) => warn!(session_id, %failure, "the session was not terminated"),
            Err(_) => warn!(session_id, "the session was not terminated in time"),
        }
    }
}

/// How often StartSession is called when the service answers that it is called too often, or cannot answer: until about ten seconds
/// are over.
const START_ATTEMPTS: u32 = 5;

/// Longest wait for a turn to terminate a session.
const TURN_PATIENCE: Duration = Duration::from_secs(1);

/// Longest wait for the termination of a session that is given up.
const ABANDON_DEADLINE: Duration = Duration::from_secs(3);

fn complete(
    action: &str,
    token: Option<String>,
    stream_url: Option<String>,
) -> Result<(Token, String), Failure> {
    let token = token.filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| incomplete(action, "TokenValue"))?;
    let stream_url = stream_url.ok_or_else(|| incomplete(action, "StreamUrl"))?;
    Ok((Token::new(token), stream_url))
}

fn incomplete(action: &str, field: &str) -> Failure {
    Failure::new(
        Exit::Failure,
        format!("the answer to {action} has no {field}"),
    )
    .with_hint(format!(
        "something else than Systems Manager may have given it; {SEE_DOCTOR}"
    ))
}

fn is_not_connected(code: Option<&str>) -> bool {
    code.is_some_and(|code| code.starts_with("TargetNotConnected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_not_shown() {
        assert_eq!(format!("{:?}", Token::new("SECRET")), "Token(..)");
    }

    #[test]
    fn incomplete_answers_name_the_field() {
        let url = "wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/s".to_owned();
        let no_token = complete("a", Some(String::new()), Some(url));
        assert!(no_token.unwrap_err().message.contains("TokenValue"));
        let no_url = complete("a", Some("t".into()), None);
        assert!(no_url.unwrap_err().message.contains("StreamUrl"));
    }
}
