//! The end of a session by the other side, and what that may have overtaken.

use std::time::Instant;

use super::phase::Phase;
use super::timer::TimerTable;
use super::{Channel, CloseReason, Timer};
use crate::control::Closing;
use crate::error::ProtocolError;
use crate::streams::Streams;

impl Channel {
    /// Ends the channel as the peer has, after a while in which what that has overtaken may still come.
    pub(super) fn on_channel_closed(
        &mut self,
        now: Instant,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        match &self.phase {
            Phase::Closing(reason) => {
                let reason = reason.clone();
                self.close(reason);
            }
            Phase::Draining { .. } => {}
            _ => {
                let Closing { output } =
                    serde_json::from_slice(payload).map_err(|_| ProtocolError::ChannelClosed)?;
                let output = output.unwrap_or_default();
                if output.trim().is_empty() && self.has_run_silently(now) {
                    self.establish_without_handshake();
                }
                self.phase = Phase::Draining { output };
                self.timers = TimerTable::default();
                self.await_overtaken(now);
            }
        }
        Ok(())
    }

    /// Waits for what the peer's end of the session may have overtaken.
    fn await_overtaken(&mut self, now: Instant) {
        let ends_unmarked = self.streams.as_ref().is_some_and(Streams::ends_unmarked);
        let limit = match (self.reliable.has_gap(), ends_unmarked) {
            (true, _) => self.config.drain_timeout,
            (false, true) => self.config.overtaken_delay,
            (false, false) => return self.finish_draining(),
        };
        self.timers.set(Timer::Close, now, limit);
    }

    /// Something that was overtaken has come, or is now known to be missing.
    pub(super) fn go_on_draining(&mut self, now: Instant, had_gap: bool) {
        match (&self.phase, had_gap) {
            (Phase::Draining { .. }, true) => self.finish_draining(),
            (Phase::Draining { .. }, false) => self.await_overtaken(now),
            _ => {}
        }
    }

    /// Closes a channel that the peer has ended. The streams of a shell or command end cleanly only if nothing
    /// of them is missing.
    pub(super) fn finish_draining(&mut self) {
        let Phase::Draining { output } = &mut self.phase else {
            return;
        };
        let reason = CloseReason::Peer {
            output: std::mem::take(output),
            is_whole: !self.reliable.has_gap(),
        };
        if let Some(streams) = self.streams.as_mut().filter(|_| reason.is_in_order()) {
            streams.on_end();
        }
        self.close(reason);
    }
}
