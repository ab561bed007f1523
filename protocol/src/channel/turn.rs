//! How one connection follows another where the agent carries one at a time.
//!
//! Nothing on the wire separates their bytes, and what is missing of the first may be repeated long after the
//! agent has ended it. So the next one waits until nothing of the first can arrive any more.

use std::time::Instant;

use bytes::Bytes;

use super::{Channel, Timer};
use crate::message::{Flag, PayloadType};
use crate::smux::KEEP_ALIVE_FRAME;
use crate::streams::Streams;

impl Channel {
    /// There is another WebSocket, here or at the agent: the one before may have taken messages with it that none came
    /// after, so that no gap shows.
    pub(super) fn doubt_output(&mut self, now: Instant) {
        self.may_miss_output |= self.streams.is_some();
        self.pass_turn(now);
    }

    /// A message of the agent's has arrived: there may be more where it came from.
    pub(super) fn prolong_turn(&mut self, now: Instant) {
        self.timers.stop(Timer::Turn);
        self.pass_turn(now);
    }

    /// Lets the next connection begin, if the agent has ended the one before and all of that has arrived.
    pub(super) fn pass_turn(&mut self, now: Instant) {
        let is_acked = |sequence| self.reliable.is_acked(sequence);
        if !self.disconnect.is_some_and(is_acked) || self.reliable.has_gap() {
            return;
        }
        if self.may_miss_output {
            if !self.timers.is_set(Timer::Turn) {
                self.timers.set(Timer::Turn, now, self.config.turn_delay);
            }
            return;
        }
        self.disconnect = None;
        if let Some(streams) = &mut self.streams {
            streams.on_disconnect_acked();
        }
    }

    /// Returns the next message to be sent again.
    pub(super) fn poll_retransmit(&mut self, now: Instant) -> Option<Bytes> {
        let wire = self.reliable.poll_retransmit(now)?;
        let is_last = self.disconnect.is_some() || self.is_finishing;
        self.is_nudge_due = is_last && self.reliable.presumes_delivery();
        Some(wire)
    }

    /// Says something without effect, with a number of its own, behind what is sent again before it.
    ///
    /// Agents that do not acknowledge a repetition tell by acknowledging what comes after it that they have had it,
    /// and nothing else comes after a DisconnectToPort flag, or after the last that is to be delivered. They close a
    /// connection twice without complaint.
    pub(super) fn poll_nudge(&mut self, now: Instant) -> Option<Bytes> {
        if !std::mem::take(&mut self.is_nudge_due) {
            return None;
        }
        let is_multiplexed = self.streams.as_ref().is_some_and(Streams::is_multiplexed);
        let (kind, payload) = match is_multiplexed {
            true => (PayloadType::Output, KEEP_ALIVE_FRAME.as_slice()),
            false if self.disconnect.is_some() => {
                (PayloadType::Flag, &Flag::DisconnectToPort.encode()[..])
            }
            false => return None,
        };
        Some(self.reliable.push_control(now, kind, payload))
    }

    /// The agent has had nothing to repeat for so long that nothing is missing.
    pub(super) fn on_turn(&mut self, now: Instant) {
        self.may_miss_output = false;
        self.pass_turn(now);
    }
}
