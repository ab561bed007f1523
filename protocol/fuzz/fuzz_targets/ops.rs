//! Whatever is done to a session, in whatever order: what arrives is a prefix of what was sent.

#![no_main]

#[path = "../ends.rs"]
mod ends;

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ssmfwd_protocol::streams::StreamEvent;
use ssmfwd_protocol::{Endpoint, StreamId};

#[derive(Debug, Arbitrary)]
enum Operation {
    Open,
    Write {
        stream: u8,
        len: u16,
    },
    Finish {
        stream: u8,
    },
    Abort {
        stream: u8,
    },
    Read,
    /// Carries a message to the agent, or loses it.
    Up {
        index: u8,
        is_lost: bool,
        is_repeated: bool,
    },
    /// Carries a message to the client, or loses it.
    Down {
        index: u8,
        is_lost: bool,
        is_repeated: bool,
    },
    Wait {
        millis: u16,
    },
    Reconnect,
    Terminate,
}

fuzz_target!(|input: (bool, Vec<Operation>)| {
    let (is_shell, operations) = input;
    let (mut ends, mut streams) = match is_shell {
        true => (ends::encrypted_shell(), vec![StreamId::OUTPUT]),
        false => (ends::established(), Vec::new()),
    };
    let mut sent: BTreeMap<StreamId, usize> = BTreeMap::new();
    let mut received: BTreeMap<StreamId, usize> = BTreeMap::new();
    for operation in operations {
        let stream = |at: u8| streams.get(usize::from(at)).copied();
        match operation {
            Operation::Open => {
                let opened = ends
                    .client
                    .streams()
                    .and_then(|streams| streams.open().ok());
                streams.extend(opened);
            }
            Operation::Write { stream: at, len } => {
                if let (Some(id), Some(streams)) = (stream(at), ends.client.streams()) {
                    let start = sent.entry(id).or_default();
                    let mut data: Bytes = (*start..*start + usize::from(len)).map(byte).collect();
                    *start += streams.write(id, &mut data);
                }
            }
            Operation::Finish { stream: at } => {
                if let (Some(id), Some(streams)) = (stream(at), ends.client.streams()) {
                    streams.finish(id);
                }
            }
            Operation::Abort { stream: at } => {
                if let (Some(id), Some(streams)) = (stream(at), ends.client.streams()) {
                    streams.abort(id);
                }
            }
            Operation::Read => {
                let Some(streams) = ends.agent.streams() else {
                    continue;
                };
                while let Some(event) = streams.poll_event() {
                    let StreamEvent::Readable(id) = event else {
                        continue;
                    };
                    let start = received.entry(id).or_default();
                    for got in streams.read(id) {
                        assert_eq!(got, byte(*start), "{id:?} at {start}");
                        *start += 1;
                    }
                    assert!(*start <= sent.get(&id).copied().unwrap_or_default());
                }
            }
            Operation::Up {
                index,
                is_lost,
                is_repeated,
            } => {
                ends.carry_up(index, is_lost, is_repeated);
            }
            Operation::Down {
                index,
                is_lost,
                is_repeated,
            } => {
                ends.carry_down(index, is_lost, is_repeated);
            }
            Operation::Wait { millis } => ends.wait(Duration::from_millis(millis.into())),
            Operation::Reconnect => ends.reconnect(),
            Operation::Terminate => ends.client.terminate(ends.now),
        }
        while ends.client.poll_event().is_some() {}
        ends.collect();
    }
});

/// The byte at this place of every stream: no line feed, which by itself would be the Enter key.
fn byte(at: usize) -> u8 {
    (at % 241) as u8 + 11
}
