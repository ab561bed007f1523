//! This crate's agent in the place of the recorded one, in shells and commands.

use bytes::Bytes;
use serde_json::Value;
use ssmfwd_protocol::agent::{AgentEvent, Encryption, Session, SessionType};
use ssmfwd_protocol::message::{Message, PayloadType};
use ssmfwd_protocol::{Endpoint, Size, StreamId};

use crate::agent::Agent;
use crate::recording::{self, Frame, Line, decode_base64};
use crate::secret::{Secret, meaning};

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

fn replay(lines: &[Line], session_type: SessionType) -> Agent {
    let secret = Secret::find(lines);
    let session = Session {
        id: "session".to_owned(),
        agent_version: "3.3.0.0".parse().unwrap(),
        session_type,
        encryption: secret.map(|secret| encryption(lines, &secret)),
    };
    Agent::replay(lines, session, say)
}

/// Has the program say what the recorded one said, and end as it did.
fn say(agent: &mut Agent, frame: &Frame) {
    if !frame.is_stream_data() {
        if is_terminating(frame) {
            agent.agent.exit(agent.now, 0);
        }
        return;
    }
    let (kind, value) = meaning(agent.secret.as_ref(), true, &frame.decoded());
    let bytes = || -> Bytes { serde_json::from_value::<Vec<u8>>(value).unwrap().into() };
    let (id, mut bytes) = match kind {
        PayloadType::Output => (StreamId::OUTPUT, bytes()),
        PayloadType::StandardError => (StreamId::ERROR, bytes()),
        PayloadType::ExitCode => return agent.agent.exit(agent.now, 7),
        _ => return,
    };
    let streams = agent.agent.streams().unwrap();
    streams.write(id, &mut bytes);
    assert!(bytes.is_empty());
}

/// Whether the agent reports that its program has ended.
fn is_terminating(frame: &Frame) -> bool {
    let text = b"\"SessionState\":\"Terminating\"";
    frame.raw.windows(text.len()).any(|part| part == text)
}

/// The recorded agent's stream messages.
fn recorded(lines: &[Line]) -> Vec<Message> {
    recording::messages(lines, "a2c", |_| true)
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
fn assert_alike(name: &str, session_type: SessionType) -> Agent {
    let lines = recording::read(name);
    let replay = replay(&lines, session_type);
    let secret = replay.secret.as_ref();
    let theirs = recorded(&lines);
    let theirs: Vec<_> = theirs.iter().map(|it| compared(secret, it)).collect();
    let ours = replay.sent.values();
    let ours: Vec<_> = ours.map(|it| compared(secret, it)).collect();
    assert_eq!(ours, theirs, "{name}");
    recording::assert_acknowledged(name, &lines, "a2c", &replay.acks);
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
        let keys = replay.agent.streams().unwrap().read(StreamId::OUTPUT);
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
