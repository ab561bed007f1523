//! This crate's agent in the place of the recorded one, in port sessions.

use bytes::Bytes;
use serde_json::Value;
use ssmfwd_protocol::agent::{AgentEvent, Session, SessionType};
use ssmfwd_protocol::message::{Message, PayloadType};
use ssmfwd_protocol::{Endpoint, SessionKind};

use crate::agent::Agent;
use crate::recording::{self, Frame, Line};
use crate::smux::{self, Step};

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

/// The recorded agent's messages with this payload type.
fn recorded(lines: &[Line], kind: PayloadType) -> Vec<Message> {
    recording::messages(lines, "a2c", |frame| frame.is(kind))
}

/// The destinations behind the agent do what those behind the recorded one did.
#[derive(Default)]
struct Destinations {
    recorded: smux::Reader,
    is_refusal_next: bool,
}

impl Destinations {
    fn act(&mut self, agent: &mut Agent, frame: &Frame) {
        let mut payload = frame.decoded().payload;
        self.is_refusal_next |= frame.is(PayloadType::Flag);
        let Some(streams) = agent
            .agent
            .streams()
            .filter(|_| frame.is(PayloadType::Output))
        else {
            return;
        };
        if !streams.is_multiplexed() {
            let (_, id) = agent.streams.last_key_value().unwrap();
            streams.write(*id, &mut payload);
            return;
        }
        for step in self.recorded.read(&payload) {
            match step {
                Step::Open(id) => panic!("an agent opened stream {id}"),
                Step::Data(id, data) => {
                    let streams = agent.agent.streams().unwrap();
                    streams.write(agent.streams[&id], &mut data.into());
                }
                Step::Close(id) if std::mem::take(&mut self.is_refusal_next) => {
                    agent.agent.refuse(agent.streams[&id]);
                }
                Step::Close(id) => agent.agent.streams().unwrap().finish(agent.streams[&id]),
            }
        }
    }
}

fn replay(lines: &[Line]) -> Agent {
    let mut destinations = Destinations::default();
    Agent::replay(lines, session(lines), |agent, frame| {
        destinations.act(agent, frame);
    })
}

fn sent(replay: &Agent, kind: PayloadType) -> Vec<Message> {
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
fn assert_alike(name: &str) {
    let lines = recording::read(name);
    let replay = replay(&lines);
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

    recording::assert_acknowledged(name, &lines, "a2c", &replay.acks);
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
        let replay = replay(&lines);
        let theirs = recorded(&lines, PayloadType::Output);
        for theirs in theirs.iter().filter(|message| message.payload.len() < 1000) {
            let ours = &replay.sent[&theirs.header.sequence];
            assert_eq!(ours.payload, theirs.payload, "{name}");
        }
    }
}
