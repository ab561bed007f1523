//! Carries one local connection over one stream.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use ssmfwd_protocol::Channel;
use tokio::io::AsyncWrite;
use tokio::time::{Sleep, sleep};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::LocalStream;
use super::finishing::{STALL_TIMEOUT, Unread};
use super::half_close::HalfClose;
use super::silence::Silence;
use crate::stream::{End, Stream};

/// Bytes read from a local connection at a time.
const READ_LEN: usize = 32 * 1024;

/// What a local side can have written without anybody having taken it: more than the buffers of its socket and of ours
/// hold. Who has ended has written nothing beyond.
const MAX_BACKLOG: u64 = 16 * 1024 * 1024;
/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Both sides are done.
    Closed,
    /// The local side was done, and nothing came from the destination for as long as its end was held
    /// back. More might have come: the local connection was reset. Usually nobody notices: of TCP, a
    /// half that was closed looks like a whole that was, until something is written to it.
    HeldTooLong,
    /// The agent could not connect; the local connection was reset.
    Refused,
    /// The session ended; the local connection was reset.
    Lost,
    /// The local side broke the connection, or wrote what could no longer be delivered.
    Reset,
}

/// What a connection carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transferred {
    /// Bytes from the local side to the destination.
    pub sent: u64,
    /// Bytes from the destination to the local side.
    pub received: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// Carries the connection until it ends. The local side is reset wherever it could mistake a cut
/// transfer for a whole one, for which it must have been told to [`LocalStream::reset_on_drop`].
///
/// Once `unread` is wanted, no end of data is held back any more; once it is over, nothing more is taken.
pub async fn pump(
    local: LocalStream,
    stream: Stream<Channel>,
    half_close: HalfClose,
    unread: Unread,
) -> Transferred {
    let mut pump = Pump {
        local,
        stream,
        half_close,
        finishing: Box::pin(unread.is_wanted()),
        is_finishing: false,
        over: Box::pin(unread.is_over()),
        sent_before: 0,
        unread,
        up: Direction::default(),
        down: Direction::default(),
        remote_end: None,
        is_upload_cut: false,
        is_reader_gone: false,
        silence: Silence::new(half_close.hold),
        deadline: None,
        sent: 0,
        received: 0,
    };
    let outcome = std::future::poll_fn(|cx| pump.poll(cx)).await;
    let Pump {
        local,
        stream,
        mut unread,
        is_upload_cut,
        sent,
        received,
        ..
    } = pump;
    match outcome {
        Outcome::Closed => {
            local.close();
            stream.finish();
        }
        // What a local side that is gone has written is delivered all the same.
        Outcome::HeldTooLong => stream.finish(),
        Outcome::Reset if !is_upload_cut => stream.finish(),
        Outcome::Refused | Outcome::Lost | Outcome::Reset => {
            return Transferred {
                sent,
                received,
                outcome,
            };
        }
    }
    unread.done();
    Transferred {
        sent,
        received,
        outcome,
    }
}

struct Pump {
    local: LocalStream,
    stream: Stream<Channel>,
    half_close: HalfClose,
    finishing: Pin<Box<WaitForCancellationFutureOwned>>,
    is_finishing: bool,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What had been sent when the connection began to end.
    sent_before: u64,
    unread: Unread,
    up: Direction,
    down: Direction,
    /// The stream has ended this way; its data may still be on the way to the local side.
    remote_end: Option<End>,
    /// The local side has written what can no longer be delivered.
    is_upload_cut: bool,
    /// The local side takes nothing more, and may have written something all the same.
    is_reader_gone: bool,
    /// Of the destination, while the local side is done.
    silence: Silence,
    /// Runs while the destination is done, and the local side is waited for; and while a connection that is to end
    /// makes no headway.
    deadline: Option<Pin<Box<Sleep>>>,
    sent: u64,
    received: u64,
}

/// One direction: what is taken from its source and not yet given to its sink.
#[derive(Default)]
struct Direction {
    pending: Bytes,
    is_done: bool,
}

impl Pump {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if self.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Outcome::Reset);
        }
        if !self.is_finishing && self.finishing.as_mut().poll(cx).is_ready() {
            self.is_finishing = true;
            self.sent_before = self.sent;
        }
        if let Poll::Ready(outcome) = self.poll_down(cx) {
            return Poll::Ready(outcome);
        }
        if let Poll::Ready(outcome) = self.poll_up(cx) {
            return Poll::Ready(outcome);
        }
        let is_backlog_taken =
            self.up.pending.is_empty() || self.sent - self.sent_before > MAX_BACKLOG;
        if self.is_finishing && is_backlog_taken {
            // Whatever comes later, others than the one who has ended have written.
            self.unread.done();
        }
        if (self.is_upload_cut && self.down.is_done) || (self.is_reader_gone && self.up.is_done) {
            return Poll::Ready(Outcome::Reset);
        }
        if self.up.is_done && self.down.is_done {
            return Poll::Ready(Outcome::Closed);
        }
        self.poll_deadline(cx)
    }

    /// From the stream to the local side. Ready only if that ends the connection.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while !self.down.is_done {
            if self.down.pending.is_empty() {
                if let Some(end) = self.remote_end {
                    return self.poll_shutdown(cx, end);
                }
                match ready!(self.stream.poll_read(cx)) {
                    Ok(data) => {
                        self.silence.restart();
                        self.down.pending = data;
                    }
                    Err(end) => self.remote_end = Some(end),
                }
                continue;
            }
            if self.is_reader_gone {
                self.down.pending = Bytes::new();
                continue;
            }
            match ready!(Pin::new(&mut self.local).poll_write(cx, &self.down.pending)) {
                Ok(0) | Err(_) => self.is_reader_gone = true,
                Ok(len) => {
                    self.down.pending.advance(len);
                    self.received += len as u64;
                    if self.down.pending.is_empty() {
                        // Even an empty slice would keep the memory.
                        self.down.pending = Bytes::new();
                    }
                }
            }
        }
        Poll::Pending
    }

    /// Passes the end of the stream on to the local side.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>, end: End) -> Poll<Outcome> {
        match end {
            End::Refused => Poll::Ready(Outcome::Refused),
            End::Lost => Poll::Ready(Outcome::Lost),
            End::Finished | End::Cut => {
                self.is_upload_cut |= end == End::Cut;
                // A local side that is gone already needs no end of data.
                let _: io::Result<()> = ready!(Pin::new(&mut self.local).poll_shutdown(cx));
                self.down.is_done = true;
                Poll::Pending
            }
        }
    }

    /// From the local side to the stream. Ready only if that ends the connection.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while !self.up.is_done {
            if self.up.pending.is_empty() {
                match ready!(self.poll_read_local(cx)) {
                    Err(_) => return Poll::Ready(Outcome::Reset),
                    Ok(data) if data.is_empty() => {
                        self.up.is_done = true;
                        break;
                    }
                    // The destination is gone: a reset is what it would have answered.
                    Ok(_) if self.down.is_done => return Poll::Ready(Outcome::Reset),
                    Ok(data) => {
                        self.sent += data.len() as u64;
                        self.up.pending = data;
                    }
                }
            }
            let pending_len = self.up.pending.len();
            let written = self.stream.poll_write(cx, &mut self.up.pending);
            if self.up.pending.len() < pending_len {
                self.deadline = None;
            }
            if ready!(written).is_err() {
                self.up.pending = Bytes::new();
                self.is_upload_cut = true;
                // Reading the stream tells how it ended, and delivers what came before the end.
                if let Poll::Ready(outcome) = self.poll_down(cx) {
                    return Poll::Ready(outcome);
                }
            }
        }
        Poll::Pending
    }

    /// Reads what the local side has written; empty at its end.
    ///
    /// The buffer exists only while there is something to read, so that an idle connection costs none.
    fn poll_read_local(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut buffer = BytesMut::with_capacity(READ_LEN);
        ready!(poll_read_buf(Pin::new(&mut self.local), cx, &mut buffer))?;
        Poll::Ready(Ok(if buffer.len() < READ_LEN / 4 {
            Bytes::copy_from_slice(&buffer)
        } else {
            buffer.freeze()
        }))
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if self.is_finishing && !self.up.pending.is_empty() {
            let deadline = self
                .deadline
                .get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
            return deadline.as_mut().poll(cx).map(|()| Outcome::Lost);
        }
        match (self.up.is_done, self.down.is_done) {
            // A local reader that takes its time is not a destination that is silent.
            (true, false) if self.down.pending.is_empty() && self.remote_end.is_none() => {
                if !self.is_finishing {
                    ready!(self.silence.poll(cx, &self.stream));
                }
                Poll::Ready(Outcome::HeldTooLong)
            }
            (false, true) => {
                if !self.is_finishing {
                    let linger = self.half_close.linger;
                    let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(linger)));
                    ready!(deadline.as_mut().poll(cx));
                }
                Poll::Ready(Outcome::Closed)
            }
            _ => {
                self.silence.restart();
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
