//! Session documents, and the account's preferences, which are one.

use std::time::Duration;

use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::types::DocumentType;
use serde::Deserialize;

use super::Aws;
use super::error::one_line;
use crate::failure::{Exit, Failure};

/// The document that holds the account's preferences for sessions.
pub const PREFERENCES_DOCUMENT: &str = "SSM-SessionManagerRunShell";

/// What is known of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentDescription {
    /// Whether sessions can be started with it.
    pub is_session: bool,
    /// Its parameters.
    pub parameters: Vec<DocumentParameter>,
}

/// A parameter of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentParameter {
    /// Its name.
    pub name: String,
    /// Whether it may be left out.
    pub has_default: bool,
}

/// The account's preferences, as far as they matter to a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    /// How long a session lives without input.
    pub idle_timeout: Option<Duration>,
    /// How long a session lives at most.
    pub max_duration: Option<Duration>,
    /// The KMS key that shells and commands are encrypted with: an id, an ARN, or an alias.
    pub kms_key: Option<String>,
    /// The user of the operating system that shells run as; empty if it comes from a tag of the caller.
    pub run_as: Option<String>,
    /// Where shells are recorded.
    pub logs: Vec<&'static str>,
}

impl Aws {
    /// Describes a document; `None` if there is none of this name in the account and region.
    ///
    /// # Errors
    ///
    /// [`Exit::Credentials`] if the call is not permitted, and [`Exit::Failure`] if the service cannot be reached or
    /// refuses.
    pub async fn describe_document(
        &self,
        name: &str,
    ) -> Result<Option<DocumentDescription>, Failure> {
        self.credentials().await?;
        let described = self.client.describe_document().name(name).send().await;
        let described = match described {
            Ok(described) => described.document,
            Err(error) if is_unknown_document(error.code()) => None,
            Err(error) => return Err(self.api_failure("ssm:DescribeDocument", &error)),
        };
        Ok(described.map(|document| DocumentDescription {
            is_session: document.document_type == Some(DocumentType::Session),
            parameters: document
                .parameters
                .unwrap_or_default()
                .into_iter()
                .filter_map(|parameter| {
                    Some(DocumentParameter {
                        name: parameter.name?,
                        has_default: parameter.default_value.is_some(),
                    })
                })
                .collect(),
        }))
    }

    /// Reads the account's preferences; `None` if nobody has set any.
    ///
    /// # Errors
    ///
    /// As [`describe_document`](Self::describe_document).
    pub async fn preferences(&self) -> Result<Option<Preferences>, Failure> {
        self.credentials().await?;
        let request = self.client.get_document().name(PREFERENCES_DOCUMENT);
        match request.send().await {
            Ok(document) => {
                Preferences::parse(document.content.as_deref().unwrap_or_default()).map(Some)
            }
            Err(error) if is_unknown_document(error.code()) => Ok(None),
            Err(error) => Err(self.api_failure("ssm:GetDocument", &error)),
        }
    }
}

fn is_unknown_document(code: Option<&str>) -> bool {
    matches!(code, Some("InvalidDocument" | "InvalidDocumentException"))
}

/// The document's content. Source: Systems Manager User Guide, "Session document schema".
#[derive(Debug, Deserialize)]
struct Content {
    #[serde(default)]
    inputs: Inputs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Inputs {
    idle_session_timeout: String,
    max_session_duration: String,
    kms_key_id: String,
    run_as_enabled: bool,
    run_as_default_user: String,
    s3_bucket_name: String,
    cloud_watch_log_group_name: String,
}

impl Preferences {
    fn parse(content: &str) -> Result<Self, Failure> {
        let content: Content = serde_json::from_str(content).map_err(|error| {
            let message =
                format!("the document {PREFERENCES_DOCUMENT} cannot be understood: {error}");
            Failure::new(Exit::Failure, message)
        })?;
        let inputs = content.inputs;
        let minutes = |text: &str| {
            let minutes: u64 = text.trim().parse().ok()?;
            Some(Duration::from_secs(minutes.checked_mul(60)?))
        };
        let logs = [
            ("S3", &inputs.s3_bucket_name),
            ("CloudWatch", &inputs.cloud_watch_log_group_name),
        ];
        Ok(Self {
            idle_timeout: minutes(&inputs.idle_session_timeout),
            max_duration: minutes(&inputs.max_session_duration),
            kms_key: Some(one_line(&inputs.kms_key_id)).filter(|key| !key.is_empty()),
            run_as: inputs
                .run_as_enabled
                .then(|| one_line(&inputs.run_as_default_user)),
            logs: logs
                .into_iter()
                .filter(|(_, destination)| !destination.is_empty())
                .map(|(name, _)| name)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read() {
        let content = r#"{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{
            "s3BucketName":"","cloudWatchLogGroupName":"sessions","kmsKeyId":"alias/sessions",
            "runAsEnabled":true,"runAsDefaultUser":"ubuntu","idleSessionTimeout":"20",
            "maxSessionDuration":"","shellProfile":{"linux":"bash"}}}"#;
        let preferences = Preferences::parse(content).unwrap();
        assert_eq!(preferences.idle_timeout, Some(Duration::from_secs(20 * 60)));
        assert_eq!(preferences.max_duration, None);
        assert_eq!(preferences.kms_key.as_deref(), Some("alias/sessions"));
        assert_eq!(preferences.run_as.as_deref(), Some("ubuntu"));
        assert_eq!(preferences.logs, ["CloudWatch"]);
    }

    #[test]
    fn preferences_that_say_nothing_are_the_services_own() {
        assert_eq!(Preferences::parse("{}").unwrap(), Preferences::default());
        assert!(Preferences::parse("schemaVersion: '1.0'").is_err());
    }
}
