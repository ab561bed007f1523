//! smux v1 without I/O: many streams over one ordered byte stream.
//!
//! Differences from the library the official ends use, all invisible on the wire: data is queued per
//! stream and scheduled round-robin, close frames are never lost to a full queue, and a reader that
//! stalls is buffered up to the session's budget before the byte stream is held back.

mod frame;
mod stream;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{MuxError, OpenError};
use crate::streams::StreamEvent;
use frame::{FrameHeader, HEADER_LEN};
use stream::{StreamState, Unread};

pub(crate) use stream::Chunks;

/// Data bytes of the longest frame the official ends send (`MaxFrameSize`).
const MAX_FRAME_LEN: usize = 32_768;

/// Names a stream within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// Of a shell or a command: its output one way, keystrokes and signals the other.
    pub const OUTPUT: Self = Self(1);
    /// Of a shell or a command: what the agent reports apart from the output, such as a command's
    /// standard error.
    pub const ERROR: Self = Self(2);
}

impl From<StreamId> for u32 {
    fn from(id: StreamId) -> Self {
        id.0
    }
}

/// A frame without effect, as bytes.
pub(crate) const KEEP_ALIVE_FRAME: [u8; HEADER_LEN] = [1, 3, 0, 0, 0, 0, 0, 0];

/// Which end opens streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Opens streams 3, 5, 7, …
    Client,
    /// Accepts them.
    Server,
}

/// Limits of a [`Mux`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes a stream may queue for sending.
    pub(crate) stream_send_len: usize,
    /// Received bytes, over all streams, beyond which the peer is held back.
    pub(crate) receive_len: usize,
    /// Received bytes of one stream beyond which it counts as stalled.
    pub(crate) stream_receive_len: usize,
    /// Bytes sent on a stream, with nothing coming back, beyond which it counts as stalled.
    pub(crate) unanswered_len: usize,
    /// Streams that may be open.
    pub(crate) stream_count: usize,
}

/// A multiplexed session.
#[derive(Debug)]
pub(crate) struct Mux {
    role: Role,
    limits: Limits,
    streams: BTreeMap<StreamId, StreamState>,
    next_id: Option<u32>,
    decoder: Decoder,
    /// Frames without data, which go before any that have some.
    control: VecDeque<FrameHeader>,
    /// Streams with data to send, the next first.
    scheduled: VecDeque<StreamId>,
    /// Data of a frame whose header is sent already.
    unfinished: Chunks,
    /// Received bytes over all streams.
    receive_len: usize,
    /// Failed dials reported by the agent: of each, the newest stream it can be about.
    refusals: VecDeque<StreamId>,
    events: VecDeque<StreamEvent>,
}

/// Where in the frame sequence the received bytes stand.
#[derive(Debug, Default)]
struct Decoder {
    header: BytesMut,
    /// Stream and remaining length of the data frame being received.
    data: Option<(StreamId, usize)>,
}

impl Mux {
    pub(crate) fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            limits,
            streams: BTreeMap::new(),
            next_id: Some(3),
            decoder: Decoder::default(),
            control: VecDeque::new(),
            scheduled: VecDeque::new(),
            unfinished: Chunks::default(),
            receive_len: 0,
            refusals: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Opens a stream, usable at once.
    ///
    /// # Errors
    ///
    /// If too many are open, or all ids of the session have been used.
    pub(crate) fn open(&mut self) -> Result<StreamId, OpenError> {
        if self.streams.len() >= self.limits.stream_count {
            return Err(OpenError::Exhausted);
        }
        let id = self.next_id.ok_or(OpenError::Exhausted)?;
        self.next_id = id.checked_add(2);
        let id = StreamId(id);
        self.streams.insert(id, StreamState::default());
        self.control.push_back(FrameHeader::Open(id));
        Ok(id)
    }

    /// Queues as much of `data` as the stream's share allows and leaves the rest; returns how much.
    ///
    /// After a short write, [`StreamEvent::Writable`] tells when to try again. What is written to a
    /// stream that is gone or that the peer has closed is discarded, as the peer would.
    pub(crate) fn write(&mut self, id: StreamId, data: &mut Bytes) -> usize {
        let stream = self.streams.get_mut(&id);
        let Some(stream) = stream.filter(|stream| !stream.is_peer_closed && !stream.is_finishing)
        else {
            return std::mem::take(data).len();
        };
        let max_len = self.limits.stream_send_len;
        let written_len = stream.send.accept(data, max_len);
        stream.is_writer_waiting = !data.is_empty();
        self.schedule(id);
        written_len
    }

    /// Returns the next of what was received for the stream; empty if nothing waits.
    ///
    /// It counts as unread until the next call, which tells that the reader is done with it.
    pub(crate) fn read(&mut self, id: StreamId) -> Bytes {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Bytes::new();
        };
        self.receive_len -= stream.lent_len;
        let data = stream.recv.pop();
        stream.lent_len = data.len();
        stream.is_stalled &= self.limits.is_stalled(stream);
        data
    }

    /// Closes the stream once what was written is sent. What arrives from now on is discarded.
    pub(crate) fn finish(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.is_finishing = true;
        self.receive_len -= stream.unread_len();
        stream.recv = Unread::default();
        stream.lent_len = 0;
        if stream.is_peer_closed || stream.send.len() == 0 {
            self.close(id);
        }
    }

    /// Closes the stream at once and forgets what it still had to send.
    pub(crate) fn abort(&mut self, id: StreamId) {
        if self.streams.contains_key(&id) {
            self.close(id);
        }
    }

    /// Queues a keep-alive frame, which the peer passes over, unless something waits to be sent anyway.
    pub(crate) fn keep_alive(&mut self) {
        if !self.has_transmit() {
            self.control.push_back(FrameHeader::KeepAlive);
        }
    }

    /// Notes that a dial failed at the agent: a stream closed before it carried data is meant, and
    /// none that is opened from now on.
    pub(crate) fn on_refusal(&mut self) {
        if let Some((oldest, _)) = self.streams.first_key_value() {
            self.refusals.retain(|newest| oldest <= newest);
        }
        if let Some((newest, _)) = self.streams.last_key_value()
            && self.refusals.len() < self.streams.len()
        {
            self.refusals.push_back(*newest);
        }
    }

    /// Takes the next bytes of the peer's byte stream, cut anywhere.
    ///
    /// # Errors
    ///
    /// If they break the frame format, after which the session is unusable.
    pub(crate) fn handle_bytes(&mut self, mut bytes: Bytes) -> Result<(), MuxError> {
        while !bytes.is_empty() {
            if let Some((id, remaining)) = self.decoder.data.take() {
                let data = bytes.split_to(bytes.len().min(remaining));
                let remaining = remaining - data.len();
                self.decoder.data = (remaining > 0).then_some((id, remaining));
                self.on_data(id, &data);
                continue;
            }
            if let Some(header) = self.decoder.next_header(&mut bytes) {
                self.on_header(FrameHeader::decode(header)?)?;
            }
        }
        Ok(())
    }

    /// Appends up to `max_len` bytes of frames to `out`; returns how many.
    ///
    /// A frame that does not fit is cut and continued by the next call, before anything else.
    pub(crate) fn poll_transmit(&mut self, out: &mut BytesMut, max_len: usize) -> usize {
        let start = out.len();
        loop {
            let room = max_len - (out.len() - start);
            if self.unfinished.len() > 0 {
                if self.unfinished.copy_to(out, room) == 0 {
                    break;
                }
            } else if room <= HEADER_LEN {
                break;
            } else if let Some(header) = self.control.pop_front() {
                header.encode(out);
            } else if let Some(id) = self.scheduled.pop_front() {
                self.transmit_data(id, out, room - HEADER_LEN);
            } else {
                break;
            }
        }
        out.len() - start
    }

    /// Returns whether frames wait to be sent.
    pub(crate) fn has_transmit(&self) -> bool {
        self.unfinished.len() > 0 || !self.control.is_empty() || !self.scheduled.is_empty()
    }

    /// Returns what happened since the last call.
    pub(crate) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// Returns whether readers are so far behind that nothing more may be received.
    pub(crate) fn is_receive_blocked(&self) -> bool {
        self.receive_len >= self.limits.receive_len
    }

    /// Bytes unread or waiting to be sent.
    pub(crate) fn buffered_len(&self) -> usize {
        self.receive_len + self.unsent_len()
    }

    /// Bytes that were written and wait to be sent.
    pub(crate) fn unsent_len(&self) -> usize {
        let queued_len: usize = self.streams.values().map(|stream| stream.send.len()).sum();
        self.unfinished.len() + queued_len
    }

    /// Those of them that were written to one stream, at the client's end.
    pub(crate) fn unsent_len_of(&self, id: StreamId) -> usize {
        self.streams.get(&id).map_or(0, |stream| stream.send.len())
    }

    /// Streams that may come to block the session.
    pub(crate) fn stalled_streams(&self) -> impl Iterator<Item = StreamId> {
        let stalled = |(id, stream): (&StreamId, &StreamState)| stream.is_stalled.then_some(*id);
        self.streams.iter().filter_map(stalled)
    }

    /// Streams open now.
    pub(crate) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    fn on_header(&mut self, header: FrameHeader) -> Result<(), MuxError> {
        match header {
            FrameHeader::Open(id) => self.on_open(id),
            FrameHeader::Close(id) => {
                self.on_close(id);
                Ok(())
            }
            FrameHeader::Data { stream, len } => {
                self.decoder.data = (len > 0).then_some((stream, usize::from(len)));
                Ok(())
            }
            FrameHeader::KeepAlive => Ok(()),
        }
    }

    fn on_open(&mut self, id: StreamId) -> Result<(), MuxError> {
        if self.role == Role::Client {
            return Err(MuxError::UnexpectedOpen(id.0));
        }
        if self.streams.len() >= self.limits.stream_count {
            return Err(MuxError::TooManyStreams(self.limits.stream_count));
        }
        // The official library ignores the opening of a stream that is open.
        if let std::collections::btree_map::Entry::Vacant(entry) = self.streams.entry(id) {
            entry.insert(StreamState::default());
            self.events.push_back(StreamEvent::Opened(id));
        }
        Ok(())
    }

    fn on_data(&mut self, id: StreamId, data: &[u8]) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.is_finishing || stream.is_peer_closed {
            return;
        }
        if stream.recv.len() == 0 {
            self.events.push_back(StreamEvent::Readable(id));
        }
        stream.recv.push(data);
        stream.has_received = true;
        stream.unanswered_len = 0;
        self.receive_len += data.len();
        self.look_for_stall(id);
    }

    fn on_close(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut stream.is_peer_closed, true) {
            return;
        }
        let is_cut = stream.send.len() > 0;
        stream.send = Chunks::default();
        if stream.is_finishing {
            self.close(id);
            return;
        }
        let refusal = self.refusals.iter().position(|newest| id <= *newest);
        if let Some(at) = refusal.filter(|_| !stream.has_received) {
            self.refusals.remove(at);
            self.events.push_back(StreamEvent::Refused(id));
        } else if is_cut {
            self.events.push_back(StreamEvent::Cut(id));
        } else {
            self.events.push_back(StreamEvent::Finished(id));
        }
    }

    fn close(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.remove(&id) {
            self.receive_len -= stream.unread_len();
            self.control.push_back(FrameHeader::Close(id));
        }
    }

    /// Reports a stream that has begun to stall; notes one that has recovered.
    fn look_for_stall(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let was_stalled = stream.is_stalled;
        stream.is_stalled = self.role == Role::Client && self.limits.is_stalled(stream);
        if stream.is_stalled && !was_stalled {
            self.events.push_back(StreamEvent::Stalled(id));
        }
    }

    fn schedule(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.send.len() > 0 && !std::mem::replace(&mut stream.is_scheduled, true) {
            self.scheduled.push_back(id);
        }
    }

    /// Writes one data frame of the stream, and schedules its next.
    fn transmit_data(&mut self, id: StreamId, out: &mut BytesMut, room: usize) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.is_scheduled = false;
        // The agent's frames are as long as its queue; ours end with the message, so that a control
        // frame or another stream's data never waits for more than one message.
        let max_len = match self.role {
            Role::Client => room,
            Role::Server => MAX_FRAME_LEN,
        };
        let len = stream.send.len().min(max_len).min(MAX_FRAME_LEN);
        let Ok(wire_len) = u16::try_from(len) else {
            return;
        };
        if len == 0 {
            return;
        }
        FrameHeader::Data {
            stream: id,
            len: wire_len,
        }
        .encode(out);
        let copied_len = stream.send.copy_to(out, len.min(room));
        self.unfinished = stream.send.split_to(len - copied_len);
        stream.unanswered_len += len;
        if stream.is_writer_waiting && stream.send.len() <= self.limits.stream_send_len / 2 {
            stream.is_writer_waiting = false;
            self.events.push_back(StreamEvent::Writable(id));
        }
        if stream.is_finishing && stream.send.len() == 0 {
            self.close(id);
        } else {
            self.look_for_stall(id);
            self.schedule(id);
        }
    }
}

impl Limits {
    fn is_stalled(&self, stream: &StreamState) -> bool {
        stream.unread_len() >= self.stream_receive_len
            || stream.unanswered_len >= self.unanswered_len
    }
}

impl Decoder {
    /// Takes header bytes; returns the header once all of it is there.
    fn next_header(&mut self, bytes: &mut Bytes) -> Option<[u8; HEADER_LEN]> {
        if self.header.is_empty()
            && let Some(header) = bytes.first_chunk::<HEADER_LEN>()
        {
            let header = *header;
            bytes.advance(HEADER_LEN);
            return Some(header);
        }
        let missing_len = HEADER_LEN - self.header.len();
        self.header
            .extend_from_slice(&bytes.split_to(bytes.len().min(missing_len)));
        let header = *self.header.first_chunk::<HEADER_LEN>()?;
        self.header.clear();
        Some(header)
    }
}

#[cfg(test)]
mod tests;
