//! Answers an agent that demands encryption.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ssmfwd_protocol::{Channel, DataKey};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::aws::{Aws, DataKeyRequest};
use crate::endpoint::Shared;
use crate::failure::{Exit, Failure, SEE_DOCTOR};

/// Has the data key of a session generated when its agent asks for it.
#[derive(Debug)]
pub(super) struct KeyMaker {
    aws: Arc<Aws>,
    session_id: String,
    target: String,
    refusal: Refusal,
    /// The call, which nobody needs any more when the session has ended.
    generating: Option<AbortOnDropHandle<()>>,
}

/// Why there was no data key, once that is known.
pub(super) type Refusal = Arc<OnceLock<Failure>>;

impl KeyMaker {
    pub(super) fn new(aws: Arc<Aws>, session_id: &str, target: &str) -> Self {
        Self {
            aws,
            session_id: session_id.to_owned(),
            target: target.to_owned(),
            refusal: Refusal::default(),
            generating: None,
        }
    }

    /// Where the reason stands if no key could be had.
    pub(super) fn refusal(&self) -> Refusal {
        Arc::clone(&self.refusal)
    }

    /// Starts to generate a key; `channel` gets it, or learns that there is none.
    pub(super) fn answer(
        &mut self,
        channel: &Shared<Channel>,
        key_id: String,
        challenge: Option<String>,
    ) {
        let (aws, refusal, channel) = (
            Arc::clone(&self.aws),
            Arc::clone(&self.refusal),
            channel.clone(),
        );
        let request = DataKeyRequest {
            key_id,
            session_id: self.session_id.clone(),
            target: self.target.clone(),
            challenge,
        };
        let generating = tokio::spawn(async move {
            let key = generate(&aws, &request).await.map_err(|failure| {
                let message = failure.message.clone();
                // An agent asks once.
                let _: Result<(), Failure> = refusal.set(failure);
                message
            });
            channel.with(|channel| channel.handle_data_key(Instant::now(), key));
        });
        self.generating = Some(AbortOnDropHandle::new(generating));
    }
}

/// How long KMS may take. The agent waits for 15 s from when it was connected, which is seldom long before.
const KEY_TIMEOUT: Duration = Duration::from_secs(10);

async fn generate(aws: &Aws, request: &DataKeyRequest) -> Result<DataKey, Failure> {
    if request.target.is_empty() {
        let message = "the session has to be encrypted, and whoever started it did not say of which target it is";
        return Err(Failure::new(Exit::Usage, message)
            .with_hint("update the AWS CLI: old releases do not tell the plugin"));
    }
    let generated = timeout(KEY_TIMEOUT, aws.generate_data_key(request)).await;
    generated.unwrap_or_else(|_| {
        let message = format!(
            "KMS did not answer kms:GenerateDataKey within {} s, and the agent does not wait longer",
            KEY_TIMEOUT.as_secs()
        );
        Err(Failure::new(Exit::Failure, message).with_hint(format!(
            "check the way to the endpoint of KMS, as its VPC endpoint; {SEE_DOCTOR}"
        )))
    })
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use tokio::net::TcpListener;

    use super::*;
    use crate::aws::Options;

    async fn failure(target: &str) -> Failure {
        // Nobody answers.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = Options {
            region: Some("us-east-1".into()),
            endpoint_url: Some(format!("http://127.0.0.1:{port}")),
            credentials: Some(Credentials::new("AKID", "S3CR3T", None, None, "test")),
            ..Options::default()
        };
        let aws = Aws::load(&options).await.unwrap();
        let request = DataKeyRequest {
            key_id: "alias/sessions".to_owned(),
            session_id: "s-1".to_owned(),
            target: target.to_owned(),
            challenge: None,
        };
        generate(&aws, &request).await.err().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_does_not_come_in_time_is_no_fault_of_the_agent() {
        let failure = failure("i-0abc").await;
        assert!(failure.message.contains("KMS did not answer"), "{failure}");
    }

    #[tokio::test]
    async fn a_key_is_bound_to_a_target() {
        let failure = failure("").await;
        assert_eq!(failure.exit, Exit::Usage, "{failure}");
    }
}
