//! How much may be unacknowledged: a window that finds what the path carries by its delay.
//!
//! Nothing is assumed about the service's rate. In slow start the window doubles each round trip,
//! until the delivery rate no longer grows with it or a queue builds up. From then on it steers towards
//! a short queue of its own, as FAST TCP does (Wei, Jin, Low and Hegde, 2006): with round trips as long
//! as those of the empty path it grows, with longer ones it shrinks. Loss says little here, because
//! what carries the messages is TCP; only much of it, as behind a policer, is taken for congestion.

use std::time::{Duration, Instant};

/// Messages the window always holds, so that one loss is noticed by the acknowledgements of others.
const FLOOR_COUNT: usize = 8;
/// Wire bytes of the first window, and most of the first one after a lost connection.
const INITIAL_LEN: usize = 64 * 1024;
const RESTART_LEN: usize = 256 * 1024;

/// Queueing delay aimed at, beside a quarter of the path's own round trip.
const QUEUE_DELAY: Duration = Duration::from_millis(5);

/// Growth of the delivery rate in a round, below which slow start takes the path for full, and the
/// rounds in a row that must show it (BBR, draft-ietf-ccwg-bbr section 5.3.1.2).
const RATE_GROWTH: f64 = 1.25;
const FULL_ROUNDS: u8 = 3;

/// Part of the way to its goal that the window goes in a round: the effect shows a round later, and
/// all of it at once would swing (FAST's gamma).
const GAIN: f64 = 0.5;
/// Most the window grows by in a round after slow start; after a loss less, and step by step more.
const MAX_GROWTH: f64 = 0.25;
const CAUTIOUS_GROWTH: f64 = 1.0 / 32.0;
const GROWTH_RECOVERY: f64 = 1.125;
/// Least the window shrinks to in a round.
const MAX_SHRINKING: f64 = 0.5;

/// Losses of a round that shrink the window, at least so many, and so large a part: links that lose
/// one in twenty at random are no slower for it.
const LOSS_COUNT: usize = 4;
const LOSS_PART: usize = 8;
const LOSS_SHRINKING: f64 = 0.75;

/// Time after which the shortest round trip counts as old, in itself and in round trips.
const BASE_TIME: Duration = Duration::from_secs(5);
const BASE_ROUNDS: u32 = 16;
/// Part of an empty path's window, and rounds, with which it is measured again.
const PROBE_PART: f64 = 0.75;
const PROBE_ROUNDS: u8 = 2;

/// The limit of unacknowledged wire bytes.
#[derive(Debug)]
pub(crate) struct Window {
    floor_len: usize,
    ceiling_len: usize,
    len: usize,
    phase: Phase,
    /// Most it grows by in the next round.
    growth: f64,
    base: BaseRtt,
    round: Round,
}

/// ```text
///            queue, full path, loss           base is old
/// SlowStart ────────────────────────▶ Steady ─────────────▶ Probe
///   ▲  ▲                               │ ▲   measured, loss   │
///   │  └───────────────────────────────┘ └────────────────────┘
///   │         base has become longer
///   │ new connection
/// ```
#[derive(Debug)]
enum Phase {
    SlowStart {
        /// Best delivery rate of a round, bytes per second.
        best_rate: f64,
        /// Rounds in a row that did not better it.
        full_rounds: u8,
    },
    Steady,
    /// The queue is drained to see the path's own round trip.
    Probe {
        rounds_left: u8,
        resumed_len: usize,
    },
}

/// The time from a transmission to the acknowledgement of the next one after it.
#[derive(Debug, Default)]
struct Round {
    /// Order of the first transmission whose acknowledgement ends the round.
    end_order: u64,
    started: Option<Instant>,
    acked_len: usize,
    acked_count: usize,
    lost_count: usize,
    /// Bytes acknowledged of messages behind which the window was full.
    limited_len: usize,
    min_rtt: Option<Duration>,
}

/// One acknowledgement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acked {
    /// Wire bytes of the message.
    pub(crate) len: usize,
    /// Order of its transmission.
    pub(crate) order: u64,
    /// Order of the next transmission.
    pub(crate) next_order: u64,
    /// Its round trip, if it was sent once.
    pub(crate) rtt: Option<Duration>,
    /// The window kept more from being sent when it was sent, or later.
    pub(crate) is_limited: bool,
}

impl Window {
    /// A window that adapts, up to `ceiling_len` wire bytes; messages are up to `message_len` long.
    pub(crate) fn adaptive(ceiling_len: usize, message_len: usize) -> Self {
        let floor_len = ceiling_len.min(FLOOR_COUNT * message_len);
        Self {
            floor_len,
            ceiling_len,
            len: INITIAL_LEN.clamp(floor_len, ceiling_len),
            phase: Phase::SLOW_START,
            growth: MAX_GROWTH,
            base: BaseRtt::default(),
            round: Round::default(),
        }
    }

    /// A window that stays as it is.
    pub(crate) fn fixed(len: usize) -> Self {
        Self {
            floor_len: len,
            len,
            ..Self::adaptive(len, 0)
        }
    }

    /// Wire bytes that may be unacknowledged before new data waits.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn on_ack(&mut self, now: Instant, acked: Acked) {
        self.round.add(acked);
        if let Some(rtt) = acked.rtt {
            self.base.sample(now, rtt);
        }
        let is_starting = matches!(self.phase, Phase::SlowStart { .. });
        if is_starting && acked.is_limited && self.is_quick(acked.rtt) {
            self.len = (self.len + acked.len).min(self.ceiling_len);
        }
        if acked.order >= self.round.end_order {
            let round = std::mem::replace(&mut self.round, Round::starting(now, acked.next_order));
            self.on_round(now, &round);
        }
    }

    /// Takes note of messages declared lost.
    pub(crate) fn on_lost(&mut self, count: usize) {
        self.round.lost_count += count;
    }

    /// Takes note that a message had not been lost, but was late.
    pub(crate) fn on_spurious(&mut self) {
        self.round.lost_count = self.round.lost_count.saturating_sub(1);
    }

    /// Starts again for a new connection, whose path may be another one.
    pub(crate) fn on_connected(&mut self, next_order: u64) {
        self.len = (self.len / 2).clamp(INITIAL_LEN, RESTART_LEN);
        self.len = self.len.clamp(self.floor_len, self.ceiling_len);
        self.phase = Phase::SLOW_START;
        self.growth = MAX_GROWTH;
        self.base = BaseRtt::default();
        self.round = Round {
            end_order: next_order,
            ..Round::default()
        };
    }

    fn on_round(&mut self, now: Instant, round: &Round) {
        if round.is_lossy() {
            self.phase = Phase::Steady;
            self.growth = CAUTIOUS_GROWTH;
            return self.scale(LOSS_SHRINKING);
        }
        let (Some(base), Some(rtt)) = (self.base.rtt(), round.min_rtt) else {
            return;
        };
        match &mut self.phase {
            // What the application does not fill says nothing about the path.
            Phase::SlowStart { .. } | Phase::Steady if !round.is_limited() => {}
            Phase::SlowStart {
                best_rate,
                full_rounds,
            } => {
                if let Some(rate) = round.rate(now) {
                    let has_grown = rate >= *best_rate * RATE_GROWTH;
                    *full_rounds = if has_grown { 0 } else { *full_rounds + 1 };
                    *best_rate = best_rate.max(rate);
                }
                if rtt > base + queue_delay(base) || *full_rounds >= FULL_ROUNDS {
                    self.phase = Phase::Steady;
                    self.steer(base, rtt);
                }
            }
            Phase::Steady if self.base.is_old(now) => {
                self.base.renew(now);
                let renewed = self.base.rtt();
                if renewed.is_some_and(|renewed| renewed > base + queue_delay(base)) {
                    // The delay the window has shrunk for is no queue: the path has become longer.
                    self.phase = Phase::SLOW_START;
                    return;
                }
                self.phase = Phase::Probe {
                    rounds_left: PROBE_ROUNDS,
                    resumed_len: self.len,
                };
                self.scale(PROBE_PART * ratio(base, rtt).min(1.0));
            }
            Phase::Steady => self.steer(base, rtt),
            Phase::Probe {
                rounds_left,
                resumed_len,
            } => {
                *rounds_left -= 1;
                if *rounds_left == 0 || !round.is_limited() {
                    self.len = *resumed_len;
                    self.phase = Phase::Steady;
                }
            }
        }
    }

    /// Returns whether a round trip shows no queue. One without any delay, as from call to call, shows
    /// nothing: a larger window would be of no use there.
    fn is_quick(&self, rtt: Option<Duration>) -> bool {
        let (Some(base), Some(rtt)) = (self.base.rtt(), rtt) else {
            return false;
        };
        !rtt.is_zero() && rtt <= base + queue_delay(base)
    }

    /// Goes some way to the window whose queue has the length aimed at.
    fn steer(&mut self, base: Duration, rtt: Duration) {
        if rtt.is_zero() {
            return;
        }
        let goal = ratio(base + queue_delay(base), rtt);
        let step = (GAIN * (goal - 1.0)).clamp(MAX_SHRINKING - 1.0, self.growth);
        self.growth = (self.growth * GROWTH_RECOVERY).min(MAX_GROWTH);
        self.scale(1.0 + step);
    }

    fn scale(&mut self, factor: f64) {
        let len = (self.len as f64 * factor) as usize;
        self.len = len.clamp(self.floor_len, self.ceiling_len);
    }
}

impl Phase {
    const SLOW_START: Self = Self::SlowStart {
        best_rate: 0.0,
        full_rounds: 0,
    };
}

impl Round {
    fn starting(now: Instant, end_order: u64) -> Self {
        Self {
            end_order,
            started: Some(now),
            ..Self::default()
        }
    }

    fn add(&mut self, acked: Acked) {
        self.acked_len += acked.len;
        self.acked_count += 1;
        if acked.is_limited {
            self.limited_len += acked.len;
        }
        let rtts = self.min_rtt.into_iter().chain(acked.rtt);
        self.min_rtt = rtts.min();
    }

    /// Most of it was sent when the window, and not the application, set the pace.
    fn is_limited(&self) -> bool {
        self.limited_len * 2 >= self.acked_len
    }

    fn is_lossy(&self) -> bool {
        self.lost_count >= LOSS_COUNT
            && self.lost_count * LOSS_PART > self.acked_count + self.lost_count
    }

    /// Bytes delivered per second; `None` for the first round, and where no time has passed.
    fn rate(&self, now: Instant) -> Option<f64> {
        let time = now.saturating_duration_since(self.started?);
        (!time.is_zero()).then(|| self.acked_len as f64 / time.as_secs_f64())
    }
}

/// The shortest round trip of this and the last period: that of the path without a queue.
#[derive(Debug, Default)]
struct BaseRtt {
    started: Option<Instant>,
    current: Option<Duration>,
    previous: Option<Duration>,
}

impl BaseRtt {
    fn sample(&mut self, now: Instant, rtt: Duration) {
        self.started.get_or_insert(now);
        self.current = Some(self.current.map_or(rtt, |current| current.min(rtt)));
    }

    fn rtt(&self) -> Option<Duration> {
        self.current.into_iter().chain(self.previous).min()
    }

    fn is_old(&self, now: Instant) -> bool {
        let (Some(started), Some(rtt)) = (self.started, self.rtt()) else {
            return false;
        };
        now.saturating_duration_since(started) >= BASE_TIME.max(rtt * BASE_ROUNDS)
    }

    fn renew(&mut self, now: Instant) {
        self.previous = self.current.take();
        self.started = Some(now);
    }
}

fn queue_delay(base: Duration) -> Duration {
    base / 4 + QUEUE_DELAY
}

fn ratio(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64()
}

#[cfg(test)]
mod tests;
