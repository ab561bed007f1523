//! Both ends of a session, connected by nothing but function calls.

#![allow(dead_code, reason = "each bench uses its part")]
#![expect(clippy::unwrap_used, reason = "a bench that panics measures nothing")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ssmfwd_protocol::agent::{Agent, Encryption, Session, SessionType};
use ssmfwd_protocol::channel::Event;
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::streams::StreamEvent;
use ssmfwd_protocol::{Channel, DataKey, Endpoint, StreamId, Transmit};

/// Both ends of a session, and the one instant at which all of it happens.
pub(crate) struct Ends {
    pub(crate) client: Channel,
    pub(crate) agent: Agent,
    pub(crate) now: Instant,
}

impl Ends {
    /// Ends of a port session that have shaken hands; the client's messages carry so many bytes.
    pub(crate) fn established(payload_len: usize) -> Self {
        let properties = BTreeMap::from([("type".to_owned(), "LocalPortForwarding".to_owned())]);
        Self::of(SessionType::Port { properties }, None, payload_len)
    }

    /// Ends of a command's session.
    pub(crate) fn command(is_encrypted: bool) -> Self {
        let encryption = Encryption {
            key_id: "alias/bench".to_owned(),
            context_challenge: None,
            requires_context_challenge: false,
            proof_challenge: [1; 64],
        };
        let session_type = SessionType::NonInteractiveCommands {
            separates_outputs: true,
        };
        Self::of(session_type, is_encrypted.then_some(encryption), 1024)
    }

    fn of(session_type: SessionType, encryption: Option<Encryption>, payload_len: usize) -> Self {
        let now = now();
        let config = Config {
            payload_len,
            stream_send_len: 1024 * 1024,
            ..Config::default()
        };
        let session = Session {
            id: "session".to_owned(),
            agent_version: "3.3.987.0".parse().unwrap(),
            session_type,
            encryption,
        };
        let mut ends = Self {
            client: Channel::new(config, 1, now, Duration::ZERO),
            agent: Agent::new(session, 2, now, Duration::ZERO),
            now,
        };
        ends.agent.handle_connected(now);
        ends.client.handle_connected(now, "token");
        ends.exchange();
        if let Some(Event::DataKeyNeeded { .. }) = ends.client.poll_event() {
            let key = DataKey::new(Vec::new(), &[7; 64]).unwrap();
            ends.client.handle_data_key(now, Ok(key));
            ends.exchange();
            ends.agent.handle_data_key(now, Ok([7; 64].into()));
            ends.exchange();
        }
        assert!(ends.client.streams().is_some(), "no handshake");
        ends
    }

    pub(crate) fn open(&mut self) -> StreamId {
        let id = self.client.streams().unwrap().open().unwrap();
        self.exchange();
        id
    }

    pub(crate) fn finish(&mut self, id: StreamId) {
        self.client.streams().unwrap().finish(id);
        self.exchange();
        self.agent.streams().unwrap().finish(id);
        self.exchange();
    }

    /// Carries data from the client to the agent's reader.
    pub(crate) fn upload(&mut self, id: StreamId, data: Bytes) {
        self.upload_all(&[id], &data);
    }

    /// Carries the same data over several streams at once.
    pub(crate) fn upload_all(&mut self, ids: &[StreamId], data: &Bytes) {
        for id in ids {
            self.client.streams().unwrap().write(*id, &mut data.clone());
        }
        let mut received_len = 0;
        while received_len < data.len() * ids.len() {
            self.exchange();
            let streams = self.agent.streams().unwrap();
            received_len += ids.iter().map(|id| streams.read(*id).len()).sum::<usize>();
        }
    }

    /// Carries data from the agent to the client's reader.
    pub(crate) fn download(&mut self, id: StreamId, mut data: Bytes) {
        let len = data.len();
        let mut received_len = 0;
        while received_len < len {
            self.agent.streams().unwrap().write(id, &mut data);
            self.exchange();
            received_len += self.client.streams().unwrap().read(id).len();
        }
    }

    /// What the client has to send.
    pub(crate) fn client_messages(&mut self) -> Vec<Bytes> {
        drain(&mut self.client, self.now)
    }

    /// What the agent has to send once so much is written to it.
    pub(crate) fn agent_messages(&mut self, id: StreamId, len: usize) -> Vec<Bytes> {
        let mut data = Bytes::from(vec![7; len]);
        let mut messages = Vec::new();
        while !data.is_empty() {
            self.agent.streams().unwrap().write(id, &mut data);
            messages.extend(drain(&mut self.agent, self.now));
        }
        messages
    }

    /// Hands the agent messages, has it read everything, and returns its answers.
    pub(crate) fn give_agent(&mut self, messages: Vec<Bytes>) -> Vec<Bytes> {
        for wire in messages {
            self.agent.handle_message(self.now, wire);
        }
        let streams = self.agent.streams().unwrap();
        while let Some(event) = streams.poll_event() {
            if let StreamEvent::Readable(id) = event {
                streams.read(id);
            }
        }
        drain(&mut self.agent, self.now)
    }

    /// Carries messages to and fro until neither end has any.
    fn exchange(&mut self) {
        loop {
            let up = drain(&mut self.client, self.now);
            let down = drain(&mut self.agent, self.now);
            if up.is_empty() && down.is_empty() {
                break;
            }
            for wire in up {
                self.agent.handle_message(self.now, wire);
            }
            for wire in down {
                self.client.handle_message(self.now, wire);
            }
        }
    }
}

/// Runs `work` and returns what it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = now();
    let done = work();
    (done, start.elapsed())
}

fn drain(end: &mut impl Endpoint, now: Instant) -> Vec<Bytes> {
    std::iter::from_fn(|| end.poll_transmit(now))
        .filter_map(|transmit| match transmit {
            Transmit::Binary(wire) => Some(wire),
            Transmit::Text(_) => None,
        })
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "benches measure time, and start from some instant"
)]
fn now() -> Instant {
    Instant::now()
}
