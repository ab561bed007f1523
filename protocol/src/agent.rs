//! The agent's end of a data channel, for the lab and for tests.
//!
//! It behaves as the official agent does, faults included where clients feel them: input before the
//! end of the handshake is acknowledged and dropped, only the oldest message is ever sent again, a
//! pause stops everything but acknowledgements. Source: agent `datachannel.go`, `port_mux.go`.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::channel::{Timer, TimerTable};
use crate::config::{Config, Retransmission};
use crate::control::AgentSessionState;
use crate::endpoint::{Endpoint, Transmit};
use crate::error::MuxError;
use crate::handshake::{self, HandshakeComplete, HandshakeRequest, HandshakeResponse};
use crate::message::{Flag, Message, MessageType, PayloadType};
use crate::port::Port;
use crate::reliable::{Payload, Reliable, Side};
use crate::smux::{Role, StreamId};
use crate::version::Version;

/// Time the agent waits for the response to its handshake request (`handshakeTimeout`).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
const HANDSHAKE_TIMED_OUT: &str = "Handshake timed out. Please ensure that you have the latest \
                                   version of the session manager plugin.";

/// The session an agent has been told to start.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// The version the agent reports, which switches features at the client.
    pub agent_version: Version,
    /// Properties of the port document; `type` decides on multiplexing.
    pub properties: BTreeMap<String, String>,
    /// Demands encryption with this key. Real agents never do so for port sessions.
    pub kms_key_id: Option<String>,
}

/// Something the agent's driver must know of. What happens to streams comes from its [`Port`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentEvent {
    /// The handshake is done.
    Started {
        /// Whether several connections can be open at a time.
        is_multiplexed: bool,
    },
    /// The client has ended the session.
    Terminated,
    /// The session cannot go on; the text is what the official agent reports.
    Failed(String),
}

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
    /// Data flows.
    Running,
    /// Over.
    Ended,
}

impl Agent {
    /// Creates the agent's end of a session.
    ///
    /// `seed` determines the message ids, `unix` is the wall clock at `now`, since the epoch.
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
            port: None,
            timers: TimerTable::default(),
            events: VecDeque::new(),
        }
    }

    /// The data channel is open.
    pub fn handle_connected(&mut self, now: Instant) {
        self.is_connected = true;
        self.is_paused = false;
        let connected = AgentSessionState {
            schema_version: 1,
            session_state: "Connected",
            session_id: &self.session.id,
        };
        let wire = self
            .reliable
            .unsequenced(now, MessageType::AgentSessionState, 128, &connected);
        self.unsequenced.push_back(wire);
        self.reliable.on_connected();
        if self.state == State::New {
            self.state = State::Handshaking;
            self.timers.set(Timer::Handshake, now + HANDSHAKE_TIMEOUT);
            let request = HandshakeRequest::port(
                self.session.agent_version,
                &self.session.properties,
                self.session.kms_key_id.as_deref(),
            );
            self.push_json(PayloadType::HandshakeRequest, &request);
        }
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
        self.reliable.unacked_len() == 0
            && self.control.is_empty()
            && !self.port.as_ref().is_some_and(Port::has_transmit)
    }

    fn on_message(&mut self, now: Instant, message: Message) -> Result<(), MuxError> {
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

    fn on_payload(&mut self, now: Instant, payload: Payload) -> Result<(), MuxError> {
        match (payload.kind, self.state) {
            (PayloadType::HandshakeResponse, State::Handshaking) => {
                self.on_handshake_response(now, &payload.bytes);
            }
            (PayloadType::Flag, State::Running) => match Flag::decode(&payload.bytes) {
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
            },
            (PayloadType::Output, State::Running) => {
                if let Some(port) = &mut self.port {
                    port.handle_output(payload.bytes)?;
                }
            }
            // Acknowledged and dropped, as by the official agent.
            _ => {}
        }
        Ok(())
    }

    fn on_handshake_response(&mut self, now: Instant, payload: &[u8]) {
        let Ok(response) = serde_json::from_slice::<HandshakeResponse>(payload) else {
            return;
        };
        let refused = response
            .processed_client_actions
            .iter()
            .find(|action| !action.is_success());
        if let Some(action) = refused {
            return self.fail(format!(
                "\n----------ERROR-------\nEncountered error while initiating handshake. {} failed \
                 on client with status {} error: {}",
                action.action_type, action.action_status, action.error
            ));
        }
        let client: Option<Version> = response.client_version.parse().ok();
        let kind = self.session.properties.get("type").map(String::as_str);
        let is_multiplexed = client.is_some_and(Version::client_multiplexes)
            && handshake::is_multiplexed(kind, self.session.agent_version);
        self.timers.stop(Timer::Handshake);
        self.port = Some(Port::new(Role::Server, is_multiplexed, &self.config));
        self.state = State::Running;
        let elapsed = now.saturating_duration_since(self.started);
        let complete = HandshakeComplete {
            handshake_time_to_complete: i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX),
            customer_message: String::new(),
        };
        self.push_json(PayloadType::HandshakeComplete, &complete);
        self.events
            .push_back(AgentEvent::Started { is_multiplexed });
    }

    fn push_json(&mut self, kind: PayloadType, body: &impl serde::Serialize) {
        match serde_json::to_vec(body) {
            Ok(body) => self.control.push_back((kind, body.into())),
            Err(error) => tracing::error!(%error, "a handshake body has no JSON form"),
        }
    }

    fn fail(&mut self, output: String) {
        self.end(AgentEvent::Failed(output));
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
        // The official session stays up and mute after a mux error; ending it serves tests better.
        if let Err(error) = self.on_message(now, message) {
            self.fail(error.to_string());
        }
    }

    fn handle_disconnected(&mut self, _now: Instant) {
        self.is_connected = false;
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_expired(now) {
            if timer == Timer::Handshake {
                self.fail(HANDSHAKE_TIMED_OUT.to_owned());
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
            wire = self.reliable.poll_retransmit(now);
            if wire.is_none()
                && let Some((kind, payload)) = self.control.pop_front()
            {
                wire = Some(self.reliable.push_control(now, kind, &payload));
            }
            if wire.is_none()
                && self.state == State::Running
                && self.reliable.is_window_open()
                && let Some(port) = self.port.as_mut().filter(|port| port.has_transmit())
            {
                wire = self.reliable.poll_new(now, |frame, max_len| {
                    port.poll_transmit(frame.payload(), max_len)
                });
            }
        }
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
