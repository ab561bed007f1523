//! The streams of a port session, however the agent carries them.

mod basic;

use bytes::{Bytes, BytesMut};

use crate::config::Config;
use crate::error::{MuxError, OpenError};
use crate::message::{Flag, PayloadType};
use crate::smux::{Limits, Mux, Role, StreamId};

use basic::Basic;

/// What happened to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// The peer opened it (agent's end only).
    Opened(StreamId),
    /// Data waits where none did before: read until nothing is left.
    Readable(StreamId),
    /// There is room again after a short write.
    Writable(StreamId),
    /// The peer has closed it: what waits to be read is the last.
    Finished(StreamId),
    /// The peer has closed it before everything written to it was sent; what waits to be read is the
    /// last.
    Cut(StreamId),
    /// The agent could not connect to the destination (client's end only).
    Refused(StreamId),
    /// A stream can be opened again after [`OpenError::Busy`].
    Available,
}

/// Streams over the session's payloads: multiplexed, or one at a time with an old agent.
#[derive(Debug)]
pub struct Port(Carrier);

#[derive(Debug)]
enum Carrier {
    Mux(Mux),
    Basic(Basic),
}

impl Port {
    pub(crate) fn new(role: Role, is_multiplexed: bool, config: &Config) -> Self {
        let limits = Limits {
            stream_send_len: config.stream_send_len,
            receive_len: config.receive_buffer_len,
            stream_count: config.stream_count,
        };
        Self(if is_multiplexed {
            Carrier::Mux(Mux::new(role, limits))
        } else {
            Carrier::Basic(Basic::new(role, limits))
        })
    }

    /// Returns whether several streams can be open at a time.
    pub fn is_multiplexed(&self) -> bool {
        matches!(self.0, Carrier::Mux(_))
    }

    /// Opens a stream, usable at once.
    ///
    /// # Errors
    ///
    /// [`OpenError::Busy`] if the agent carries one connection at a time and has one;
    /// [`StreamEvent::Available`] follows.
    pub fn open(&mut self) -> Result<StreamId, OpenError> {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.open(),
            Carrier::Basic(basic) => basic.open(),
        }
    }

    /// Queues as much of `data` as there is room for and leaves the rest; returns how much.
    ///
    /// After a short write [`StreamEvent::Writable`] follows. What is written to a stream that the
    /// peer has closed is discarded.
    pub fn write(&mut self, id: StreamId, data: &mut Bytes) -> usize {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.write(id, data),
            Carrier::Basic(basic) => basic.write(id, data),
        }
    }

    /// Returns everything that waits to be read; empty if nothing does.
    ///
    /// It counts as unread until the next call, which tells that the reader is done with it.
    pub fn read(&mut self, id: StreamId) -> Bytes {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.read(id),
            Carrier::Basic(basic) => basic.read(id),
        }
    }

    /// Closes the stream, both ways, once what was written is sent.
    pub fn finish(&mut self, id: StreamId) {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.finish(id),
            Carrier::Basic(basic) => basic.finish(id),
        }
    }

    /// Closes the stream at once and forgets what it still had to send.
    pub fn abort(&mut self, id: StreamId) {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.abort(id),
            Carrier::Basic(basic) => basic.abort(id),
        }
    }

    /// Returns what happened since the last call.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.poll_event(),
            Carrier::Basic(basic) => basic.poll_event(),
        }
    }

    /// Streams open now.
    pub fn stream_count(&self) -> usize {
        match &self.0 {
            Carrier::Mux(mux) => mux.stream_count(),
            Carrier::Basic(basic) => basic.stream_count(),
        }
    }

    pub(crate) fn handle_output(&mut self, bytes: Bytes) -> Result<(), MuxError> {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.handle_bytes(bytes),
            Carrier::Basic(basic) => {
                basic.handle_output(&bytes);
                Ok(())
            }
        }
    }

    pub(crate) fn handle_flag(&mut self, flag: Flag) {
        match (&mut self.0, flag) {
            (Carrier::Mux(mux), Flag::ConnectToPortError) => mux.on_refusal(),
            (Carrier::Basic(basic), Flag::DisconnectToPort) => basic.on_disconnect(),
            _ => {}
        }
    }

    /// Notes that the peer has acknowledged the last [`Flag::DisconnectToPort`].
    pub(crate) fn on_disconnect_acked(&mut self) {
        if let Carrier::Basic(basic) = &mut self.0 {
            basic.on_disconnect_acked();
        }
    }

    /// Writes the next payload of up to `max_len` bytes; `None` if there is nothing to send.
    pub(crate) fn poll_transmit(
        &mut self,
        out: &mut BytesMut,
        max_len: usize,
    ) -> Option<PayloadType> {
        match &mut self.0 {
            Carrier::Mux(mux) => {
                (mux.poll_transmit(out, max_len) > 0).then_some(PayloadType::Output)
            }
            Carrier::Basic(basic) => basic.poll_transmit(out, max_len),
        }
    }

    /// Returns whether there is something to send.
    pub(crate) fn has_transmit(&self) -> bool {
        match &self.0 {
            Carrier::Mux(mux) => mux.has_transmit(),
            Carrier::Basic(basic) => basic.has_transmit(),
        }
    }

    /// Has a frame without effect sent if nothing else waits; does nothing where there are no frames.
    pub(crate) fn keep_alive(&mut self) {
        if let Carrier::Mux(mux) = &mut self.0 {
            mux.keep_alive();
        }
    }

    /// Bytes unread or waiting to be sent.
    pub(crate) fn buffered_len(&self) -> usize {
        match &self.0 {
            Carrier::Mux(mux) => mux.buffered_len(),
            Carrier::Basic(basic) => basic.buffered_len(),
        }
    }

    pub(crate) fn is_receive_blocked(&self) -> bool {
        match &self.0 {
            Carrier::Mux(mux) => mux.is_receive_blocked(),
            Carrier::Basic(basic) => basic.is_receive_blocked(),
        }
    }
}
