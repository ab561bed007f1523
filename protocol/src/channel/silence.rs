//! Sessions with a terminal that are silent at first: interactive commands that print nothing, shells whose prompt takes its time
//! or never comes.
//!
//! An agent in silence is asked by the size of a terminal. It acknowledges that once the program runs
//! (`ErrHandlerNotReady`, `shell_unix.go`); but also, without effect, in the moments between its connection and its handshake
//! (`processStreamDataMessage`, `datachannel.go`), and before 3.0.655.0 between its connection and the program. So a
//! while must pass after the acknowledgement, in which a handshake would come.

use std::time::Instant;

use super::phase::Phase;
use super::{Channel, Timer};
use crate::config::Beginning;
use crate::handshake::Agreed;
use crate::session_kind::SessionKind;

/// How far the question is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    #[default]
    Unasked,
    Asked {
        at: Instant,
    },
    Acknowledged,
}

impl Channel {
    /// The session begins, perhaps in silence.
    pub(super) fn await_silence(&mut self, now: Instant) {
        if self.config.beginning != Beginning::Handshake {
            self.timers
                .set(Timer::Silence, now, self.config.silence_delay);
        }
    }

    /// The agent has been silent for a while.
    pub(super) fn on_silence(&mut self, now: Instant) {
        match self.question {
            Question::Unasked => {
                self.question = Question::Asked { at: now };
                self.push_size();
            }
            Question::Acknowledged => {
                let agreed = self.establish_without_handshake();
                self.run(agreed);
            }
            Question::Asked { .. } => {}
        }
    }

    /// The agent has acknowledged the question.
    pub(super) fn on_question_acked(&mut self, now: Instant) {
        self.question = Question::Acknowledged;
        let patience = match self.config.beginning {
            Beginning::Prompt => self.config.handshake_timeout,
            Beginning::Silence | Beginning::Handshake => self.config.silence_delay,
        };
        self.timers.set(Timer::Silence, now, patience);
        // A handshake may still begin, and come to nothing.
        let limit = patience.saturating_add(self.config.handshake_timeout);
        self.timers.set(Timer::Handshake, now, limit);
    }

    /// Whether a session that ends without words, before anything of it has come, was that of a program which has run: not if the
    /// agent had long been asked.
    pub(super) fn has_run_silently(&self, now: Instant) -> bool {
        let is_overdue = match self.question {
            Question::Asked { at } => now >= at + self.config.silence_delay,
            Question::Unasked | Question::Acknowledged => false,
        };
        let may_run_silently = self.config.beginning == Beginning::Silence;
        may_run_silently && self.phase == Phase::Opening && !is_overdue
    }

    /// The session has begun without a handshake: it is that of a shell, or of an interactive command, and not encrypted.
    pub(super) fn establish_without_handshake(&mut self) -> Agreed {
        let agreed = Agreed {
            agent_version: None,
            kind: SessionKind::Shell,
        };
        self.establish(agreed, String::new());
        agreed
    }
}
