//! The streams of a session, however the agent carries them.

mod basic;
mod console;

use bytes::{Bytes, BytesMut};

use crate::config::Config;
use crate::console::Size;
use crate::error::{MuxError, OpenError};
use crate::message::{Flag, PayloadType};
use crate::session_kind::SessionKind;
use crate::smux::{Limits, Mux, Role, StreamId};

use basic::Basic;
use console::Console;

/// What happened to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// The peer opened it (agent's end only); or, at either end, it is one of the two that a shell or
    /// command has from the start, [`StreamId::OUTPUT`] and [`StreamId::ERROR`].
    Opened(StreamId),
    /// Data waits where none did before: read until nothing is left.
    Readable(StreamId),
    /// There is room again after a short write.
    Writable(StreamId),
    /// The peer has closed it: what waits to be read is the last. Of a shell or command, the session
    /// was closed without an explanation, and nothing of it is missing.
    Finished(StreamId),
    /// The peer has closed it before everything written to it was sent; what waits to be read is the
    /// last.
    Cut(StreamId),
    /// The agent could not connect to the destination (client's end only).
    Refused(StreamId),
    /// It may come to block the session (client's end only): its reader is behind by more than
    /// [`Config::stream_receive_len`], or it has sent more than [`Config::stream_unanswered_len`]
    /// without anything coming back. New connections are better off in another session.
    Stalled(StreamId),
    /// A stream can be opened again after [`OpenError::Busy`].
    Available,
}

/// Streams over the session's payloads: multiplexed, one at a time with an old agent, or the two of a
/// shell or command.
#[derive(Debug)]
pub struct Streams(Carrier);

#[derive(Debug)]
enum Carrier {
    Mux(Mux),
    Basic(Basic),
    Console(Console),
}

impl Streams {
    pub(crate) fn new(role: Role, kind: SessionKind, config: &Config) -> Self {
        let limits = Limits {
            stream_send_len: config.stream_send_len,
            receive_len: config.receive_buffer_len,
            stream_receive_len: config.stream_receive_len,
            unanswered_len: config.stream_unanswered_len,
            stream_count: config.stream_count,
        };
        Self(match kind {
            SessionKind::Port {
                is_multiplexed: true,
            } => Carrier::Mux(Mux::new(role, limits)),
            SessionKind::Port {
                is_multiplexed: false,
            } => Carrier::Basic(Basic::new(role, limits)),
            SessionKind::Shell | SessionKind::Command => {
                let is_terminal = kind == SessionKind::Shell;
                Carrier::Console(Console::new(
                    role,
                    is_terminal,
                    config.terminal_size,
                    limits,
                ))
            }
        })
    }

    /// Returns whether several streams can be opened at a time.
    pub fn is_multiplexed(&self) -> bool {
        matches!(self.0, Carrier::Mux(_))
    }

    /// Tells the agent the terminal's size, ahead of data; of several, the latest that is not sent yet.
    ///
    /// Only the client of a shell or command has a terminal: elsewhere it does nothing.
    pub fn resize(&mut self, size: Size) {
        if let Carrier::Console(console) = &mut self.0 {
            console.resize(size);
        }
    }

    /// The exit code of a command, once the agent has reported it; agents before 3.1.1511.0 do not, and
    /// later ones only where the document asks for separate outputs. -1 stands for a signal.
    pub fn exit_code(&self) -> Option<i32> {
        match &self.0 {
            Carrier::Console(console) => console.exit_code(),
            Carrier::Mux(_) | Carrier::Basic(_) => None,
        }
    }

    /// Opens a stream, usable at once.
    ///
    /// # Errors
    ///
    /// [`OpenError::Busy`] if the agent carries one connection at a time and has one;
    /// [`StreamEvent::Available`] follows. [`OpenError::Exhausted`] of a shell or command, which has
    /// its two streams from the start.
    pub fn open(&mut self) -> Result<StreamId, OpenError> {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.open(),
            Carrier::Basic(basic) => basic.open(),
            Carrier::Console(_) => Err(OpenError::Exhausted),
        }
    }

    /// Whether something has come for a stream that is not open yet: without multiplexing, the agent's end of it is there from
    /// the start.
    pub fn has_unopened(&self) -> bool {
        match &self.0 {
            Carrier::Basic(basic) => basic.has_unopened(),
            Carrier::Mux(_) | Carrier::Console(_) => false,
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
            Carrier::Console(console) => console.write(id, data),
        }
    }

    /// Returns the next of what waits to be read; empty if nothing does.
    ///
    /// It counts as unread until the next call, which tells that the reader is done with it.
    pub fn read(&mut self, id: StreamId) -> Bytes {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.read(id),
            Carrier::Basic(basic) => basic.read(id),
            Carrier::Console(console) => console.read(id),
        }
    }

    /// Closes the stream, both ways, once what was written is sent. Of a shell or command, nobody is told.
    pub fn finish(&mut self, id: StreamId) {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.finish(id),
            Carrier::Basic(basic) => basic.finish(id),
            Carrier::Console(console) => console.finish(id),
        }
    }

    /// Closes the stream at once and forgets what it still had to send.
    pub fn abort(&mut self, id: StreamId) {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.abort(id),
            Carrier::Basic(basic) => basic.abort(id),
            Carrier::Console(console) => console.abort(id),
        }
    }

    /// Returns what happened since the last call.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        match &mut self.0 {
            Carrier::Mux(mux) => mux.poll_event(),
            Carrier::Basic(basic) => basic.poll_event(),
            Carrier::Console(console) => console.poll_event(),
        }
    }

    /// Streams open now.
    pub fn stream_count(&self) -> usize {
        match &self.0 {
            Carrier::Mux(mux) => mux.stream_count(),
            Carrier::Basic(basic) => basic.stream_count(),
            Carrier::Console(console) => console.stream_count(),
        }
    }

    /// Streams that are stalled now, in the sense of [`StreamEvent::Stalled`]. Without multiplexing there
    /// are none: nothing else could be blocked.
    pub fn stalled_streams(&self) -> impl Iterator<Item = StreamId> {
        let mux = match &self.0 {
            Carrier::Mux(mux) => Some(mux),
            Carrier::Basic(_) | Carrier::Console(_) => None,
        };
        mux.into_iter().flat_map(Mux::stalled_streams)
    }

    /// Takes a payload of the stream data kind; one that does not belong to the session is passed over.
    pub(crate) fn handle_payload(
        &mut self,
        kind: PayloadType,
        bytes: Bytes,
    ) -> Result<(), MuxError> {
        match (&mut self.0, kind) {
            (Carrier::Mux(mux), PayloadType::Output) => return mux.handle_bytes(bytes),
            (Carrier::Basic(basic), PayloadType::Output) => basic.handle_output(&bytes),
            (Carrier::Console(console), kind) => console.handle_payload(kind, &bytes),
            (_, kind) => tracing::debug!(?kind, "payload passed over"),
        }
        Ok(())
    }

    /// The session was closed in good order, with nothing of it missing (client's end).
    pub(crate) fn on_end(&mut self) {
        if let Carrier::Console(console) = &mut self.0 {
            console.on_end();
        }
    }

    /// Has a command's exit code sent after its output (agent's end).
    pub(crate) fn exit(&mut self, code: i32) {
        if let Carrier::Console(console) = &mut self.0 {
            console.exit(code);
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
            Carrier::Console(console) => console.poll_transmit(out, max_len),
        }
    }

    /// Returns whether there is something to send.
    pub(crate) fn has_transmit(&self) -> bool {
        match &self.0 {
            Carrier::Mux(mux) => mux.has_transmit(),
            Carrier::Basic(basic) => basic.has_transmit(),
            Carrier::Console(console) => console.has_transmit(),
        }
    }

    /// Bytes that were written and wait to be sent.
    pub(crate) fn unsent_len(&self) -> usize {
        match &self.0 {
            Carrier::Mux(mux) => mux.unsent_len(),
            Carrier::Basic(basic) => basic.unsent_len(),
            Carrier::Console(console) => console.unsent_len(),
        }
    }

    /// Those of them that were written to one stream.
    pub(crate) fn unsent_len_of(&self, id: StreamId) -> usize {
        match &self.0 {
            Carrier::Mux(mux) => mux.unsent_len_of(id),
            // There is one stream to write to.
            Carrier::Basic(_) | Carrier::Console(_) => self.unsent_len(),
        }
    }

    /// Has a frame without effect sent if nothing else waits; does nothing where there are no frames.
    pub(crate) fn keep_alive(&mut self) {
        if let Carrier::Mux(mux) = &mut self.0 {
            mux.keep_alive();
        }
    }

    /// Whether nothing but the end of the session tells that nothing more comes: no end of a connection, and no exit code.
    pub(crate) fn ends_unmarked(&self) -> bool {
        match &self.0 {
            Carrier::Mux(_) => false,
            Carrier::Basic(_) => true,
            Carrier::Console(console) => console.exit_code().is_none(),
        }
    }

    /// Bytes unread or waiting to be sent.
    pub(crate) fn buffered_len(&self) -> usize {
        match &self.0 {
            Carrier::Mux(mux) => mux.buffered_len(),
            Carrier::Basic(basic) => basic.buffered_len(),
            Carrier::Console(console) => console.buffered_len(),
        }
    }

    pub(crate) fn is_receive_blocked(&self) -> bool {
        match &self.0 {
            Carrier::Mux(mux) => mux.is_receive_blocked(),
            Carrier::Basic(basic) => basic.is_receive_blocked(),
            Carrier::Console(console) => console.is_receive_blocked(),
        }
    }
}
