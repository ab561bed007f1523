//! This crate's client in the place of the recorded one, in shells and commands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use ssmfwd_protocol::channel::{CloseReason, Event};
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::{Message, MessageType, PayloadType};
use ssmfwd_protocol::port::StreamEvent;
use ssmfwd_protocol::{Channel, DataKey, Endpoint, SessionKind, StreamId, Transmit};

use crate::recording::{self, Frame, Line};
use crate::replay_client::{acknowledged, acknowledgement, any_instant};
use crate::secret::{Secret, meaning};

/// A client that is shown what the recorded one saw, and whose user types what its user did.
struct Replay {
    now: Instant,
    channel: Channel,
    secret: Option<Secret>,
    is_connected: bool,
    /// Number of the terminal's size that this client sends once more after a handshake; the numbers
    /// from there on are one higher than the recorded ones.
    extra: Option<i64>,
    /// Stream messages, without repetitions.
    sent: BTreeMap<i64, Message>,
    acks: Vec<Bytes>,
    events: Vec<Event>,
    stream_events: Vec<StreamEvent>,
}

impl Replay {
    fn run(lines: &[Line]) -> Self {
        let start = any_instant();
        let unix = Duration::from_secs(1_795_000_000);
        let mut config = Config::default();
        let size = &recorded(lines, "c2a", PayloadType::Size)[0];
        let size: Value = serde_json::from_slice(&size.payload).unwrap();
        config.terminal_size.cols = size["cols"].as_u64().unwrap().try_into().unwrap();
        config.terminal_size.rows = size["rows"].as_u64().unwrap().try_into().unwrap();
        let mut replay = Self {
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
            replay.now = start + line.time();
            replay.channel.handle_timeout(replay.now);
            match (&line.dir[..], &line.frame) {
                ("c2r", None) => replay.on_connection(line.closed.is_none()),
                ("a2c" | "r2c", Some(frame)) if replay.is_connected => replay.receive(frame),
                ("c2a", Some(frame))
                    if frame.is(PayloadType::Output) && seen.insert(frame.sequence_number) =>
                {
                    replay.type_in(frame);
                }
                _ => {}
            }
            replay.drain();
        }
        replay
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

    fn type_in(&mut self, frame: &Frame) {
        let message = frame.decoded();
        let mut keys = match &self.secret {
            Some(secret) => secret.open(false, &message.payload),
            None => message.payload,
        };
        let port = self.channel.port().unwrap();
        port.write(StreamId::OUTPUT, &mut keys);
        assert!(keys.is_empty());
    }

    fn drain(&mut self) {
        while let Some(event) = self.channel.poll_event() {
            if let Event::DataKeyNeeded { .. } = event {
                let secret = self.secret.as_ref().unwrap();
                let key = DataKey::new(secret.ciphertext.clone(), &secret.key).unwrap();
                self.channel.handle_data_key(self.now, Ok(key));
            }
            self.events.push(event);
        }
        while let Some(transmit) = self.channel.poll_transmit(self.now) {
            if let Transmit::Binary(wire) = transmit {
                self.on_sent(Message::decode(wire).unwrap());
            }
        }
        let port = &mut self.channel.port();
        let stream_events = std::iter::from_fn(|| port.as_mut()?.poll_event());
        self.stream_events.extend(stream_events);
    }

    fn on_sent(&mut self, message: Message) {
        if message.header.message_type == MessageType::Acknowledge {
            self.acks.push(message.payload);
            return;
        }
        let sequence = message.header.sequence;
        let last = self.sent.values().next_back();
        let is_size = |message: &Message| message.header.payload_type == PayloadType::Size;
        if is_size(&message) && !self.sent.contains_key(&sequence) && last.is_some_and(is_size) {
            assert_eq!(self.extra.replace(sequence), None, "a third size");
            let mut ack = message.clone();
            ack.header.message_type = MessageType::Acknowledge;
            ack.payload = acknowledgement(sequence);
            self.channel.handle_message(self.now, ack.encode());
        }
        self.sent.insert(sequence, message);
    }
}

/// Stream messages that went this way, of one kind, each number once.
fn recorded(lines: &[Line], dir: &str, kind: PayloadType) -> Vec<Message> {
    let all = all_recorded(lines, dir).into_iter();
    all.filter(|message| message.header.payload_type == kind)
        .collect()
}

/// Stream messages that went this way, each number once.
fn all_recorded(lines: &[Line], dir: &str) -> Vec<Message> {
    let frames = lines.iter().filter(|line| line.dir == dir);
    let frames = frames.filter_map(|line| line.frame.as_ref());
    let unique: BTreeMap<_, _> = frames
        .filter(|frame| frame.is_stream_data())
        .map(|frame| (frame.sequence_number, frame.decoded()))
        .collect();
    unique.into_values().collect()
}

/// What is compared of a client's message: all but what the two clients do on purpose differently.
fn compared(secret: Option<&Secret>, message: &Message) -> (PayloadType, Value) {
    let (kind, mut value) = meaning(secret, false, message);
    if kind == PayloadType::HandshakeResponse {
        value["ClientVersion"].take();
        if let Some(kms) = value["ProcessedClientActions"].get_mut(1) {
            let result = kms["ActionResult"].as_object_mut().unwrap();
            result.remove("ChallengeAcknowledgement");
        }
    }
    (kind, value)
}

/// Replays a session, compares what the two clients sent, and what this one has for its user.
fn assert_alike(name: &str, kind: SessionKind, exit_code: Option<i32>) {
    let lines = recording::read(name);
    let mut replay = Replay::run(&lines);
    let secret = replay.secret.clone();
    let secret = secret.as_ref();

    let theirs = all_recorded(&lines, "c2a");
    let theirs: Vec<_> = theirs.iter().map(|it| compared(secret, it)).collect();
    let ours = replay
        .sent
        .iter()
        .filter(|(at, _)| Some(**at) != replay.extra);
    let ours: Vec<_> = ours.map(|(_, it)| compared(secret, it)).collect();
    assert_eq!(ours, theirs, "{name}");
    for line in lines.iter().filter(|line| line.dir == "c2a") {
        if let Some(frame) = line.frame.as_ref().filter(|frame| !frame.is_stream_data()) {
            let payload = frame.decoded().payload;
            assert!(replay.acks.contains(&payload), "{name}: {payload:?}");
        }
    }

    let established = replay.events.iter().find_map(|event| match event {
        Event::Established(established) => Some(established),
        _ => None,
    });
    assert_eq!(established.unwrap().kind, kind, "{name}");
    let ended = CloseReason::Peer {
        output: String::new(),
    };
    assert_eq!(replay.events.last(), Some(&Event::Closed(ended)), "{name}");
    let finished = [StreamId::OUTPUT, StreamId::ERROR].map(StreamEvent::Finished);
    assert!(replay.stream_events.ends_with(&finished), "{name}");
    let port = replay.channel.port().unwrap();
    assert_eq!(port.exit_code(), exit_code, "{name}");
    for (id, kind) in [
        (StreamId::OUTPUT, PayloadType::Output),
        (StreamId::ERROR, PayloadType::StandardError),
    ] {
        let shown: Vec<u8> = recorded(&lines, "a2c", kind)
            .into_iter()
            .flat_map(|message| match secret {
                Some(secret) => secret.open(true, &message.payload),
                None => message.payload,
            })
            .collect();
        assert_eq!(port.read(id), shown, "{name}");
    }
}

#[test]
fn shells_are_led_as_the_official_client_led_them() {
    for name in [
        "shell-echo-hi",
        "shell-ctrl-c",
        "shell-terminate-api",
        "interactive-command-exit7",
    ] {
        assert_alike(name, SessionKind::Shell, None);
    }
}

#[test]
fn commands_are_led_as_the_official_client_led_them() {
    assert_alike("noninteractive-command-exit7", SessionKind::Command, None);
    assert_alike(
        "noninteractive-separate-output",
        SessionKind::Command,
        Some(7),
    );
}

#[test]
fn encrypted_sessions_are_led_as_the_official_client_led_them() {
    for name in ["encrypted-shell", "encrypted-interactive-command-exit7"] {
        assert_alike(name, SessionKind::Shell, None);
    }
}

#[test]
fn the_data_key_is_asked_for_as_the_agent_asked() {
    let replay = Replay::run(&recording::read("encrypted-shell"));
    let needed = Event::DataKeyNeeded {
        key_id: "alias/rig".to_owned(),
        challenge: Some("F/z4jKGgk2fmBknog1886g==".to_owned()),
    };
    assert_eq!(replay.events[0], needed);
    let response: Value = serde_json::from_slice(&replay.sent[&0].payload).unwrap();
    let result = &response["ProcessedClientActions"][1]["ActionResult"];
    assert_eq!(result["ChallengeAcknowledgement"], Value::Bool(true));
}

#[test]
fn recorded_shells_show_what_was_on_the_screen() {
    for (name, screen) in [
        ("shell-echo-hi", &b"$ echo hi\r\nhi\r\n$ exit\r\n"[..]),
        ("encrypted-shell", b"$ echo hi\r\nhi\r\n$ exit\r\n"),
        ("encrypted-interactive-command-exit7", b"out\r\nerr\r\n"),
    ] {
        let mut replay = Replay::run(&recording::read(name));
        let port = replay.channel.port().unwrap();
        assert_eq!(port.read(StreamId::OUTPUT), screen, "{name}");
    }
}
