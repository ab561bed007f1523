//! Whether the agent answers, which the service does not tell: it keeps the connection to a client whose agent is gone.

use std::time::Instant;

use super::{Channel, Event, Timer};

/// What is known of the agent's answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Since when nothing was acknowledged of what is under way.
    waiting_since: Option<Instant>,
    /// [`Event::Unanswered`] has told of it.
    is_told: bool,
}

impl Channel {
    /// Something may have been sent.
    pub(super) fn expect_answer(&mut self, now: Instant) {
        let is_under_way = self.reliable.in_flight_len() > 0;
        match self.answers.waiting_since {
            None if is_under_way => {
                self.answers.waiting_since = Some(now);
                self.timers
                    .set(Timer::Answer, now, self.config.answer_timeout);
            }
            // What is left was sent again, which an old agent does not acknowledge.
            Some(_) if !is_under_way && !self.answers.is_told => self.forget_answers(),
            _ => {}
        }
    }

    /// Something was acknowledged.
    pub(super) fn on_answer(&mut self, now: Instant) {
        let answers = std::mem::take(&mut self.answers);
        self.timers.stop(Timer::Answer);
        if let Some(since) = answers.waiting_since.filter(|_| answers.is_told) {
            let gap = now.saturating_duration_since(since);
            self.events.push_back(Event::Answered(gap));
        }
        self.expect_answer(now);
    }

    /// Nobody can answer: the connection is gone.
    pub(super) fn forget_answers(&mut self) {
        self.answers = Answers::default();
        self.timers.stop(Timer::Answer);
    }

    /// That has taken too long.
    pub(super) fn on_unanswered(&mut self) {
        self.answers.is_told = true;
        self.events.push_back(Event::Unanswered);
    }
}
