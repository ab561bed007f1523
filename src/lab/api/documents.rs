//! DescribeDocument and GetDocument, for session documents and the account's preferences.

use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::document::{DEFAULT_DOCUMENT, parameters};
use crate::lab::Shared;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DocumentRequest {
    name: Option<String>,
}

pub(super) fn describe(shared: &Shared, request: DocumentRequest) -> Result<Value, ApiError> {
    let name = request.name.ok_or_else(|| ApiError::missing("name"))?;
    must_exist(shared, &name)?;
    let parameters = parameters(&name, &shared.config.documents)?;
    let parameters: Vec<_> = parameters
        .into_iter()
        .map(|(name, default)| match default {
            Some(default) => json!({"Name": name, "Type": "String", "DefaultValue": default}),
            None => json!({"Name": name, "Type": "String"}),
        })
        .collect();
    Ok(json!({"Document": {
        "Name": name,
        "DocumentType": "Session",
        "DocumentVersion": "1",
        "Status": "Active",
        "Parameters": parameters,
        "PlatformTypes": ["Windows", "Linux", "MacOS"],
        "SchemaVersion": "1.0",
    }}))
}

/// Only the preferences have a content here.
pub(super) fn get(shared: &Shared, request: DocumentRequest) -> Result<Value, ApiError> {
    let name = request.name.ok_or_else(|| ApiError::missing("name"))?;
    must_exist(shared, &name)?;
    if name != DEFAULT_DOCUMENT {
        return Err(unknown(&name));
    }
    let timeout = shared
        .conditions
        .chaos()
        .idle_timeout
        .unwrap_or(shared.config.idle_timeout);
    let content = json!({
        "schemaVersion": "1.0",
        "description": "Document to hold regional settings for Session Manager",
        "sessionType": "Standard_Stream",
        "inputs": {
            "s3BucketName": "",
            "cloudWatchLogGroupName": "",
            "kmsKeyId": shared.config.kms_key.clone().unwrap_or_default(),
            "runAsEnabled": false,
            "runAsDefaultUser": "",
            // Whole minutes.
            "idleSessionTimeout": timeout.as_secs().div_ceil(60).to_string(),
            "maxSessionDuration": "",
        },
    });
    Ok(json!({
        "Name": name,
        "DocumentType": "Session",
        "DocumentFormat": "JSON",
        "Content": content.to_string(),
    }))
}

/// # Errors
///
/// `InvalidDocument` if there is to be no such document.
pub(super) fn must_exist(shared: &Shared, name: &str) -> Result<(), ApiError> {
    match shared.conditions.chaos().missing_documents.contains(name) {
        true => Err(unknown(name)),
        false => Ok(()),
    }
}

pub(super) fn unknown(name: &str) -> ApiError {
    ApiError::new(
        "InvalidDocument",
        format!("Document with name {name} does not exist."),
    )
}
