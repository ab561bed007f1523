//! The two streams of a shell or a command: no frames, only payloads of their own types.
//!
//! Both are there from the start. The client reads the terminal, or a command's standard output, from
//! [`StreamId::OUTPUT`] and writes keystrokes or signals to it; a command's standard error comes on
//! [`StreamId::ERROR`]. At the agent's end it is the other way round.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use super::StreamEvent;
use crate::console::{self, Size};
use crate::message::PayloadType;
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
                let code = console::decode_exit_code(bytes);
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
        out.put_slice(console::encode_exit_code(code).as_bytes());
        Some(PayloadType::ExitCode)
    }

    pub(crate) fn has_transmit(&self) -> bool {
        let has_exit_code = self.role == Role::Server && self.exit_code.is_some();
        self.size.is_some() || self.unsent_len() > 0 || has_exit_code
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
        received_len + self.unsent_len()
    }

    pub(crate) fn unsent_len(&self) -> usize {
        self.pipes().map(|pipe| pipe.send.len()).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { cols: 80, rows: 24 };

    fn console(role: Role, is_terminal: bool) -> Console {
        let limits = Limits {
            stream_send_len: 8,
            unanswered_len: 8,
            stream_receive_len: 8,
            receive_len: 8,
            stream_count: 1,
        };
        let mut console = Console::new(role, is_terminal, SIZE, limits);
        assert_eq!(console.poll_event(), Some(OPENED[0]));
        assert_eq!(console.poll_event(), Some(OPENED[1]));
        assert_eq!(console.poll_event(), None);
        console
    }

    const OPENED: [StreamEvent; 2] = [
        StreamEvent::Opened(StreamId::OUTPUT),
        StreamEvent::Opened(StreamId::ERROR),
    ];

    fn write(console: &mut Console, id: StreamId, text: &'static [u8]) -> usize {
        console.write(id, &mut Bytes::from_static(text))
    }

    fn transmitted(console: &mut Console) -> Vec<(PayloadType, Vec<u8>)> {
        let mut out = BytesMut::new();
        std::iter::from_fn(|| Some((console.poll_transmit(&mut out, 4)?, out.split().to_vec())))
            .collect()
    }

    #[test]
    fn the_size_goes_before_keystrokes_and_those_in_pieces() {
        let mut client = console(Role::Client, true);
        assert_eq!(write(&mut client, StreamId::OUTPUT, b"typed"), 5);
        let sent = transmitted(&mut client);
        assert_eq!(sent[0], (PayloadType::Size, SIZE.encode()));
        assert_eq!(sent[1], (PayloadType::Output, b"type".to_vec()));
        assert_eq!(sent[2], (PayloadType::Output, b"d".to_vec()));
        assert!(!client.has_transmit());
    }

    #[test]
    fn a_command_has_no_size_unless_told() {
        let mut client = console(Role::Client, false);
        assert!(!client.has_transmit());
        client.resize(SIZE);
        assert_eq!(
            transmitted(&mut client),
            [(PayloadType::Size, SIZE.encode())]
        );
    }

    #[test]
    fn both_outputs_take_turns_and_the_exit_code_is_last() {
        let mut agent = console(Role::Server, false);
        agent.exit(7);
        write(&mut agent, StreamId::OUTPUT, b"outoutou");
        write(&mut agent, StreamId::ERROR, b"errerrer");
        let kinds: Vec<_> = transmitted(&mut agent)
            .into_iter()
            .map(|(kind, _)| kind)
            .collect();
        let (output, error) = (PayloadType::Output, PayloadType::StandardError);
        assert_eq!(kinds, [output, error, output, error, PayloadType::ExitCode]);
        assert!(!agent.has_transmit());
        assert_eq!(agent.exit_code(), None);
    }

    #[test]
    fn a_full_queue_turns_the_writer_away_until_half_is_sent() {
        let mut client = console(Role::Client, false);
        assert_eq!(write(&mut client, StreamId::OUTPUT, b"0123456789"), 8);
        let mut out = BytesMut::new();
        client.poll_transmit(&mut out, 4);
        let writable = StreamEvent::Writable(StreamId::OUTPUT);
        assert_eq!(client.poll_event(), Some(writable));
    }

    #[test]
    fn unread_bytes_of_both_streams_block() {
        let mut client = console(Role::Client, false);
        client.handle_payload(PayloadType::Output, b"1234");
        client.handle_payload(PayloadType::StandardError, b"567");
        assert!(!client.is_receive_blocked());
        client.handle_payload(PayloadType::StandardError, b"8");
        assert!(client.is_receive_blocked());
        assert_eq!(client.read(StreamId::ERROR), &b"5678"[..]);
        // Taken, but the reader may still be busy with it.
        assert!(client.is_receive_blocked());
        assert!(client.read(StreamId::ERROR).is_empty());
        assert!(!client.is_receive_blocked());
    }

    #[test]
    fn a_stream_nobody_reads_any_more_blocks_nothing() {
        let mut client = console(Role::Client, true);
        client.handle_payload(PayloadType::Output, b"unread and more");
        client.finish(StreamId::OUTPUT);
        client.handle_payload(PayloadType::Output, b"discarded, too");
        assert!(!client.is_receive_blocked());
        assert_eq!(client.buffered_len(), 0);
        assert_eq!(client.stream_count(), 1);
        assert_eq!(write(&mut client, StreamId::OUTPUT, b"late"), 4);
        assert_eq!(transmitted(&mut client).len(), 1);
    }

    #[test]
    fn a_client_writes_to_one_stream_only() {
        let mut client = console(Role::Client, false);
        assert_eq!(write(&mut client, StreamId::ERROR, b"nowhere"), 7);
        assert!(!client.has_transmit());
    }

    #[test]
    fn a_garbled_exit_code_does_not_undo_one_that_was_read() {
        let mut client = console(Role::Client, false);
        client.handle_payload(PayloadType::ExitCode, b"EXIT_CODE: seven");
        assert_eq!(client.exit_code(), None);
        client.handle_payload(PayloadType::ExitCode, b"EXIT_CODE: 7");
        client.handle_payload(PayloadType::ExitCode, b"");
        assert_eq!(client.exit_code(), Some(7));
    }
}
