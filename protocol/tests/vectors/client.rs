//! This crate's client in the place of the recorded one, whatever the session is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use ssmfwd_protocol::channel::{CloseReason, Event};
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::{Message, MessageType, PayloadType};
use ssmfwd_protocol::streams::StreamEvent;
use ssmfwd_protocol::{Channel, DataKey, Endpoint, Transmit};

use crate::recording::{Frame, Line, any_instant};
use crate::secret::Secret;

/// A client that is shown what the recorded one saw.
pub(crate) struct Client {
    pub(crate) now: Instant,
    pub(crate) channel: Channel,
    pub(crate) secret: Option<Secret>,
    is_connected: bool,
    /// Number of the message that this client sends and the recorded one did not: the keep-alive frame
    /// that goes ahead of data, or the terminal's size once more after a handshake. The numbers from there
    /// on are one higher than the recorded ones.
    pub(crate) extra: Option<i64>,
    /// Stream messages, without repetitions.
    pub(crate) sent: BTreeMap<i64, Message>,
    pub(crate) acks: Vec<Bytes>,
    pub(crate) events: Vec<Event>,
    pub(crate) stream_events: Vec<StreamEvent>,
}

impl Client {
    /// Shows a client a recording. `act` does what the recorded client's user did to make it send a frame.
    pub(crate) fn replay(
        lines: &[Line],
        config: Config,
        mut act: impl FnMut(&mut Self, &Frame),
    ) -> Self {
        let start = any_instant();
        let unix = Duration::from_secs(1_795_000_000);
        let mut client = Self {
            now: start,
            channel: Channel::new(config, 1, start, unix),
            secret: Secret::find(lines),
            is_connected: false,
            extra: None,
            sent: BTreeMap::new(),
            acks: Vec::new(),
            events: Vec::new(),
            stream_events: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for line in lines {
            client.now = start + line.time();
            client.channel.handle_timeout(client.now);
            match (&line.dir[..], &line.frame) {
                ("c2r", None) => client.on_connection(line.closed.is_none()),
                ("a2c" | "r2c", Some(frame)) if client.is_connected => client.receive(frame),
                ("c2a", Some(frame))
                    if frame.is_stream_data() && seen.insert(frame.sequence_number) =>
                {
                    act(&mut client, frame);
                }
                _ => {}
            }
            client.drain();
        }
        client
    }

    fn on_connection(&mut self, is_open: bool) {
        self.is_connected = is_open;
        if is_open {
            self.channel.handle_connected(self.now, "token");
        } else {
            self.channel.handle_disconnected(self.now);
        }
    }

    fn receive(&mut self, frame: &Frame) {
        let mut message = frame.decoded();
        match message.header.message_type {
            MessageType::AgentSessionState => return,
            MessageType::Acknowledge => {
                let sequence = acknowledged(&message);
                let is_shifted = self.extra.is_some_and(|extra| sequence >= extra);
                message.payload = acknowledgement(sequence + i64::from(is_shifted));
            }
            _ => {}
        }
        self.channel.handle_message(self.now, message.encode());
    }

    fn drain(&mut self) {
        self.drain_events();
        while let Some(transmit) = self.channel.poll_transmit(self.now) {
            if let Transmit::Binary(wire) = transmit {
                self.on_sent(Message::decode(wire).unwrap());
            }
        }
        self.drain_events();
        let streams = &mut self.channel.streams();
        let stream_events = std::iter::from_fn(|| streams.as_mut()?.poll_event());
        self.stream_events.extend(stream_events);
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.channel.poll_event() {
            if let Event::DataKeyNeeded { .. } = event {
                let secret = self.secret.as_ref().unwrap();
                let key = DataKey::new(secret.ciphertext.clone(), &secret.key).unwrap();
                self.channel.handle_data_key(self.now, Ok(key));
            }
            self.events.push(event);
        }
    }

    fn on_sent(&mut self, message: Message) {
        if message.header.message_type == MessageType::Acknowledge {
            self.acks.push(message.payload);
            return;
        }
        let sequence = message.header.sequence;
        if !self.sent.contains_key(&sequence) && self.is_extra(&message) {
            assert_eq!(self.extra.replace(sequence), None, "a second one");
            let mut ack = message.clone();
            ack.header.message_type = MessageType::Acknowledge;
            ack.payload = acknowledgement(sequence);
            self.channel.handle_message(self.now, ack.encode());
        }
        self.sent.insert(sequence, message);
    }

    fn is_extra(&self, message: &Message) -> bool {
        let is_size = |message: &Message| message.header.payload_type == PayloadType::Size;
        let last = self.sent.values().next_back();
        message.payload == KEEP_ALIVE_FRAME[..] || is_size(message) && last.is_some_and(is_size)
    }

    pub(crate) fn close_reason(&self) -> Option<&CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(reason),
            _ => None,
        })
    }
}

const KEEP_ALIVE_FRAME: [u8; 8] = [1, 3, 0, 0, 0, 0, 0, 0];

fn acknowledged(message: &Message) -> i64 {
    let body: Value = serde_json::from_slice(&message.payload).unwrap();
    body["AcknowledgedMessageSequenceNumber"].as_i64().unwrap()
}

fn acknowledgement(sequence: i64) -> Bytes {
    format!(r#"{{"AcknowledgedMessageSequenceNumber":{sequence}}}"#).into()
}
