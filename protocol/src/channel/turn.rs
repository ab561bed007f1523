//! How one connection follows another where the agent carries one at a time.
//!
//! Nothing on the wire separates their bytes, and what is missing of the first may be repeated long after the
//! agent has ended it. So the next one waits until nothing of the first can arrive any more.

use std::time::Instant;

use super::{Channel, Timer};

impl Channel {
    /// There is another WebSocket, here or at the agent: the one before may have taken messages with it that none came
    /// after, so that no gap shows.
    pub(super) fn doubt_output(&mut self, now: Instant) {
        self.may_miss_output |= self.port.is_some();
        self.pass_turn(now);
    }

    /// A message of the agent's has arrived: there may be more where it came from.
    pub(super) fn prolong_turn(&mut self, now: Instant) {
        self.timers.stop(Timer::Drain);
        self.pass_turn(now);
    }

    /// Lets the next connection begin, if the agent has ended the one before and all of that has arrived.
    pub(super) fn pass_turn(&mut self, now: Instant) {
        let is_acked = |sequence| self.reliable.is_acked(sequence);
        if !self.disconnect.is_some_and(is_acked) || self.reliable.has_gap() {
            return;
        }
        if self.may_miss_output {
            if !self.timers.is_set(Timer::Drain) {
                self.timers.set(Timer::Drain, now, self.config.drain_delay);
            }
            return;
        }
        self.disconnect = None;
        if let Some(port) = &mut self.port {
            port.on_disconnect_acked();
        }
    }

    /// The agent has had nothing to repeat for so long that nothing is missing.
    pub(super) fn on_drained(&mut self, now: Instant) {
        self.may_miss_output = false;
        self.pass_turn(now);
    }
}
