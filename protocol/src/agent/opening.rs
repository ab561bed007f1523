//! How an agent begins a session: its half of the handshake, the data key, both proofs of it.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Agent, AgentEvent, SessionType, State, output};
use crate::channel::Timer;
use crate::cipher::{Cipher, PlainKey};
use crate::handshake::{
    self, EncryptionChallenge, HandshakeComplete, HandshakeRequest, HandshakeResponse, KmsRequest,
};
use crate::message::PayloadType;
use crate::reliable::Side;
use crate::session_kind::SessionKind;
use crate::smux::Role;
use crate::streams::Streams;
use crate::version::Version;

/// Time the agent waits for the response to its handshake request, and then for the answer to its
/// challenge (`handshakeTimeout`).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

impl Agent {
    /// Answers [`AgentEvent::DataKeyReceived`]: the key KMS has decrypted, or why it has not, which ends
    /// the session.
    pub fn handle_data_key(&mut self, now: Instant, key: Result<PlainKey, String>) {
        if self.state != State::Keying {
            return;
        }
        let first_nonce = self.reliable.first_nonce();
        let sealed = key.and_then(|key| {
            let mut cipher =
                Cipher::new(Side::Agent, &key, first_nonce).map_err(|error| error.to_string())?;
            let challenge = self
                .session
                .encryption
                .as_ref()
                .map(|it| it.proof_challenge);
            let sealed = cipher
                .seal(&challenge.unwrap_or([0; 64]))
                .map_err(|error| error.to_string())?;
            self.cipher = Some(cipher);
            Ok(sealed)
        });
        match sealed {
            Ok(challenge) => {
                self.state = State::Proving;
                self.timers.set(Timer::Handshake, now, HANDSHAKE_TIMEOUT);
                let challenge = challenge.to_vec();
                let request = EncryptionChallenge { challenge };
                self.push_json(PayloadType::EncryptionChallengeRequest, &request);
            }
            Err(reason) => self.fail(output::handshake_failed(&format!(
                "Fetching data key failed: {reason}"
            ))),
        }
    }

    pub(super) fn request_handshake(&mut self, now: Instant) {
        self.state = State::Handshaking;
        self.timers.set(Timer::Handshake, now, HANDSHAKE_TIMEOUT);
        let kms = self.session.encryption.as_ref().map(|it| KmsRequest {
            key_id: it.key_id.clone(),
            challenge: it.context_challenge.map(|bytes| STANDARD.encode(bytes)),
        });
        let session_type = &self.session.session_type;
        let request = HandshakeRequest::new(
            self.session.agent_version,
            session_type.name(),
            session_type.properties(),
            kms,
        );
        self.push_json(PayloadType::HandshakeRequest, &request);
    }

    pub(super) fn on_handshake_response(&mut self, now: Instant, payload: &[u8]) {
        let Ok(response) = serde_json::from_slice::<HandshakeResponse>(payload) else {
            return;
        };
        self.client_version = response.client_version.parse().ok();
        let refused = response
            .processed_client_actions
            .iter()
            .find(|action| !action.is_success());
        if let Some(action) = refused {
            return self.fail(output::handshake_failed(&format!(
                "{} failed on client with status {} error: {}",
                action.action_type, action.action_status, action.error
            )));
        }
        match &self.session.encryption {
            None => self.complete(now),
            Some(encryption) => {
                let Some(key) = response.key() else {
                    return self.fail(output::handshake_failed(
                        "Fetching data key failed: none came",
                    ));
                };
                let challenge = encryption
                    .context_challenge
                    .filter(|_| key.is_challenge_bound);
                if encryption.requires_context_challenge && challenge.is_none() {
                    return self.fail(output::handshake_failed(output::CHALLENGE_NOT_BOUND));
                }
                self.state = State::Keying;
                self.events.push_back(AgentEvent::DataKeyReceived {
                    ciphertext: key.ciphertext,
                    challenge: challenge.map(|bytes| STANDARD.encode(bytes)),
                });
            }
        }
    }

    /// Takes the answer to the challenge; a wrong one ends in the timeout, as with the official agent.
    pub(super) fn on_challenge_response(&mut self, now: Instant, payload: &[u8]) {
        let Ok(response) = serde_json::from_slice::<EncryptionChallenge>(payload) else {
            return;
        };
        let opened = self
            .cipher
            .as_ref()
            .and_then(|cipher| cipher.open(&response.challenge).ok());
        let expected = self
            .session
            .encryption
            .as_ref()
            .map(|it| it.proof_challenge);
        if opened.as_deref() == expected.as_ref().map(<[u8; 64]>::as_slice) {
            self.complete(now);
        }
    }

    /// Tells the client that the handshake is over.
    fn complete(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.started);
        let is_outdated = self.session.session_type.separates_outputs()
            && self
                .client_version
                .is_none_or(|version| !version.client_separates_outputs());
        let encrypted = self.cipher.as_ref().map(|_| output::ENCRYPTED);
        let outdated = is_outdated.then_some(output::OUTDATED_CLIENT);
        let messages: Vec<_> = encrypted.into_iter().chain(outdated).collect();
        let complete = HandshakeComplete {
            handshake_time_to_complete: i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX),
            customer_message: messages.join("\n"),
        };
        self.push_json(PayloadType::HandshakeComplete, &complete);
        self.start();
    }

    /// Lets data flow.
    pub(super) fn start(&mut self) {
        let kind = match &self.session.session_type {
            SessionType::Port { properties } => {
                let agent_version = self.session.agent_version;
                let kind = properties.get("type").map(String::as_str);
                SessionKind::Port {
                    is_multiplexed: self.client_version.is_some_and(Version::client_multiplexes)
                        && handshake::is_multiplexed(kind, agent_version),
                }
            }
            SessionType::StandardStream | SessionType::InteractiveCommands => SessionKind::Shell,
            SessionType::NonInteractiveCommands { .. } => SessionKind::Command,
        };
        self.timers.stop(Timer::Handshake);
        self.streams = Some(Streams::new(Role::Server, kind, &self.config));
        self.state = State::Running;
        self.events.push_back(AgentEvent::Started { kind });
    }
}
