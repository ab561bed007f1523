//! Carries standard input and output over one stream.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::time::Duration;

use ssmfwd_protocol::Endpoint;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Input, Output};
use crate::stream::{End, Stream};

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// The stream ended; everything that came from it is written.
    Ended(End),
    /// Standard input ended and then nothing came for too long.
    Silent,
    /// Standard output could not be written to.
    Unread,
}

/// Carries bytes both ways until the stream ends.
///
/// The end of standard input is not passed on, since the agent closes its connection in both directions when it is told
/// of one. It only limits the silence to `patience`.
pub async fn carry<E: Endpoint>(
    stream: Stream<E>,
    input: &mut Input,
    output: &mut Output,
    patience: Duration,
) -> Carried {
    let input_ended = CancellationToken::new();
    let carried = tokio::select! {
        never = upwards(&stream, input, &input_ended) => match never {},
        carried = downwards(&stream, output, &input_ended, patience) => carried,
    };
    if carried == Carried::Silent {
        // What was read is still sent; dropping the stream would forget it.
        stream.finish();
    }
    carried
}

async fn upwards<E: Endpoint>(
    stream: &Stream<E>,
    input: &mut Input,
    input_ended: &CancellationToken,
) -> Infallible {
    while let Some(mut chunk) = input.read().await {
        let written = poll_fn(|cx| stream.poll_write(cx, &mut chunk)).await;
        if written.is_err() {
            // Why it ended is found by reading, after what came before the end.
            return pending().await;
        }
    }
    input_ended.cancel();
    pending().await
}

async fn downwards<E: Endpoint>(
    stream: &Stream<E>,
    output: &mut Output,
    input_ended: &CancellationToken,
    patience: Duration,
) -> Carried {
    let silence = async || {
        input_ended.cancelled().await;
        sleep(patience).await;
    };
    loop {
        let read = tokio::select! {
            biased;
            read = poll_fn(|cx| stream.poll_read(cx)) => read,
            () = silence() => return Carried::Silent,
        };
        match read {
            Ok(data) => {
                if output.write(data).await.is_err() {
                    return Carried::Unread;
                }
            }
            Err(end) => return Carried::Ended(end),
        }
    }
}
