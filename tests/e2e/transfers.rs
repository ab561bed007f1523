//! What goes in comes out: whole, once and in order, whatever the network does.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::{
    Digest, Fixture, Random, allow_many_descriptors, bounded, connect, receive, receive_to_end,
    send, serve,
};

/// Bytes of the long transfers. `.ci/run` has `SSMFWD_TEST_BULK_MIB` make it a gibibyte, for which a
/// build without optimizations takes a minute or more.
fn bulk_len() -> u64 {
    const DEFAULT_MIB: u64 = 256;
    let given = std::env::var("SSMFWD_TEST_BULK_MIB").ok();
    given.map_or(DEFAULT_MIB, |mib| mib.parse().unwrap()) << 20
}

/// Sends `len` bytes from a server behind the target to the local side.
async fn download(fixture: &Fixture, len: u64) -> (Digest, Digest) {
    let (sent, mut report) = mpsc::channel(1);
    let port = serve(move |mut socket| {
        let sent = sent.clone();
        async move {
            sent.send(send(&mut socket, 1, len).await.unwrap())
                .await
                .unwrap()
        }
    });
    let (client, local) = fixture.forward(port.await).await;
    let mut socket = connect(local).await;
    let receiving = receive_to_end(&mut socket);
    let received = bounded("end of the download", receiving).await.unwrap();
    let sent = bounded("end of the sender", report.recv()).await.unwrap();
    drop(socket);
    client.stop().await;
    fixture.no_session_left().await;
    (sent, received)
}

/// Sends `len` bytes from the local side to a server behind the target, which closes when it has all.
async fn upload(fixture: &Fixture, len: u64) -> (Digest, Digest) {
    let (received, mut report) = mpsc::channel(1);
    let port = serve(move |mut socket| {
        let received = received.clone();
        async move {
            let digest = receive(&mut socket, len).await.unwrap();
            received.send(digest).await.unwrap();
        }
    });
    let (client, local) = fixture.forward(port.await).await;
    let mut socket = connect(local).await;
    let sending = send(&mut socket, 2, len);
    let sent = bounded("end of the upload", sending).await.unwrap();
    let received = bounded("end of the receiver", report.recv()).await.unwrap();
    drop(socket);
    client.stop().await;
    fixture.no_session_left().await;
    (sent, received)
}

#[tokio::test]
async fn a_long_download_is_unchanged() {
    let (sent, received) = download(&Fixture::new().await, bulk_len()).await;
    assert_eq!(received, sent);
}

#[tokio::test]
async fn a_long_upload_is_unchanged() {
    let (sent, received) = upload(&Fixture::new().await, bulk_len()).await;
    assert_eq!(received, sent);
}

/// Sends a connection's own bytes through the echo service and expects them back.
async fn echo(local: u16, seed: u64, len: u64) {
    let (mut reader, mut writer) = connect(local).await.into_split();
    let sending = tokio::spawn(async move {
        let sent = send(&mut writer, seed, len).await.unwrap();
        (sent, writer)
    });
    let received = receive(&mut reader, len).await.unwrap();
    let (sent, writer) = sending.await.unwrap();
    assert_eq!(received, sent, "connection {seed}");
    drop((reader, writer));
}

/// Runs `count` connections at once.
async fn echo_many(fixture: &Fixture, count: usize, max_len: u64) {
    allow_many_descriptors();
    let (client, local) = fixture.forward(7).await;
    let mut random = Random::new(500);
    let mut connections = JoinSet::new();
    for seed in 0..count as u64 {
        // Mostly small ones, as in life; some carry a thousand times as much.
        let max_len = max_len >> (random.number() % 12);
        let len = 1 + random.number() % max_len;
        connections.spawn(echo(local, seed, len));
    }
    let done = async {
        while let Some(connection) = connections.join_next().await {
            connection.unwrap();
        }
    };
    bounded("end of every connection", done).await;
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn five_hundred_connections_at_once_keep_their_bytes_apart() {
    echo_many(&Fixture::new().await, 500, 1 << 20).await;
}

const FAULTS: &str = "delay=1ms,jitter=2ms,drop=5%,reorder=5%,duplicate=5%,seed=20";

#[tokio::test]
async fn a_lossy_network_changes_nothing_on_the_way_up() {
    let fixture = Fixture::with_chaos(FAULTS).await;
    let (sent, received) = upload(&fixture, 8 << 20).await;
    assert_eq!(received, sent);
}

// The agent resends one message each 100 ms, so this takes its time.
#[tokio::test]
async fn a_lossy_network_changes_nothing_on_the_way_down() {
    let fixture = Fixture::with_chaos(FAULTS).await;
    let (sent, received) = download(&fixture, 512 << 10).await;
    assert_eq!(received, sent);
}

#[tokio::test]
async fn a_lossy_network_keeps_five_hundred_connections_apart() {
    let fixture = Fixture::with_chaos(FAULTS).await;
    echo_many(&fixture, 500, 1 << 13).await;
}

#[tokio::test]
async fn many_small_writes_arrive_in_order() {
    let fixture = Fixture::new().await;
    let (client, local) = fixture.forward(7).await;
    let (mut reader, mut writer) = connect(local).await.into_split();
    let bytes = Random::new(3).bytes(10_000);
    let expected = bytes.clone();
    let writing = tokio::spawn(async move {
        for byte in bytes {
            writer.write_all(&[byte]).await.unwrap();
        }
        writer
    });
    let mut received = vec![0; expected.len()];
    let reading = reader.read_exact(&mut received);
    bounded("the bytes back", reading).await.unwrap();
    assert!(received == expected);
    drop(writing.await.unwrap());
    client.stop().await;
}

/// Answers with bytes without end to `b`, and with what it gets to `e`.
async fn bulk_or_echo(mut socket: TcpStream) {
    let (mut reader, mut writer) = socket.split();
    match reader.read_u8().await.unwrap() {
        b'b' => {
            // Ends when the client does.
            let _: std::io::Result<Digest> = send(&mut writer, 1, u64::MAX).await;
        }
        _ => {
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_bulk_transfer_does_not_starve_a_conversation() {
    let fixture = Fixture::new().await;
    let (client, local) = fixture.forward(serve(bulk_or_echo).await).await;
    let mut bulk = connect(local).await;
    bulk.write_all(b"b").await.unwrap();
    let first = bounded("the first bulk bytes", receive(&mut bulk, 1 << 20));
    assert_eq!(first.await.unwrap().len, 1 << 20);
    let downloading = tokio::spawn(async move { receive_to_end(&mut bulk).await });

    let mut talk = connect(local).await;
    talk.write_all(b"e").await.unwrap();
    for seed in 0..100 {
        let sent = send(&mut talk, seed, 64).await.unwrap();
        let received = bounded("an answer", receive(&mut talk, 64)).await.unwrap();
        assert_eq!(received, sent);
    }
    assert!(!downloading.is_finished());
    client.stop().await;
}
