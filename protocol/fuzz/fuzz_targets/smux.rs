//! An agent that sends whatever it likes over the byte stream of the multiplexer, cut anywhere.

#![no_main]

#[path = "../ends.rs"]
mod ends;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ssmfwd_protocol::Endpoint;
use ssmfwd_protocol::message::PayloadType;

fuzz_target!(|payloads: Vec<Vec<u8>>| {
    let mut ends = ends::established();
    let opened = ends
        .client
        .streams()
        .map(|streams| [streams.open(), streams.open()]);
    ends.exchange();
    for payload in payloads {
        ends.forge(PayloadType::Output, payload);
        while ends.client.poll_event().is_some() {}
        if let (Some(opened), Some(streams)) = (opened, ends.client.streams()) {
            for id in opened.into_iter().flatten() {
                let answer = streams.read(id);
                streams.write(id, &mut Bytes::clone(&answer));
            }
        }
        while ends.client.poll_transmit(ends.now).is_some() {}
    }
});
