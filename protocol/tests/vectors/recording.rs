//! Reads recorded sessions.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::Error;
use ssmfwd_protocol::message::{Message, PayloadType};
use uuid::Uuid;

/// One line of a recording.
#[derive(Deserialize)]
pub(crate) struct Line {
    pub(crate) dir: String,
    t_ms: f64,
    /// The frame, unless the line is about a connection.
    #[serde(flatten)]
    pub(crate) frame: Option<Frame>,
    pub(crate) closed: Option<String>,
}

/// A frame and what the recorder made of it.
#[derive(Deserialize)]
pub(crate) struct Frame {
    pub(crate) message_type: String,
    pub(crate) schema_version: u32,
    pub(crate) created_date: u64,
    pub(crate) sequence_number: i64,
    pub(crate) flags: u64,
    pub(crate) message_id: Uuid,
    pub(crate) payload_digest: String,
    pub(crate) payload_type: u32,
    pub(crate) payload_length: usize,
    #[serde(rename = "raw_base64", deserialize_with = "base64")]
    pub(crate) raw: Bytes,
}

impl Line {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(self.t_ms / 1000.0)
    }
}

impl Frame {
    pub(crate) fn decoded(&self) -> Message {
        Message::decode(self.raw.clone()).unwrap()
    }

    pub(crate) fn is_stream_data(&self) -> bool {
        self.message_type == "input_stream_data" || self.message_type == "output_stream_data"
    }

    pub(crate) fn is(&self, kind: PayloadType) -> bool {
        self.is_stream_data() && PayloadType::from(self.payload_type) == kind
    }
}

/// The stream messages that went this way and are wanted, each number once.
pub(crate) fn messages(
    lines: &[Line],
    dir: &str,
    is_wanted: impl Fn(&Frame) -> bool,
) -> Vec<Message> {
    let frames = lines.iter().filter(|line| line.dir == dir);
    let frames = frames.filter_map(|line| line.frame.as_ref());
    let unique: BTreeMap<_, _> = frames
        .filter(|frame| frame.is_stream_data() && is_wanted(frame))
        .map(|frame| (frame.sequence_number, frame.decoded()))
        .collect();
    unique.into_values().collect()
}

/// Expects that `acks` has every acknowledgement that went this way.
pub(crate) fn assert_acknowledged(name: &str, lines: &[Line], dir: &str, acks: &[Bytes]) {
    let frames = lines.iter().filter(|line| line.dir == dir);
    let frames = frames.filter_map(|line| line.frame.as_ref());
    for frame in frames.filter(|frame| frame.message_type == "acknowledge") {
        let payload = frame.decoded().payload;
        assert!(acks.contains(&payload), "{name}: {payload:?} is missing");
    }
}

/// Some instant: a replay only ever adds to it.
#[expect(
    clippy::disallowed_methods,
    reason = "a replay needs one instant to start from"
)]
pub(crate) fn any_instant() -> Instant {
    Instant::now()
}

/// All recordings, by the name of their file.
pub(crate) fn all() -> Vec<(String, Vec<Line>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
        .into_iter()
        .map(|name| (name.clone(), read(&name)))
        .collect()
}

/// The recording in the file of this name.
pub(crate) fn read(name: &str) -> Vec<Line> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let text = fs::read_to_string(directory.join(format!("{name}.jsonl"))).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    decode_base64(&text).ok_or_else(|| D::Error::custom("not base64"))
}

pub(crate) fn decode_base64(text: &str) -> Option<Bytes> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            let value = DIGITS.iter().position(|it| it == digit)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        bits <<= 6 * (4 - group.len()) + 8;
        bytes.extend_from_slice(&bits.to_be_bytes()[..group.len() * 6 / 8]);
    }
    Some(bytes.into())
}
