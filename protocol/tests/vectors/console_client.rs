//! This crate's client in the place of the recorded one, in shells and commands.

use serde_json::Value;
use ssmfwd_protocol::channel::{CloseReason, Event};
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::{Message, PayloadType};
use ssmfwd_protocol::streams::StreamEvent;
use ssmfwd_protocol::{Endpoint, SessionKind, StreamId};

use crate::client::Client;
use crate::recording::{self, Frame, Line};
use crate::secret::{Secret, meaning};

/// A client on a terminal of the recorded size.
fn replay(lines: &[Line]) -> Client {
    let mut config = Config::default();
    let size = &recorded(lines, "c2a", PayloadType::Size)[0];
    let size: Value = serde_json::from_slice(&size.payload).unwrap();
    config.terminal_size.cols = size["cols"].as_u64().unwrap().try_into().unwrap();
    config.terminal_size.rows = size["rows"].as_u64().unwrap().try_into().unwrap();
    Client::replay(lines, config, type_in)
}

/// Types what the recorded client's user did.
fn type_in(client: &mut Client, frame: &Frame) {
    if !frame.is(PayloadType::Output) {
        return;
    }
    let message = frame.decoded();
    let mut keys = match &client.secret {
        Some(secret) => secret.open(false, &message.payload),
        None => message.payload,
    };
    let streams = client.channel.streams().unwrap();
    streams.write(StreamId::OUTPUT, &mut keys);
    assert!(keys.is_empty());
}

/// Stream messages that went this way, of one kind.
fn recorded(lines: &[Line], dir: &str, kind: PayloadType) -> Vec<Message> {
    recording::messages(lines, dir, |frame| frame.is(kind))
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
    let mut client = replay(&lines);
    let secret = client.secret.clone();
    let secret = secret.as_ref();

    let theirs = recording::messages(&lines, "c2a", |_| true);
    let theirs: Vec<_> = theirs.iter().map(|it| compared(secret, it)).collect();
    let ours = client
        .sent
        .iter()
        .filter(|(at, _)| Some(**at) != client.extra);
    let ours: Vec<_> = ours.map(|(_, it)| compared(secret, it)).collect();
    assert_eq!(ours, theirs, "{name}");
    recording::assert_acknowledged(name, &lines, "c2a", &client.acks);

    let established = client.events.iter().find_map(|event| match event {
        Event::Established(established) => Some(established),
        _ => None,
    });
    assert_eq!(established.unwrap().kind, kind, "{name}");
    let ended = CloseReason::Peer {
        output: String::new(),
        is_whole: true,
    };
    assert_eq!(client.events.last(), Some(&Event::Closed(ended)), "{name}");
    let finished = [StreamId::OUTPUT, StreamId::ERROR].map(StreamEvent::Finished);
    assert!(client.stream_events.ends_with(&finished), "{name}");
    let streams = client.channel.streams().unwrap();
    assert_eq!(streams.exit_code(), exit_code, "{name}");
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
        assert_eq!(streams.read(id), shown, "{name}");
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
    let client = replay(&recording::read("encrypted-shell"));
    let needed = Event::DataKeyNeeded {
        key_id: "alias/rig".to_owned(),
        challenge: Some("F/z4jKGgk2fmBknog1886g==".to_owned()),
    };
    assert_eq!(client.events[0], needed);
    let response: Value = serde_json::from_slice(&client.sent[&0].payload).unwrap();
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
        let mut client = replay(&recording::read(name));
        let streams = client.channel.streams().unwrap();
        assert_eq!(streams.read(StreamId::OUTPUT), screen, "{name}");
    }
}
