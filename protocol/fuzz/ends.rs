//! Both ends of a session, and the messages between them.

#![allow(dead_code, reason = "each target uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ssmfwd_protocol::agent::{Agent, AgentEvent, Encryption, Session, SessionType};
use ssmfwd_protocol::channel::Event;
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::{Header, Message, MessageType, PayloadType};
use ssmfwd_protocol::{Channel, DataKey, Endpoint, Transmit};

/// Both ends of a session, and the messages between them.
pub struct Ends {
    pub client: Channel,
    pub agent: Agent,
    pub now: Instant,
    up: VecDeque<Bytes>,
    down: VecDeque<Bytes>,
    next_forged: i64,
}

/// Ends of a port session that have shaken hands.
pub fn established() -> Ends {
    let properties = BTreeMap::from([("type".to_owned(), "LocalPortForwarding".to_owned())]);
    let mut ends = new(SessionType::Port { properties }, false);
    ends.shake_hands();
    ends
}

/// Ends of an encrypted shell that have shaken hands.
pub fn encrypted_shell() -> Ends {
    let mut ends = new(SessionType::StandardStream, true);
    ends.shake_hands();
    ends
}

/// Ends that have nothing to do with each other yet, with small limits, so that they are reached.
pub fn new(session_type: SessionType, is_encrypted: bool) -> Ends {
    let now = Instant::now();
    let config = Config {
        payload_len: 256,
        send_window_len: 4096,
        stream_send_len: 2048,
        receive_buffer_len: 8192,
        reorder_count: 16,
        reorder_len: 4096,
        ..Config::default()
    };
    let encryption = Encryption {
        key_id: "alias/fuzz".to_owned(),
        context_challenge: Some([1; 16]),
        requires_context_challenge: true,
        proof_challenge: [2; 64],
    };
    let session = Session {
        id: "session".to_owned(),
        agent_version: "3.3.987.0".parse().expect("a version"),
        session_type,
        encryption: is_encrypted.then_some(encryption),
    };
    let mut ends = Ends {
        client: Channel::new(config, 1, now, Duration::ZERO),
        agent: Agent::new(session, 2, now, Duration::ZERO),
        now,
        up: VecDeque::new(),
        down: VecDeque::new(),
        next_forged: 0,
    };
    ends.agent.handle_connected(now);
    ends.client.handle_connected(now, "token");
    ends
}

impl Ends {
    /// Carries the handshake; both ends get the same data key.
    pub fn shake_hands(&mut self) {
        for _ in 0..3 {
            self.exchange();
            self.give_keys();
        }
    }

    /// Takes out the events of both ends and answers those that need a data key.
    pub fn give_keys(&mut self) {
        while let Some(event) = self.client.poll_event() {
            if let Event::DataKeyNeeded { .. } = event {
                let key = DataKey::new(Vec::new(), &[3; 64]).ok_or_else(String::new);
                self.client.handle_data_key(self.now, key);
            }
        }
        while let Some(event) = self.agent.poll_event() {
            if let AgentEvent::DataKeyReceived { .. } = event {
                self.agent.handle_data_key(self.now, Ok([3; 64].into()));
            }
        }
    }

    /// Carries everything to and fro until neither end has anything to say.
    pub fn exchange(&mut self) {
        self.collect();
        while !self.up.is_empty() || !self.down.is_empty() {
            self.carry_up(0, false, false);
            self.carry_down(0, false, false);
            self.collect();
        }
    }

    /// Takes out what the ends have to send.
    pub fn collect(&mut self) {
        let binary = |transmit| match transmit {
            Transmit::Binary(wire) => Some(wire),
            Transmit::Text(_) => None,
        };
        let now = self.now;
        let client = &mut self.client;
        self.up
            .extend(std::iter::from_fn(|| client.poll_transmit(now)).filter_map(binary));
        let agent = &mut self.agent;
        self.down
            .extend(std::iter::from_fn(|| agent.poll_transmit(now)).filter_map(binary));
    }

    pub fn carry_up(&mut self, index: u8, is_lost: bool, is_repeated: bool) {
        if self.agent.is_receive_blocked() {
            return;
        }
        if let Some(wire) = take(&mut self.up, index, is_repeated).filter(|_| !is_lost) {
            self.agent.handle_message(self.now, wire);
        }
    }

    pub fn carry_down(&mut self, index: u8, is_lost: bool, is_repeated: bool) {
        if self.client.is_receive_blocked() {
            return;
        }
        if let Some(wire) = take(&mut self.down, index, is_repeated).filter(|_| !is_lost) {
            let sequence = Message::decode(wire.clone()).map(|it| it.header.sequence);
            self.next_forged = self.next_forged.max(sequence.unwrap_or_default() + 1);
            self.client.handle_message(self.now, wire);
        }
    }

    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
        self.agent.handle_timeout(self.now);
    }

    pub fn reconnect(&mut self) {
        self.up.clear();
        self.down.clear();
        self.client.handle_disconnected(self.now);
        self.client.handle_connected(self.now, "token");
    }

    /// Hands the client a message of the fuzzer's, numbered as the agent's next.
    pub fn forge(&mut self, payload_type: PayloadType, payload: Vec<u8>) {
        let header = Header {
            message_type: MessageType::OutputStreamData,
            created_date: 1,
            sequence: self.next_forged,
            flags: 0,
            message_id: uuid::Uuid::nil(),
            payload_type,
        };
        self.next_forged += 1;
        let payload = payload.into();
        self.client
            .handle_message(self.now, Message { header, payload }.encode());
    }
}

fn take(messages: &mut VecDeque<Bytes>, index: u8, is_repeated: bool) -> Option<Bytes> {
    let at = usize::from(index).min(messages.len().checked_sub(1)?);
    if is_repeated {
        messages.get(at).cloned()
    } else {
        messages.remove(at)
    }
}
