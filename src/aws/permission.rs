//! What the caller is permitted to do, found out without doing it.
//!
//! Session Manager has no dry runs, and IAM's simulator needs a permission that users of sessions seldom have and knows nothing of
//! service control policies. But every service checks permissions before it looks at what is asked for. So it is asked
//! for what cannot be done: an answer other than a denial is a permission.

use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};

use super::{Aws, error};
use crate::failure::Failure;
use crate::spec::REMOTE_HOST_DOCUMENT;

/// Whether the caller is permitted to do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// The service found something else to object to.
    Granted,
    /// A policy denies it.
    Denied(Failure),
    /// The service did not say.
    Unknown(Failure),
}

/// A port that the documents' own pattern refuses.
const NO_PORT: &str = "none";

/// What no session's id ends in: ids have 17 hexadecimal digits or letters there.
const NO_SESSION: &str = "ssmfwd-doctor";

impl Aws {
    /// Finds out whether a session for ports may be started on `target`, an id, with `document`, one of AWS's own: those
    /// refuse a port that is none.
    pub async fn may_start_session(&self, target: &str, document: &str) -> Permission {
        let mut request = self
            .client
            .start_session()
            .target(target)
            .document_name(document);
        request = request.parameters("portNumber", vec![NO_PORT.to_owned()]);
        if document == REMOTE_HOST_DOCUMENT {
            request = request.parameters("host", vec!["localhost".to_owned()]);
        }
        match request.send().await {
            Ok(started) => {
                // Against all documentation.
                if let Some(id) = started.session_id {
                    self.abandon(&id).await;
                }
                Permission::Granted
            }
            Err(error) => self.permission("ssm:StartSession", error),
        }
    }

    /// Finds out whether sessions may be resumed whose ids begin with `prefix`.
    pub async fn may_resume_session(&self, prefix: &str) -> Permission {
        let id = format!("{prefix}-{NO_SESSION}");
        match self.client.resume_session().session_id(id).send().await {
            Ok(_) => Permission::Granted,
            Err(error) => self.permission("ssm:ResumeSession", error),
        }
    }

    /// Finds out whether sessions may be terminated whose ids begin with `prefix`.
    pub async fn may_terminate_session(&self, prefix: &str) -> Permission {
        let id = format!("{prefix}-{NO_SESSION}");
        match self.client.terminate_session().session_id(id).send().await {
            Ok(_) => Permission::Granted,
            Err(error) => self.permission("ssm:TerminateSession", error),
        }
    }

    fn permission<E>(
        &self,
        action: &str,
        error: SdkError<E, aws_sdk_ssm::config::http::HttpResponse>,
    ) -> Permission
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let code = error.code().unwrap_or_default();
        match code.strip_suffix("Exception").unwrap_or(code) {
            _ if error::is_denial(code) => Permission::Denied(self.api_failure(action, &error)),
            "Validation" | "InvalidParameters" | "BadRequest" | "DoesNotExist"
            | "InvalidDocument" | "TargetNotConnected" => Permission::Granted,
            _ => Permission::Unknown(self.api_failure(action, &error)),
        }
    }
}
