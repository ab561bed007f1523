//! A message that can be read can be written, and then reads the same.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ssmfwd_protocol::message::Message;

fuzz_target!(|wire: &[u8]| {
    if let Ok(message) = Message::decode(Bytes::copy_from_slice(wire)) {
        assert_eq!(Message::decode(message.encode()), Ok(message));
    }
});
