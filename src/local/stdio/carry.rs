//! Carries standard input and output over one stream.

use std::future::{pending, poll_fn};
use std::io;
use std::time::Duration;

use ssmfwd_protocol::Channel;
use tokio_util::sync::CancellationToken;

use super::{Input, Output};
use crate::local::silence::Silence;
use crate::stream::{End, Stream};

/// How a connection came to its end.
#[derive(Debug)]
pub enum Carried {
    /// The stream ended; everything that came from it is written.
    Ended(End),
    /// Standard input ended and then nothing came for too long.
    Silent,
    /// Standard input could not be read to its end.
    InputBroke(io::Error),
    /// Standard output could not be written to.
    OutputBroke(io::Error),
}

/// Carries bytes both ways until the stream ends.
///
/// The end of standard input is not passed on, since the agent closes its connection in both directions when it is told
/// of one. It only limits the silence to `patience`.
pub async fn carry(
    stream: Stream<Channel>,
    input: &mut Input,
    output: &mut Output,
    patience: Duration,
) -> Carried {
    let input_ended = CancellationToken::new();
    let carried = tokio::select! {
        error = upwards(&stream, input, &input_ended) => Carried::InputBroke(error),
        carried = downwards(&stream, output, &input_ended, patience) => carried,
    };
    if matches!(carried, Carried::Silent) {
        // What was read is still sent; dropping the stream would forget it.
        stream.finish();
    }
    carried
}

/// Returns only if standard input breaks.
async fn upwards(
    stream: &Stream<Channel>,
    input: &mut Input,
    input_ended: &CancellationToken,
) -> io::Error {
    while let Some(chunk) = input.read().await {
        let mut chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => return error,
        };
        let written = poll_fn(|cx| stream.poll_write(cx, &mut chunk)).await;
        if written.is_err() {
            // Why it ended is found by reading, after what came before the end.
            return pending().await;
        }
    }
    input_ended.cancel();
    pending().await
}

async fn downwards(
    stream: &Stream<Channel>,
    output: &mut Output,
    input_ended: &CancellationToken,
    patience: Duration,
) -> Carried {
    let mut silence = Silence::new(patience);
    loop {
        let silent = async {
            input_ended.cancelled().await;
            poll_fn(|cx| silence.poll(cx, stream)).await;
        };
        let read = tokio::select! {
            biased;
            read = poll_fn(|cx| stream.poll_read(cx)) => read,
            () = silent => return Carried::Silent,
        };
        silence.restart();
        match read {
            Ok(data) => {
                if let Err(error) = output.write(data).await {
                    return Carried::OutputBroke(error);
                }
            }
            Err(end) => return Carried::Ended(end),
        }
    }
}
