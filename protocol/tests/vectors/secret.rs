//! The data keys of recorded sessions, and what was sealed with them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use serde_json::Value;
use ssmfwd_protocol::message::{Message, PayloadType};

use crate::recording::{Line, decode_base64};

/// What stands in front of the key in the ciphertext the recorder's KMS made up.
const WRAPPER: &[u8] = b"rig-kms-1:";

/// The data key of a recorded session.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) key: [u8; 64],
}

impl Secret {
    /// Finds the key in the recorded client's answer; `None` if the session was not encrypted.
    pub(crate) fn find(lines: &[Line]) -> Option<Self> {
        let frames = lines.iter().filter_map(|line| line.frame.as_ref());
        let mut responses = frames.filter(|frame| frame.is(PayloadType::HandshakeResponse));
        let response: Value = serde_json::from_slice(&responses.next()?.decoded().payload).unwrap();
        let result = &response["ProcessedClientActions"][1]["ActionResult"];
        let ciphertext = decode_base64(result["KMSCipherTextKey"].as_str()?).unwrap();
        let key = ciphertext.strip_prefix(WRAPPER).unwrap();
        Some(Self {
            key: key.try_into().unwrap(),
            ciphertext: ciphertext.to_vec(),
        })
    }

    /// Opens what the agent has sealed, or the client, and fails if anybody else has.
    pub(crate) fn open(&self, is_from_agent: bool, sealed: &[u8]) -> Bytes {
        let key = match is_from_agent {
            true => &self.key[..32],
            false => &self.key[32..],
        };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&sealed[..12]).unwrap();
        let mut text = sealed[12..].to_vec();
        let plain = key.open_in_place(nonce, Aad::empty(), &mut text).unwrap();
        Bytes::copy_from_slice(plain)
    }

    /// The challenge in one of the two messages that carry one.
    pub(crate) fn challenge(&self, is_from_agent: bool, message: &Message) -> Bytes {
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        let sealed = decode_base64(body["Challenge"].as_str().unwrap()).unwrap();
        self.open(is_from_agent, &sealed)
    }
}

/// What a message means: kind and payload, opened where it is sealed, JSON where it is JSON.
pub(crate) fn meaning(
    secret: Option<&Secret>,
    is_from_agent: bool,
    message: &Message,
) -> (PayloadType, Value) {
    let kind = message.header.payload_type;
    let value = match (kind, secret) {
        (
            PayloadType::EncryptionChallengeRequest | PayloadType::EncryptionChallengeResponse,
            Some(secret),
        ) => Value::from(secret.challenge(is_from_agent, message).to_vec()),
        (PayloadType::Output | PayloadType::StandardError | PayloadType::ExitCode, secret) => {
            let plain = match secret {
                Some(secret) => secret.open(is_from_agent, &message.payload),
                None => message.payload.clone(),
            };
            Value::from(plain.to_vec())
        }
        _ => serde_json::from_slice(&message.payload).unwrap(),
    };
    (kind, value)
}
