//! This crate's client in the place of the recorded one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use ssmfwd_protocol::channel::{CloseReason, Event};
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::message::{Flag, Message, MessageType, PayloadType};
use ssmfwd_protocol::port::StreamEvent;
use ssmfwd_protocol::{Channel, Endpoint, StreamId, Transmit};

use crate::recording::{self, Frame, Line};
use crate::smux::{self, Step};

/// Some instant: the replay only ever adds to it.
#[expect(
    clippy::disallowed_methods,
    reason = "the replay needs one instant to start from"
)]
pub(crate) fn any_instant() -> Instant {
    Instant::now()
}

/// A client that is shown what the recorded one saw, and does what its user did.
struct Replay {
    now: Instant,
    channel: Channel,
    is_connected: bool,
    /// Whether the keep-alive frame that goes ahead of data has shifted the numbers by one.
    is_shifted: bool,
    recorded: smux::Reader,
    streams: BTreeMap<u32, StreamId>,
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
        let mut replay = Self {
            now: start,
            channel: Channel::new(Config::default(), 1, start, unix),
            is_connected: false,
            is_shifted: false,
            recorded: smux::Reader::default(),
            streams: BTreeMap::new(),
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
                    if frame.is_stream_data() && seen.insert(frame.sequence_number) =>
                {
                    replay.act(frame);
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
            MessageType::Acknowledge if self.is_shifted => {
                let sequence = acknowledged(&message);
                let shifted = sequence + i64::from(sequence > 0);
                message.payload = acknowledgement(shifted);
            }
            _ => {}
        }
        self.channel.handle_message(self.now, message.encode());
    }

    /// Does what the user of the recorded client did to make it send this.
    fn act(&mut self, frame: &Frame) {
        let mut payload = frame.decoded().payload;
        if frame.is(PayloadType::Flag) {
            assert_eq!(Flag::decode(&payload), Some(Flag::TerminateSession));
            self.channel.terminate(self.now);
        } else if let Some(port) = self.channel.port()
            && frame.is(PayloadType::Output)
        {
            if port.is_multiplexed() {
                let steps = self.recorded.read(&payload);
                steps.into_iter().for_each(|step| self.step(step));
            } else {
                let open = self.streams.entry(0);
                let id = *open.or_insert_with(|| port.open().unwrap());
                port.write(id, &mut payload);
            }
        }
    }

    fn step(&mut self, step: Step) {
        let port = self.channel.port().unwrap();
        match step {
            Step::Open(id) => {
                let opened = port.open().unwrap();
                assert_eq!(u32::from(opened), id);
                self.streams.insert(id, opened);
            }
            Step::Data(id, data) => {
                port.write(self.streams[&id], &mut data.into());
            }
            Step::Close(id) => port.finish(self.streams[&id]),
        }
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.channel.poll_transmit(self.now) {
            if let Transmit::Binary(wire) = transmit {
                self.on_sent(Message::decode(wire).unwrap());
            }
        }
        self.events
            .extend(std::iter::from_fn(|| self.channel.poll_event()));
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
        if message.payload == KEEP_ALIVE_FRAME[..] && !self.is_shifted {
            self.is_shifted = true;
            let mut ack = message.clone();
            ack.header.message_type = MessageType::Acknowledge;
            ack.payload = acknowledgement(sequence);
            self.channel.handle_message(self.now, ack.encode());
        }
        self.sent.insert(sequence, message);
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(reason),
            _ => None,
        })
    }
}

const KEEP_ALIVE_FRAME: [u8; 8] = [1, 3, 0, 0, 0, 0, 0, 0];

pub(crate) fn acknowledged(message: &Message) -> i64 {
    let body: Value = serde_json::from_slice(&message.payload).unwrap();
    body["AcknowledgedMessageSequenceNumber"].as_i64().unwrap()
}

pub(crate) fn acknowledgement(sequence: i64) -> Bytes {
    format!(r#"{{"AcknowledgedMessageSequenceNumber":{sequence}}}"#).into()
}

/// The recorded client's messages of one kind, each number once.
fn recorded(lines: &[Line], kind: impl Fn(&Frame) -> bool) -> Vec<Message> {
    let frames = lines.iter().filter(|line| line.dir == "c2a");
    let frames = frames
        .filter_map(|line| line.frame.as_ref())
        .filter(|frame| kind(frame));
    let unique: BTreeMap<_, _> = frames
        .map(|frame| frame.decoded())
        .map(|message| (message.header.sequence, message))
        .collect();
    unique.into_values().collect()
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
fn assert_alike(name: &str) -> Replay {
    let lines = recording::read(name);
    let replay = Replay::run(&lines);
    let expected = recorded(&lines, Frame::is_stream_data);
    let shift = usize::from(replay.is_shifted);
    let sent: Vec<_> = replay.sent.values().collect();

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
    if replay.is_shifted {
        let theirs = steps(expected.iter().filter(is_output));
        let ours = steps(sent.into_iter().filter(is_output));
        assert_eq!(ours, theirs, "{name}: streams");
    } else {
        let payloads = sent.iter().zip(&expected).skip(1);
        payloads.for_each(|(ours, theirs)| assert_eq!(ours.payload, theirs.payload, "{name}"));
    }
    for line in lines.iter().filter(|line| line.dir == "c2a") {
        if let Some(frame) = line.frame.as_ref().filter(|frame| !frame.is_stream_data()) {
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
        let replay = assert_alike(name);
        assert_eq!(
            replay.close_reason(),
            Some(&CloseReason::Terminated),
            "{name}"
        );
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
        let replay = Replay::run(&lines);
        let expected = recorded(&lines, Frame::is_stream_data);
        for (ours, theirs) in replay.sent.values().skip(2).zip(expected.iter().skip(1)) {
            assert_eq!(ours.payload, theirs.payload, "{name}");
        }
    }
}

#[test]
fn sessions_without_multiplexing_are_led_as_the_official_client_led_them() {
    let replay = assert_alike("ssh-stdio");
    assert_eq!(replay.close_reason(), None);
    let replay = assert_alike("ssh-target-closes");
    let ended = CloseReason::Peer {
        output: String::new(),
    };
    assert_eq!(replay.close_reason(), Some(&ended));
}

#[test]
fn a_refused_connection_is_told_apart() {
    let replay = Replay::run(&recording::read("port-connect-error"));
    let refused = StreamEvent::Refused(replay.streams[&3]);
    assert!(
        replay.stream_events.contains(&refused),
        "{:?}",
        replay.stream_events
    );
    let replay = Replay::run(&recording::read("port-two-connections"));
    let refused = |event: &StreamEvent| matches!(event, StreamEvent::Refused(_));
    assert!(!replay.stream_events.iter().any(refused));
}

#[test]
fn every_repetition_is_acknowledged_again() {
    for name in ["repeats-without-acks", "resume-after-close"] {
        let lines = recording::read(name);
        let repeated = lines.iter().filter(|line| line.dir == "a2c");
        let repeated = repeated.filter_map(|line| line.frame.as_ref());
        let count = repeated.filter(|frame| frame.is_stream_data()).count();
        let replay = Replay::run(&lines);
        assert!(
            replay.acks.len() >= count,
            "{name}: {} of {count}",
            replay.acks.len()
        );
    }
}
