//! Answers an agent that demands encryption.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ssmfwd_protocol::Channel;
use tokio_util::task::AbortOnDropHandle;

use crate::aws::{Aws, DataKeyRequest};
use crate::endpoint::Shared;
use crate::failure::Failure;

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
            let key = aws.generate_data_key(&request).await.map_err(|failure| {
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
