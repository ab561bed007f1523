//! This crate's client in the place of the recorded one, in port sessions.

use std::collections::BTreeMap;

use serde_json::Value;
use ssmfwd_protocol::channel::CloseReason;
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::{Flag, Message, PayloadType};
use ssmfwd_protocol::streams::StreamEvent;
use ssmfwd_protocol::{Endpoint, StreamId};

use crate::client::Client;
use crate::recording::{self, Frame, Line};
use crate::smux::{self, Step};

/// What uses the client does what used the recorded one.
#[derive(Default)]
struct User {
    recorded: smux::Reader,
    streams: BTreeMap<u32, StreamId>,
}

impl User {
    fn act(&mut self, client: &mut Client, frame: &Frame) {
        let mut payload = frame.decoded().payload;
        if frame.is(PayloadType::Flag) {
            assert_eq!(Flag::decode(&payload), Some(Flag::TerminateSession));
            client.channel.terminate(client.now);
        } else if let Some(streams) = client.channel.streams()
            && frame.is(PayloadType::Output)
        {
            if streams.is_multiplexed() {
                let steps = self.recorded.read(&payload);
                steps.into_iter().for_each(|step| self.step(client, step));
            } else {
                let open = self.streams.entry(0);
                let id = *open.or_insert_with(|| streams.open().unwrap());
                streams.write(id, &mut payload);
            }
        }
    }

    fn step(&mut self, client: &mut Client, step: Step) {
        let streams = client.channel.streams().unwrap();
        match step {
            Step::Open(id) => {
                let opened = streams.open().unwrap();
                assert_eq!(u32::from(opened), id);
                self.streams.insert(id, opened);
            }
            Step::Data(id, data) => {
                streams.write(self.streams[&id], &mut data.into());
            }
            Step::Close(id) => streams.finish(self.streams[&id]),
        }
    }
}

fn replay(lines: &[Line]) -> (Client, User) {
    let mut user = User::default();
    let act = |client: &mut Client, frame: &Frame| user.act(client, frame);
    (Client::replay(lines, Config::default(), act), user)
}

/// The recorded client's stream messages.
fn recorded(lines: &[Line]) -> Vec<Message> {
    recording::messages(lines, "c2a", |_| true)
}

fn steps<'a>(messages: impl Iterator<Item = &'a Message>) -> Vec<Step> {
    let mut reader = smux::Reader::default();
    smux::joined(
        messages
            .flat_map(|message| reader.read(&message.payload))
            .collect(),
    )
}

fn is_output(message: &&Message) -> bool {
    message.header.payload_type == PayloadType::Output
}

/// Replays a port session and compares what the two clients sent.
fn assert_alike(name: &str) -> Client {
    let lines = recording::read(name);
    let (client, _) = replay(&lines);
    let expected = recorded(&lines);
    let shift = usize::from(client.extra.is_some());
    let sent: Vec<_> = client.sent.values().collect();

    // The answer in the handshake, but for the version.
    let bodies = [&expected[0], sent[0]].map(|message| {
        let mut body: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(message.header.payload_type, PayloadType::HandshakeResponse);
        body["ClientVersion"].take();
        body
    });
    assert_eq!(bodies[0], bodies[1], "{name}: handshake");

    // The recorded client's mux frames cross messages where one is longer than the other.
    let are_cut_alike = name != "port-overlapping-streams";
    if are_cut_alike {
        let headers = |messages: &[&Message], shift: usize| -> Vec<_> {
            let headers = messages.iter().map(|message| message.header);
            let fields = headers.map(|it| (it.sequence - shift as i64, it.payload_type, it.flags));
            fields.collect()
        };
        let expected: Vec<_> = expected.iter().skip(1).collect();
        let ours = headers(&sent[1 + shift..], shift);
        assert_eq!(ours, headers(&expected, 0), "{name}: messages");
    }
    if client.extra.is_some() {
        let theirs = steps(expected.iter().filter(is_output));
        let ours = steps(sent.into_iter().filter(is_output));
        assert_eq!(ours, theirs, "{name}: streams");
    } else {
        let payloads = sent.iter().zip(&expected).skip(1);
        payloads.for_each(|(ours, theirs)| assert_eq!(ours.payload, theirs.payload, "{name}"));
    }
    recording::assert_acknowledged(name, &lines, "c2a", &client.acks);
    client
}

#[test]
fn multiplexed_sessions_are_led_as_the_official_client_led_them() {
    let names = [
        "handshake-terminate",
        "port-two-connections",
        "port-overlapping-streams",
        "port-remote-host",
        "port-connect-error",
        "resume-after-close",
        "resume-after-reset",
        "repeats-without-acks",
    ];
    for name in names {
        let client = assert_alike(name);
        let terminated = Some(&CloseReason::Terminated);
        assert_eq!(client.close_reason(), terminated, "{name}");
    }
}

#[test]
fn where_frames_do_not_cross_messages_the_bytes_are_the_same() {
    for name in [
        "port-two-connections",
        "port-remote-host",
        "port-connect-error",
        "resume-after-close",
    ] {
        let lines = recording::read(name);
        let (client, _) = replay(&lines);
        let expected = recorded(&lines);
        for (ours, theirs) in client.sent.values().skip(2).zip(expected.iter().skip(1)) {
            assert_eq!(ours.payload, theirs.payload, "{name}");
        }
    }
}

#[test]
fn sessions_without_multiplexing_are_led_as_the_official_client_led_them() {
    let client = assert_alike("ssh-stdio");
    assert_eq!(client.close_reason(), None);
    let client = assert_alike("ssh-target-closes");
    let ended = CloseReason::Peer {
        output: String::new(),
        is_whole: true,
    };
    assert_eq!(client.close_reason(), Some(&ended));
}

#[test]
fn a_refused_connection_is_told_apart() {
    let (client, user) = replay(&recording::read("port-connect-error"));
    let refused = StreamEvent::Refused(user.streams[&3]);
    let events = &client.stream_events;
    assert!(events.contains(&refused), "{events:?}");
    let (client, _) = replay(&recording::read("port-two-connections"));
    let refused = |event: &StreamEvent| matches!(event, StreamEvent::Refused(_));
    assert!(!client.stream_events.iter().any(refused));
}

#[test]
fn every_repetition_is_acknowledged_again() {
    for name in ["repeats-without-acks", "resume-after-close"] {
        let lines = recording::read(name);
        let repeated = lines.iter().filter(|line| line.dir == "a2c");
        let repeated = repeated.filter_map(|line| line.frame.as_ref());
        let count = repeated.filter(|frame| frame.is_stream_data()).count();
        let (client, _) = replay(&lines);
        let acked = client.acks.len();
        assert!(acked >= count, "{name}: {acked} of {count}");
    }
}
