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
    let streams = ends.client.port().map(|port| [port.open(), port.open()]);
    ends.exchange();
    for payload in payloads {
        ends.forge(PayloadType::Output, payload);
        while ends.client.poll_event().is_some() {}
        if let (Some(streams), Some(port)) = (streams, ends.client.port()) {
            for id in streams.into_iter().flatten() {
                let answer = port.read(id);
                port.write(id, &mut Bytes::clone(&answer));
            }
        }
        while ends.client.poll_transmit(ends.now).is_some() {}
    }
});
