//! An agent that sends whatever it likes, of any kind, to a client that expects a shell or a command.

#![no_main]

#[path = "../ends.rs"]
mod ends;

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ssmfwd_protocol::agent::SessionType;
use ssmfwd_protocol::{Endpoint, StreamId};

#[derive(Debug, Arbitrary)]
enum Start {
    /// Nothing has been said yet: the handshake is the fuzzer's.
    Nothing,
    Shell,
    EncryptedShell,
    Command,
}

fuzz_target!(|input: (Start, Vec<(u8, Vec<u8>)>)| {
    let (start, messages) = input;
    let command = SessionType::NonInteractiveCommands {
        separates_outputs: true,
    };
    let mut ends = match start {
        Start::Nothing | Start::Shell => ends::new(SessionType::StandardStream, false),
        Start::EncryptedShell => ends::encrypted_shell(),
        Start::Command => ends::new(command, false),
    };
    match start {
        Start::Shell => ends.forge(1.into(), b"$ ".to_vec()),
        Start::Command => ends.shake_hands(),
        Start::Nothing | Start::EncryptedShell => {}
    }
    for (kind, payload) in messages {
        let payload_len = payload.len();
        if !ends.client.is_receive_blocked() {
            ends.forge(u32::from(kind).into(), payload);
        }
        ends.give_keys();
        assert!(ends.client.buffered_len() < 64 * 1024 + payload_len);
        if let Some(streams) = ends.client.streams() {
            streams.exit_code();
            for id in [StreamId::OUTPUT, StreamId::ERROR] {
                let shown = streams.read(id);
                streams.write(id, &mut Bytes::clone(&shown));
            }
        }
        while ends.client.poll_transmit(ends.now).is_some() {}
    }
});
