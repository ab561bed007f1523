//! What both ends of a data channel have in common for whoever drives them.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use crate::channel::Timer;
use crate::streams::Streams;

/// One WebSocket message to be sent.
#[derive(Clone, PartialEq, Eq)]
pub enum Transmit {
    /// As text: the connect request, whose token is a secret.
    Text(String),
    /// As binary, unfragmented.
    Binary(Bytes),
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::Binary(wire) => write!(f, "Binary({} bytes)", wire.len()),
        }
    }
}

/// An end of a data channel: [`crate::Channel`] or [`crate::agent::Agent`].
pub trait Endpoint {
    /// What it tells its driver.
    type Event;

    /// Takes one received WebSocket message; text and binary are read alike, as the official ends do.
    fn handle_message(&mut self, now: Instant, wire: Bytes);

    /// The connection is lost. Everything is kept for the next one.
    fn handle_disconnected(&mut self, now: Instant);

    /// A deadline of [`Self::poll_timeout`] may have passed; early calls do nothing.
    fn handle_timeout(&mut self, now: Instant);

    /// Returns the next message to be sent. Call it after any input, until it returns `None` or the
    /// socket is full.
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit>;

    /// Returns what happened to the session. Call it after any input, until it returns `None`; and
    /// [`Streams::poll_event`] likewise, for what happened to streams.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// Returns when to call [`Self::handle_timeout`], and what for. May change with every other call.
    fn poll_timeout(&mut self) -> Option<(Instant, Timer)>;

    /// Returns whether the socket must not be read for now: buffers are full.
    fn is_receive_blocked(&self) -> bool;

    /// Bytes held in buffers: unacknowledged, out of order, unread, and waiting to be sent.
    fn buffered_len(&self) -> usize;

    /// The streams, once the handshake is done.
    fn streams(&mut self) -> Option<&mut Streams>;
}
