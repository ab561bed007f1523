//! A channel and an agent without a network between them: what one message costs at both ends.

mod support;

use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ssmfwd_protocol::{Endpoint, StreamId};

use support::Ends;

const PAYLOAD_LENS: [usize; 3] = [1024, 8192, 32_768];
const TRANSFER_LEN: usize = 1024 * 1024;

fn transfer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transfer");
    group.throughput(Throughput::Bytes(TRANSFER_LEN as u64));
    let data = Bytes::from(vec![7; TRANSFER_LEN]);
    for payload_len in PAYLOAD_LENS {
        group.bench_function(
            BenchmarkId::new("client to agent", payload_len),
            |bencher| {
                let mut ends = Ends::established(payload_len);
                let id = ends.open();
                bencher.iter(|| ends.upload(id, data.clone()));
            },
        );
    }
    group.bench_function(BenchmarkId::new("agent to client", 1024), |bencher| {
        let mut ends = Ends::established(1024);
        let id = ends.open();
        bencher.iter(|| ends.download(id, data.clone()));
    });
    for (name, is_encrypted) in [("command", false), ("encrypted command", true)] {
        group.bench_function(BenchmarkId::new(name, 1024), |bencher| {
            let mut ends = Ends::command(is_encrypted);
            bencher.iter(|| ends.download(StreamId::OUTPUT, data.clone()));
        });
    }
    group.finish();
}

/// What the client alone does for a message it receives or sends, acknowledgement included.
fn client(criterion: &mut Criterion) {
    const COUNT: usize = 512;
    let mut group = criterion.benchmark_group("client per message");
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function("receive 1024", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut ends = Ends::established(1024);
            let id = ends.open();
            (0..iterations)
                .map(|_| {
                    let messages = ends.agent_messages(id, COUNT * 1000);
                    let (acks, elapsed) = support::timed(|| {
                        for wire in messages {
                            ends.client.handle_message(ends.now, wire);
                        }
                        let acks = ends.client_messages();
                        ends.client.streams().map(|streams| streams.read(id));
                        acks
                    });
                    ends.give_agent(acks);
                    elapsed
                })
                .sum::<Duration>()
        });
    });
    group.bench_function("send 1024", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut ends = Ends::established(1024);
            let id = ends.open();
            (0..iterations)
                .map(|_| {
                    let mut data = Bytes::from(vec![7; COUNT * 1000]);
                    let mut elapsed = Duration::ZERO;
                    // As many at a time as the window lets out.
                    loop {
                        let (messages, sending) = support::timed(|| {
                            ends.client
                                .streams()
                                .map(|streams| streams.write(id, &mut data));
                            ends.client_messages()
                        });
                        if messages.is_empty() {
                            break elapsed;
                        }
                        let acks = ends.give_agent(messages);
                        let ((), confirming) = support::timed(|| {
                            for ack in acks {
                                ends.client.handle_message(ends.now, ack);
                            }
                        });
                        elapsed += sending + confirming;
                    }
                })
                .sum::<Duration>()
        });
    });
    group.finish();
}

criterion_group!(benches, transfer, client);
criterion_main!(benches);
