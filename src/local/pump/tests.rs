//! What takes longer than an end-to-end test may, in paused time.

use std::future::poll_fn;
use std::time::Duration;

use ssmfwd_protocol::agent::Agent;
use ssmfwd_protocol::{Channel, Endpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::driver::testing::Pair;
use crate::local::finishing::Finishing;

const HALF_CLOSE: HalfClose = HalfClose {
    hold: Duration::from_secs(10),
    linger: Duration::from_secs(60),
};

/// A connection being pumped: its local side, its remote side and how it ends.
struct Pumped {
    pair: Pair,
    local: UnixStream,
    remote: Stream<Agent>,
    pump: JoinHandle<Transferred>,
}

impl Pumped {
    async fn start() -> Self {
        let pair = Pair::start().await;
        let (local, accepted) = UnixStream::pair().unwrap();
        let stream: Stream<Channel> = pair.channel.open().await.unwrap();
        let pump = tokio::spawn(async move {
            pump(
                LocalStream::Unix(accepted),
                stream,
                HALF_CLOSE,
                Finishing::default().unread(),
            )
            .await
        });
        let remote = pair.agent.accept().await.unwrap();
        Self {
            pair,
            local,
            remote,
            pump,
        }
    }

    async fn answer(&self, text: &'static str) {
        let mut data = Bytes::from_static(text.as_bytes());
        let written = poll_fn(|cx| self.remote.poll_write(cx, &mut data)).await;
        written.unwrap();
    }

    async fn remote_end(&self) -> End {
        loop {
            if let Err(end) = poll_fn(|cx| self.remote.poll_read(cx)).await {
                return end;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_local_end_is_held_back_from_the_last_byte_of_the_answer_on() {
    let mut pumped = Pumped::start().await;
    pumped.local.write_all(b"question").await.unwrap();
    pumped.local.shutdown().await.unwrap();
    sleep(Duration::from_secs(8)).await;
    pumped.answer("first").await;
    let mut received = [0; 5];
    pumped.local.read_exact(&mut received).await.unwrap();
    let start = Instant::now();
    assert_eq!(pumped.remote_end().await, End::Finished);
    let held = start.elapsed().as_millis();
    assert!((9_900..10_100).contains(&held), "{held}");
    let transferred = pumped.pump.await.unwrap();
    let expected = Transferred {
        sent: 8,
        received: 5,
        outcome: Outcome::HeldTooLong,
    };
    assert_eq!(transferred, expected);
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_the_hold_arrives_whole_and_ends_the_connection() {
    let mut pumped = Pumped::start().await;
    pumped.local.shutdown().await.unwrap();
    sleep(Duration::from_secs(9)).await;
    pumped.answer("answer").await;
    let start = Instant::now();
    pumped.remote.finish();
    let mut received = String::new();
    pumped.local.read_to_string(&mut received).await.unwrap();
    assert_eq!(received, "answer");
    let transferred = pumped.pump.await.unwrap();
    assert_eq!(transferred.outcome, Outcome::Closed);
    assert!(start.elapsed() < Duration::from_secs(1));
    drop(pumped.pair);
}

#[tokio::test(start_paused = true)]
async fn a_local_reader_that_takes_its_time_is_not_a_silent_destination() {
    let mut pumped = Pumped::start().await;
    pumped.local.shutdown().await.unwrap();
    // More than the socket between pump and reader holds.
    const LEN: usize = 2 * 1024 * 1024;
    let remote = pumped.remote;
    let answering = tokio::spawn(async move {
        let mut data = Bytes::from(vec![7; LEN]);
        poll_fn(|cx| remote.poll_write(cx, &mut data))
            .await
            .unwrap();
        remote.finish();
    });
    sleep(Duration::from_secs(60)).await;
    let mut received = Vec::new();
    pumped.local.read_to_end(&mut received).await.unwrap();
    assert_eq!(received.len(), LEN);
    answering.await.unwrap();
    assert_eq!(pumped.pump.await.unwrap().outcome, Outcome::Closed);
    drop(pumped.pair);
}

#[tokio::test(start_paused = true)]
async fn a_local_side_that_never_closes_is_let_go() {
    let mut pumped = Pumped::start().await;
    let start = Instant::now();
    pumped.remote.finish();
    let mut received = Vec::new();
    pumped.local.read_to_end(&mut received).await.unwrap();
    let transferred = pumped.pump.await.unwrap();
    assert_eq!(transferred.outcome, Outcome::Closed);
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_after_the_remote_side_has_gone_is_answered_with_a_reset() {
    let mut pumped = Pumped::start().await;
    pumped.remote.finish();
    let mut received = Vec::new();
    pumped.local.read_to_end(&mut received).await.unwrap();
    pumped.local.write_all(b"too late").await.unwrap();
    let transferred = pumped.pump.await.unwrap();
    assert_eq!(transferred.outcome, Outcome::Reset);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_session_is_no_end_of_the_data() {
    let pumped = Pumped::start().await;
    pumped.pair.channel.end();
    let transferred = pumped.pump.await.unwrap();
    assert_eq!(transferred.outcome, Outcome::Lost);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_the_destinations_silence() {
    let mut pumped = Pumped::start().await;
    let channel = pumped.pair.channel.clone();
    let disconnect = || channel.with(|channel| channel.handle_disconnected(now()));
    let connect = || channel.with(|channel| channel.handle_connected(now(), "token"));
    // With the question under way, and with the answer.
    disconnect();
    pumped.local.write_all(b"question").await.unwrap();
    pumped.local.shutdown().await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert!(!pumped.pump.is_finished());
    connect();
    sleep(Duration::from_secs(9)).await;
    disconnect();
    sleep(Duration::from_secs(60)).await;
    assert!(!pumped.pump.is_finished());
    connect();
    let start = Instant::now();
    assert_eq!(pumped.remote_end().await, End::Finished);
    let held = start.elapsed().as_millis();
    assert!((9_900..10_200).contains(&held), "{held}");
    assert_eq!(pumped.pump.await.unwrap().outcome, Outcome::HeldTooLong);
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
