//! Tells a live connection from a dead one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::clock::{ClockWatch, LOOK_INTERVAL};

/// When a connection counts as dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// A ping is sent when nothing has been received for so long.
    ///
    /// 15 s keeps NATs and proxies open, of which the strictest close connections after 60 s of
    /// silence.
    pub ping_interval: Duration,
    /// The connection is dead when nothing has been received for so long. Longer than the interval.
    ///
    /// 40 s: two pings may be lost, and each be answered 10 s late.
    pub dead_after: Duration,
}

impl Liveness {
    /// Seconds after which a ping is sent, unless told otherwise.
    pub const PING_INTERVAL: u16 = 15;
    /// Seconds after which a connection is dead, unless told otherwise.
    pub const DEAD_AFTER: u16 = 40;
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(Self::PING_INTERVAL.into()),
            dead_after: Duration::from_secs(Self::DEAD_AFTER.into()),
        }
    }
}

/// How soon something must be received on a new connection. Whoever has taken the token answers, or
/// answers the ping.
const FIRST_FRAME_DEADLINE: Duration = Duration::from_secs(10);

/// How soon something must be received after the machine has slept, or was set another time.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

/// How long after a connection was opened its first ping is sent: the token goes first.
const FIRST_PING_DELAY: Duration = Duration::from_secs(1);

/// A connection that ends with an error when its peer has been silent for too long.
///
/// Every frame counts, and the clock runs only while the connection is read: whoever does not read
/// cannot tell silence from deafness.
pub struct Watched<S> {
    socket: S,
    liveness: Liveness,
    activity: Activity,
    clock: ClockWatch,
    /// Wakes the reader for the next look.
    timer: Pin<Box<Sleep>>,
    last_look: Instant,
    next_ping: Instant,
    deadline: Deadline,
    is_flush_due: bool,
}

/// When the connection is dead, and how that is explained.
struct Deadline {
    at: Instant,
    reason: Reason,
}

#[derive(Clone, Copy)]
enum Reason {
    New,
    Silent,
    Checked,
}

impl<S> Watched<S> {
    /// Watches a connection that has just been opened, and counts its messages in `activity`.
    pub fn new(socket: S, liveness: Liveness, activity: Activity) -> Self {
        Self::with_clock(socket, liveness, activity, ClockWatch::new())
    }

    fn with_clock(socket: S, liveness: Liveness, activity: Activity, clock: ClockWatch) -> Self {
        let now = Instant::now();
        Self {
            socket,
            liveness,
            activity,
            clock,
            timer: Box::pin(sleep_until(now)),
            last_look: now,
            next_ping: now + FIRST_PING_DELAY.min(liveness.ping_interval),
            deadline: Deadline {
                at: now + FIRST_FRAME_DEADLINE.min(liveness.dead_after),
                reason: Reason::New,
            },
            is_flush_due: false,
        }
    }

    fn on_frame(&mut self, now: Instant, message: &Message) {
        self.last_look = now;
        self.next_ping = now + self.liveness.ping_interval;
        self.deadline = Deadline {
            at: now + self.liveness.dead_after,
            reason: Reason::Silent,
        };
        if message.is_binary() {
            self.activity.on_received();
        }
    }

    /// Notices what the timers have missed: reading that was held back, and sleep.
    fn on_look(&mut self, now: Instant) {
        let is_asleep_until_now = self.clock.has_jumped(now);
        let was_unread = now - self.last_look > 2 * LOOK_INTERVAL;
        self.last_look = now;
        if was_unread || is_asleep_until_now {
            self.next_ping = now;
            self.deadline = Deadline {
                at: now + CHECK_DEADLINE.min(self.liveness.dead_after),
                reason: Reason::Checked,
            };
        }
    }

    fn silence(&self) -> Error {
        let text = match self.deadline.reason {
            Reason::New => format!(
                "nothing was received within {} s of the token",
                FIRST_FRAME_DEADLINE.min(self.liveness.dead_after).as_secs()
            ),
            Reason::Silent => format!(
                "nothing was received for {} s",
                self.liveness.dead_after.as_secs()
            ),
            Reason::Checked => "nothing was received after a pause".to_owned(),
        };
        Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}

impl<S> Watched<S>
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    /// Looks after a connection that has nothing to be read.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let now = Instant::now();
        self.on_look(now);
        if self.deadline.at <= now {
            return Poll::Ready(self.silence());
        }
        if self.next_ping <= now {
            self.next_ping = now + self.liveness.ping_interval;
            if let Err(error) = self.ping(cx) {
                return Poll::Ready(error);
            }
        }
        if self.is_flush_due {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.is_flush_due = false,
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => {}
            }
        }
        let next = (now + LOOK_INTERVAL)
            .min(self.next_ping)
            .min(self.deadline.at);
        self.timer.as_mut().reset(next);
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Sends a ping, unless the connection takes nothing at the moment: the deadline stands.
    fn ping(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut socket = Pin::new(&mut self.socket);
        match socket.as_mut().poll_ready(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) => {
                self.is_flush_due = true;
                socket.start_send(Message::Ping(Bytes::from_static(b"keepalive")))
            }
        }
    }
}

impl<S> Stream for Watched<S>
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        match Pin::new(&mut this.socket).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => {
                this.on_frame(Instant::now(), &message);
                Poll::Ready(Some(Ok(message)))
            }
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => this.poll_silence(cx).map(|error| Some(Err(error))),
        }
    }
}

impl<S> Sink<Message> for Watched<S>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.socket).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.activity.on_sent();
        Pin::new(&mut self.socket).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

/// What a connection has carried so far. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    sent: AtomicU64,
    /// Notified by the first message received.
    first: Notify,
    /// Notified by every message.
    any: Notify,
}

impl Activity {
    /// Messages so far, both ways; pings are none.
    pub fn message_count(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed) + self.0.sent.load(Ordering::Relaxed)
    }

    /// Waits until a message has been received. One task may wait.
    pub async fn first_received(&self) {
        self.0.first.notified().await;
    }

    /// Waits for the next message from the call on, either way.
    pub fn next_message(&self) -> Notified<'_> {
        self.0.any.notified()
    }

    fn on_received(&self) {
        if self.0.received.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.first.notify_one();
        }
        self.0.any.notify_waiters();
    }

    fn on_sent(&self) {
        self.0.sent.fetch_add(1, Ordering::Relaxed);
        self.0.any.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
