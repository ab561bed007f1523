//! Gateways that do not serve the session.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::Socket;

/// Sends random frames, binary and text in turn, until the client leaves.
pub(super) async fn send_garbage(mut socket: Socket, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    loop {
        for _ in 0..FRAMES_AT_ONCE {
            let frame = garbage(&mut rng);
            if socket.send(frame).await.is_err() {
                return;
            }
        }
        let reading = async { while let Some(Ok(_)) = socket.next().await {} };
        if tokio::time::timeout(PAUSE, reading).await.is_ok() {
            return;
        }
    }
}

/// Reads what the client sends and answers nothing but pings.
pub(super) async fn stay_silent(mut socket: Socket) {
    while let Some(Ok(_)) = socket.next().await {}
}

fn garbage(rng: &mut fastrand::Rng) -> Message {
    let len = rng.usize(..MAX_FRAME_LEN);
    if rng.bool() {
        Message::binary(
            std::iter::repeat_with(|| rng.u8(..))
                .take(len)
                .collect::<Vec<_>>(),
        )
    } else {
        Message::text(
            std::iter::repeat_with(|| rng.char(..))
                .take(len)
                .collect::<String>(),
        )
    }
}

/// Longer than a message's header, so that random bytes are read as one.
const MAX_FRAME_LEN: usize = 300;

const FRAMES_AT_ONCE: usize = 16;

const PAUSE: Duration = Duration::from_millis(100);
