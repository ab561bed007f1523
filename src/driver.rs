//! Moves messages between one endpoint and one connection: the only place that waits for both.

use std::fmt;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use ssmfwd_protocol::{Endpoint, Transmit};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};

use crate::endpoint::{Shared, State};

#[cfg(test)]
pub(crate) mod testing;

/// Messages taken from, and given to, the connection before other tasks get their turn.
///
/// Enough that one flush carries many acknowledgements, few enough that a stream's reader empties its
/// buffer while it is in the processor's cache.
const BATCH: usize = 64;

/// Why a connection stopped carrying the endpoint.
#[derive(Debug)]
pub enum Disconnect {
    /// The peer sent a close frame.
    Closed {
        /// Its status code; 1005 if it gave none.
        code: u16,
        /// Its explanation.
        reason: String,
    },
    /// The connection broke.
    Broken(Error),
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code, reason } if reason.is_empty() => {
                write!(f, "the service closed the connection (code {code})")
            }
            Self::Closed { code, reason } => {
                write!(
                    f,
                    "the service closed the connection (code {code}, {reason:?})"
                )
            }
            Self::Broken(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                f.write_str("the connection to the service was cut")
            }
            Self::Broken(Error::Io(error)) => {
                write!(f, "the connection to the service failed: {error}")
            }
            Self::Broken(error) => write!(f, "the connection to the service failed: {error}"),
        }
    }
}

/// Drives the endpoint over a connection until the connection is lost or `on_event` breaks.
///
/// The endpoint must have been told of the connection before, and is told of its loss here.
///
/// # Errors
///
/// Why the connection was lost.
pub async fn drive<E, C, T>(
    shared: &Shared<E>,
    connection: C,
    on_event: impl FnMut(E::Event) -> ControlFlow<T>,
) -> Result<T, Disconnect>
where
    E: Endpoint,
    C: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error>,
{
    let mut driver = Driver {
        connection: pin!(connection),
        timer: pin!(sleep_until(Instant::now())),
        is_flushed: true,
        on_event,
    };
    let outcome = std::future::poll_fn(|cx| driver.poll(cx, &mut shared.lock())).await;
    if outcome.is_err() {
        shared.with(|endpoint| endpoint.handle_disconnected(Instant::now().into_std()));
        // An endpoint that was closing has its own reason.
        while let Some(event) = shared.with(Endpoint::poll_event) {
            if let ControlFlow::Break(value) = (driver.on_event)(event) {
                return Ok(value);
            }
        }
    }
    outcome
}

struct Driver<'a, C, F> {
    connection: Pin<&'a mut C>,
    timer: Pin<&'a mut Sleep>,
    is_flushed: bool,
    on_event: F,
}

impl<C, F> Driver<'_, C, F>
where
    C: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error>,
{
    /// One round: receive, transmit, report; then wait for whatever comes first.
    fn poll<E, T>(
        &mut self,
        cx: &mut Context<'_>,
        state: &mut State<E>,
    ) -> Poll<Result<T, Disconnect>>
    where
        E: Endpoint,
        F: FnMut(E::Event) -> ControlFlow<T>,
    {
        state.set_driver(cx.waker());
        let now = Instant::now().into_std();
        let received = self.receive(cx, now, &mut state.endpoint);
        state.endpoint.handle_timeout(now);
        let transmitted = match received {
            Ok(_) => self.transmit(cx, now, &mut state.endpoint),
            Err(_) => Ok(true),
        };
        state.dispatch_stream_events();
        while let Some(event) = state.endpoint.poll_event() {
            if let ControlFlow::Break(value) = (self.on_event)(event) {
                return Poll::Ready(Ok(value));
            }
        }
        // Only now: the last messages before a close may have said why.
        let (received_all, transmitted_all) = (received?, transmitted?);
        if !self.is_flushed {
            self.is_flushed = self
                .connection
                .as_mut()
                .poll_flush(cx)
                .map_err(Disconnect::Broken)?
                .is_ready();
        }
        if !received_all || !transmitted_all || self.is_timer_due(cx, &mut state.endpoint) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Hands received messages to the endpoint; returns whether the connection has no more for now.
    fn receive<E: Endpoint>(
        &mut self,
        cx: &mut Context<'_>,
        now: std::time::Instant,
        endpoint: &mut E,
    ) -> Result<bool, Disconnect> {
        for _ in 0..BATCH {
            if endpoint.is_receive_blocked() {
                return Ok(true);
            }
            match self.connection.as_mut().poll_next(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Ok(message))) => match message {
                    Message::Binary(wire) => endpoint.handle_message(now, wire),
                    Message::Text(wire) => endpoint.handle_message(now, Bytes::from(wire)),
                    Message::Close(frame) => return Err(closed(frame)),
                    // The answer to a ping waits in the write buffer.
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                        self.is_flushed = false;
                    }
                },
                Poll::Ready(Some(Err(error))) => return Err(Disconnect::Broken(error)),
                Poll::Ready(None) => return Err(Disconnect::Broken(Error::ConnectionClosed)),
            }
        }
        Ok(false)
    }

    /// Gives the connection what the endpoint has to send; returns whether that was all, or all that
    /// the connection takes for now.
    fn transmit<E: Endpoint>(
        &mut self,
        cx: &mut Context<'_>,
        now: std::time::Instant,
        endpoint: &mut E,
    ) -> Result<bool, Disconnect> {
        for _ in 0..BATCH {
            if self
                .connection
                .as_mut()
                .poll_ready(cx)
                .map_err(Disconnect::Broken)?
                .is_pending()
            {
                return Ok(true);
            }
            let message = match endpoint.poll_transmit(now) {
                None => return Ok(true),
                Some(Transmit::Text(text)) => Message::text(text),
                Some(Transmit::Binary(wire)) => Message::Binary(wire),
            };
            self.connection
                .as_mut()
                .start_send(message)
                .map_err(Disconnect::Broken)?;
            self.is_flushed = false;
        }
        Ok(false)
    }

    /// Sees to it that the timer goes off by the endpoint's next deadline; returns whether that has
    /// passed already.
    ///
    /// A timer that is early is left alone: it costs one idle round when it goes off, while moving it
    /// with every message would interrupt the runtime's wait each time.
    fn is_timer_due<E: Endpoint>(&mut self, cx: &mut Context<'_>, endpoint: &mut E) -> bool {
        let Some((deadline, timer)) = endpoint.poll_timeout() else {
            return false;
        };
        let deadline = deadline.into();
        if self.timer.is_elapsed() || deadline < self.timer.deadline() {
            tracing::trace!(?timer, "timer set");
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}

fn closed(frame: Option<tokio_tungstenite::tungstenite::protocol::CloseFrame>) -> Disconnect {
    match frame {
        Some(frame) => Disconnect::Closed {
            code: frame.code.into(),
            reason: frame.reason.to_string(),
        },
        None => Disconnect::Closed {
            code: 1005,
            reason: String::new(),
        },
    }
}

#[cfg(test)]
mod tests;
