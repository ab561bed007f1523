//! The agent's end of a data channel, for the lab and for tests.
//!
//! It behaves as the official agent does, faults included where clients feel them: input before the
//! end of the handshake is acknowledged and dropped, only the oldest message is ever sent again, a
//! pause stops everything but acknowledgements. Source: agent `datachannel.go`, `port_mux.go`.

mod event;
mod opening;
pub mod output;
mod session;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use event::AgentEvent;
pub use session::{Encryption, Session, SessionType};

use crate::channel::{Timer, TimerTable};
use crate::cipher::{self, Cipher};
use crate::config::{Config, Retransmission};
use crate::console::{Signal, Size};
use crate::control::AgentSessionState;
use crate::endpoint::{Endpoint, Transmit};
use crate::error::ProtocolError;
use crate::message::{Flag, Message, MessageType, PayloadType};
use crate::reliable::{Payload, Reliable, Side};
use crate::smux::StreamId;
use crate::streams::Streams;
use crate::version::Version;

/// Bytes that may be on their way to the client. The official agent has no such limit: its rate keeps
/// what is on the way small, which a faster one must see to itself.
const IN_FLIGHT_LEN: usize = 4 * 1024 * 1024;

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
    streams: Option<Streams>,
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
            // The official agent has no window and stores 100,000 messages; its smux stops reading at
            // 4 MiB of unread data, and with it the channel.
            send_window_len: 100_000 * 1024,
            receive_buffer_len: 4 * 1024 * 1024,
            stream_send_len: 64 * 1024,
            retransmission: Retransmission::official(),
            ..Config::default()
        };
        let mut reliable = Reliable::new(Side::Agent, &config, seed, now, unix);
        if !session.agent_version.agent_acknowledges_repetitions() {
            reliable.ignore_repetitions();
        }
        Self {
            reliable,
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
            streams: None,
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
        self.request_handshake(now);
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
        if let Some(streams) = self
            .streams
            .as_mut()
            .filter(|_| self.session.session_type.separates_outputs())
        {
            streams.exit(code);
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
        let Some(streams) = &mut self.streams else {
            return;
        };
        if streams.is_multiplexed() {
            let flag = Bytes::copy_from_slice(&Flag::ConnectToPortError.encode());
            self.control.push_back((PayloadType::Flag, flag));
            streams.abort(id);
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
                if let Some(streams) = &mut self.streams {
                    streams.handle_flag(flag);
                }
            }
            None => {}
        }
    }

    fn on_output(&mut self, bytes: Bytes) -> Result<(), ProtocolError> {
        if let SessionType::NonInteractiveCommands { .. } = self.session.session_type {
            let signal = Signal::find(&bytes);
            self.events.extend(signal.map(AgentEvent::Signalled));
        } else if let Some(streams) = &mut self.streams {
            streams.handle_payload(PayloadType::Output, bytes)?;
        }
        Ok(())
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
        !self.control.is_empty() || self.streams.as_ref().is_some_and(Streams::has_transmit)
    }

    fn poll_control(&mut self, now: Instant) -> Option<Bytes> {
        let (kind, payload) = self.control.pop_front()?;
        Some(self.reliable.push_control(now, kind, &payload))
    }

    fn poll_data(&mut self, now: Instant) -> Option<Bytes> {
        let is_open = matches!(self.state, State::Running | State::Exiting);
        // Acknowledgements wait unread while it is not receiving: they must not be what it waits for.
        let is_far_ahead =
            self.reliable.unacked_len() >= IN_FLIGHT_LEN && !self.is_receive_blocked();
        if !is_open || is_far_ahead || !self.reliable.is_window_open() {
            return None;
        }
        let streams = self
            .streams
            .as_mut()
            .filter(|streams| streams.has_transmit())?;
        let mut failure = None;
        let wire = self.reliable.poll_new(now, |frame, max_len| {
            let sent = cipher::transmit(streams, self.cipher.as_mut(), frame, max_len);
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
            || self
                .streams
                .as_ref()
                .is_some_and(Streams::is_receive_blocked)
    }

    fn buffered_len(&self) -> usize {
        self.reliable.buffered_len() + self.streams.as_ref().map_or(0, Streams::buffered_len)
    }

    fn streams(&mut self) -> Option<&mut Streams> {
        self.streams.as_mut()
    }
}
