//! How a channel begins: the handshake, the data key, both proofs of it.

use std::time::Instant;

use bytes::Bytes;

use super::phase::Phase;
use super::{Channel, CloseReason, Established, Event, Timer};
use crate::cipher::{Cipher, DataKey};
use crate::error::ProtocolError;
use crate::handshake::{Agreed, Answer, EncryptionChallenge, HandshakeComplete};
use crate::message::PayloadType;
use crate::reliable::Side;
use crate::session_kind::SessionKind;
use crate::smux::{KEEP_ALIVE_FRAME, Role};
use crate::streams::Streams;
use crate::version::Version;

impl Channel {
    /// Answers [`Event::DataKeyNeeded`]: a key that serves no other session, or why there is none,
    /// which ends the session and is told the agent. Does nothing if no key is needed any more.
    pub fn handle_data_key(&mut self, now: Instant, key: Result<DataKey, String>) {
        let (mut answer, agreed) = match std::mem::replace(&mut self.phase, Phase::Opening) {
            Phase::Keying(answer, agreed) => (answer, agreed),
            other => {
                self.phase = other;
                return;
            }
        };
        match key {
            Ok(key) => {
                let first_nonce = self.reliable.first_nonce();
                match Cipher::new(Side::Client, &key.plaintext, first_nonce) {
                    Ok(cipher) => self.cipher = Some(cipher),
                    Err(error) => return self.close(CloseReason::Protocol(error.into())),
                }
                if answer.provide_key(key.ciphertext).is_err() {
                    return self.close(CloseReason::Protocol(ProtocolError::NoJson));
                }
                self.phase = Phase::Handshaking {
                    agreed,
                    is_proof_due: true,
                };
            }
            Err(reason) => {
                answer.refuse_key(&reason);
                self.close_after(now, CloseReason::NoDataKey { reason });
            }
        }
        self.push_json(PayloadType::HandshakeResponse, &answer.response);
    }

    pub(super) fn on_handshake_request(
        &mut self,
        now: Instant,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        let mut answer = Answer::to(payload)?;
        self.properties = std::mem::take(&mut answer.properties);
        match (&answer.agreed, &answer.key_request) {
            (Err(refusal), _) => {
                let reason = CloseReason::Unsupported(refusal.clone());
                self.close_after(now, reason);
                self.push_json(PayloadType::HandshakeResponse, &answer.response);
            }
            (Ok(agreed), None) => {
                self.phase = Phase::Handshaking {
                    agreed: *agreed,
                    is_proof_due: false,
                };
                self.push_json(PayloadType::HandshakeResponse, &answer.response);
            }
            (Ok(agreed), Some(request)) => {
                self.events.push_back(Event::DataKeyNeeded {
                    key_id: request.key_id.clone(),
                    challenge: request.challenge.clone(),
                });
                // The key takes a call of its own, for which the agent waits.
                self.timers
                    .set(Timer::Handshake, now, self.config.handshake_timeout);
                let agreed = *agreed;
                self.phase = Phase::Keying(Box::new(answer), agreed);
            }
        }
        Ok(())
    }

    /// Answers the agent's challenge, once: it is sealed with the agent's half of the data key, and goes
    /// back sealed with the client's. That proves to either end that the other has the key.
    pub(super) fn on_challenge(
        &mut self,
        agreed: Agreed,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        let request: EncryptionChallenge = serde_json::from_slice(payload)
            .map_err(|_| ProtocolError::Handshake("EncryptionChallengeRequest"))?;
        let cipher = self.cipher.as_mut().ok_or(ProtocolError::NoProof)?;
        let plain = cipher
            .open(&request.challenge)
            .map_err(ProtocolError::Proof)?;
        let challenge = cipher.seal(&plain)?.to_vec();
        self.phase = Phase::Handshaking {
            agreed,
            is_proof_due: false,
        };
        let response = EncryptionChallenge { challenge };
        self.push_json(PayloadType::EncryptionChallengeResponse, &response);
        Ok(())
    }

    pub(super) fn on_handshake_complete(
        &mut self,
        now: Instant,
        agreed: Agreed,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        let complete: HandshakeComplete = serde_json::from_slice(payload)
            .map_err(|_| ProtocolError::Handshake("HandshakeComplete"))?;
        self.establish(agreed, complete.customer_message);
        self.phase = Phase::Settling(agreed);
        self.barrier = None;
        self.timers.stop(Timer::Handshake);
        let one_at_a_time = SessionKind::Port {
            is_multiplexed: false,
        };
        let limit = match agreed.kind == one_at_a_time {
            true => self.config.settle_delay,
            false => self.config.settle_timeout,
        };
        self.timers.set(Timer::Settle, now, limit);
        match agreed.kind {
            SessionKind::Port {
                is_multiplexed: true,
            } => {
                let frame = Bytes::from_static(&KEEP_ALIVE_FRAME);
                self.control.push_back((PayloadType::Output, frame));
                let expects_keep_alive = |version: Version| version.agent_expects_keep_alive();
                let is_expected = agreed.agent_version.is_some_and(expects_keep_alive);
                if self.config.keep_alive || is_expected {
                    self.timers
                        .set(Timer::KeepAlive, now, self.config.keep_alive_interval);
                }
            }
            SessionKind::Port {
                is_multiplexed: false,
            } => {}
            // The streams of a shell send it again: the agent may drop this one.
            SessionKind::Shell | SessionKind::Command => self.push_size(),
        }
        Ok(())
    }

    /// Has the size sent with which a terminal begins.
    pub(super) fn push_size(&mut self) {
        let size = self.config.terminal_size.encode().into();
        self.control.push_back((PayloadType::Size, size));
    }

    /// The session has begun.
    pub(super) fn establish(&mut self, agreed: Agreed, customer_message: String) {
        self.streams = Some(Streams::new(Role::Client, agreed.kind, &self.config));
        self.reliable.on_established(agreed.agent_version);
        self.events.push_back(Event::Established(Established {
            agent_version: agreed.agent_version,
            kind: agreed.kind,
            properties: std::mem::take(&mut self.properties),
            customer_message,
        }));
    }
}
