//! Puts received messages in order; tells which are to be acknowledged.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::message::{Message, PayloadType};

/// What became of a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It is, or will be, delivered: acknowledge it.
    Stored,
    /// It was delivered before: acknowledge it again, or the sender never gets past it.
    Duplicate,
    /// There is no room: do not acknowledge it, so that it comes again.
    Full,
}

/// The part of a message its consumer sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) kind: PayloadType,
    pub(crate) bytes: Bytes,
}

/// Messages that arrived ahead of a missing one.
#[derive(Debug)]
pub(crate) struct RecvBuffer {
    max_count: usize,
    max_len: usize,
    next: i64,
    /// The message numbered `next`, once it is here.
    ready: Option<Payload>,
    ahead: BTreeMap<i64, Payload>,
    ahead_len: usize,
}

impl RecvBuffer {
    pub(crate) fn new(max_count: usize, max_len: usize) -> Self {
        Self {
            max_count,
            max_len,
            next: 0,
            ready: None,
            ahead: BTreeMap::new(),
            ahead_len: 0,
        }
    }

    /// Takes a received message. Call [`Self::pop`] until it returns `None` afterwards.
    pub(crate) fn insert(&mut self, message: Message) -> Inserted {
        let sequence = message.header.sequence;
        let payload = Payload {
            kind: message.header.payload_type,
            bytes: message.payload,
        };
        if sequence < self.next {
            return Inserted::Duplicate;
        }
        if self.ahead.contains_key(&sequence) {
            return Inserted::Stored;
        }
        if sequence == self.next {
            self.ready = Some(payload);
            return Inserted::Stored;
        }
        if self.ahead.len() >= self.max_count
            || self.ahead_len + payload.bytes.len() > self.max_len
            || sequence - self.next > self.max_count as i64
        {
            return Inserted::Full;
        }
        self.ahead_len += payload.bytes.len();
        // A copy: the slice would keep the socket's whole read buffer alive while it waits.
        let bytes = Bytes::copy_from_slice(&payload.bytes);
        self.ahead.insert(sequence, Payload { bytes, ..payload });
        Inserted::Stored
    }

    /// Returns the next message in order.
    pub(crate) fn pop(&mut self) -> Option<Payload> {
        let payload = match self.ready.take() {
            Some(payload) => payload,
            None => {
                let payload = self.ahead.remove(&self.next)?;
                self.ahead_len -= payload.bytes.len();
                payload
            }
        };
        self.next += 1;
        Some(payload)
    }

    /// Returns whether a message is missing before one that has arrived.
    pub(crate) fn has_gap(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Payload bytes of the messages that arrived ahead.
    pub(crate) fn buffered_len(&self) -> usize {
        self.ahead_len
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::message::{Header, MessageType};

    fn message(sequence: i64) -> Message {
        Message {
            header: Header {
                message_type: MessageType::OutputStreamData,
                created_date: 0,
                sequence,
                flags: 0,
                message_id: Uuid::nil(),
                payload_type: PayloadType::Output,
            },
            payload: Bytes::copy_from_slice(&sequence.to_be_bytes()),
        }
    }

    fn popped(buffer: &mut RecvBuffer) -> Vec<i64> {
        std::iter::from_fn(|| buffer.pop())
            .map(|payload| i64::from_be_bytes(payload.bytes[..].try_into().unwrap()))
            .collect()
    }

    #[test]
    fn order_is_restored() {
        let mut buffer = RecvBuffer::new(10, 1000);
        for sequence in [1, 3, 2] {
            assert_eq!(buffer.insert(message(sequence)), Inserted::Stored);
            assert!(popped(&mut buffer).is_empty());
        }
        assert_eq!(buffer.insert(message(0)), Inserted::Stored);
        assert_eq!(popped(&mut buffer), [0, 1, 2, 3]);
        assert_eq!(buffer.ahead_len, 0);
    }

    #[test]
    fn duplicates_are_known_before_and_after_delivery() {
        let mut buffer = RecvBuffer::new(10, 1000);
        buffer.insert(message(0));
        popped(&mut buffer);
        assert_eq!(buffer.insert(message(0)), Inserted::Duplicate);
        buffer.insert(message(2));
        assert_eq!(buffer.insert(message(2)), Inserted::Stored);
        assert_eq!(buffer.ahead.len(), 1);
        assert_eq!(buffer.insert(message(-5)), Inserted::Duplicate);
    }

    #[test]
    fn memory_is_bounded_by_count_length_and_distance() {
        let mut by_count = RecvBuffer::new(2, 1000);
        by_count.insert(message(1));
        by_count.insert(message(2));
        assert_eq!(by_count.insert(message(3)), Inserted::Full);
        assert_eq!(by_count.insert(message(i64::MAX)), Inserted::Full);

        let mut by_len = RecvBuffer::new(100, 20);
        by_len.insert(message(1));
        by_len.insert(message(2));
        assert_eq!(by_len.insert(message(3)), Inserted::Full);
        assert_eq!(by_len.insert(message(0)), Inserted::Stored);
        assert_eq!(popped(&mut by_len), [0, 1, 2]);
        assert_eq!(by_len.insert(message(3)), Inserted::Stored);
    }
}
