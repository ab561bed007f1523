//! What was written to streams, until the agent has it.

use std::time::Instant;

use super::{Channel, Timer};
use crate::smux::StreamId;
use crate::streams::Streams;

impl Channel {
    /// Ends the session from this side, as [`Self::terminate`] does, once everything written to its streams was
    /// acknowledged, over as many connections as that takes.
    ///
    /// When nothing was acknowledged for [`Config::delivery_timeout`](crate::config::Config::delivery_timeout), it ends
    /// all the same: see [`Self::undelivered_len`].
    pub fn finish(&mut self, now: Instant) {
        self.is_finishing = true;
        self.on_progress(now);
    }

    /// Bytes that were written to streams, or sent, and not acknowledged.
    pub fn undelivered_len(&self) -> usize {
        // The flag that ends the session follows everything else.
        if self.is_flag_sent {
            return 0;
        }
        self.reliable.unacked_len() + self.streams.as_ref().map_or(0, Streams::unsent_len)
    }

    /// Returns whether everything written to streams was sent, and acknowledged as far as the agent does that.
    pub fn is_idle(&self) -> bool {
        let has_unsent = self.streams.as_ref().is_some_and(Streams::has_transmit);
        let next = self.reliable.next_sequence();
        !has_unsent && self.reliable.is_delivered_before(next)
    }

    /// Returns whether the peer's silence on a stream is one: there is a connection, what was written to the stream was
    /// acknowledged, and nothing that the peer has sent is known to be missing.
    ///
    /// `mark` says up to which message; it is `None` at first and after something was written.
    pub fn is_settled(&self, id: StreamId, mark: &mut Option<i64>) -> bool {
        let unsent_len = self
            .streams
            .as_ref()
            .map_or(0, |streams| streams.unsent_len_of(id));
        if !self.is_connected || self.reliable.has_gap() || unsent_len > 0 {
            return false;
        }
        let mark = *mark.get_or_insert(self.reliable.next_sequence());
        self.reliable.is_delivered_before(mark)
    }

    /// Connections so far, with the present one.
    pub fn connection_count(&self) -> u64 {
        self.connection_count
    }

    /// Something was acknowledged, or waiting begins.
    pub(super) fn on_progress(&mut self, now: Instant) {
        if !self.is_finishing {
            return;
        }
        let is_usable = self.phase.established().is_some();
        if is_usable && (self.undelivered_len() > 0 || !self.is_idle()) {
            self.timers
                .set(Timer::Delivery, now, self.config.delivery_timeout);
        } else {
            self.terminate(now);
        }
    }
}
