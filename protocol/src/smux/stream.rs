//! One stream: what waits to be sent, what waits to be read, and which ends have closed it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Chunks of bytes on their way out, in order.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl Chunks {
    /// Bytes queued.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends a chunk without copying it.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// Moves up to `max_len` bytes to the end of `out`; returns how many.
    pub(crate) fn copy_to(&mut self, out: &mut BytesMut, max_len: usize) -> usize {
        let mut copied_len = 0;
        while let Some(chunk) = self.chunks.front_mut() {
            let part_len = chunk.len().min(max_len - copied_len);
            out.extend_from_slice(&chunk.split_to(part_len));
            copied_len += part_len;
            if !chunk.is_empty() {
                break;
            }
            self.chunks.pop_front();
        }
        self.len -= copied_len;
        copied_len
    }

    /// Takes the first `len` bytes away, without copying them.
    pub(crate) fn split_to(&mut self, len: usize) -> Self {
        let mut front = Self::default();
        while front.len < len {
            let Some(mut chunk) = self.chunks.pop_front() else {
                break;
            };
            let part_len = chunk.len().min(len - front.len);
            front.push(chunk.split_to(part_len));
            if !chunk.is_empty() {
                self.chunks.push_front(chunk);
            }
        }
        self.len -= front.len;
        front
    }

    /// Takes up to `max_len` of the bytes queued as `data`, leaving the rest there; returns how many.
    pub(crate) fn accept(&mut self, data: &mut Bytes, max_len: usize) -> usize {
        let room = max_len.saturating_sub(self.len);
        let taken = data.split_to(data.len().min(room));
        let taken_len = taken.len();
        self.push(taken);
        taken_len
    }
}

/// Bytes of a segment after which the next one is begun.
const SEGMENT_LEN: usize = 64 * 1024;

/// Received bytes in segments: a reader that is behind costs no more memory than its bytes.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    segments: VecDeque<BytesMut>,
    len: usize,
}

impl Unread {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends a copy: a slice would hold the socket's whole read buffer.
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.len += data.len();
        match self.segments.back_mut() {
            Some(last) if last.len() + data.len() <= SEGMENT_LEN => last.extend_from_slice(data),
            _ => self.segments.push_back(BytesMut::from(data)),
        }
    }

    /// Takes the oldest segment, whole: what is left of a split buffer would keep its memory.
    pub(crate) fn pop(&mut self) -> Bytes {
        let segment = self.segments.pop_front().unwrap_or_default().freeze();
        self.len -= segment.len();
        segment
    }
}

/// State of one open stream.
///
/// smux v1 has no half-close: a close frame ends both directions for its sender, who forgets the
/// stream and discards what comes for it later.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    /// Waiting to be framed.
    pub(crate) send: Chunks,
    /// Received and not yet read.
    pub(crate) recv: Unread,
    /// Bytes the reader has taken and may not be done with.
    pub(crate) lent_len: usize,
    /// Bytes sent since the last arrived.
    pub(crate) unanswered_len: usize,
    /// It was reported as stalled, and has not recovered.
    pub(crate) is_stalled: bool,
    /// Any data has ever arrived: a dial that failed at the agent leaves none.
    pub(crate) has_received: bool,
    /// The application has written everything; a close frame follows the queued data.
    pub(crate) is_finishing: bool,
    /// The peer has closed the stream: nothing more will arrive, and it discards what we send.
    pub(crate) is_peer_closed: bool,
    /// The stream stands in the round-robin queue.
    pub(crate) is_scheduled: bool,
    /// A writer was turned away and is to be told when there is room.
    pub(crate) is_writer_waiting: bool,
}

impl StreamState {
    /// Bytes that count against the session's receive budget.
    pub(crate) fn unread_len(&self) -> usize {
        self.recv.len() + self.lent_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_keep_order_across_boundaries() {
        let mut chunks = Chunks::default();
        for text in ["abc", "", "defg", "h"] {
            chunks.push(Bytes::from_static(text.as_bytes()));
        }
        let mut out = BytesMut::new();
        assert_eq!(chunks.copy_to(&mut out, 5), 5);
        assert_eq!(&out[..], b"abcde");
        let mut rest = chunks.split_to(2);
        assert_eq!((rest.len(), chunks.len()), (2, 1));
        rest.copy_to(&mut out, 100);
        chunks.copy_to(&mut out, 100);
        assert_eq!(&out[..], b"abcdefgh");
        assert_eq!(chunks.copy_to(&mut out, 1), 0);
    }

    #[test]
    fn no_more_is_accepted_than_fits() {
        let mut chunks = Chunks::default();
        let mut data = Bytes::from_static(b"abcdef");
        assert_eq!(chunks.accept(&mut data, 4), 4);
        assert_eq!(chunks.accept(&mut data, 4), 0);
        assert_eq!(&data[..], b"ef");
    }
}
