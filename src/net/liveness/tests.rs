use futures_util::{SinkExt, StreamExt};

use super::*;
use crate::driver::testing::{Socket, sockets};
use crate::net::clock::testing::Wall;

const SECOND: Duration = Duration::from_secs(1);

struct Pair {
    near: Watched<Socket>,
    far: Socket,
    wall: Wall,
}

async fn pair() -> Pair {
    let (near, far) = sockets(1024).await;
    let wall = Wall::new();
    let watched = Watched::with_clock(near, Liveness::default(), Activity::default(), wall.watch());
    Pair {
        near: watched,
        far,
        wall,
    }
}

/// Reads until the connection is given up; returns why, and how long that took.
async fn death(near: &mut Watched<Socket>) -> (String, Duration) {
    let start = Instant::now();
    loop {
        match near.next().await.unwrap() {
            Ok(_) => {}
            Err(Error::Io(error)) => return (error.to_string(), start.elapsed()),
            Err(error) => panic!("not a silence but {error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_says_anything_is_given_up_soon() {
    let Pair {
        mut near,
        far: _far,
        ..
    } = pair().await;
    let (why, after) = death(&mut near).await;
    assert_eq!(why, "nothing was received within 10 s of the token");
    assert_eq!(after, 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_dead_after_a_while() {
    let Pair {
        mut near, mut far, ..
    } = pair().await;
    far.send(Message::text("hello")).await.unwrap();
    let (why, after) = death(&mut near).await;
    assert_eq!(why, "nothing was received for 40 s");
    assert_eq!(after, 40 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn answers_to_pings_keep_an_idle_connection_alive() {
    let Pair {
        mut near, mut far, ..
    } = pair().await;
    // Reading is what answers pings.
    let pings = tokio::spawn(async move {
        let mut count = 0;
        let until = tokio::time::sleep(600 * SECOND);
        tokio::pin!(until);
        loop {
            tokio::select! {
                frame = far.next() => count += u32::from(frame.unwrap().unwrap().is_ping()),
                () = &mut until => return (count, far),
            }
        }
    });
    let (_, after) = death(&mut near).await;
    assert!(after > 600 * SECOND, "{after:?}");
    let (count, _far) = pings.await.unwrap();
    assert_eq!(count, 1 + 599 / 15);
}

#[tokio::test(start_paused = true)]
async fn the_clock_does_not_run_while_nothing_is_read() {
    let Pair {
        mut near, mut far, ..
    } = pair().await;
    far.send(Message::text("hello")).await.unwrap();
    near.next().await.unwrap().unwrap();
    let read = tokio::time::timeout(SECOND, near.next()).await;
    assert!(read.is_err());
    // Held back by its own user for far longer than any deadline.
    tokio::time::sleep(600 * SECOND).await;
    let answering = tokio::spawn(async move {
        far.next().await.unwrap().unwrap();
        far.send(Message::text("still here")).await.unwrap();
        far
    });
    let read = near.next().await.unwrap();
    assert!(read.unwrap().is_pong() || answering.is_finished());
}

#[tokio::test(start_paused = true)]
async fn sleep_makes_an_immediate_check() {
    let Pair {
        mut near,
        mut far,
        wall,
    } = pair().await;
    far.send(Message::text("hello")).await.unwrap();
    near.next().await.unwrap().unwrap();
    wall.set(2_000_000);
    let (why, after) = death(&mut near).await;
    assert_eq!(why, "nothing was received after a pause");
    assert!(after <= LOOK_INTERVAL + CHECK_DEADLINE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_outlived_a_sleep_is_kept() {
    let Pair {
        mut near,
        mut far,
        wall,
    } = pair().await;
    far.send(Message::text("hello")).await.unwrap();
    near.next().await.unwrap().unwrap();
    wall.set(2_000_000);
    let start = Instant::now();
    let alive = tokio::spawn(async move {
        let until = tokio::time::sleep(30 * SECOND);
        tokio::pin!(until);
        loop {
            tokio::select! {
                _ = far.next() => {}
                () = &mut until => return far,
            }
        }
    });
    let (_, _) = death(&mut near).await;
    assert!(start.elapsed() > 30 * SECOND);
    let _far = alive.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_are_counted_and_pings_are_not() {
    let Pair {
        mut near, mut far, ..
    } = pair().await;
    let activity = near.activity.clone();
    far.send(Message::Ping(Bytes::new())).await.unwrap();
    near.next().await.unwrap().unwrap();
    assert_eq!(activity.message_count(), 0);
    far.send(Message::binary("x")).await.unwrap();
    near.next().await.unwrap().unwrap();
    near.send(Message::binary("y")).await.unwrap();
    assert_eq!(activity.message_count(), 2);
    activity.first_received().await;
}
