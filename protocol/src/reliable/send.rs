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

/// How long the agent may refuse the first message, which it drops unacknowledged until its program or connection is
/// there: longer than any system waits for a connection.
///
/// Those behind it are acknowledged meanwhile, since they wait out of order; so that the first one is the only one that
/// can be overtaken without having been delivered.
const MAX_REFUSAL: Duration = Duration::from_secs(180);

/// Messages in flight, addressed by sequence number.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    repair: Repair,
    /// The peer may not acknowledge repetitions.
    presumption: Option<Presumption>,
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
    /// Transmissions before this one were of an earlier connection.
    connected_order: u64,
    /// Messages to be sent again, the oldest first.
    lost: BTreeSet<i64>,
    /// When the oldest message was last sent again, by an official end.
    last_look: Option<Instant>,
    /// Messages sent again so far.
    retransmitted_count: u64,
}

/// When a message counts as delivered although it was not acknowledged.
#[derive(Debug, Clone, Copy)]
struct Presumption {
    /// Transmissions of it that later acknowledged ones have overtaken.
    overtaken_count: u8,
    /// The first message, which the peer may have refused for [`MAX_REFUSAL`].
    first: i64,
}

#[derive(Debug)]
struct Unacked {
    frame: Bytes,
    first_order: u64,
    first_sent: Instant,
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
            presumption: None,
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
            connected_order: 0,
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
            first_sent: now,
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
        // What an acknowledgement of an earlier connection's took includes the time without one.
        let is_of_before = acked.last_order < self.connected_order;
        let is_sample = acked.was_sent_once() && !is_of_before;
        if is_sample {
            self.rtt.sample(elapsed);
        }
        let arrived = if is_sample || is_of_before || self.rtt.is_plausible(elapsed) {
            acked.last_order
        } else {
            self.window.on_spurious();
            acked.first_order
        };
        self.acked_order = self.acked_order.max(Some(arrived));
        if self.repair == Repair::Selective {
            self.detect_lost(now);
            let acked = Acked {
                len: acked.frame.len(),
                order: arrived,
                next_order: self.next_order,
                rtt: is_sample.then_some(elapsed),
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
                        if self.acked_order > Some(transmission.order) {
                            self.note_overtaken(transmission.sequence);
                        }
                        self.repeat(now, transmission.sequence);
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

    /// From now on, expects no acknowledgement of a message whose first one was lost: the peer may not
    /// acknowledge repetitions.
    ///
    /// Such a message stays unacknowledged until so many transmissions of it were overtaken by later ones
    /// that were acknowledged: for ever, if nothing is sent after it. The next new message is the first that the
    /// peer may refuse for a while.
    pub(crate) fn presume_delivery(&mut self, overtaken_count: u8) {
        self.presumption = Some(Presumption {
            overtaken_count,
            first: self.next_sequence(),
        });
    }

    /// Returns whether [`Self::presume_delivery`] was called.
    pub(crate) fn presumes_delivery(&self) -> bool {
        self.presumption.is_some()
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
            self.connected_order = self.next_order;
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

    /// Returns whether all messages before this one were acknowledged. Where repetitions are not, those that
    /// were sent more than once do not count.
    pub(crate) fn is_delivered_before(&self, sequence: i64) -> bool {
        let messages = self.messages.iter().zip(self.base..);
        let mut before = messages.take_while(|(_, at)| *at < sequence);
        before.all(|(entry, _)| match entry {
            Some(unacked) => self.presumes_delivery() && !unacked.was_sent_once(),
            None => true,
        })
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

    fn detect_lost(&mut self, now: Instant) {
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
                self.count_lost(1);
                self.note_overtaken(transmission.sequence);
                self.repeat(now, transmission.sequence);
            }
        }
    }

    /// Notes that the peer did not acknowledge a transmission before a later one.
    fn note_overtaken(&mut self, sequence: i64) {
        if let Some(unacked) = self.unacked_mut(sequence) {
            unacked.overtaken_count = unacked.overtaken_count.saturating_add(1);
        }
    }

    /// Has a message sent again, unless it must have arrived.
    fn repeat(&mut self, now: Instant, sequence: i64) {
        if self.is_presumed_delivered(now, sequence) {
            tracing::debug!(sequence, "delivered, and its acknowledgement lost");
            self.take(sequence);
        } else {
            self.lost.insert(sequence);
        }
    }

    fn is_presumed_delivered(&mut self, now: Instant, sequence: i64) -> bool {
        let Some(presumption) = self.presumption else {
            return false;
        };
        self.unacked_mut(sequence).is_some_and(|unacked| {
            let may_be_refused =
                sequence == presumption.first && now < unacked.first_sent + MAX_REFUSAL;
            unacked.overtaken_count >= presumption.overtaken_count && !may_be_refused
        })
    }

    /// Bytes that count against the window: where repetitions may not be acknowledged, those of messages
    /// sent once. The others may never be acknowledged, and would fill it for ever.
    pub(crate) fn in_flight_len(&self) -> usize {
        if self.presumes_delivery() {
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
mod tests;
