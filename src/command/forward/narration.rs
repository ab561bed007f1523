//! Tells the user what becomes of one forward.

use std::time::Duration;

use crate::command::service::{MAY_HAVE_BEGUN, greet, say_closed};
use crate::failure::Failure;
use crate::output::{Action, Event, Mapping, Printer};
use crate::session::{Notice, Observer, Session};
use crate::tunnel::{Narrator, Previous};

/// What is said of one forward.
pub(super) struct Narration {
    printer: Printer,
    mapping: Mapping,
}

impl Narration {
    pub(super) fn new(printer: Printer, mapping: Mapping) -> Self {
        Self { printer, mapping }
    }

    /// Says that the forward works for the first time.
    pub(super) fn announce(&self, session: &Session) {
        let established = session.established();
        let agent_version = established.agent_version.map(|version| version.to_string());
        self.printer.event(&Event::Connected {
            mapping: self.mapping.clone(),
            session_id: session.id().to_owned(),
            agent_version: agent_version.unwrap_or_default(),
        });
        greet(session, &self.printer);
    }
}

impl Narrator for Narration {
    fn on_started(&mut self, session: &Session, previous: Option<Previous<'_>>) {
        let Some(previous) = previous else {
            return self.announce(session);
        };
        self.printer.event(&Event::Restarted {
            forward: self.mapping.forward.clone(),
            session_id: session.id().to_owned(),
            previous_session_id: previous.session_id.to_owned(),
            reason: previous.reason.to_owned(),
            gap: seconds(previous.gap),
        });
    }

    fn on_gone(&mut self, session_id: &str, reason: &str, is_next_on_demand: bool) {
        self.printer.event(&Event::Reconnecting {
            forward: self.mapping.forward.clone(),
            session_id: session_id.to_owned(),
            reason: reason.to_owned(),
            action: match is_next_on_demand {
                true => Action::RestartOnDemand,
                false => Action::Restart,
            },
        });
    }

    fn on_waiting(&mut self, failure: &Failure) {
        self.printer
            .event(&waiting(&self.mapping.forward, failure.clone()));
    }

    fn on_closed(&mut self, session_id: &str, reason: &str, failed: Option<Failure>) {
        let closed = failed.map_or(Ok(()), Err);
        say_closed(session_id, reason, closed, &self.printer);
    }

    fn on_abandoned(&mut self) {
        self.printer.warning(MAY_HAVE_BEGUN);
    }
}

/// Says what becomes of the connections of a forward's sessions.
pub(super) fn observer(printer: Printer, forward: String) -> Observer {
    Observer::new(move |session_id, notice| {
        let (forward, session_id) = (forward.clone(), session_id.to_owned());
        printer.event(&match notice {
            Notice::Lost { reason } => Event::Reconnecting {
                forward,
                session_id,
                reason,
                action: Action::Resume,
            },
            Notice::Paused { failure } => waiting(&forward, failure),
            Notice::Resumed { gap, is_planned } => Event::Resumed {
                forward,
                session_id,
                gap: seconds(gap),
                planned: is_planned,
            },
        });
    })
}

fn waiting(forward: &str, failure: Failure) -> Event {
    Event::Waiting {
        forward: forward.to_owned(),
        reason: failure.message,
        hint: failure.hint,
    }
}

/// Seconds, to the millisecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
