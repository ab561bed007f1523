//! This crate's agent in the place of the recorded one, whatever the session is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ssmfwd_protocol::agent::{self, AgentEvent, Session};
use ssmfwd_protocol::message::{Message, MessageType};
use ssmfwd_protocol::streams::{StreamEvent, Streams};
use ssmfwd_protocol::{Endpoint, StreamId, Transmit};

use crate::recording::{Frame, Line, any_instant};
use crate::secret::Secret;

/// An agent that is shown what the recorded one saw.
pub(crate) struct Agent {
    pub(crate) now: Instant,
    pub(crate) agent: agent::Agent,
    pub(crate) secret: Option<Secret>,
    /// The streams the client has opened.
    pub(crate) streams: BTreeMap<u32, StreamId>,
    /// Stream messages, without repetitions.
    pub(crate) sent: BTreeMap<i64, Message>,
    pub(crate) acks: Vec<Bytes>,
    /// What was reported to the service.
    pub(crate) states: Vec<Bytes>,
    pub(crate) events: Vec<AgentEvent>,
}

impl Agent {
    /// Shows an agent a recording. `act` does what the recorded agent's surroundings did to make it send a frame.
    pub(crate) fn replay(
        lines: &[Line],
        session: Session,
        mut act: impl FnMut(&mut Self, &Frame),
    ) -> Self {
        let start = any_instant();
        let unix = Duration::from_secs(1_795_000_000);
        let mut agent = Self {
            now: start,
            agent: agent::Agent::new(session, 1, start, unix),
            secret: Secret::find(lines),
            streams: BTreeMap::new(),
            sent: BTreeMap::new(),
            acks: Vec::new(),
            states: Vec::new(),
            events: Vec::new(),
        };
        let mut last = None;
        for line in lines {
            agent.now = start + line.time();
            agent.agent.handle_timeout(agent.now);
            match (&line.dir[..], &line.frame) {
                ("a2r", None) if line.closed.is_none() => agent.agent.handle_connected(agent.now),
                ("c2a" | "r2a", Some(frame)) => {
                    agent.agent.handle_message(agent.now, frame.raw.clone());
                }
                ("a2c", Some(frame)) if !frame.is_stream_data() => act(&mut agent, frame),
                ("a2c", Some(frame)) if last < Some(frame.sequence_number) => {
                    last = Some(frame.sequence_number);
                    act(&mut agent, frame);
                }
                _ => {}
            }
            agent.drain();
        }
        agent
    }

    fn drain(&mut self) {
        self.drain_events();
        while let Some(transmit) = self.agent.poll_transmit(self.now) {
            let Transmit::Binary(wire) = transmit else {
                panic!("an agent's driver sends the connect request");
            };
            let message = Message::decode(wire).unwrap();
            match message.header.message_type {
                MessageType::Acknowledge => self.acks.push(message.payload),
                MessageType::OutputStreamData => {
                    self.sent.insert(message.header.sequence, message);
                }
                _ => self.states.push(message.payload),
            }
        }
        self.drain_events();
        while let Some(event) = self.agent.streams().and_then(Streams::poll_event) {
            if let StreamEvent::Opened(id) = event {
                self.streams.insert(id.into(), id);
            }
        }
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            if let AgentEvent::DataKeyReceived { ciphertext, .. } = &event {
                let secret = self.secret.as_ref().unwrap();
                assert_eq!(ciphertext, &secret.ciphertext);
                self.agent.handle_data_key(self.now, Ok(secret.key.into()));
            }
            self.events.push(event);
        }
    }
}
