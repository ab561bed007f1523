//! The two streams of a shell or a command: no frames, only payloads of their own types.
//!
//! Both are there from the start. The client reads the terminal, or a command's standard output, from
//! [`StreamId::OUTPUT`] and writes keystrokes or signals to it; a command's standard error comes on
//! [`StreamId::ERROR`]. At the agent's end it is the other way round.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use super::StreamEvent;
use crate::message::PayloadType;
use crate::session::{self, Size};
use crate::smux::{Chunks, Limits, Role, StreamId};

/// Streams and side information of one shell or command.
#[derive(Debug)]
pub(crate) struct Console {
    role: Role,
    /// A line feed typed by itself is the Enter key.
    is_terminal: bool,
    limits: Limits,
    output: Pipe,
    error: Pipe,
    /// Which stream sends next, if both have something.
    is_error_next: bool,
    /// The terminal's size, while it is to be sent.
    size: Option<Size>,
    /// At the client's end what the agent reported, at the agent's what it has yet to report.
    exit_code: Option<i32>,
    events: VecDeque<StreamEvent>,
}

/// One of the streams.
#[derive(Debug, Default)]
struct Pipe {
    send: Chunks,
    recv: BytesMut,
    /// Bytes the reader has taken and may not be done with.
    lent_len: usize,
    /// The last write was short: the next one brings its rest.
    is_write_unfinished: bool,
    /// A writer was turned away and is to be told when there is room.
    is_writer_waiting: bool,
    /// The application is done with it: what arrives is discarded.
    is_closed: bool,
}

impl Console {
    /// Opens both streams; `size` is the terminal's, at the client's end.
    pub(crate) fn new(role: Role, is_terminal: bool, size: Size, limits: Limits) -> Self {
        let opened = [StreamId::OUTPUT, StreamId::ERROR];
        Self {
            role,
            is_terminal,
            limits,
            output: Pipe::default(),
            error: Pipe::default(),
            is_error_next: false,
            size: (role == Role::Client && is_terminal).then_some(size),
            exit_code: None,
            events: opened.into_iter().map(StreamEvent::Opened).collect(),
        }
    }

    pub(crate) fn write(&mut self, id: StreamId, data: &mut Bytes) -> usize {
        let is_sent = self.role == Role::Server || id == StreamId::OUTPUT;
        let is_enter = self.role == Role::Client && self.is_terminal && data[..] == b"\n"[..];
        let max_len = self.limits.stream_send_len;
        let pipe = self.pipe_mut(id).filter(|pipe| is_sent && !pipe.is_closed);
        let Some(pipe) = pipe else {
            return std::mem::take(data).len();
        };
        // The rest of a longer write is no keystroke.
        if is_enter && !pipe.is_write_unfinished {
            *data = Bytes::from_static(b"\r");
        }
        let written_len = pipe.send.accept(data, max_len);
        pipe.is_write_unfinished = !data.is_empty();
        pipe.is_writer_waiting = !data.is_empty();
        written_len
    }

    pub(crate) fn read(&mut self, id: StreamId) -> Bytes {
        let Some(pipe) = self.pipe_mut(id) else {
            return Bytes::new();
        };
        pipe.lent_len = pipe.recv.len();
        std::mem::take(&mut pipe.recv).freeze()
    }

    /// The application has written everything to the stream and reads no more of it.
    pub(crate) fn finish(&mut self, id: StreamId) {
        if let Some(pipe) = self.pipe_mut(id) {
            pipe.is_closed = true;
            pipe.is_writer_waiting = false;
            pipe.recv = BytesMut::new();
            pipe.lent_len = 0;
        }
    }

    pub(crate) fn abort(&mut self, id: StreamId) {
        if let Some(pipe) = self.pipe_mut(id) {
            pipe.send = Chunks::default();
        }
        self.finish(id);
    }

    /// Takes a payload of the peer.
    pub(crate) fn handle_payload(&mut self, kind: PayloadType, bytes: &[u8]) {
        let id = match kind {
            PayloadType::Output => StreamId::OUTPUT,
            PayloadType::StandardError => StreamId::ERROR,
            PayloadType::ExitCode if self.role == Role::Client => {
                let code = session::decode_exit_code(bytes);
                if code.is_none() {
                    tracing::debug!("an exit code that is no number is passed over");
                }
                self.exit_code = code.or(self.exit_code);
                return;
            }
            _ => return,
        };
        let Some(pipe) = self.pipe_mut(id).filter(|pipe| !pipe.is_closed) else {
            return;
        };
        let is_first = pipe.recv.is_empty() && !bytes.is_empty();
        pipe.recv.extend_from_slice(bytes);
        if is_first {
            self.events.push_back(StreamEvent::Readable(id));
        }
    }

    /// The peer has closed the session in good order: what waits to be read is all there was.
    pub(crate) fn on_end(&mut self) {
        let ended = [StreamId::OUTPUT, StreamId::ERROR];
        self.events
            .extend(ended.into_iter().map(StreamEvent::Finished));
    }

    /// Has the size sent, before any data; only the latest counts.
    pub(crate) fn resize(&mut self, size: Size) {
        if self.role == Role::Client {
            self.size = Some(size);
        }
    }

    /// Has the exit code sent after all output (agent's end).
    pub(crate) fn exit(&mut self, code: i32) {
        self.exit_code = Some(code);
    }

    /// What the agent reported (client's end).
    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.exit_code.filter(|_| self.role == Role::Client)
    }

    pub(crate) fn poll_transmit(
        &mut self,
        out: &mut BytesMut,
        max_len: usize,
    ) -> Option<PayloadType> {
        if let Some(size) = self.size.take() {
            out.put_slice(&size.encode());
            return Some(PayloadType::Size);
        }
        let (first, second) = match self.is_error_next {
            true => (StreamId::ERROR, StreamId::OUTPUT),
            false => (StreamId::OUTPUT, StreamId::ERROR),
        };
        let sent = self
            .transmit(first, out, max_len)
            .or_else(|| self.transmit(second, out, max_len));
        if sent.is_some() {
            return sent;
        }
        let code = self.exit_code.take_if(|_| self.role == Role::Server)?;
        out.put_slice(session::encode_exit_code(code).as_bytes());
        Some(PayloadType::ExitCode)
    }

    pub(crate) fn has_transmit(&self) -> bool {
        let has_exit_code = self.role == Role::Server && self.exit_code.is_some();
        self.size.is_some() || self.send_len() > 0 || has_exit_code
    }

    pub(crate) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    pub(crate) fn is_receive_blocked(&self) -> bool {
        let unread_len: usize = self.pipes().map(Pipe::unread_len).sum();
        unread_len >= self.limits.receive_len
    }

    pub(crate) fn buffered_len(&self) -> usize {
        let received_len: usize = self.pipes().map(|pipe| pipe.recv.len()).sum();
        received_len + self.send_len()
    }

    pub(crate) fn stream_count(&self) -> usize {
        self.pipes().filter(|pipe| !pipe.is_closed).count()
    }

    /// Writes what one stream has to send.
    fn transmit(
        &mut self,
        id: StreamId,
        out: &mut BytesMut,
        max_len: usize,
    ) -> Option<PayloadType> {
        let half_len = self.limits.stream_send_len / 2;
        let pipe = self.pipe_mut(id)?;
        if pipe.send.copy_to(out, max_len) == 0 {
            return None;
        }
        let is_writable =
            pipe.send.len() <= half_len && std::mem::take(&mut pipe.is_writer_waiting);
        if is_writable {
            self.events.push_back(StreamEvent::Writable(id));
        }
        self.is_error_next = id == StreamId::OUTPUT;
        Some(match id {
            StreamId::ERROR => PayloadType::StandardError,
            _ => PayloadType::Output,
        })
    }

    fn send_len(&self) -> usize {
        self.pipes().map(|pipe| pipe.send.len()).sum()
    }

    fn pipes(&self) -> impl Iterator<Item = &Pipe> {
        [&self.output, &self.error].into_iter()
    }

    fn pipe_mut(&mut self, id: StreamId) -> Option<&mut Pipe> {
        match id {
            StreamId::OUTPUT => Some(&mut self.output),
            StreamId::ERROR => Some(&mut self.error),
            _ => None,
        }
    }
}

impl Pipe {
    /// Bytes that count against the session's receive budget.
    fn unread_len(&self) -> usize {
        self.recv.len() + self.lent_len
    }
}
