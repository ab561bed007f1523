//! Both ends of a session, and the messages between them.

#![allow(dead_code, reason = "each target uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ssmfwd_protocol::agent::{Agent, Session, SessionType};
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::{Message, PayloadType};
use ssmfwd_protocol::{Channel, Endpoint, Transmit};

/// Both ends of a session, and the messages between them.
pub struct Ends {
    pub client: Channel,
    pub agent: Agent,
    pub now: Instant,
    up: VecDeque<Bytes>,
    down: VecDeque<Bytes>,
    next_forged: i64,
}

/// Ends that have shaken hands, with small limits, so that they are reached.
pub fn established() -> Ends {
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
    let session = Session {
        id: "session".to_owned(),
        agent_version: "3.3.987.0".parse().expect("a version"),
        session_type: SessionType::Port {
            properties: BTreeMap::from([("type".to_owned(), "LocalPortForwarding".to_owned())]),
        },
        encryption: None,
    };
    let mut ends = Ends {
        client: Channel::new(config, 1, now, Duration::ZERO),
        agent: Agent::new(session, 2, now, Duration::ZERO),
        now,
        up: VecDeque::new(),
        down: VecDeque::new(),
        next_forged: 2,
    };
    ends.agent.handle_connected(now);
    ends.client.handle_connected(now, "token");
    ends.exchange();
    ends
}

impl Ends {
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

    /// Hands the client the agent's next output message with a payload of the fuzzer's.
    pub fn forge_output(&mut self, payload: Vec<u8>) {
        let header = ssmfwd_protocol::message::Header {
            message_type: ssmfwd_protocol::message::MessageType::OutputStreamData,
            created_date: 1,
            sequence: self.next_forged,
            flags: 0,
            message_id: uuid::Uuid::nil(),
            payload_type: PayloadType::Output,
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
