//! One message: header, digest, payload.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest, Sha256};
use ssmfwd_protocol::message::{Header, Message, MessageType, PayloadType};
use uuid::Uuid;

const PAYLOAD_LENS: [usize; 4] = [64, 1024, 8192, 32_768];

fn message(payload_len: usize) -> Message {
    Message {
        header: Header {
            message_type: MessageType::InputStreamData,
            created_date: 1_700_000_000_000,
            sequence: 5,
            flags: 0,
            message_id: Uuid::from_u128(0x0102_0304_0506_4708_890a_0b0c_0d0e_0f10),
            payload_type: PayloadType::Output,
        },
        payload: vec![7; payload_len].into(),
    }
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for payload_len in PAYLOAD_LENS {
        let message = message(payload_len);
        let wire = message.encode();
        group.throughput(Throughput::Bytes(payload_len as u64));
        group.bench_function(BenchmarkId::new("encode", payload_len), |bencher| {
            bencher.iter(|| black_box(&message).encode());
        });
        group.bench_function(BenchmarkId::new("decode", payload_len), |bencher| {
            bencher.iter(|| Message::decode(Bytes::clone(black_box(&wire))));
        });
        // The part of both that cannot be saved.
        group.bench_function(BenchmarkId::new("digest", payload_len), |bencher| {
            bencher.iter(|| Sha256::digest(black_box(&message.payload)));
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
