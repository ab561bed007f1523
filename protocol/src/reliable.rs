//! The reliability layer, the same for both ends: sequence, acknowledgement, retransmission.
//!
//! Neither end of the official protocol has a window or a cumulative acknowledgement: every stream
//! message is acknowledged by its number ("Acknowledgement" in the README). State lives as long
//! as the session and does not notice which connection carries it.

mod recv;
mod rtt;
mod send;
mod window;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use fastrand::Rng;
use uuid::{Builder, Uuid};

pub(crate) use recv::Payload;

use crate::config::{Config, Repair};
use crate::control::{Acknowledge, Acknowledged};
use crate::message::{Frame, HEADER_LEN, Header, Message, MessageType, PayloadType};
use crate::version::Version;
use recv::{Inserted, RecvBuffer};
use send::SendBuffer;
use window::Window;

/// Header flags of messages that are neither first nor in the middle of a stream.
const WHOLE: u64 = 3;
/// Length of an acknowledgement's payload for a sequence number of up to ten digits, bytes.
const ACK_LEN: usize = 192;
/// Acknowledgements that may wait for the socket before it is no longer read.
const MAX_ACK_COUNT: usize = 4096;
/// Acknowledgements that are repeated on a new connection, and the time before the newest from which
/// they are: what may have been under way when the connection broke.
///
/// One that was lost costs the agent a repetition, of which it sends ten a second; repeating one
/// costs 0.3 KB. The agent sends about 870 messages a second.
const RECENT_COUNT: usize = 512;
const RECENT_TIME: Duration = Duration::from_secs(2);

/// Messages from the oldest unacknowledged to the newest, beyond which new data waits.
///
/// Bounds the bookkeeping, and stays below the 100,000 that the agent holds out of order
/// (`IncomingMessageBufferCapacity`): what comes after them it does not take.
const MAX_SPAN_COUNT: usize = 65_536;

/// Transmissions of a message that later acknowledged ones have overtaken, after which it counts as delivered.
///
/// By agents that do not acknowledge repetitions: a connection loses nothing but its end, so one would do; the service
/// may swap neighbours.
const OVERTAKEN_COUNT: u8 = 8;
/// By agents of unknown version, which may acknowledge them, so that nothing but their loss explains the silence: more
/// than any path loses in a row.
const OVERTAKEN_COUNT_IF_UNKNOWN: u8 = 64;

/// Which end of the channel this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Agent,
}

impl Side {
    fn sends(self) -> MessageType {
        match self {
            Self::Client => MessageType::InputStreamData,
            Self::Agent => MessageType::OutputStreamData,
        }
    }

    fn receives(self) -> MessageType {
        match self {
            Self::Client => MessageType::OutputStreamData,
            Self::Agent => MessageType::InputStreamData,
        }
    }
}

/// Source of message ids and creation dates, both determined by what the caller passed in.
#[derive(Debug)]
struct Stamp {
    ids: Rng,
    started: Instant,
    /// Wall clock at `started`, since the epoch.
    started_unix: Duration,
}

impl Stamp {
    fn id(&mut self) -> Uuid {
        Builder::from_random_bytes(self.ids.u128(..).to_be_bytes()).into_uuid()
    }

    fn date(&self, now: Instant) -> u64 {
        let date = self.started_unix + now.saturating_duration_since(self.started);
        u64::try_from(date.as_millis()).unwrap_or(u64::MAX)
    }
}

/// One end's sequence state.
#[derive(Debug)]
pub(crate) struct Reliable {
    side: Side,
    payload_len: usize,
    stamp: Stamp,
    send: SendBuffer,
    recv: RecvBuffer,
    acks_repetitions: bool,
    acks: VecDeque<Ack>,
    /// The newest acknowledgements that were sent, and when.
    recent_acks: VecDeque<(Instant, Ack)>,
}

#[derive(Debug, Clone, Copy)]
struct Ack {
    message_id: Uuid,
    sequence: i64,
}

impl Reliable {
    /// Creates the state of a new session; `unix` is the wall clock at `now`, since the epoch.
    pub(crate) fn new(
        side: Side,
        config: &Config,
        seed: u64,
        now: Instant,
        unix: Duration,
    ) -> Self {
        let window = match config.retransmission.repair {
            Repair::Selective => {
                Window::adaptive(config.send_window_len, config.payload_len + HEADER_LEN)
            }
            // The official ends have no window: theirs is but a bound of memory.
            Repair::OldestOnly { .. } => Window::fixed(config.send_window_len),
        };
        Self {
            side,
            payload_len: config.payload_len,
            stamp: Stamp {
                ids: Rng::with_seed(seed),
                started: now,
                started_unix: unix,
            },
            send: SendBuffer::new(config.retransmission, window),
            recv: RecvBuffer::new(config.reorder_count, config.reorder_len),
            acks_repetitions: true,
            acks: VecDeque::new(),
            recent_acks: VecDeque::new(),
        }
    }

    /// Takes a stream message and acknowledges it if it is, or was, stored.
    ///
    /// Call [`Self::pop`] until it returns `None` afterwards. Messages of the other direction are
    /// passed over: only a confused peer sends them.
    pub(crate) fn on_stream_message(&mut self, message: Message) {
        if message.header.message_type != self.side.receives() {
            return;
        }
        let ack = Ack {
            message_id: message.header.message_id,
            sequence: message.header.sequence,
        };
        match self.recv.insert(message) {
            Inserted::Stored => self.acks.push_back(ack),
            Inserted::Duplicate if self.acks_repetitions => self.acks.push_back(ack),
            Inserted::Duplicate | Inserted::Full => {}
        }
    }

    /// Passes over repetitions of what was delivered, as agents before 3.2.1041.0 do.
    pub(crate) fn ignore_repetitions(&mut self) {
        self.acks_repetitions = false;
    }

    /// Takes into account that agents of some versions pass over repetitions of what was delivered; `None` is an
    /// unknown version. The session's own messages follow.
    pub(crate) fn on_established(&mut self, agent_version: Option<Version>) {
        match agent_version {
            Some(version) if version.agent_acknowledges_repetitions() => {}
            Some(_) => self.send.presume_delivery(OVERTAKEN_COUNT),
            None => self.send.presume_delivery(OVERTAKEN_COUNT_IF_UNKNOWN),
        }
    }

    /// Returns whether the peer may not acknowledge repetitions.
    pub(crate) fn presumes_delivery(&self) -> bool {
        self.send.presumes_delivery()
    }

    /// Returns the next received payload in order.
    pub(crate) fn pop(&mut self) -> Option<Payload> {
        self.recv.pop()
    }

    /// Takes the payload of an `acknowledge` message; one that is not readable acknowledges nothing.
    pub(crate) fn on_acknowledge(&mut self, now: Instant, payload: &[u8]) {
        match serde_json::from_slice::<Acknowledged>(payload) {
            Ok(acked) => self.send.on_ack(now, acked.sequence),
            Err(error) => tracing::debug!(%error, "acknowledgement passed over"),
        }
    }

    /// Returns the next acknowledgement to be sent.
    pub(crate) fn poll_ack(&mut self, now: Instant) -> Option<Bytes> {
        let ack = self.acks.pop_front()?;
        if self.side == Side::Client {
            self.remember(now, ack);
        }
        let body = Acknowledge {
            acknowledged_message_type: self.side.receives().as_str(),
            acknowledged_message_id: ack.message_id,
            acknowledged_message_sequence_number: ack.sequence,
            is_sequential_message: true,
        };
        Some(self.unsequenced(now, MessageType::Acknowledge, ACK_LEN, &body))
    }

    /// Returns the next message to be sent again.
    pub(crate) fn poll_retransmit(&mut self, now: Instant) -> Option<Bytes> {
        self.send.poll_retransmit(now)
    }

    /// Numbers, stores and returns a new message whose payload `fill` writes.
    ///
    /// `fill` gets the frame and the payload length to keep to; if it returns `None`, nothing is sent.
    pub(crate) fn poll_new(
        &mut self,
        now: Instant,
        fill: impl FnOnce(&mut Frame, usize) -> Option<PayloadType>,
    ) -> Option<Bytes> {
        let mut frame = Frame::new(self.payload_len);
        let payload_type = fill(&mut frame, self.payload_len)?;
        Some(self.push(now, payload_type, frame))
    }

    /// Numbers, stores and returns a new message with the given payload, whatever the window says.
    pub(crate) fn push_control(
        &mut self,
        now: Instant,
        payload_type: PayloadType,
        payload: &[u8],
    ) -> Bytes {
        let mut frame = Frame::new(payload.len());
        frame.payload().put_slice(payload);
        self.push(now, payload_type, frame)
    }

    /// Returns a message outside the sequence with a JSON body.
    pub(crate) fn unsequenced(
        &mut self,
        now: Instant,
        message_type: MessageType,
        capacity: usize,
        body: &impl serde::Serialize,
    ) -> Bytes {
        let mut frame = Frame::new(capacity);
        if let Err(error) = serde_json::to_writer(frame.payload().writer(), body) {
            tracing::error!(%error, "a message body has no JSON form");
        }
        frame.seal(&Header {
            message_type,
            created_date: self.stamp.date(now),
            sequence: 0,
            flags: WHOLE,
            message_id: self.stamp.id(),
            payload_type: PayloadType::None,
        })
    }

    /// Returns whether the window has room for new data.
    pub(crate) fn is_window_open(&self) -> bool {
        self.send.is_window_open() && self.send.span_count() < MAX_SPAN_COUNT
    }

    /// Returns whether so many acknowledgements wait that nothing more may be received.
    pub(crate) fn is_receive_blocked(&self) -> bool {
        self.acks.len() >= MAX_ACK_COUNT
    }

    /// The number the next new message will carry.
    pub(crate) fn next_sequence(&self) -> i64 {
        self.send.next_sequence()
    }

    /// Returns whether the peer has acted upon the message with this number.
    pub(crate) fn is_acked(&self, sequence: i64) -> bool {
        self.send.is_acked(sequence)
    }

    /// Returns whether all messages before this number were acknowledged, but for those whose acknowledgement may
    /// never come.
    pub(crate) fn is_delivered_before(&self, sequence: i64) -> bool {
        self.send.is_delivered_before(sequence)
    }

    /// Prepares for a new connection: first acknowledgements go out, then all of our own that is
    /// unacknowledged, in order.
    ///
    /// The client repeats those acknowledgements that may have been lost with the old connection, at
    /// least its newest. The agent was told to pause when the channel was lost, and any message of the
    /// client ends that; and of what it takes for unacknowledged it repeats ten messages a second.
    pub(crate) fn on_connected(&mut self) {
        let unsent = std::mem::take(&mut self.acks);
        self.acks = self.recent_acks.drain(..).map(|(_, ack)| ack).collect();
        self.acks.extend(unsent);
        self.send.retransmit_all();
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        self.send.on_timeout(now);
    }

    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        self.send.next_timeout()
    }

    /// Smoothed round-trip time, once known.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.send.srtt()
    }

    /// Messages sent again so far.
    pub(crate) fn retransmitted_count(&self) -> u64 {
        self.send.retransmitted_count()
    }

    /// Wire bytes sent and not acknowledged, without those that may never be.
    pub(crate) fn in_flight_len(&self) -> usize {
        self.send.in_flight_len()
    }

    /// Wire bytes sent and not acknowledged.
    pub(crate) fn unacked_len(&self) -> usize {
        self.send.unacked_len()
    }

    /// Bytes of messages that are unacknowledged or out of order.
    pub(crate) fn buffered_len(&self) -> usize {
        self.send.unacked_len() + self.recv.buffered_len()
    }

    /// Returns whether a message is missing before one that has arrived.
    pub(crate) fn has_gap(&self) -> bool {
        self.recv.has_gap()
    }

    /// Bytes to count nonces from.
    pub(crate) fn first_nonce(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        self.stamp.ids.fill(&mut nonce);
        nonce
    }

    /// A fresh id, such as the one of a connect request.
    pub(crate) fn next_id(&mut self) -> Uuid {
        self.stamp.id()
    }

    fn remember(&mut self, now: Instant, ack: Ack) {
        self.recent_acks.push_back((now, ack));
        let oldest = |acks: &VecDeque<(Instant, Ack)>| acks.front().map(|(sent, _)| *sent);
        while self.recent_acks.len() > RECENT_COUNT
            || oldest(&self.recent_acks).is_some_and(|sent| sent + RECENT_TIME < now)
        {
            self.recent_acks.pop_front();
        }
    }

    fn push(&mut self, now: Instant, payload_type: PayloadType, frame: Frame) -> Bytes {
        let sequence = self.send.next_sequence();
        let is_agents_first = self.side == Side::Agent && sequence == 0;
        let wire = frame.seal(&Header {
            message_type: self.side.sends(),
            created_date: self.stamp.date(now),
            sequence,
            flags: u64::from(is_agents_first),
            message_id: self.stamp.id(),
            payload_type,
        });
        self.send.push(now, wire.clone());
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn new_data_waits_when_it_is_too_far_ahead_of_a_missing_message() {
        let now = testing::any_instant();
        let config = Config::default();
        let mut reliable = Reliable::new(Side::Client, &config, 1, now, Duration::ZERO);
        for sequence in 0..MAX_SPAN_COUNT {
            assert!(reliable.is_window_open());
            reliable.push_control(now, PayloadType::Output, b"x");
            if sequence > 0 {
                let ack = format!(r#"{{"AcknowledgedMessageSequenceNumber":{sequence}}}"#);
                reliable.on_acknowledge(now, ack.as_bytes());
            }
        }
        assert!(!reliable.is_window_open());
        reliable.on_acknowledge(now, br#"{"AcknowledgedMessageSequenceNumber":0}"#);
        assert!(reliable.is_window_open());
    }
}
