//! The named deadlines of a channel.

use std::time::{Duration, Instant};

/// What a wake-up is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timer {
    /// The handshake must be complete.
    Handshake,
    /// An agent that may not begin with a handshake has been silent for long enough to be asked.
    Silence,
    /// The agent can be trusted to take data.
    Settle,
    /// An old agent wants to hear something.
    KeepAlive,
    /// The end of the session must have been acknowledged, or what it has overtaken have come.
    Close,
    /// Nothing of an earlier connection can arrive any more.
    Turn,
    /// Something of what is to be delivered before the end must have been acknowledged.
    Delivery,
    /// The agent must have acknowledged something of what is under way.
    Answer,
    /// An unacknowledged message is due again.
    Retransmit,
}

/// Deadlines by timer.
#[derive(Debug, Default)]
pub(crate) struct TimerTable {
    deadlines: [Option<Instant>; Self::TIMERS.len()],
}

impl TimerTable {
    /// The timers that are set rather than computed.
    const TIMERS: [Timer; 8] = [
        Timer::Handshake,
        Timer::Silence,
        Timer::Settle,
        Timer::KeepAlive,
        Timer::Close,
        Timer::Turn,
        Timer::Delivery,
        Timer::Answer,
    ];

    /// Sets the timer; a deadline beyond all time is none.
    pub(crate) fn set(&mut self, timer: Timer, now: Instant, delay: Duration) {
        if let Some(slot) = self.deadlines.get_mut(timer as usize) {
            *slot = now.checked_add(delay);
        }
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        if let Some(slot) = self.deadlines.get_mut(timer as usize) {
            *slot = None;
        }
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        matches!(self.deadlines.get(timer as usize), Some(Some(_)))
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        let set = self.deadlines.iter().zip(Self::TIMERS);
        set.filter_map(|(deadline, timer)| Some(((*deadline)?, timer)))
            .min_by_key(|(deadline, _)| *deadline)
    }

    /// Stops and returns a timer whose deadline has passed.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Timer> {
        let (deadline, timer) = self.next()?;
        if deadline > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}
