//! Tells the user what becomes of one forward.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::digest::Digest;
use crate::command::outages::{self, seconds, waiting};
use crate::command::service::{MAY_HAVE_BEGUN, greet, say_closed};
use crate::failure::Failure;
use crate::output::{Action, Event, Mapping, Printer};
use crate::session::{Notice, Observer, Session};
use crate::tunnel::{Narrator, Previous, Shortage};

/// What is said of one forward.
pub(super) struct Narration {
    printer: Printer,
    /// For what may happen to several forwards at once.
    digest: Digest,
    mapping: Mapping,
    outage: Arc<Mutex<Outage>>,
}

impl Narration {
    pub(super) fn new(printer: Printer, digest: Digest, mapping: Mapping) -> Self {
        Self {
            printer,
            digest,
            mapping,
            outage: Arc::default(),
        }
    }

    /// Returns what is to be told of the connections of the forward's sessions.
    pub(super) fn observer(&self) -> Observer {
        let (digest, forward) = (self.digest.clone(), self.mapping.forward.clone());
        let outage = Arc::clone(&self.outage);
        Observer::new(move |session_id, notice| {
            if lock(&outage).is_news(session_id, &notice) {
                digest.tell(outages::event(Some(forward.clone()), session_id, notice));
            }
        })
    }

    /// Says that the forward works for the first time.
    pub(super) fn announce(&self, session: &Session) {
        let established = session.established();
        let agent_version = established.agent_version.map(|version| version.to_string());
        self.printer.event(&Event::Connected {
            mapping: self.mapping.clone(),
            target_id: session.target().to_owned(),
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
        self.digest.tell(Event::Restarted {
            forward: self.mapping.forward.clone(),
            session_id: session.id().to_owned(),
            previous_session_id: previous.session_id.to_owned(),
            reason: previous.reason.to_owned(),
            gap: seconds(previous.gap),
        });
    }

    fn on_added(&mut self, session: &Session, reason: Shortage) {
        let reason = match reason {
            Shortage::Stalled => "one of the connections is stalled and may block others",
            Shortage::OneAtATime => "the agent carries one connection at a time in each",
            Shortage::Moved => "the host may have moved",
        };
        self.printer.event(&Event::SessionStarted {
            forward: self.mapping.forward.clone(),
            session_id: session.id().to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn on_not_added(&mut self, failure: &Failure) {
        let forward = &self.mapping.forward;
        self.printer.warning(format!(
            "{forward} does with the sessions it has, another one was not started: {failure}"
        ));
    }

    fn on_lost(&mut self, session_id: &str, reason: &str, connections: usize) {
        self.printer.event(&Event::SessionLost {
            forward: self.mapping.forward.clone(),
            session_id: session_id.to_owned(),
            reason: reason.to_owned(),
            connections,
        });
    }

    fn on_gone(&mut self, session_id: &str, reason: &str, is_next_on_demand: bool) {
        self.digest.tell(Event::Reconnecting {
            forward: Some(self.mapping.forward.clone()),
            session_id: session_id.to_owned(),
            reason: reason.to_owned(),
            action: match is_next_on_demand {
                true => Action::RestartOnDemand,
                false => Action::Restart,
            },
        });
    }

    fn on_waiting(&mut self, failure: &Failure) {
        let forward = Some(self.mapping.forward.clone());
        self.digest.tell(waiting(forward, None, failure.clone()));
    }

    fn on_closed(&mut self, session_id: &str, reason: &str, failed: Option<Failure>) {
        lock(&self.outage).is_over(session_id);
        let closed = failed.map_or(Ok(()), Err);
        say_closed(session_id, reason, closed, &self.printer);
    }

    fn on_abandoned(&mut self) {
        self.printer.warning(MAY_HAVE_BEGUN);
    }
}

/// Which sessions of a forward have no connection. An outage usually hits all of them, and is told once:
/// from the first that is lost to the last that is back.
///
/// The sessions' tasks write there as well as the tunnel's.
#[derive(Debug, Default)]
struct Outage {
    lost: BTreeSet<String>,
    is_paused: bool,
}

fn lock(outage: &Mutex<Outage>) -> MutexGuard<'_, Outage> {
    outage.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outage {
    /// Notes what has become of a session's connection; returns whether that has not been told of another
    /// session's already.
    fn is_news(&mut self, session_id: &str, notice: &Notice) -> bool {
        match notice {
            Notice::Lost { .. } => {
                self.lost.insert(session_id.to_owned());
                self.lost.len() == 1
            }
            Notice::Paused { .. } => !std::mem::replace(&mut self.is_paused, true),
            Notice::Resumed { .. } => self.is_over(session_id),
            Notice::Unanswered { .. }
            | Notice::Answered { .. }
            | Notice::Delivering
            | Notice::Undelivered { .. } => true,
        }
    }

    /// Notes that a session has a connection again, or needs none; returns whether that was the last.
    fn is_over(&mut self, session_id: &str) -> bool {
        self.lost.remove(session_id);
        self.is_paused &= !self.lost.is_empty();
        self.lost.is_empty()
    }
}
