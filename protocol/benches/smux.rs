//! Many streams at once, through both ends of a channel.

mod support;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use support::Ends;

const TRANSFER_LEN: usize = 256 * 1024;

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("streams");
    group.throughput(Throughput::Bytes(TRANSFER_LEN as u64));
    for stream_count in [1, 16, 256] {
        group.bench_function(BenchmarkId::new("round robin", stream_count), |bencher| {
            let mut ends = Ends::established(1024);
            let ids: Vec<_> = (0..stream_count).map(|_| ends.open()).collect();
            let data = Bytes::from(vec![7; TRANSFER_LEN / stream_count]);
            bencher.iter(|| ends.upload_all(&ids, &data));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("connections");
    group.throughput(Throughput::Elements(1));
    group.bench_function("open, 64 bytes, close", |bencher| {
        let mut ends = Ends::established(1024);
        bencher.iter(|| {
            let id = ends.open();
            ends.upload(id, Bytes::from_static(&[7; 64]));
            ends.finish(id);
        });
    });
    group.finish();
}

criterion_group!(benches, streams);
criterion_main!(benches);
