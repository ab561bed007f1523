//! What was sent and not acknowledged: loss detection and retransmission.
//!
//! Every transmission has an order number, as in QUIC (RFC 9002): since the peer acknowledges each
//! message by itself, an acknowledged transmission is evidence against all that went out before it.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::rtt::RttEstimator;
use super::window::{Acked, Window};
use crate::config::{Repair, Retransmission};

/// Later transmissions that must be acknowledged before an earlier one counts as lost.
///
/// The value of TCP and QUIC (RFC 9002 section 6.1.1): the service may swap neighbours.
const REORDER_THRESHOLD: u64 = 3;

/// Messages one expiry of the timer declares lost.
///
/// Behind a peer that is merely busy the whole window expires at once; acknowledgements of the first
/// few tell soon enough whether the rest is lost too.
const TIMEOUT_BURST: usize = 32;

/// Transmissions of a message that later acknowledged ones have overtaken, after which it counts as
/// delivered where repetitions are not acknowledged.
///
/// A connection loses nothing but its end, so one would do; the service may swap neighbours.
const PRESUMED_COUNT: u8 = 8;

/// Messages in flight, addressed by sequence number.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    repair: Repair,
    /// The peer does not acknowledge repetitions.
    presumes_delivery: bool,
    rtt: RttEstimator,
    pub(super) window: Window,
    /// Sequence number of the first entry of `messages`.
    base: i64,
    /// From the oldest unacknowledged message on; `None` where the acknowledgement came early.
    messages: VecDeque<Option<Unacked>>,
    /// Wire bytes of the unacknowledged messages.
    unacked_len: usize,
    /// Those of them that were sent more than once.
    repeated_len: usize,
    /// Transmissions in order; those of acknowledged or retransmitted messages are stale.
    transmissions: VecDeque<Transmission>,
    next_order: u64,
    /// Transmissions before this one were followed by a full window: it kept more from being sent.
    limited_order: u64,
    /// Highest order number known to have arrived.
    acked_order: Option<u64>,
    /// Messages to be sent again, the oldest first.
    lost: BTreeSet<i64>,
    /// When the oldest message was last sent again, by an official end.
    last_look: Option<Instant>,
    /// Messages sent again so far.
    retransmitted_count: u64,
}

#[derive(Debug)]
struct Unacked {
    frame: Bytes,
    first_order: u64,
    last_order: u64,
    last_sent: Instant,
    /// Transmissions that later acknowledged ones have overtaken.
    overtaken_count: u8,
}

#[derive(Debug)]
struct Transmission {
    order: u64,
    sequence: i64,
    sent: Instant,
}

impl Unacked {
    fn was_sent_once(&self) -> bool {
        self.first_order == self.last_order
    }
}

impl SendBuffer {
    pub(crate) fn new(config: Retransmission, window: Window) -> Self {
        Self {
            repair: config.repair,
            presumes_delivery: false,
            rtt: RttEstimator::new(config),
            window,
            base: 0,
            messages: VecDeque::new(),
            unacked_len: 0,
            repeated_len: 0,
            transmissions: VecDeque::new(),
            next_order: 0,
            limited_order: 0,
            acked_order: None,
            lost: BTreeSet::new(),
            last_look: None,
            retransmitted_count: 0,
        }
    }

    /// The number the next new message must carry.
    pub(crate) fn next_sequence(&self) -> i64 {
        self.base + self.messages.len() as i64
    }

    /// Stores a new message as it is being sent for the first time.
    pub(crate) fn push(&mut self, now: Instant, frame: Bytes) {
        let sequence = self.next_sequence();
        let order = self.transmit(now, sequence);
        self.unacked_len += frame.len();
        self.messages.push_back(Some(Unacked {
            frame,
            first_order: order,
            last_order: order,
            last_sent: now,
            overtaken_count: 0,
        }));
        self.note_limit();
    }

    /// Returns the next message to be sent again.
    pub(crate) fn poll_retransmit(&mut self, now: Instant) -> Option<Bytes> {
        let sequence = self.lost.pop_first()?;
        let order = self.transmit(now, sequence);
        let unacked = self.unacked_mut(sequence)?;
        let was_sent_once = unacked.was_sent_once();
        unacked.last_order = order;
        unacked.last_sent = now;
        let frame = unacked.frame.clone();
        if was_sent_once {
            self.repeated_len += frame.len();
        }
        self.retransmitted_count += 1;
        self.note_limit();
        Some(frame)
    }

    /// Takes the acknowledgement of one message; unknown numbers are ignored, as the official ends do.
    pub(crate) fn on_ack(&mut self, now: Instant, sequence: i64) {
        let Some(acked) = self.take(sequence) else {
            return;
        };
        let elapsed = now.saturating_duration_since(acked.last_sent);
        let was_sent_once = acked.was_sent_once();
        if was_sent_once {
            self.rtt.sample(elapsed);
        }
        let arrived = if was_sent_once || self.rtt.is_plausible(elapsed) {
            acked.last_order
        } else {
            self.window.on_spurious();
            acked.first_order
        };
        self.acked_order = self.acked_order.max(Some(arrived));
        if self.repair == Repair::Selective {
            self.detect_lost();
            let acked = Acked {
                len: acked.frame.len(),
                order: arrived,
                next_order: self.next_order,
                rtt: was_sent_once.then_some(elapsed),
                is_limited: arrived < self.limited_order,
            };
            self.window.on_ack(now, acked);
        }
    }

    /// Declares lost whatever has waited longer than the timeout.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        match self.repair {
            Repair::Selective => {
                let mut expired_count = 0;
                while expired_count < TIMEOUT_BURST
                    && self
                        .oldest_transmission()
                        .is_some_and(|sent| sent + self.rtt.rto() <= now)
                {
                    if let Some(transmission) = self.transmissions.pop_front() {
                        self.lost.insert(transmission.sequence);
                        expired_count += 1;
                    }
                }
                if expired_count > 0 {
                    self.count_lost(expired_count);
                    self.rtt.back_off();
                }
            }
            Repair::OldestOnly { tick } => {
                if self
                    .oldest_deadline(tick)
                    .is_some_and(|deadline| deadline <= now)
                {
                    self.lost.insert(self.base);
                    self.last_look = Some(now);
                }
            }
        }
    }

    /// When [`Self::on_timeout`] has something to do.
    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        match self.repair {
            Repair::Selective => self.oldest_transmission().map(|sent| sent + self.rtt.rto()),
            Repair::OldestOnly { .. } if !self.lost.is_empty() => None,
            Repair::OldestOnly { tick } => self.oldest_deadline(tick),
        }
    }

    /// From now on, expects no acknowledgement of a message whose first one was lost: the peer does not
    /// acknowledge repetitions.
    ///
    /// Such a message stays unacknowledged until eight transmissions of it were overtaken by later ones
    /// that were acknowledged: for ever, if nothing is sent after it.
    pub(crate) fn presume_delivery(&mut self) {
        self.presumes_delivery = true;
    }

    /// Declares everything unacknowledged lost: the channel it went out on is gone.
    pub(crate) fn retransmit_all(&mut self) {
        if self.repair == Repair::Selective {
            let unacked = self.messages.iter().zip(self.base..);
            self.lost.extend(
                unacked
                    .filter(|(entry, _)| entry.is_some())
                    .map(|(_, at)| at),
            );
            self.transmissions.clear();
            self.window.on_connected(self.next_order);
            self.rtt.end_back_off();
        }
    }

    /// Returns whether the window has room for another message.
    pub(crate) fn is_window_open(&self) -> bool {
        self.in_flight_len() < self.window.len()
    }

    /// Wire bytes that may be unacknowledged.
    #[cfg(test)]
    pub(crate) fn window_len(&self) -> usize {
        self.window.len()
    }

    /// Wire bytes sent and not acknowledged.
    pub(crate) fn unacked_len(&self) -> usize {
        self.unacked_len
    }

    /// Returns whether this message and all before it were acknowledged.
    ///
    /// One that arrives ahead of a missing one is acknowledged at once and acted upon much later.
    pub(crate) fn is_acked(&self, sequence: i64) -> bool {
        sequence < self.base
    }

    /// Messages from the oldest that is unacknowledged to the newest.
    pub(crate) fn span_count(&self) -> usize {
        self.messages.len()
    }

    /// Smoothed round-trip time, once known.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.rtt.srtt()
    }

    /// Messages sent more than once, counting every repetition.
    pub(crate) fn retransmitted_count(&self) -> u64 {
        self.retransmitted_count
    }

    fn transmit(&mut self, now: Instant, sequence: i64) -> u64 {
        let order = self.next_order;
        self.next_order += 1;
        if self.repair == Repair::Selective {
            self.transmissions.push_back(Transmission {
                order,
                sequence,
                sent: now,
            });
        }
        order
    }

    /// Remembers that the window, and not the application, sets the pace. Acknowledgements come in batches: when
    /// the later ones are taken the window is not full any more, although nothing could be sent meanwhile.
    fn note_limit(&mut self) {
        if !self.is_window_open() {
            self.limited_order = self.next_order;
        }
    }

    fn detect_lost(&mut self) {
        let Some(acked_order) = self.acked_order else {
            return;
        };
        while let Some(oldest) = self.transmissions.front() {
            if oldest.order + REORDER_THRESHOLD > acked_order && !self.is_stale(oldest) {
                return;
            }
            let Some(transmission) = self.transmissions.pop_front() else {
                return;
            };
            if !self.is_stale(&transmission) {
                self.on_overtaken(transmission.sequence);
            }
        }
    }

    /// Has a message sent again that the peer did not acknowledge before a later one, unless that has
    /// happened so often that it must have arrived.
    fn on_overtaken(&mut self, sequence: i64) {
        self.count_lost(1);
        let Some(unacked) = self.unacked_mut(sequence) else {
            return;
        };
        unacked.overtaken_count = unacked.overtaken_count.saturating_add(1);
        if unacked.overtaken_count >= PRESUMED_COUNT && self.presumes_delivery {
            tracing::debug!(sequence, "delivered, and its acknowledgement lost");
            self.take(sequence);
        } else {
            self.lost.insert(sequence);
        }
    }

    /// Bytes that count against the window: where repetitions are not acknowledged, those of messages
    /// sent once. The others may never be acknowledged, and would fill it for ever.
    fn in_flight_len(&self) -> usize {
        if self.presumes_delivery {
            self.unacked_len - self.repeated_len
        } else {
            self.unacked_len
        }
    }

    /// Tells the window of losses. Before the first sample they are a guess.
    fn count_lost(&mut self, count: usize) {
        if self.rtt.srtt().is_some() {
            self.window.on_lost(count);
        }
    }

    /// When the oldest transmission that still counts went out.
    fn oldest_transmission(&mut self) -> Option<Instant> {
        while self
            .transmissions
            .front()
            .is_some_and(|oldest| self.is_stale(oldest))
        {
            self.transmissions.pop_front();
        }
        self.transmissions.front().map(|oldest| oldest.sent)
    }

    fn is_stale(&self, transmission: &Transmission) -> bool {
        let at = usize::try_from(transmission.sequence - self.base);
        let entry = at.ok().and_then(|at| self.messages.get(at)?.as_ref());
        entry.is_none_or(|unacked| unacked.last_order != transmission.order)
    }

    /// When the official scheduler would send the oldest message again.
    fn oldest_deadline(&self, tick: Duration) -> Option<Instant> {
        let oldest = self.messages.front()?.as_ref()?;
        let due = oldest.last_sent + self.rtt.rto().max(tick);
        Some(self.last_look.map_or(due, |look| due.max(look + tick)))
    }

    /// Forgets a message that has been delivered.
    fn take(&mut self, sequence: i64) -> Option<Unacked> {
        let unacked = self.slot(sequence)?.take()?;
        self.unacked_len -= unacked.frame.len();
        if !unacked.was_sent_once() {
            self.repeated_len -= unacked.frame.len();
        }
        self.lost.remove(&sequence);
        while let Some(None) = self.messages.front() {
            self.messages.pop_front();
            self.base += 1;
        }
        Some(unacked)
    }

    fn slot(&mut self, sequence: i64) -> Option<&mut Option<Unacked>> {
        let at = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        self.messages.get_mut(at)
    }

    fn unacked_mut(&mut self, sequence: i64) -> Option<&mut Unacked> {
        self.slot(sequence)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const MS: Duration = Duration::from_millis(1);

    fn sent(count: u8) -> (SendBuffer, Instant) {
        let now = testing::any_instant();
        let mut buffer = SendBuffer::new(Retransmission::default(), Window::fixed(1));
        for number in 0..count {
            buffer.push(now, Bytes::from(vec![number]));
        }
        (buffer, now)
    }

    fn retransmitted(buffer: &mut SendBuffer, now: Instant) -> Vec<u8> {
        std::iter::from_fn(|| buffer.poll_retransmit(now))
            .map(|frame| frame[0])
            .collect()
    }

    #[test]
    fn acknowledged_messages_are_forgotten_in_any_order() {
        let (mut buffer, now) = sent(3);
        for sequence in [2, 0, 1, 1, 7, -1] {
            buffer.on_ack(now + MS, sequence);
        }
        assert_eq!(buffer.unacked_len(), 0);
        assert_eq!(buffer.next_sequence(), 3);
        assert_eq!(buffer.next_timeout(), None);
        assert!(buffer.is_acked(2) && !buffer.is_acked(3));
    }

    #[test]
    fn three_later_acknowledgements_retransmit_at_once_and_two_do_not() {
        let (mut buffer, now) = sent(5);
        buffer.on_ack(now + MS, 1);
        buffer.on_ack(now + MS, 2);
        assert!(retransmitted(&mut buffer, now + MS).is_empty());
        buffer.on_ack(now + MS, 3);
        assert_eq!(retransmitted(&mut buffer, now + MS), [0]);
        assert!(retransmitted(&mut buffer, now + MS).is_empty());
    }

    #[test]
    fn a_lost_retransmission_is_noticed_by_later_acknowledgements() {
        let (mut buffer, now) = sent(4);
        for sequence in 1..4 {
            buffer.on_ack(now + 10 * MS, sequence);
        }
        assert_eq!(retransmitted(&mut buffer, now + 10 * MS), [0]);
        for number in 4..8 {
            buffer.push(now + 11 * MS, Bytes::from(vec![number]));
        }
        for sequence in 4..7 {
            buffer.on_ack(now + 21 * MS, sequence);
        }
        assert_eq!(retransmitted(&mut buffer, now + 21 * MS), [0]);
    }

    #[test]
    fn the_timeout_retransmits_and_backs_off() {
        let (mut buffer, now) = sent(1);
        let first = buffer.next_timeout().unwrap();
        assert_eq!(first, now + 200 * MS);
        buffer.on_timeout(first - MS);
        assert!(retransmitted(&mut buffer, first).is_empty());
        buffer.on_timeout(first);
        assert_eq!(retransmitted(&mut buffer, first), [0]);
        assert_eq!(buffer.next_timeout(), Some(first + 400 * MS));
    }

    #[test]
    fn a_busy_peer_does_not_draw_the_whole_window_again() {
        let (mut buffer, now) = sent(200);
        buffer.on_timeout(now + 200 * MS);
        let burst = retransmitted(&mut buffer, now + 200 * MS);
        assert_eq!(burst.len(), TIMEOUT_BURST);
        assert_eq!(burst[0], 0);
    }

    #[test]
    fn when_a_whole_window_is_lost_the_first_repairs_draw_the_rest() {
        let (mut buffer, now) = sent(200);
        buffer.on_timeout(now + 200 * MS);
        let burst = retransmitted(&mut buffer, now + 200 * MS).len() as i64;
        for sequence in 0..burst {
            buffer.on_ack(now + 300 * MS, sequence);
        }
        // Without a sample any delay is plausible, so the answers are to the retransmissions.
        let rest = retransmitted(&mut buffer, now + 300 * MS);
        assert_eq!(rest.len() as i64, 200 - burst);
    }

    #[test]
    fn retransmitted_messages_give_no_sample() {
        let (mut buffer, now) = sent(1);
        buffer.on_timeout(now + 200 * MS);
        assert_eq!(retransmitted(&mut buffer, now + 200 * MS), [0]);
        buffer.on_ack(now + 201 * MS, 0);
        assert_eq!(buffer.srtt(), None);
    }

    #[test]
    fn a_new_channel_gets_everything_unacknowledged_in_order() {
        let (mut buffer, now) = sent(5);
        buffer.on_ack(now + MS, 1);
        buffer.retransmit_all();
        assert_eq!(retransmitted(&mut buffer, now + MS), [0, 2, 3, 4]);
    }

    #[test]
    fn a_message_overtaken_again_and_again_was_delivered_if_repetitions_are_not_acknowledged() {
        for presumes_delivery in [true, false] {
            let (mut buffer, now) = sent(1);
            if presumes_delivery {
                buffer.presume_delivery();
            }
            for round in 0..i64::from(PRESUMED_COUNT) {
                assert!(!buffer.is_acked(0));
                for sequence in 3 * round + 1..=3 * round + 3 {
                    buffer.push(now, Bytes::from_static(b"x"));
                    buffer.on_ack(now + MS, sequence);
                }
                retransmitted(&mut buffer, now + MS);
            }
            assert_eq!(buffer.is_acked(0), presumes_delivery);
        }
    }

    #[test]
    fn what_may_never_be_acknowledged_does_not_fill_the_window() {
        for presumes_delivery in [true, false] {
            let now = testing::any_instant();
            let mut buffer = SendBuffer::new(Retransmission::default(), Window::fixed(10));
            if presumes_delivery {
                buffer.presume_delivery();
            }
            buffer.push(now, Bytes::from_static(&[0; 10]));
            assert!(!buffer.is_window_open());
            buffer.retransmit_all();
            retransmitted(&mut buffer, now);
            assert_eq!(buffer.is_window_open(), presumes_delivery);
        }
    }

    #[test]
    fn the_official_ends_repair_their_oldest_message_only() {
        let now = testing::any_instant();
        let mut buffer = SendBuffer::new(Retransmission::official(), Window::fixed(1));
        for number in 0..5 {
            buffer.push(now, Bytes::from(vec![number]));
        }
        for sequence in 1..5 {
            buffer.on_ack(now + MS, sequence);
        }
        assert!(retransmitted(&mut buffer, now + MS).is_empty());
        let deadline = buffer.next_timeout().unwrap();
        assert!(deadline >= now + 100 * MS);
        buffer.on_timeout(deadline);
        assert_eq!(retransmitted(&mut buffer, deadline), [0]);
    }

    #[test]
    fn the_official_ends_repair_one_message_a_tick() {
        let now = testing::any_instant();
        let mut buffer = SendBuffer::new(Retransmission::official(), Window::fixed(1));
        for number in 0..2 {
            buffer.push(now, Bytes::from(vec![number]));
        }
        let first = buffer.next_timeout().unwrap();
        buffer.on_timeout(first);
        assert_eq!(retransmitted(&mut buffer, first), [0]);
        buffer.on_ack(first + MS, 0);
        assert_eq!(buffer.next_timeout(), Some(first + 100 * MS));
    }
}
