//! The agent's end of a data channel, for the lab and for tests.
//!
//! It behaves as the official agent does, faults included where clients feel them: input before the
//! end of the handshake is acknowledged and dropped, only the oldest message is ever sent again, a
//! pause stops everything but acknowledgements. Source: agent `datachannel.go`, `port_mux.go`.

mod event;
pub mod output;
mod session;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

pub use event::AgentEvent;
pub use session::{Encryption, Session, SessionType};

use crate::channel::{Timer, TimerTable};
use crate::cipher::{self, Cipher, PlainKey};
use crate::config::{Config, Retransmission};
use crate::control::AgentSessionState;
use crate::endpoint::{Endpoint, Transmit};
use crate::error::ProtocolError;
use crate::handshake::{
    self, EncryptionChallenge, HandshakeComplete, HandshakeRequest, HandshakeResponse, KmsRequest,
};
use crate::message::{Flag, Message, MessageType, PayloadType};
use crate::port::Port;
use crate::reliable::{Payload, Reliable, Side};
use crate::session::{SessionKind, Signal, Size};
use crate::smux::{Role, StreamId};
use crate::version::Version;

/// Time the agent waits for the response to its handshake request, and then for the answer to its
/// challenge (`handshakeTimeout`).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Time the agent waits at the end for the acknowledgement of what it has sent
/// (`clientDisconnectTimeout`).
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A data channel as the agent sees it.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    session: Session,
    reliable: Reliable,
    state: State,
    started: Instant,
    is_connected: bool,
    is_paused: bool,
    /// Messages outside the sequence, ready to be sent.
    unsequenced: VecDeque<Bytes>,
    /// Messages of the session itself, which go before any data.
    control: VecDeque<(PayloadType, Bytes)>,
    /// The client's version, once it has answered.
    client_version: Option<Version>,
    /// From the moment the data key is known.
    cipher: Option<Cipher>,
    port: Option<Port>,
    timers: TimerTable,
    events: VecDeque<AgentEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Never connected.
    New,
    /// The request is under way.
    Handshaking,
    /// The data key is being decrypted.
    Keying,
    /// The challenge is under way.
    Proving,
    /// Data flows.
    Running,
    /// The program has ended; what it said is under way.
    Exiting,
    /// Over.
    Ended,
}

impl Agent {
    /// Creates the agent's end of a session.
    ///
    /// `seed` determines the message ids and where nonces begin, `unix` is the wall clock at `now`, since
    /// the epoch.
    pub fn new(session: Session, seed: u64, now: Instant, unix: Duration) -> Self {
        let config = Config {
            // The official agent has no window; its smux stops at 4 MiB of unread data.
            send_window_len: 4 * 1024 * 1024,
            stream_send_len: 64 * 1024,
            retransmission: Retransmission::official(),
            ..Config::default()
        };
        Self {
            reliable: Reliable::new(Side::Agent, &config, seed, now, unix),
            config,
            session,
            state: State::New,
            started: now,
            is_connected: false,
            is_paused: false,
            unsequenced: VecDeque::new(),
            control: VecDeque::new(),
            client_version: None,
            cipher: None,
            port: None,
            timers: TimerTable::default(),
            events: VecDeque::new(),
        }
    }

    /// The data channel is open.
    pub fn handle_connected(&mut self, now: Instant) {
        self.is_connected = true;
        self.is_paused = false;
        self.report_state(now, "Connected");
        self.reliable.on_connected();
        if self.state != State::New {
            return;
        }
        if self.session.encryption.is_none() && !self.session.session_type.has_handshake() {
            return self.start();
        }
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

    /// Ends the session because its program has ended: what was written to the streams is sent first,
    /// then the exit code, if the document wants it reported (`-1` for a signal).
    ///
    /// [`AgentEvent::Exited`] follows when all of it is acknowledged, at the latest two seconds after it
    /// was sent. Does nothing unless the session is running.
    pub fn exit(&mut self, now: Instant, code: i32) {
        if self.state != State::Running {
            return;
        }
        if let Some(port) = self
            .port
            .as_mut()
            .filter(|_| self.session.session_type.separates_outputs())
        {
            port.exit(code);
        }
        self.state = State::Exiting;
        self.on_progress(now);
    }

    /// Ends the session because it cannot go on; `output` is what the client is told, see [`output`].
    pub fn fail(&mut self, output: String) {
        self.end(AgentEvent::Failed(output));
    }

    /// Reports that the destination of a stream cannot be reached, and closes the stream.
    ///
    /// Without multiplexing the official agent ends the session instead.
    pub fn refuse(&mut self, id: StreamId) {
        let Some(port) = &mut self.port else {
            return;
        };
        if port.is_multiplexed() {
            let flag = Bytes::copy_from_slice(&Flag::ConnectToPortError.encode());
            self.control.push_back((PayloadType::Flag, flag));
            port.abort(id);
        } else {
            self.fail(String::new());
        }
    }

    /// Returns whether everything sent has been acknowledged and nothing waits to be sent.
    pub fn is_drained(&self) -> bool {
        self.reliable.unacked_len() == 0 && !self.has_unsent()
    }

    fn on_message(&mut self, now: Instant, message: Message) -> Result<(), ProtocolError> {
        match message.header.message_type {
            MessageType::InputStreamData => {
                self.is_paused = false;
                self.reliable.on_stream_message(message);
                while let Some(payload) = self.reliable.pop() {
                    self.on_payload(now, payload)?;
                }
            }
            MessageType::Acknowledge => {
                self.is_paused = false;
                self.reliable.on_acknowledge(now, &message.payload);
            }
            MessageType::PausePublication => self.is_paused = true,
            MessageType::StartPublication => self.is_paused = false,
            MessageType::ChannelClosed => self.end(AgentEvent::Terminated),
            _ => {}
        }
        Ok(())
    }

    fn on_payload(&mut self, now: Instant, payload: Payload) -> Result<(), ProtocolError> {
        let Payload { kind, mut bytes } = payload;
        if let Some(cipher) = self.cipher.as_ref().filter(|_| kind.is_sealed()) {
            bytes = cipher.open(&bytes)?;
        }
        match (kind, self.state) {
            (PayloadType::HandshakeResponse, State::Handshaking) => {
                self.on_handshake_response(now, &bytes);
            }
            (PayloadType::EncryptionChallengeResponse, State::Proving) => {
                self.on_challenge_response(now, &bytes);
            }
            (PayloadType::Flag, State::Running) => self.on_flag(&bytes),
            (PayloadType::Size, State::Running) => {
                let is_shell = !matches!(self.session.session_type, SessionType::Port { .. });
                let size = Size::decode(&bytes).filter(|_| is_shell);
                self.events.extend(size.map(AgentEvent::Resized));
            }
            (PayloadType::Output, State::Running) => self.on_output(bytes)?,
            // Acknowledged and dropped, as by the official agent.
            _ => {}
        }
        Ok(())
    }

    fn on_flag(&mut self, payload: &[u8]) {
        let is_port = matches!(self.session.session_type, SessionType::Port { .. });
        match Flag::decode(payload).filter(|_| is_port) {
            Some(Flag::TerminateSession)
                if self.session.agent_version.agent_honours_terminate_flag() =>
            {
                self.end(AgentEvent::Terminated);
            }
            Some(flag) => {
                if let Some(port) = &mut self.port {
                    port.handle_flag(flag);
                }
            }
            None => {}
        }
    }

    fn on_output(&mut self, bytes: Bytes) -> Result<(), ProtocolError> {
        if let SessionType::NonInteractiveCommands { .. } = self.session.session_type {
            let signal = Signal::find(&bytes);
            self.events.extend(signal.map(AgentEvent::Signalled));
        } else if let Some(port) = &mut self.port {
            port.handle_payload(PayloadType::Output, bytes)?;
        }
        Ok(())
    }

    fn on_handshake_response(&mut self, now: Instant, payload: &[u8]) {
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
    fn on_challenge_response(&mut self, now: Instant, payload: &[u8]) {
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
    fn start(&mut self) {
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
        self.port = Some(Port::new(Role::Server, kind, &self.config));
        self.state = State::Running;
        self.events.push_back(AgentEvent::Started { kind });
    }

    /// While exiting, waits for acknowledgements from the moment everything is sent.
    fn on_progress(&mut self, now: Instant) {
        if self.state != State::Exiting {
            return;
        }
        if self.is_drained() {
            self.leave(now);
        } else if !self.has_unsent() && !self.timers.is_set(Timer::Close) {
            self.timers.set(Timer::Close, now, DRAIN_TIMEOUT);
        }
    }

    fn leave(&mut self, now: Instant) {
        self.report_state(now, "Terminating");
        self.end(AgentEvent::Exited);
    }

    /// Reports to the service, which does not pass it on.
    fn report_state(&mut self, now: Instant, session_state: &str) {
        let state = AgentSessionState {
            schema_version: 1,
            session_state,
            session_id: &self.session.id,
        };
        let wire = self
            .reliable
            .unsequenced(now, MessageType::AgentSessionState, 128, &state);
        self.unsequenced.push_back(wire);
    }

    fn has_unsent(&self) -> bool {
        !self.control.is_empty() || self.port.as_ref().is_some_and(Port::has_transmit)
    }

    fn poll_control(&mut self, now: Instant) -> Option<Bytes> {
        let (kind, payload) = self.control.pop_front()?;
        Some(self.reliable.push_control(now, kind, &payload))
    }

    fn poll_data(&mut self, now: Instant) -> Option<Bytes> {
        let is_open = matches!(self.state, State::Running | State::Exiting);
        if !is_open || !self.reliable.is_window_open() {
            return None;
        }
        let port = self.port.as_mut().filter(|port| port.has_transmit())?;
        let mut failure = None;
        let wire = self.reliable.poll_new(now, |frame, max_len| {
            let sent = cipher::transmit(port, self.cipher.as_mut(), frame, max_len);
            sent.unwrap_or_else(|error| {
                failure = Some(error);
                None
            })
        });
        if let Some(error) = failure {
            self.fail(output::error(&error.to_string()));
        }
        wire
    }

    fn push_json(&mut self, kind: PayloadType, body: &impl serde::Serialize) {
        match serde_json::to_vec(body) {
            Ok(body) => self.control.push_back((kind, body.into())),
            Err(error) => tracing::error!(%error, "a handshake body has no JSON form"),
        }
    }

    fn end(&mut self, event: AgentEvent) {
        if self.state != State::Ended {
            self.state = State::Ended;
            self.timers = TimerTable::default();
            self.events.push_back(event);
        }
    }
}

impl Endpoint for Agent {
    type Event = AgentEvent;

    fn handle_message(&mut self, now: Instant, wire: Bytes) {
        let Ok(message) = Message::decode(wire) else {
            return;
        };
        // The official session stays up and mute after such an error; ending it serves tests better.
        match self.on_message(now, message) {
            Ok(()) => self.on_progress(now),
            Err(error) => self.fail(output::error(&error.to_string())),
        }
    }

    fn handle_disconnected(&mut self, _now: Instant) {
        self.is_connected = false;
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_expired(now) {
            match timer {
                Timer::Handshake if self.state == State::Proving => {
                    self.fail(output::handshake_failed(output::CHALLENGE_TIMED_OUT));
                }
                Timer::Handshake => {
                    self.fail(output::handshake_failed(output::HANDSHAKE_TIMED_OUT));
                }
                Timer::Close => self.leave(now),
                _ => {}
            }
        }
        if self.is_connected && !self.is_paused {
            self.reliable.on_timeout(now);
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if !self.is_connected {
            return None;
        }
        let mut wire = self
            .unsequenced
            .pop_front()
            .or_else(|| self.reliable.poll_ack(now));
        if wire.is_none() && !self.is_paused {
            wire = self
                .reliable
                .poll_retransmit(now)
                .or_else(|| self.poll_control(now))
                .or_else(|| self.poll_data(now));
        }
        self.on_progress(now);
        wire.map(Transmit::Binary)
    }

    fn poll_event(&mut self) -> Option<AgentEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<(Instant, Timer)> {
        let set = self.timers.next();
        if !self.is_connected || self.is_paused {
            return set;
        }
        let retransmit = self
            .reliable
            .next_timeout()
            .map(|at| (at, Timer::Retransmit));
        set.into_iter()
            .chain(retransmit)
            .min_by_key(|(deadline, _)| *deadline)
    }

    fn is_receive_blocked(&self) -> bool {
        self.reliable.is_receive_blocked()
            || self.port.as_ref().is_some_and(Port::is_receive_blocked)
    }

    fn buffered_len(&self) -> usize {
        self.reliable.buffered_len() + self.port.as_ref().map_or(0, Port::buffered_len)
    }

    fn port(&mut self) -> Option<&mut Port> {
        self.port.as_mut()
    }
}
