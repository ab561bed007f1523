//! This crate's agent in the place of the recorded one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use ssmfwd_protocol::agent::{Agent, AgentEvent, Session, SessionType};
use ssmfwd_protocol::message::{Message, MessageType, PayloadType};
use ssmfwd_protocol::port::{Port, StreamEvent};
use ssmfwd_protocol::{Endpoint, SessionKind, StreamId, Transmit};

use crate::recording::{self, Frame, Line};
use crate::replay_client::any_instant;
use crate::smux::{self, Step};

/// An agent that is shown what the recorded one saw, and whose destinations do what they did.
struct Replay {
    now: Instant,
    agent: Agent,
    is_refusal_next: bool,
    recorded: smux::Reader,
    streams: BTreeMap<u32, StreamId>,
    /// Stream messages, without repetitions.
    sent: BTreeMap<i64, Message>,
    acks: Vec<Bytes>,
    events: Vec<AgentEvent>,
}

/// The session the recorded agent was told to start.
fn session(lines: &[Line]) -> Session {
    let requests = recorded(lines, PayloadType::HandshakeRequest);
    let request: Value = serde_json::from_slice(&requests[0].payload).unwrap();
    let parameters = &request["RequestedClientActions"][0]["ActionParameters"];
    Session {
        id: "session".to_owned(),
        agent_version: request["AgentVersion"].as_str().unwrap().parse().unwrap(),
        session_type: SessionType::Port {
            properties: serde_json::from_value(parameters["Properties"].clone()).unwrap(),
        },
        encryption: None,
    }
}

/// The recorded agent's messages with this payload type, each number once.
fn recorded(lines: &[Line], kind: PayloadType) -> Vec<Message> {
    let frames = lines.iter().filter(|line| line.dir == "a2c");
    let frames = frames.filter_map(|line| line.frame.as_ref());
    let unique: BTreeMap<_, _> = frames
        .filter(|frame| frame.is(kind))
        .map(Frame::decoded)
        .map(|message| (message.header.sequence, message))
        .collect();
    unique.into_values().collect()
}

impl Replay {
    fn run(lines: &[Line]) -> Self {
        let start = any_instant();
        let unix = Duration::from_secs(1_795_000_000);
        let mut replay = Self {
            now: start,
            agent: Agent::new(session(lines), 1, start, unix),
            is_refusal_next: false,
            recorded: smux::Reader::default(),
            streams: BTreeMap::new(),
            sent: BTreeMap::new(),
            acks: Vec::new(),
            events: Vec::new(),
        };
        let mut last = None;
        for line in lines {
            replay.now = start + line.time();
            replay.agent.handle_timeout(replay.now);
            match (&line.dir[..], &line.frame) {
                ("a2r", None) if line.closed.is_none() => replay.agent.handle_connected(replay.now),
                ("c2a" | "r2a", Some(frame)) => {
                    replay.agent.handle_message(replay.now, frame.raw.clone());
                }
                ("a2c", Some(frame))
                    if frame.is_stream_data() && last < Some(frame.sequence_number) =>
                {
                    last = Some(frame.sequence_number);
                    replay.act(frame);
                }
                _ => {}
            }
            replay.drain();
        }
        replay
    }

    /// Does what the destination behind the recorded agent did to make it send this.
    fn act(&mut self, frame: &Frame) {
        let mut payload = frame.decoded().payload;
        self.is_refusal_next |= frame.is(PayloadType::Flag);
        let Some(port) = self.agent.port().filter(|_| frame.is(PayloadType::Output)) else {
            return;
        };
        if !port.is_multiplexed() {
            let (_, id) = self.streams.last_key_value().unwrap();
            port.write(*id, &mut payload);
            return;
        }
        for step in self.recorded.read(&payload) {
            match step {
                Step::Open(id) => panic!("an agent opened stream {id}"),
                Step::Data(id, data) => {
                    let port = self.agent.port().unwrap();
                    port.write(self.streams[&id], &mut data.into());
                }
                Step::Close(id) if std::mem::take(&mut self.is_refusal_next) => {
                    self.agent.refuse(self.streams[&id]);
                }
                Step::Close(id) => self.agent.port().unwrap().finish(self.streams[&id]),
            }
        }
    }

    fn drain(&mut self) {
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
                _ => {}
            }
        }
        self.events
            .extend(std::iter::from_fn(|| self.agent.poll_event()));
        while let Some(event) = self.agent.port().and_then(Port::poll_event) {
            if let StreamEvent::Opened(id) = event {
                self.streams.insert(id.into(), id);
            }
        }
    }
}

fn sent(replay: &Replay, kind: PayloadType) -> Vec<Message> {
    let sent = replay.sent.values().cloned();
    sent.filter(|message| message.header.payload_type == kind)
        .collect()
}

fn steps(messages: &[Message]) -> Vec<Step> {
    let mut reader = smux::Reader::default();
    let steps = messages
        .iter()
        .flat_map(|message| reader.read(&message.payload));
    smux::joined(steps.collect())
}

/// Replays a port session and compares what the two agents sent.
fn assert_alike(name: &str) -> Replay {
    let lines = recording::read(name);
    let replay = Replay::run(&lines);
    let json = |message: &Message| serde_json::from_slice::<Value>(&message.payload).unwrap();

    let kind = PayloadType::HandshakeRequest;
    let (ours, theirs) = (&sent(&replay, kind)[0], &recorded(&lines, kind)[0]);
    assert_eq!(json(ours), json(theirs), "{name}");
    assert_eq!((ours.header.sequence, ours.header.flags), (0, 1), "{name}");
    assert_eq!(
        (theirs.header.sequence, theirs.header.flags),
        (0, 1),
        "{name}"
    );

    let kind = PayloadType::HandshakeComplete;
    let (ours, theirs) = (&sent(&replay, kind)[0], &recorded(&lines, kind)[0]);
    assert_eq!(
        json(ours)["CustomerMessage"],
        json(theirs)["CustomerMessage"],
        "{name}"
    );
    assert_eq!(ours.header.sequence, theirs.header.sequence, "{name}");

    let kind = PayloadType::Flag;
    let payloads = |messages: Vec<Message>| -> Vec<Bytes> {
        messages
            .into_iter()
            .map(|message| message.payload)
            .collect()
    };
    assert_eq!(
        payloads(sent(&replay, kind)),
        payloads(recorded(&lines, kind)),
        "{name}: flags"
    );

    let kind = PayloadType::Output;
    let (ours, theirs) = (sent(&replay, kind), recorded(&lines, kind));
    if matches!(
        replay.events[0],
        AgentEvent::Started {
            kind: SessionKind::Port {
                is_multiplexed: true
            }
        }
    ) {
        assert_eq!(steps(&ours), steps(&theirs), "{name}: streams");
        assert_eq!(
            replay.events.last(),
            Some(&AgentEvent::Terminated),
            "{name}"
        );
    } else {
        assert_eq!(payloads(ours), payloads(theirs), "{name}: bytes");
    }

    for line in lines.iter().filter(|line| line.dir == "a2c") {
        if let Some(frame) = line
            .frame
            .as_ref()
            .filter(|frame| frame.message_type == "acknowledge")
        {
            let payload = frame.decoded().payload;
            assert!(
                replay.acks.contains(&payload),
                "{name}: {payload:?} is missing"
            );
        }
    }
    replay
}

#[test]
fn port_sessions_are_led_as_the_official_agent_led_them() {
    let names = [
        "handshake-terminate",
        "port-two-connections",
        "port-overlapping-streams",
        "port-remote-host",
        "port-connect-error",
        "resume-after-close",
        "resume-after-reset",
        "repeats-without-acks",
        "ssh-stdio",
        "ssh-target-closes",
    ];
    for name in names {
        assert_alike(name);
    }
}

#[test]
fn small_answers_are_the_same_bytes_in_the_same_messages() {
    for name in ["port-two-connections", "port-connect-error"] {
        let lines = recording::read(name);
        let replay = Replay::run(&lines);
        let theirs = recorded(&lines, PayloadType::Output);
        for theirs in theirs.iter().filter(|message| message.payload.len() < 1000) {
            let ours = &replay.sent[&theirs.header.sequence];
            assert_eq!(ours.payload, theirs.payload, "{name}");
        }
    }
}
