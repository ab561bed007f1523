//! The client's end of a data channel.
//!
//! The one type that sees all layers; it dispatches between them and keeps the order of the session.

mod delivery;
mod draining;
mod event;
mod opening;
mod phase;
mod silence;
mod timer;
mod turn;
mod unanswered;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

pub use event::{CloseReason, Established, Event};
pub use timer::Timer;

pub(crate) use timer::TimerTable;

use crate::cipher::{self, Cipher};
use crate::config::Config;
use crate::control::OpenDataChannelInput;
use crate::endpoint::{Endpoint, Transmit};
use crate::error::ProtocolError;
use crate::handshake::{Agreed, Properties};
use crate::message::{Flag, Message, MessageType, PayloadType};
use crate::reliable::{Payload, Reliable, Side};
use crate::session_kind::SessionKind;
use crate::streams::Streams;
use crate::version::{CLIENT_VERSION, Version};
use phase::Phase;
use silence::Question;
use unanswered::Answers;

/// A data channel as the client sees it. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Channel {
    config: Config,
    client_id: Uuid,
    reliable: Reliable,
    phase: Phase,
    is_connected: bool,
    connection_count: u64,
    /// The connect request, until it is sent.
    hello: Option<Transmit>,
    /// Messages of the session itself, which go before any data and regardless of the window.
    control: VecDeque<(PayloadType, Bytes)>,
    /// The flag that ends the session has yet to be sent: once all data is acknowledged, or the agent
    /// would close its connections with some of it unwritten.
    is_flag_due: bool,
    is_flag_sent: bool,
    is_flag_acked: bool,
    /// The session is to end once everything is delivered.
    is_finishing: bool,
    /// Number of the message whose acknowledgement ends the phase, once it is sent.
    barrier: Option<i64>,
    /// Number of the last DisconnectToPort flag, until it is acknowledged.
    disconnect: Option<i64>,
    /// Messages of the agent's may have been lost with an earlier WebSocket, and not have been repeated yet.
    may_miss_output: bool,
    /// Something is to be said behind what was sent again.
    is_nudge_due: bool,
    /// From the moment the data key is known.
    cipher: Option<Cipher>,
    /// Of the session's document, until the handshake is complete.
    properties: Properties,
    streams: Option<Streams>,
    timers: TimerTable,
    undecodable_count: u32,
    answers: Answers,
    question: Question,
    /// Acknowledgements sent since anything else was.
    ack_run: u32,
    events: VecDeque<Event>,
}

/// Acknowledgements that go ahead of everything else in a row. A download makes one for each of its messages, and on a path
/// that is too slow for them nothing else would ever have its turn.
const MAX_ACK_RUN: u32 = 8;

impl Channel {
    /// Creates the state of a session that has just been started.
    ///
    /// `seed` determines the message ids and where nonces begin, neither of which is secret; `unix` is
    /// the wall clock at `now`, since the epoch.
    pub fn new(config: Config, seed: u64, now: Instant, unix: Duration) -> Self {
        let mut reliable = Reliable::new(Side::Client, &config, seed, now, unix);
        Self {
            client_id: reliable.next_id(),
            config,
            reliable,
            phase: Phase::Opening,
            is_connected: false,
            connection_count: 0,
            hello: None,
            control: VecDeque::new(),
            is_flag_due: false,
            is_flag_sent: false,
            is_flag_acked: false,
            is_finishing: false,
            barrier: None,
            disconnect: None,
            may_miss_output: false,
            is_nudge_due: false,
            cipher: None,
            properties: Properties::new(),
            streams: None,
            timers: TimerTable::default(),
            undecodable_count: 0,
            answers: Answers::default(),
            question: Question::default(),
            ack_run: 0,
            events: VecDeque::new(),
        }
    }

    /// A WebSocket to the service is open; `token` authenticates the channel on it.
    ///
    /// To be called for the first connection and for every one that replaces a lost one: sequence,
    /// unacknowledged messages and streams are kept in between.
    pub fn handle_connected(&mut self, now: Instant, token: &str) {
        let hello = OpenDataChannelInput {
            message_schema_version: "1.0".to_owned(),
            request_id: self.reliable.next_id(),
            token_value: token.to_owned(),
            client_id: self.client_id.to_string(),
            client_version: CLIENT_VERSION.to_owned(),
        };
        match serde_json::to_string(&hello) {
            Ok(hello) => self.hello = Some(Transmit::Text(hello)),
            Err(_) => return self.close(CloseReason::Protocol(ProtocolError::NoJson)),
        }
        self.is_connected = true;
        self.connection_count += 1;
        self.reliable.on_connected();
        self.doubt_output(now);
        if self.phase == Phase::Opening && !self.timers.is_set(Timer::Handshake) {
            self.timers
                .set(Timer::Handshake, now, self.config.handshake_timeout);
            self.await_silence(now);
        }
    }

    /// Ends the session from this side, after what has been written to its streams as far as that takes no
    /// longer than [`Config::close_timeout`]: [`Event::Closed`] follows by then. [`Self::finish`] waits for it.
    ///
    /// Shells and commands, like agents before 2.3.756.0, end by the service's TerminateSession alone:
    /// there the channel closes at once, and the rest is up to the caller.
    pub fn terminate(&mut self, now: Instant) {
        let honours_flag = self.phase.established().is_some_and(honours_terminate_flag);
        match self.phase {
            Phase::Closing(_) | Phase::Draining { .. } | Phase::Closed => {}
            _ if self.is_connected && honours_flag => {
                self.is_flag_due = true;
                self.close_after(now, CloseReason::Terminated);
            }
            _ => self.close(CloseReason::Terminated),
        }
    }

    /// Returns whether the agent has acknowledged the flag that ends the session, and so ends it.
    pub fn is_terminated(&self) -> bool {
        self.is_flag_acked
    }

    /// Smoothed round-trip time to the agent, once known.
    pub fn rtt(&self) -> Option<Duration> {
        self.reliable.srtt()
    }

    /// Wire bytes sent and not acknowledged by the agent.
    pub fn in_flight_len(&self) -> usize {
        self.reliable.unacked_len()
    }

    /// Whether a loss of the connection at this moment would hit nothing that either end has under way, as far as this
    /// one can tell. What a peer that does not acknowledge repetitions may never acknowledge does not count.
    pub fn is_quiet(&self) -> bool {
        let has_unsent = self.streams.as_ref().is_some_and(Streams::has_transmit);
        !has_unsent && self.reliable.in_flight_len() == 0 && !self.reliable.has_gap()
    }

    /// Messages sent more than once so far, counting every repetition.
    pub fn retransmitted_count(&self) -> u64 {
        self.reliable.retransmitted_count()
    }

    fn on_message(&mut self, now: Instant, message: Message) -> Result<(), ProtocolError> {
        match message.header.message_type {
            MessageType::OutputStreamData => {
                let had_gap = self.reliable.has_gap();
                self.reliable.on_stream_message(message);
                while let Some(payload) = self.reliable.pop() {
                    self.on_payload(now, payload)?;
                }
                self.prolong_turn(now);
                if had_gap != self.reliable.has_gap() {
                    self.go_on_draining(now, had_gap);
                }
            }
            MessageType::Acknowledge => {
                let unacked_len = self.reliable.unacked_len();
                self.reliable.on_acknowledge(now, &message.payload);
                self.on_acked(now);
                if self.reliable.unacked_len() < unacked_len {
                    self.on_answer(now);
                    self.on_progress(now);
                }
            }
            MessageType::ChannelClosed => {
                self.on_channel_closed(now, &message.payload)?;
            }
            // The service's flow signals are hints at best: acting on them has cost others data. It is said to pause the
            // client while the agent is away.
            MessageType::PausePublication | MessageType::StartPublication => self.doubt_output(now),
            _ => tracing::trace!(kind = ?message.header.message_type, "message passed over"),
        }
        Ok(())
    }

    fn on_payload(&mut self, now: Instant, payload: Payload) -> Result<(), ProtocolError> {
        let Payload { kind, mut bytes } = payload;
        if let Some(cipher) = self.cipher.as_ref().filter(|_| kind.is_sealed()) {
            bytes = cipher.open(&bytes)?;
        }
        match (kind, &self.phase) {
            (PayloadType::HandshakeRequest, Phase::Opening) => {
                self.on_handshake_request(now, &bytes)?;
            }
            (
                PayloadType::EncryptionChallengeRequest,
                Phase::Handshaking {
                    agreed,
                    is_proof_due,
                },
            ) => {
                if *is_proof_due {
                    let agreed = *agreed;
                    self.on_challenge(agreed, &bytes)?;
                }
            }
            (
                PayloadType::HandshakeComplete,
                Phase::Handshaking {
                    agreed,
                    is_proof_due,
                },
            ) => {
                if *is_proof_due {
                    return Err(ProtocolError::NoProof);
                }
                let agreed = *agreed;
                self.on_handshake_complete(now, agreed, &bytes)?;
            }
            (PayloadType::Output, Phase::Opening) => {
                let agreed = self.establish_without_handshake();
                self.run(agreed);
                self.on_stream_payload(kind, bytes)?;
            }
            (PayloadType::Output | PayloadType::StandardError | PayloadType::ExitCode, _) => {
                self.on_stream_payload(kind, bytes)?;
            }
            (PayloadType::Flag, _) => {
                if let (Some(streams), Some(flag)) = (&mut self.streams, Flag::decode(&bytes)) {
                    streams.handle_flag(flag);
                }
            }
            // What was typed since the session has begun should have been encrypted, and was not taken.
            (PayloadType::HandshakeRequest, phase)
                if phase
                    .established()
                    .is_some_and(Agreed::is_without_handshake) =>
            {
                return Err(ProtocolError::LateHandshake);
            }
            (kind, _) => tracing::debug!(?kind, "payload passed over"),
        }
        Ok(())
    }

    fn on_stream_payload(&mut self, kind: PayloadType, bytes: Bytes) -> Result<(), ProtocolError> {
        if let Some(streams) = &mut self.streams {
            streams.handle_payload(kind, bytes)?;
        }
        Ok(())
    }

    fn on_acked(&mut self, now: Instant) {
        self.pass_turn(now);
        if !self
            .barrier
            .is_some_and(|sequence| self.reliable.is_acked(sequence))
        {
            return;
        }
        match &self.phase {
            Phase::Opening => {
                self.barrier = None;
                self.on_question_acked(now);
            }
            Phase::Settling(agreed) => self.run(*agreed),
            Phase::Closing(reason) => {
                let reason = reason.clone();
                self.is_flag_acked = self.is_flag_sent;
                self.close(reason);
            }
            _ => {}
        }
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match (timer, &self.phase) {
            (Timer::Handshake, phase) => {
                let is_started = *phase != Phase::Opening;
                self.close(CloseReason::HandshakeTimedOut {
                    is_started,
                    undecodable_count: self.undecodable_count,
                });
            }
            (Timer::Silence, Phase::Opening) => self.on_silence(now),
            (Timer::Settle, Phase::Settling(agreed)) => self.run(*agreed),
            (Timer::KeepAlive, _) => {
                if let Some(streams) = &mut self.streams {
                    streams.keep_alive();
                }
                self.timers
                    .set(Timer::KeepAlive, now, self.config.keep_alive_interval);
            }
            (Timer::Turn, _) => self.on_turn(now),
            (Timer::Answer, _) => self.on_unanswered(),
            (Timer::Delivery, _) => self.terminate(now),
            (Timer::Close, Phase::Closing(reason)) => {
                let reason = reason.clone();
                self.close(reason);
            }
            (Timer::Close, Phase::Draining { .. }) => self.finish_draining(),
            _ => {}
        }
    }

    fn run(&mut self, agreed: Agreed) {
        self.timers.stop(Timer::Handshake);
        self.phase = Phase::Running(agreed);
    }

    /// Closes the channel once the last message of this end is acknowledged.
    fn close_after(&mut self, now: Instant, reason: CloseReason) {
        self.barrier = None;
        self.phase = Phase::Closing(reason);
        self.timers = TimerTable::default();
        self.timers
            .set(Timer::Close, now, self.config.close_timeout);
    }

    fn close(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed;
        self.timers = TimerTable::default();
        self.events.push_back(Event::Closed(reason));
    }

    fn push_json(&mut self, kind: PayloadType, body: &impl serde::Serialize) {
        match serde_json::to_vec(body) {
            Ok(body) => self.control.push_back((kind, body.into())),
            Err(error) => tracing::error!(%error, "a handshake body has no JSON form"),
        }
    }

    fn poll_control(&mut self, now: Instant) -> Option<Bytes> {
        let (kind, mut payload) = self.control.pop_front()?;
        if let Some(cipher) = self.cipher.as_mut().filter(|_| kind.is_sealed()) {
            match cipher.seal(&payload) {
                Ok(sealed) => payload = sealed,
                Err(error) => {
                    self.close(CloseReason::Protocol(error.into()));
                    return None;
                }
            }
        }
        if self.control.is_empty() {
            self.barrier = Some(self.reliable.next_sequence());
        }
        Some(self.reliable.push_control(now, kind, &payload))
    }

    /// The flag that ends the session, when its time has come.
    fn poll_flag(&mut self, now: Instant) -> Option<Bytes> {
        let has_data = self.streams.as_ref().is_some_and(Streams::has_transmit);
        if !self.is_flag_due || has_data || self.reliable.unacked_len() > 0 {
            return None;
        }
        self.is_flag_due = false;
        self.is_flag_sent = true;
        self.barrier = Some(self.reliable.next_sequence());
        let flag = Flag::TerminateSession.encode();
        Some(self.reliable.push_control(now, PayloadType::Flag, &flag))
    }

    fn poll_data(&mut self, now: Instant) -> Option<Bytes> {
        let is_open = matches!(self.phase, Phase::Running(_) | Phase::Closing(_));
        if !is_open || !self.reliable.is_window_open() {
            return None;
        }
        let streams = self
            .streams
            .as_mut()
            .filter(|streams| streams.has_transmit())?;
        let sequence = self.reliable.next_sequence();
        let mut sent = None;
        let wire = self.reliable.poll_new(now, |frame, max_len| {
            let kind = cipher::transmit(streams, self.cipher.as_mut(), frame, max_len);
            sent = Some(kind);
            kind.ok()?
        });
        match sent {
            Some(Err(error)) => self.close(CloseReason::Protocol(error.into())),
            Some(Ok(Some(PayloadType::Flag))) => self.disconnect = Some(sequence),
            _ => {}
        }
        wire
    }
}

/// Returns whether the agent ends this session on a TerminateSession flag.
fn honours_terminate_flag(agreed: Agreed) -> bool {
    let is_new = |version: Version| version.agent_honours_terminate_flag();
    match agreed.kind {
        SessionKind::Port { is_multiplexed } => {
            is_multiplexed || agreed.agent_version.is_some_and(is_new)
        }
        SessionKind::Shell | SessionKind::Command => false,
    }
}

impl Endpoint for Channel {
    type Event = Event;

    fn handle_message(&mut self, now: Instant, wire: Bytes) {
        if self.phase == Phase::Closed {
            return;
        }
        let outcome = match Message::decode(wire) {
            Ok(message) => {
                self.undecodable_count = 0;
                self.on_message(now, message)
            }
            Err(error) => {
                tracing::debug!(%error, "undecodable message dropped");
                self.undecodable_count += 1;
                if self.undecodable_count < self.config.undecodable_limit {
                    return;
                }
                Err(ProtocolError::Undecodable {
                    count: self.undecodable_count,
                    last: error,
                })
            }
        };
        if let Err(error) = outcome {
            self.close(CloseReason::Protocol(error));
        }
    }

    fn handle_disconnected(&mut self, _now: Instant) {
        self.is_connected = false;
        self.hello = None;
        self.timers.stop(Timer::Turn);
        self.forget_answers();
        if let Phase::Closing(reason) = &self.phase {
            let reason = reason.clone();
            self.close(reason);
        }
        self.finish_draining();
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_expired(now) {
            self.on_timer(now, timer);
        }
        if self.is_connected {
            let unacked_len = self.reliable.unacked_len();
            self.reliable.on_timeout(now);
            if self.reliable.unacked_len() < unacked_len {
                // What has been overtaken often enough was taken for delivered.
                self.on_acked(now);
                self.on_progress(now);
            }
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if !self.is_connected || self.phase == Phase::Closed {
            return None;
        }
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        let is_ack_due = self.ack_run < MAX_ACK_RUN;
        let ack = is_ack_due.then(|| self.reliable.poll_ack(now)).flatten();
        self.ack_run = match ack {
            Some(_) => self.ack_run + 1,
            None => 0,
        };
        let wire = ack
            .or_else(|| self.poll_retransmit(now))
            .or_else(|| self.poll_control(now))
            .or_else(|| self.poll_data(now))
            .or_else(|| self.poll_nudge(now))
            .or_else(|| self.poll_flag(now))
            .or_else(|| self.reliable.poll_ack(now));
        self.expect_answer(now);
        wire.map(Transmit::Binary)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<(Instant, Timer)> {
        let set = self.timers.next();
        if !self.is_connected || self.phase == Phase::Closed {
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
