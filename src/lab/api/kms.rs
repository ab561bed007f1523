//! The Key Management Service: GenerateDataKey and Decrypt.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use crate::lab::Shared;
use crate::lab::kms::{Context, KmsError};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GenerateDataKey {
    key_id: Option<String>,
    number_of_bytes: Option<usize>,
    key_spec: Option<String>,
    #[serde(default)]
    encryption_context: Context,
    #[serde(default)]
    dry_run: bool,
}

impl GenerateDataKey {
    fn len(&self) -> Result<usize, ApiError> {
        let message = match (self.number_of_bytes, self.key_spec.as_deref()) {
            (Some(len @ 1..=1024), None) => return Ok(len),
            (None, Some("AES_128")) => return Ok(16),
            (None, Some("AES_256")) => return Ok(32),
            (Some(_), None) => "NumberOfBytes is between 1 and 1024.",
            (None, Some(_)) => "KeySpec is AES_128 or AES_256.",
            (None, None) | (Some(_), Some(_)) => {
                "Please specify either number of bytes or key spec."
            }
        };
        Err(ApiError::new("ValidationException", message))
    }
}

pub(super) fn generate_data_key(
    shared: &Shared,
    region: &str,
    request: GenerateDataKey,
) -> Result<Value, ApiError> {
    let len = request.len()?;
    let name = request.key_id.ok_or_else(|| ApiError::missing("keyId"))?;
    let context = &request.encryption_context;
    let made = shared
        .keyring
        .generate_data_key(region, &name, context, len)
        .map_err(|error| refusal("GenerateDataKey", error))?;
    if request.dry_run {
        let message = "The request would have succeeded, but the DryRun option is set.";
        return Err(ApiError::new("DryRunOperationException", message));
    }
    Ok(json!({
        "KeyId": made.key_arn,
        "Plaintext": BASE64_STANDARD.encode(&made.plaintext),
        "CiphertextBlob": BASE64_STANDARD.encode(&made.ciphertext),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Decrypt {
    ciphertext_blob: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    encryption_context: Context,
}

pub(super) fn decrypt(shared: &Shared, region: &str, request: Decrypt) -> Result<Value, ApiError> {
    let blob = request
        .ciphertext_blob
        .ok_or_else(|| ApiError::missing("ciphertextBlob"))?;
    let ciphertext = BASE64_STANDARD.decode(blob).map_err(|error| {
        let message = format!("CiphertextBlob: {error}");
        ApiError::new("SerializationException", message)
    })?;
    let (name, context) = (request.key_id.as_deref(), &request.encryption_context);
    let opened = shared
        .keyring
        .decrypt(region, name, context, &ciphertext)
        .map_err(|error| refusal("Decrypt", error))?;
    Ok(json!({
        "KeyId": opened.key_arn,
        "Plaintext": BASE64_STANDARD.encode(&opened.plaintext),
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    }))
}

fn refusal(operation: &str, error: KmsError) -> ApiError {
    let code = match &error {
        KmsError::UnknownKey(_) => "NotFoundException",
        KmsError::Disabled(_) => "DisabledException",
        KmsError::Denied(arn) => {
            return super::not_authorized("kms", operation, arn, super::Policy::Identity);
        }
        KmsError::CredentialsExpired => "ExpiredTokenException",
        KmsError::InvalidCiphertext => "InvalidCiphertextException",
        KmsError::IncorrectKey => "IncorrectKeyException",
    };
    ApiError::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use aws_sdk_kms::error::ProvideErrorMetadata;
    use aws_sdk_kms::primitives::Blob;

    use super::*;
    use crate::lab::testing::{kms, lab};
    use crate::lab::{KeyState, KmsKey, Lab};

    /// What comes of a request for a data key with the SDK.
    async fn generate(lab: &Lab, region: &str, key: &str) -> Result<Blob, String> {
        let request = kms(lab, region).generate_data_key().key_id(key);
        let request = request.number_of_bytes(64);
        match request.encryption_context("name", "value").send().await {
            Ok(made) => Ok(made.ciphertext_blob.unwrap()),
            Err(error) => Err(error.code().unwrap().to_owned()),
        }
    }

    #[tokio::test]
    async fn the_sdk_gets_data_keys_and_opens_them_in_their_context() {
        let lab = lab(|config| config.kms_keys.push(KmsKey::new("alias/sessions"))).await;
        let blob = generate(&lab, lab.region(), "alias/sessions")
            .await
            .unwrap();
        let decrypt = async |value: &str| {
            let request = kms(&lab, lab.region()).decrypt();
            let request = request.ciphertext_blob(blob.clone());
            let opened = request.encryption_context("name", value).send().await;
            opened.map(|opened| opened.plaintext.unwrap().into_inner().len())
        };
        assert_eq!(decrypt("value").await.unwrap(), 64);
        let error = decrypt("other").await.unwrap_err();
        assert_eq!(error.code(), Some("InvalidCiphertextException"));
    }

    #[tokio::test]
    async fn keys_of_no_use_are_told_apart() {
        for (state, code) in [
            (KeyState::Disabled, "DisabledException"),
            (KeyState::Denied, "AccessDeniedException"),
            (KeyState::CredentialsExpired, "ExpiredTokenException"),
        ] {
            let mut key = KmsKey::new("1234");
            key.state = state;
            let lab = lab(|config| config.kms_keys.push(key)).await;
            let error = generate(&lab, lab.region(), "1234").await.unwrap_err();
            assert_eq!(error, code);
            let error = generate(&lab, lab.region(), "5678").await.unwrap_err();
            assert_eq!(error, "NotFoundException");
        }
    }

    #[tokio::test]
    async fn a_key_is_used_in_its_own_region() {
        let arn = "arn:aws:kms:eu-west-1:000000000000:key/1234";
        let lab = lab(|config| config.kms_key = Some(arn.to_owned())).await;
        assert!(generate(&lab, "eu-west-1", arn).await.is_ok());
        let in_region = async |region| generate(&lab, region, arn).await.unwrap_err();
        assert_eq!(in_region("us-east-1").await, "NotFoundException");
        assert_eq!(in_region("us-west-2").await, "InvalidSignatureException");
    }

    #[test]
    fn a_data_keys_length_is_given_in_one_way() {
        let len = |request: Value| {
            let request: GenerateDataKey = serde_json::from_value(request).unwrap();
            request.len().map_err(|error| error.code)
        };
        assert_eq!(len(json!({"NumberOfBytes": 64})), Ok(64));
        assert_eq!(len(json!({"KeySpec": "AES_256"})), Ok(32));
        for wrong in [
            json!({}),
            json!({"NumberOfBytes": 0}),
            json!({"NumberOfBytes": 1025}),
            json!({"KeySpec": "RSA_2048"}),
            json!({"NumberOfBytes": 32, "KeySpec": "AES_256"}),
        ] {
            assert_eq!(len(wrong), Err("ValidationException"));
        }
    }
}
