//! A side that stops reading stops the other one, and costs the client a bounded amount of memory.

#![cfg(target_os = "linux")]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::support::{
    Client, Digest, Fixture, bounded, connect, receive, receive_to_end, send, serve,
};

/// What is sent while the other side does not read: several times the bound.
const TRANSFER_LEN: u64 = 160 << 20;

/// What the client may grow by meanwhile, in KiB. Its buffers are 32 MiB received, some MiB on their
/// way to a local side, and 3.5 MiB sent; the rest is what the allocator makes of that.
const BOUND_KIB: u64 = 64 << 10;

/// A socket that counts the bytes the system has taken from its writer.
struct Counted {
    socket: TcpStream,
    counter: Arc<AtomicU64>,
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let len = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.counter.fetch_add(len as u64, Ordering::Relaxed);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Waits until the sender makes no more progress. A sender that is merely slow passes for stopped:
/// then less is tested, and nothing fails that should not.
async fn stalled(count: &AtomicU64) {
    let stalling = async {
        let mut last = 0;
        loop {
            sleep(Duration::from_millis(400)).await;
            let now = count.load(Ordering::Relaxed);
            if now == last && now > 0 {
                return;
            }
            last = now;
        }
    };
    bounded("stop of the sender", stalling).await;
}

#[track_caller]
fn expect_bounded(client: &Client, idle_kib: u64, taken: u64) {
    let grown = client.resident_kib().saturating_sub(idle_kib);
    assert!(
        grown < BOUND_KIB,
        "{grown} KiB more than idle, with {taken} bytes taken from the sender"
    );
}

#[tokio::test]
async fn a_local_reader_that_stalls_bounds_the_clients_memory_and_gets_everything() {
    let fixture = Fixture::new().await;
    let taken = Arc::new(AtomicU64::new(0));
    let (sent, mut report) = mpsc::channel::<Digest>(1);
    let counter = Arc::clone(&taken);
    let port = serve(move |socket| {
        let (sent, counter) = (sent.clone(), Arc::clone(&counter));
        async move {
            let mut counted = Counted { socket, counter };
            let digest = send(&mut counted, 1, TRANSFER_LEN).await.unwrap();
            sent.send(digest).await.unwrap();
        }
    });
    let (client, local) = fixture.forward(port.await).await;
    let idle_kib = client.resident_kib();
    let mut socket = connect(local).await;
    stalled(&taken).await;
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken < TRANSFER_LEN, "the sender was not held back");
    expect_bounded(&client, idle_kib, taken);

    let receiving = receive_to_end(&mut socket);
    let received = bounded("end of the download", receiving).await.unwrap();
    assert_eq!(received, report.recv().await.unwrap());
    expect_bounded(&client, idle_kib, taken);
    client.stop().await;
}

#[tokio::test]
async fn a_target_that_stalls_bounds_the_clients_memory_and_gets_everything() {
    let fixture = Fixture::new().await;
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let (received, mut report) = mpsc::channel::<Digest>(1);
    let port = serve(move |mut socket| {
        let (received, wait) = (received.clone(), Arc::clone(&wait));
        async move {
            wait.notified().await;
            let digest = receive(&mut socket, TRANSFER_LEN).await.unwrap();
            received.send(digest).await.unwrap();
        }
    });
    let (client, local) = fixture.forward(port.await).await;
    let idle_kib = client.resident_kib();
    let counter = Arc::new(AtomicU64::new(0));
    let mut counted = Counted {
        socket: connect(local).await,
        counter: Arc::clone(&counter),
    };
    let sending = tokio::spawn(async move {
        let digest = send(&mut counted, 2, TRANSFER_LEN).await.unwrap();
        (digest, counted)
    });
    stalled(&counter).await;
    let taken = counter.load(Ordering::Relaxed);
    assert!(taken < TRANSFER_LEN, "the sender was not held back");
    expect_bounded(&client, idle_kib, taken);

    go.notify_one();
    let (sent, _socket) = bounded("end of the upload", sending).await.unwrap();
    let received = bounded("end of the receiver", report.recv()).await.unwrap();
    assert_eq!(received, sent);
    expect_bounded(&client, idle_kib, taken);
    client.stop().await;
}
