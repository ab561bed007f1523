use std::pin::pin;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::net::liveness::Watched;

fn channel() -> Shared<Channel> {
    let now = Instant::now().into_std();
    let unix = UNIX_EPOCH.elapsed().unwrap();
    Shared::new(Channel::new(Default::default(), 1, now, unix))
}

#[tokio::test(start_paused = true)]
async fn a_moment_is_quiet_after_the_last_message() {
    let (ours, theirs) = tokio::io::duplex(4096);
    let ours = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    let mut theirs = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
    let activity = Activity::default();
    let mut watched = Watched::new(ours, Default::default(), activity.clone());
    let shared = channel();
    let mut waiting = pin!(quiet_moment(&shared, &activity));
    for _ in 0..5 {
        let message = Message::Binary(Bytes::from_static(b"x"));
        theirs.send(message).await.unwrap();
        watched.next().await.unwrap().unwrap();
        let is_quiet = timeout(QUIET - Duration::from_millis(1), &mut waiting).await;
        assert!(is_quiet.is_err());
    }
    waiting.await;
}
