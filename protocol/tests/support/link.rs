//! One direction of the path between the ends.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;

/// What a link does to messages; probabilities from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Messages that never arrive.
    pub(crate) loss: f64,
    /// Messages that arrive twice.
    pub(crate) duplication: f64,
    /// Messages that are held up by one more delay, so that later ones overtake them.
    pub(crate) reordering: f64,
    /// Time a message is under way.
    pub(crate) delay: Duration,
    /// Up to so much more; order is kept, as on TCP.
    pub(crate) jitter: Duration,
    /// Bytes per second that pass; the rest queues up. All at once, without it.
    pub(crate) rate: Option<u32>,
}

impl Faults {
    /// Nothing but a delay.
    pub(crate) fn delay(millis: u64) -> Self {
        Self {
            delay: Duration::from_millis(millis),
            ..Self::default()
        }
    }
}

type Filter = Box<dyn FnMut(&[u8]) -> bool>;

/// Messages under way in one direction.
pub(crate) struct Link {
    pub(crate) faults: Faults,
    rng: Rng,
    /// By arrival and order of sending.
    under_way: BTreeMap<(Instant, u64), Bytes>,
    sent_count: u64,
    /// Arrival of the last message that was not held up.
    last: Option<Instant>,
    /// When the queue in front of the bottleneck is empty.
    idle_at: Option<Instant>,
    filter: Option<Filter>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("faults", &self.faults)
            .field("sent_count", &self.sent_count)
            .field("under_way_count", &self.under_way.len())
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            faults,
            rng: Rng::with_seed(seed),
            under_way: BTreeMap::new(),
            sent_count: 0,
            last: None,
            idle_at: None,
            filter: None,
        }
    }

    /// Loses every message for which `filter` returns true.
    pub(crate) fn lose_if(&mut self, filter: impl FnMut(&[u8]) -> bool + 'static) {
        self.filter = Some(Box::new(filter));
    }

    /// Ends [`Self::lose_if`].
    pub(crate) fn lose_no_more(&mut self) {
        self.filter = None;
    }

    pub(crate) fn send(&mut self, now: Instant, wire: Bytes) {
        self.sent_count += 1;
        if self.filter.as_mut().is_some_and(|filter| filter(&wire)) || self.chance(self.faults.loss)
        {
            return;
        }
        let copies = 1 + usize::from(self.chance(self.faults.duplication));
        for _ in 0..copies {
            let at = self.arrival(now, wire.len());
            let order = self.under_way.len() as u64 + (self.sent_count << 16);
            self.under_way.insert((at, order), wire.clone());
        }
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        let ((at, _), _) = self.under_way.first_key_value()?;
        Some(*at)
    }

    /// Takes a message that has arrived.
    pub(crate) fn receive(&mut self, now: Instant) -> Option<Bytes> {
        if self.next_arrival()? > now {
            return None;
        }
        self.under_way.pop_first().map(|(_, wire)| wire)
    }

    /// Loses everything under way.
    pub(crate) fn cut(&mut self) {
        self.under_way.clear();
        self.last = None;
        self.idle_at = None;
    }

    fn arrival(&mut self, now: Instant, len: usize) -> Instant {
        let now = self.pass_bottleneck(now, len);
        let delay = self.faults.delay + self.faults.jitter.mul_f64(self.rng.f64());
        if self.chance(self.faults.reordering) {
            return now + delay * 2 + Duration::from_millis(1);
        }
        let at = self.last.map_or(now + delay, |last| last.max(now + delay));
        self.last = Some(at);
        at
    }

    fn pass_bottleneck(&mut self, now: Instant, len: usize) -> Instant {
        let Some(rate) = self.faults.rate else {
            return now;
        };
        let sending = Duration::from_secs_f64(len as f64 / f64::from(rate));
        let passed = self.idle_at.map_or(now, |at| at.max(now)) + sending;
        self.idle_at = Some(passed);
        passed
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }
}
