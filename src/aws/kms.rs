//! The data key of an encrypted session.

use std::collections::HashMap;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::config::{Builder, Region};
use aws_sdk_kms::error::SdkError;
use aws_sdk_kms::operation::generate_data_key::{GenerateDataKeyError, GenerateDataKeyOutput};
use aws_sdk_ssm::error::ProvideErrorMetadata;
use ssmfwd_protocol::cipher::{DATA_KEY_LEN, DataKey};
use zeroize::Zeroizing;

use super::error::one_line;
use super::{Aws, Service};
use crate::failure::{Denial, Exit, Failure, SEE_DOCTOR};

/// The IAM action.
const GENERATE_DATA_KEY: &str = "kms:GenerateDataKey";

/// What a data key is generated for. All of it goes into the encryption context, so that the key can be decrypted for
/// this session alone.
///
/// Source: `protocol/README.md`, "Encryption"; plugin `encrypter.go`.
#[derive(Debug, Clone)]
pub struct DataKeyRequest {
    /// The KMS key, as the session document names it: an id, an ARN, or an alias.
    pub key_id: String,
    /// The session's id.
    pub session_id: String,
    /// The target, spelled as in StartSession.
    pub target: String,
    /// What newer agents add to the context.
    pub challenge: Option<String>,
}

impl Aws {
    /// Has KMS generate the data key of a session, in the KMS key's own region.
    ///
    /// # Errors
    ///
    /// [`Exit::Credentials`] if the call is not permitted, [`Exit::Failure`] if the key cannot be used or KMS cannot be
    /// reached.
    pub async fn generate_data_key(&self, request: &DataKeyRequest) -> Result<DataKey, Failure> {
        match self.call_kms(request, false).await? {
            Ok(output) => take_key(output),
            Err(error) => Err(self.kms_failure(request, &error)),
        }
    }

    /// Asks KMS whether it would generate the data key of a session, without having it make one.
    ///
    /// # Errors
    ///
    /// As [`generate_data_key`](Self::generate_data_key).
    pub async fn may_generate_data_key(&self, request: &DataKeyRequest) -> Result<(), Failure> {
        match self.call_kms(request, true).await? {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("DryRunOperationException") => Ok(()),
            Err(error) => Err(self.kms_failure(request, &error)),
        }
    }

    async fn call_kms(
        &self,
        request: &DataKeyRequest,
        is_dry: bool,
    ) -> Result<Result<GenerateDataKeyOutput, KmsError>, Failure> {
        // Looked up before the call, whose deadlines do not allow for a person typing a code.
        self.credentials().await?;
        let region = Region::new(self.key_region(request).to_owned());
        let config = Builder::from(&self.sdk_for(Service::Kms)).region(region);
        let call = Client::from_conf(config.build())
            .generate_data_key()
            .key_id(&request.key_id)
            .number_of_bytes(DATA_KEY_LEN as i32)
            .set_encryption_context(Some(context(request)))
            .set_dry_run(is_dry.then_some(true));
        Ok(call.send().await)
    }

    fn key_region<'a>(&'a self, request: &'a DataKeyRequest) -> &'a str {
        region_of(&request.key_id).unwrap_or_else(|| self.region())
    }

    fn kms_failure(&self, request: &DataKeyRequest, error: &KmsError) -> Failure {
        let known = error
            .as_service_error()
            .and_then(|service| unusable(service.code()?, service.message().unwrap_or_default()));
        let failure = known.unwrap_or_else(|| {
            let here = Self {
                region: self.key_region(request).to_owned(),
                ..self.clone()
            };
            here.api_failure(GENERATE_DATA_KEY, error)
        });
        explain(failure, &request.key_id)
    }
}

/// What the SDK has to say instead of a data key.
type KmsError = SdkError<GenerateDataKeyError, HttpResponse>;

fn context(request: &DataKeyRequest) -> HashMap<String, String> {
    let pairs = [
        ("aws:ssm:SessionId", Some(&request.session_id)),
        ("aws:ssm:TargetId", Some(&request.target)),
        ("aws:ssm:RandomChallenge", request.challenge.as_ref()),
    ];
    let pairs = pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())));
    pairs.collect()
}

/// The region in the ARN of a key or an alias.
fn region_of(key_id: &str) -> Option<&str> {
    let mut parts = key_id.split(':');
    let is_arn = parts.next() == Some("arn") && parts.nth(1) == Some("kms");
    let region = parts.next().filter(|_| is_arn)?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!region.is_empty() && region.bytes().all(is_name)).then_some(region)
}

fn take_key(output: GenerateDataKeyOutput) -> Result<DataKey, Failure> {
    // The SDK's copy is wiped too; what the HTTP client has buffered is out of reach.
    let plaintext = output
        .plaintext
        .map(|blob| Zeroizing::new(blob.into_inner()));
    let ciphertext = output.ciphertext_blob.map(|blob| blob.into_inner());
    plaintext
        .zip(ciphertext)
        .and_then(|(plaintext, ciphertext)| DataKey::new(ciphertext, &plaintext))
        .ok_or_else(|| {
            let message =
                format!("the answer to {GENERATE_DATA_KEY} has no key of {DATA_KEY_LEN} bytes");
            Failure::new(Exit::Failure, message).with_hint(SEE_DOCTOR)
        })
}

/// Explains what is wrong with the key itself; `None` for other errors.
fn unusable(code: &str, message: &str) -> Option<Failure> {
    let (what, hint) = match code.strip_suffix("Exception").unwrap_or(code) {
        "Disabled" => (
            "the key is disabled",
            "enable it, or choose another one in the session preferences",
        ),
        "NotFound" => (
            "the key does not exist",
            "check the key in the session preferences, and that it is of this account or shared with it",
        ),
        "KMSInvalidState" => (
            "the key is not in a state to be used",
            "it may be about to be deleted: choose another one in the session preferences",
        ),
        "InvalidKeyUsage" => (
            "the key is not one that encrypts data",
            "choose a symmetric encryption key in the session preferences",
        ),
        _ => return None,
    };
    let message = one_line(message);
    let message = match message.is_empty() {
        true => format!("{GENERATE_DATA_KEY} failed: {what}"),
        false => format!("{GENERATE_DATA_KEY} failed: {what}: {message}"),
    };
    Some(Failure::new(Exit::Failure, message).with_hint(hint))
}

/// Says which key is wanted and for what.
fn explain(failure: Failure, key_id: &str) -> Failure {
    let key_id = one_line(key_id);
    let explained = Failure {
        message: format!(
            "the session has to be encrypted with the KMS key {key_id}: {}",
            failure.message
        ),
        ..failure
    };
    match explained.denial {
        Some(Denial::Unallowed) => explained.with_hint(format!(
            "allow {GENERATE_DATA_KEY} on this key, in the caller's IAM policies and in the key's own policy"
        )),
        Some(Denial::Forbidden) | None => explained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_the_keys_own() {
        let table = [
            (
                "arn:aws:kms:eu-west-1:111122223333:key/1234",
                Some("eu-west-1"),
            ),
            (
                "arn:aws-cn:kms:cn-north-1:111122223333:alias/ssm",
                Some("cn-north-1"),
            ),
            ("1234abcd-12ab-34cd-56ef-1234567890ab", None),
            ("alias/ssm", None),
            ("arn:aws:kms::111122223333:key/1234", None),
            ("arn:aws:kms:evil.example/:1:key/1", None),
            ("arn:aws:s3:eu-west-1::bucket", None),
        ];
        for (key_id, region) in table {
            assert_eq!(region_of(key_id), region, "{key_id}");
        }
    }

    #[test]
    fn a_denial_names_the_key_and_what_to_allow() {
        let denied = |denial| Failure::new(Exit::Credentials, "denied").denied(denial);
        let forbidden = explain(denied(Denial::Forbidden), "alias/ssm");
        assert_eq!(forbidden.hint, None);
        let failure = explain(denied(Denial::Unallowed), "alias/ssm");
        assert_eq!(failure.exit, Exit::Credentials);
        assert!(failure.message.contains("KMS key alias/ssm"), "{failure}");
        assert!(failure.hint.unwrap().contains("the key's own policy"));
    }

    #[test]
    fn a_key_that_cannot_be_used_is_told_from_other_errors() {
        let failure = unusable("DisabledException", "arn:aws:kms:x is disabled.").unwrap();
        assert_eq!(failure.exit, Exit::Failure);
        assert!(
            failure.message.contains("the key is disabled: arn"),
            "{failure}"
        );
        assert!(unusable("NotFoundException", "").is_some());
        assert!(unusable("ThrottlingException", "").is_none());
    }
}
