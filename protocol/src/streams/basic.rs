//! One connection at a time, as agents up to 3.0.196.0 carry it: raw bytes, and a flag between two.
//!
//! The agent connects when the session starts, and again for the first bytes after a connection has
//! ended. Nothing marks the end of a connection towards the client: an agent whose destination closes
//! says nothing. Nothing marks its beginning either: what arrives before the first connection is opened
//! belongs to it, and what arrives before a later one has sent anything belongs to the one before.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use super::StreamEvent;
use crate::error::OpenError;
use crate::message::{Flag, PayloadType};
use crate::smux::{Chunks, Limits, Role, StreamId};

/// The one stream of a session without multiplexing.
#[derive(Debug)]
pub(crate) struct Basic {
    role: Role,
    limits: Limits,
    state: State,
    next_id: u32,
    send: Chunks,
    recv: BytesMut,
    /// Bytes the reader has taken and may not be done with.
    lent_len: usize,
    /// Output belongs to the connection that is open or will be: none was open before, or it has sent
    /// something itself.
    is_output_current: bool,
    /// The stream the client has ended and the agent has not, with what is still to be read of it. The
    /// next one may have begun already.
    ended: Option<(StreamId, BytesMut)>,
    is_writer_waiting: bool,
    is_opener_waiting: bool,
    events: VecDeque<StreamEvent>,
}

/// ```text
///        open                finish, abort              sent               acknowledged
/// Idle ───────▶ Open(id) ─────────────────▶ Finishing ──────▶ Disconnecting ──────────▶ Idle
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Open(StreamId),
    /// What was written is still being sent; the flag follows.
    Finishing,
    /// The flag is sent and not acknowledged.
    Disconnecting,
}

impl Basic {
    pub(crate) fn new(role: Role, limits: Limits) -> Self {
        let mut basic = Self {
            role,
            limits,
            state: State::Idle,
            next_id: 1,
            send: Chunks::default(),
            recv: BytesMut::new(),
            lent_len: 0,
            is_output_current: true,
            ended: None,
            is_writer_waiting: false,
            is_opener_waiting: false,
            events: VecDeque::new(),
        };
        if role == Role::Server {
            basic.accept();
        }
        basic
    }

    pub(crate) fn open(&mut self) -> Result<StreamId, OpenError> {
        if self.state != State::Idle {
            self.is_opener_waiting = true;
            return Err(OpenError::Busy);
        }
        let id = self.start();
        if !self.recv.is_empty() {
            self.events.push_back(StreamEvent::Readable(id));
        }
        Ok(id)
    }

    pub(crate) fn has_unopened(&self) -> bool {
        self.state == State::Idle && !self.recv.is_empty()
    }

    pub(crate) fn write(&mut self, id: StreamId, data: &mut Bytes) -> usize {
        if self.state != State::Open(id) {
            return std::mem::take(data).len();
        }
        let written_len = self.send.accept(data, self.limits.stream_send_len);
        self.is_writer_waiting = !data.is_empty();
        written_len
    }

    pub(crate) fn read(&mut self, id: StreamId) -> Bytes {
        if let Some((ended, recv)) = &mut self.ended
            && *ended == id
        {
            return std::mem::take(recv).freeze();
        }
        if self.state != State::Open(id) {
            return Bytes::new();
        }
        self.lent_len = self.recv.len();
        std::mem::take(&mut self.recv).freeze()
    }

    /// Ends the stream. At the agent's end nothing is sent: the protocol has no word for it.
    pub(crate) fn finish(&mut self, id: StreamId) {
        self.ended.take_if(|(ended, _)| *ended == id);
        if self.state == State::Open(id) {
            self.recv = BytesMut::new();
            self.lent_len = 0;
            self.is_output_current = false;
            self.state = match self.role {
                Role::Client => State::Finishing,
                Role::Server => State::Idle,
            };
        }
    }

    pub(crate) fn abort(&mut self, id: StreamId) {
        if self.state == State::Open(id) {
            self.send = Chunks::default();
        }
        self.finish(id);
    }

    /// Takes bytes of the stream; at the agent's end, they open one if there is none.
    pub(crate) fn handle_output(&mut self, bytes: &[u8]) {
        if self.role == Role::Server {
            if self.state == State::Idle {
                self.accept();
            }
            self.is_output_current = true;
        }
        if !self.is_output_current {
            return;
        }
        if let State::Open(id) = self.state
            && self.recv.is_empty()
            && !bytes.is_empty()
        {
            self.events.push_back(StreamEvent::Readable(id));
        }
        self.recv.extend_from_slice(bytes);
    }

    /// The client has closed its connection (agent's end): nothing of it may follow the flag's
    /// acknowledgement, and what comes next belongs to another one.
    pub(crate) fn on_disconnect(&mut self) {
        if let State::Open(id) = self.state {
            self.send = Chunks::default();
            self.ended = Some((id, std::mem::take(&mut self.recv)));
            self.state = State::Idle;
            self.events.push_back(StreamEvent::Finished(id));
        }
    }

    /// The agent has closed its connection (client's end).
    pub(crate) fn on_disconnect_acked(&mut self) {
        if self.state == State::Disconnecting {
            self.state = State::Idle;
            if std::mem::take(&mut self.is_opener_waiting) {
                self.events.push_back(StreamEvent::Available);
            }
        }
    }

    pub(crate) fn poll_transmit(
        &mut self,
        out: &mut BytesMut,
        max_len: usize,
    ) -> Option<PayloadType> {
        if self.send.copy_to(out, max_len) > 0 {
            self.is_output_current |= matches!(self.state, State::Open(_));
            if let State::Open(id) = self.state
                && self.send.len() <= self.limits.stream_send_len / 2
                && std::mem::take(&mut self.is_writer_waiting)
            {
                self.events.push_back(StreamEvent::Writable(id));
            }
            return Some(PayloadType::Output);
        }
        if self.state != State::Finishing {
            return None;
        }
        self.state = State::Disconnecting;
        out.put_slice(&Flag::DisconnectToPort.encode());
        Some(PayloadType::Flag)
    }

    pub(crate) fn has_transmit(&self) -> bool {
        self.send.len() > 0 || self.state == State::Finishing
    }

    pub(crate) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    pub(crate) fn is_receive_blocked(&self) -> bool {
        self.recv.len() + self.lent_len >= self.limits.receive_len
    }

    pub(crate) fn buffered_len(&self) -> usize {
        self.recv.len() + self.send.len()
    }

    pub(crate) fn unsent_len(&self) -> usize {
        self.send.len()
    }

    pub(crate) fn stream_count(&self) -> usize {
        usize::from(matches!(self.state, State::Open(_)))
    }

    fn accept(&mut self) {
        let id = self.start();
        self.events.push_back(StreamEvent::Opened(id));
    }

    fn start(&mut self) -> StreamId {
        let id = StreamId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.state = State::Open(id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(role: Role) -> Basic {
        Basic::new(
            role,
            Limits {
                stream_send_len: 8,
                receive_len: 8,
                stream_receive_len: 8,
                unanswered_len: 8,
                stream_count: 1,
            },
        )
    }

    fn transmitted(basic: &mut Basic) -> Vec<(PayloadType, Vec<u8>)> {
        let mut out = BytesMut::new();
        std::iter::from_fn(|| Some((basic.poll_transmit(&mut out, 4)?, out.split().to_vec())))
            .collect()
    }

    #[test]
    fn the_next_connection_waits_for_the_acknowledged_flag() {
        let mut client = basic(Role::Client);
        let first = client.open().unwrap();
        client.write(first, &mut Bytes::from_static(b"hello"));
        client.finish(first);
        assert_eq!(client.open(), Err(OpenError::Busy));
        let sent = transmitted(&mut client);
        assert_eq!(sent[0], (PayloadType::Output, b"hell".to_vec()));
        assert_eq!(sent[1], (PayloadType::Output, b"o".to_vec()));
        assert_eq!(sent[2], (PayloadType::Flag, vec![0, 0, 0, 1]));
        client.handle_output(b"late bytes of the first");
        client.on_disconnect_acked();
        assert_eq!(client.poll_event(), Some(StreamEvent::Available));
        let second = client.open().unwrap();
        assert_ne!(first, second);
        assert!(client.read(second).is_empty());
    }

    #[test]
    fn the_agent_connects_at_the_start_and_for_the_next_bytes() {
        let mut agent = basic(Role::Server);
        let Some(StreamEvent::Opened(id)) = agent.poll_event() else {
            panic!("no stream was opened");
        };
        agent.handle_output(b"hi");
        assert_eq!(agent.poll_event(), Some(StreamEvent::Readable(id)));
        assert_eq!(&agent.read(id)[..], b"hi");
        agent.on_disconnect();
        assert_eq!(agent.poll_event(), Some(StreamEvent::Finished(id)));
        agent.finish(id);
        agent.handle_output(b"again");
        assert!(matches!(agent.poll_event(), Some(StreamEvent::Opened(next)) if next != id));
    }

    #[test]
    fn the_agent_keeps_the_bytes_of_two_connections_apart() {
        let mut agent = basic(Role::Server);
        agent.handle_output(b"first");
        let Some(StreamEvent::Opened(first)) = agent.poll_event() else {
            panic!("no stream was opened");
        };
        agent.write(first, &mut Bytes::from_static(b"queued"));
        agent.on_disconnect();
        agent.write(first, &mut Bytes::from_static(b"late"));
        assert!(transmitted(&mut agent).is_empty());
        agent.handle_output(b"second");
        let opened = std::iter::from_fn(|| agent.poll_event())
            .find_map(|event| match event {
                StreamEvent::Opened(id) => Some(id),
                _ => None,
            })
            .unwrap();
        assert_eq!(&agent.read(first)[..], b"first");
        agent.finish(first);
        assert_eq!(&agent.read(opened)[..], b"second");
    }

    #[test]
    fn a_greeting_waits_for_the_first_connection() {
        let mut client = basic(Role::Client);
        client.handle_output(b"220 hi");
        let id = client.open().unwrap();
        assert_eq!(client.poll_event(), Some(StreamEvent::Readable(id)));
        assert_eq!(&client.read(id)[..], b"220 hi");
    }

    #[test]
    fn late_output_is_not_given_to_the_next_connection() {
        let mut client = basic(Role::Client);
        let first = client.open().unwrap();
        client.finish(first);
        transmitted(&mut client);
        client.on_disconnect_acked();
        let second = client.open().unwrap();
        client.handle_output(b"read by the agent before the flag");
        assert!(client.read(second).is_empty());
        client.write(second, &mut Bytes::from_static(b"hello"));
        transmitted(&mut client);
        client.handle_output(b"answer");
        assert_eq!(&client.read(second)[..], b"answer");
    }

    #[test]
    fn an_aborted_stream_sends_the_flag_only() {
        let mut client = basic(Role::Client);
        let id = client.open().unwrap();
        client.write(id, &mut Bytes::from_static(b"hello"));
        client.abort(id);
        assert_eq!(
            transmitted(&mut client),
            [(PayloadType::Flag, vec![0, 0, 0, 1])]
        );
    }

    #[test]
    fn a_full_queue_turns_the_writer_away_until_half_is_sent() {
        let mut client = basic(Role::Client);
        let id = client.open().unwrap();
        let mut data = Bytes::from_static(b"0123456789");
        assert_eq!(client.write(id, &mut data), 8);
        assert_eq!(&data[..], b"89");
        let mut out = BytesMut::new();
        client.poll_transmit(&mut out, 4);
        assert_eq!(client.poll_event(), Some(StreamEvent::Writable(id)));
    }
}
