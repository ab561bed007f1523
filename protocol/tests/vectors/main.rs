//! Sessions of the official client with an official agent: their frames are read and written byte for
//! byte, and each end of this crate does in the other's place what the recorded one did.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod agent;
mod client;
mod console_agent;
mod console_client;
mod port_agent;
mod port_client;
mod recording;
mod secret;
mod smux;

use bytes::Bytes;
use ssmfwd_protocol::message::Message;

/// Frames of every kind there is, one each.
fn one_of_each() -> Vec<Bytes> {
    let mut seen = Vec::new();
    let mut frames = Vec::new();
    for (_, lines) in recording::all() {
        for frame in lines.into_iter().filter_map(|line| line.frame) {
            let kind = (frame.message_type.clone(), frame.payload_type);
            if !seen.contains(&kind) {
                seen.push(kind);
                frames.push(frame.raw);
            }
        }
    }
    frames
}

#[test]
fn every_field_is_read_as_the_recorder_read_it() {
    for (name, lines) in recording::all() {
        for frame in lines.iter().filter_map(|line| line.frame.as_ref()) {
            let message = frame.decoded();
            let header = message.header;
            assert_eq!(
                header.message_type.as_str(),
                known(&frame.message_type),
                "{name}"
            );
            assert_eq!(header.created_date, frame.created_date, "{name}");
            assert_eq!(header.sequence, frame.sequence_number, "{name}");
            assert_eq!(header.flags, frame.flags, "{name}");
            assert_eq!(header.message_id, frame.message_id, "{name}");
            assert_eq!(u32::from(header.payload_type), frame.payload_type, "{name}");
            assert_eq!(message.payload.len(), frame.payload_length, "{name}");
            assert_eq!(frame.schema_version, 1, "{name}");
            let digest: String = frame.raw[80..112]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(digest, frame.payload_digest, "{name}");
        }
    }
}

/// The name this crate has for a message type.
fn known(message_type: &str) -> &str {
    match message_type {
        "interactive_shell" | "agent_task_complete" | "agent_task_acknowledge" => "unknown",
        known => known,
    }
}

#[test]
fn every_frame_is_written_byte_for_byte() {
    for (name, lines) in recording::all() {
        for frame in lines.iter().filter_map(|line| line.frame.as_ref()) {
            let sequence = frame.sequence_number;
            assert_eq!(frame.decoded().encode(), frame.raw, "{name} {sequence}");
        }
    }
}

#[test]
fn every_kind_of_frame_was_recorded() {
    assert!(one_of_each().len() >= 18, "{}", one_of_each().len());
}

#[test]
fn every_prefix_is_refused() {
    for frame in one_of_each() {
        for len in 0..frame.len() {
            assert!(Message::decode(frame.slice(..len)).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn every_mutation_of_a_byte_is_read_or_refused() {
    for frame in one_of_each() {
        for at in 0..frame.len().min(200) {
            for flip in [0x01, 0x80, 0xff] {
                let mut mutated = frame.to_vec();
                mutated[at] ^= flip;
                let Ok(message) = Message::decode(mutated.into()) else {
                    continue;
                };
                // Nothing but the payload is covered by the digest.
                let is_service =
                    frame[4..].starts_with(b"start") || frame[4..].starts_with(b"pause");
                assert!(at < 120 || is_service, "byte {at}");
                assert!(message.payload.len() <= frame.len() - 116);
            }
        }
    }
}
