//! This crate's agent in the place of the recorded one, in shells and commands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use ssmfwd_protocol::agent::{Agent, AgentEvent, Encryption, Session, SessionType};
use ssmfwd_protocol::message::{Message, MessageType, PayloadType};
use ssmfwd_protocol::{Endpoint, Size, StreamId, Transmit};

use crate::recording::{self, Frame, Line, decode_base64};
use crate::replay_client::any_instant;
use crate::secret::{Secret, meaning};

/// An agent that is shown what the recorded one saw, and whose program says what its program did.
struct Replay {
    now: Instant,
    agent: Agent,
    secret: Option<Secret>,
    /// Stream messages, without repetitions.
    sent: BTreeMap<i64, Message>,
    acks: Vec<Bytes>,
    /// What was reported to the service.
    states: Vec<Bytes>,
    events: Vec<AgentEvent>,
}

/// How the recorded agent asked for the data key.
fn encryption(lines: &[Line], secret: &Secret) -> Encryption {
    let sent = recorded(lines);
    let request: Value = serde_json::from_slice(&sent[0].payload).unwrap();
    let parameters = &request["RequestedClientActions"][1]["ActionParameters"];
    let context = decode_base64(parameters["Challenge"].as_str().unwrap()).unwrap();
    let proof = secret.challenge(true, &sent[1]);
    Encryption {
        key_id: parameters["KMSKeyId"].as_str().unwrap().to_owned(),
        context_challenge: Some(context[..].try_into().unwrap()),
        requires_context_challenge: false,
        proof_challenge: proof[..].try_into().unwrap(),
    }
}

impl Replay {
    fn run(lines: &[Line], session_type: SessionType) -> Self {
        let start = any_instant();
        let unix = Duration::from_secs(1_795_000_000);
        let secret = Secret::find(lines);
        let session = Session {
            id: "session".to_owned(),
            agent_version: "3.3.0.0".parse().unwrap(),
            session_type,
            encryption: secret.as_ref().map(|secret| encryption(lines, secret)),
        };
        let mut replay = Self {
            now: start,
            agent: Agent::new(session, 1, start, unix),
            secret,
            sent: BTreeMap::new(),
            acks: Vec::new(),
            states: Vec::new(),
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
                    replay.say(frame);
                }
                ("a2c", Some(frame)) if is_terminating(frame) => {
                    replay.agent.exit(replay.now, 0);
                }
                _ => {}
            }
            replay.drain();
        }
        replay
    }

    /// Has the program say what the recorded one said.
    fn say(&mut self, frame: &Frame) {
        let (kind, value) = meaning(self.secret.as_ref(), true, &frame.decoded());
        let bytes = || -> Bytes { serde_json::from_value::<Vec<u8>>(value).unwrap().into() };
        let (id, mut bytes) = match kind {
            PayloadType::Output => (StreamId::OUTPUT, bytes()),
            PayloadType::StandardError => (StreamId::ERROR, bytes()),
            PayloadType::ExitCode => return self.agent.exit(self.now, 7),
            _ => return,
        };
        let port = self.agent.port().unwrap();
        port.write(id, &mut bytes);
        assert!(bytes.is_empty());
    }

    fn drain(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            if let AgentEvent::DataKeyReceived { ciphertext, .. } = &event {
                let secret = self.secret.as_ref().unwrap();
                assert_eq!(ciphertext, &secret.ciphertext);
                self.agent.handle_data_key(self.now, Ok(secret.key.into()));
            }
            self.events.push(event);
        }
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
        self.events
            .extend(std::iter::from_fn(|| self.agent.poll_event()));
    }
}

/// Whether the agent reports that its program has ended.
fn is_terminating(frame: &Frame) -> bool {
    let text = b"\"SessionState\":\"Terminating\"";
    frame.raw.windows(text.len()).any(|part| part == text)
}

/// The recorded agent's stream messages, each number once.
fn recorded(lines: &[Line]) -> Vec<Message> {
    let frames = lines.iter().filter(|line| line.dir == "a2c");
    let frames = frames.filter_map(|line| line.frame.as_ref());
    let unique: BTreeMap<_, _> = frames
        .filter(|frame| frame.is_stream_data())
        .map(|frame| (frame.sequence_number, frame.decoded()))
        .collect();
    unique.into_values().collect()
}

/// What is compared of an agent's message: all but how long the handshake took.
fn compared(secret: Option<&Secret>, message: &Message) -> (i64, u64, PayloadType, Value) {
    let (kind, mut value) = meaning(secret, true, message);
    if kind == PayloadType::HandshakeComplete {
        value["HandshakeTimeToComplete"].take();
    }
    (message.header.sequence, message.header.flags, kind, value)
}

/// Replays a session and compares what the two agents sent.
fn assert_alike(name: &str, session_type: SessionType) -> Replay {
    let lines = recording::read(name);
    let replay = Replay::run(&lines, session_type);
    let secret = replay.secret.as_ref();
    let theirs = recorded(&lines);
    let theirs: Vec<_> = theirs.iter().map(|it| compared(secret, it)).collect();
    let ours = replay.sent.values();
    let ours: Vec<_> = ours.map(|it| compared(secret, it)).collect();
    assert_eq!(ours, theirs, "{name}");
    for line in lines.iter().filter(|line| line.dir == "a2c") {
        if let Some(frame) = line
            .frame
            .as_ref()
            .filter(|frame| frame.message_type == "acknowledge")
        {
            let payload = frame.decoded().payload;
            assert!(replay.acks.contains(&payload), "{name}: {payload:?}");
        }
    }
    replay
}

const SMALL: AgentEvent = AgentEvent::Resized(Size { cols: 80, rows: 24 });

#[test]
fn shells_are_led_as_the_official_agent_led_them() {
    for name in ["shell-echo-hi", "shell-ctrl-c", "encrypted-shell"] {
        let mut replay = assert_alike(name, SessionType::StandardStream);
        assert!(replay.events.contains(&SMALL), "{name}");
        assert_eq!(replay.events.last(), Some(&AgentEvent::Exited), "{name}");
        assert_eq!(replay.states.len(), 2, "{name}");
        let keys = replay.agent.port().unwrap().read(StreamId::OUTPUT);
        assert!(keys.ends_with(b"exit\n"), "{name}: {keys:?}");
    }
    let replay = assert_alike("shell-terminate-api", SessionType::StandardStream);
    assert_eq!(replay.states.len(), 1);
}

#[test]
fn interactive_commands_are_led_as_the_official_agent_led_them() {
    for name in [
        "interactive-command-exit7",
        "encrypted-interactive-command-exit7",
    ] {
        let replay = assert_alike(name, SessionType::InteractiveCommands);
        assert!(replay.events.contains(&SMALL), "{name}");
        assert_eq!(replay.events.last(), Some(&AgentEvent::Exited), "{name}");
    }
}

#[test]
fn commands_are_led_as_the_official_agent_led_them() {
    for (name, separates_outputs) in [
        ("noninteractive-command-exit7", false),
        ("noninteractive-separate-output", true),
    ] {
        let session_type = SessionType::NonInteractiveCommands { separates_outputs };
        let replay = assert_alike(name, session_type);
        assert_eq!(replay.events.last(), Some(&AgentEvent::Exited), "{name}");
    }
}
