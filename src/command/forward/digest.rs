//! Few lines for what happens to several forwards at once.
//!
//! The first loss is told at once, the same loss of others in one line a moment later. That connections are back is told
//! when the last one is, or of those that came back in the same moment. Programs get every event.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::output::{Action, Event, Format, Printer};

/// How long what happens to one forward is waited for to happen to others.
const MOMENT: Duration = Duration::from_secs(1);

/// Forwards that a line names; of more, it says how many.
const MAX_NAMED: usize = 3;

/// Tells what becomes of the forwards of a command. Clones tell together; what they hold back is told when the last one is
/// dropped.
#[derive(Clone)]
pub(super) struct Digest(Arc<Mutex<State>>);

struct State {
    tell: Box<dyn Fn(&Event) + Send>,
    /// Whether anything is held back at all.
    is_folding: bool,
    /// Forwards without a connection.
    lost: BTreeSet<String>,
    groups: Vec<Group>,
    group_count: u64,
}

/// Events that are alike, of one moment.
struct Group {
    number: u64,
    first: Event,
    is_first_told: bool,
    held: Vec<Event>,
}

impl Digest {
    pub(super) fn new(printer: Printer) -> Self {
        let is_folding = printer.format() != Format::Json;
        Self::with(is_folding, move |event| printer.event(event))
    }

    fn with(is_folding: bool, tell: impl Fn(&Event) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(State {
            tell: Box::new(tell),
            is_folding,
            lost: BTreeSet::new(),
            groups: Vec::new(),
            group_count: 0,
        })))
    }

    /// Tells of an event of a forward, now or within [`MOMENT`].
    pub(super) fn tell(&self, event: Event) {
        let opened = lock(&self.0).take(event);
        let Some(number) = opened else {
            return;
        };
        let state = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            sleep(MOMENT).await;
            if let Some(state) = state.upgrade() {
                lock(&state).close(number);
            }
        });
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Tells of an event, or holds it back. Returns the number of the group it has opened, to be closed in a moment.
    fn take(&mut self, event: Event) -> Option<u64> {
        if !self.is_folding {
            (self.tell)(&event);
            return None;
        }
        self.note(&event);
        if !is_alike(&event, &event) {
            self.close_all();
            (self.tell)(&event);
            return None;
        }
        let is_back = matches!(event, Event::Resumed { .. });
        let mut groups = self.groups.iter_mut();
        if let Some(group) = groups.find(|group| is_alike(&group.first, &event)) {
            group.held.push(event);
            self.close_if_all_are_back(is_back);
            return None;
        }
        match is_back {
            // What was lost is told first.
            true => self.close_all(),
            false => (self.tell)(&event),
        }
        self.group_count += 1;
        self.groups.push(Group {
            number: self.group_count,
            held: is_back.then(|| event.clone()).into_iter().collect(),
            first: event,
            is_first_told: !is_back,
        });
        self.close_if_all_are_back(is_back);
        Some(self.group_count)
    }

    /// Notes which forwards have a connection.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Reconnecting {
                forward: Some(forward),
                action: Action::Resume,
                ..
            } => {
                self.lost.insert(forward.clone());
            }
            Event::Reconnecting {
                forward: Some(forward),
                action: Action::Restart | Action::RestartOnDemand,
                ..
            }
            | Event::Resumed {
                forward: Some(forward),
                ..
            } => {
                self.lost.remove(forward);
            }
            _ => {}
        }
    }

    fn close_if_all_are_back(&mut self, is_one_back: bool) {
        if is_one_back && self.lost.is_empty() {
            self.close_all();
        }
    }

    fn close(&mut self, number: u64) {
        if let Some(at) = self.groups.iter().position(|group| group.number == number) {
            let group = self.groups.remove(at);
            self.tell_held(group);
        }
    }

    fn close_all(&mut self) {
        for group in std::mem::take(&mut self.groups) {
            self.tell_held(group);
        }
    }

    fn tell_held(&self, group: Group) {
        let subject = subject(&group);
        // The longest gap is that of all.
        let longest = group
            .held
            .into_iter()
            .max_by(|one, other| gap(one).total_cmp(&gap(other)));
        let Some(mut event) = longest else {
            return;
        };
        if let Some(forward) = forward_mut(&mut event) {
            *forward = Some(subject);
        }
        (self.tell)(&event);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.close_all();
    }
}

/// Whether two events say the same of two forwards. What costs connections is nothing that forwards share.
fn is_alike(one: &Event, other: &Event) -> bool {
    match (one, other) {
        (
            Event::Reconnecting {
                reason,
                action: Action::Resume,
                ..
            },
            Event::Reconnecting {
                reason: other,
                action: Action::Resume,
                ..
            },
        )
        | (Event::Waiting { reason, .. }, Event::Waiting { reason: other, .. }) => reason == other,
        (Event::Resumed { planned: false, .. }, Event::Resumed { planned: false, .. }) => true,
        _ => false,
    }
}

/// The forwards that are held back in a group.
fn subject(group: &Group) -> String {
    let mut held = group.held.clone();
    let names = held
        .iter_mut()
        .filter_map(|event| forward_mut(event)?.take());
    let names: Vec<_> = names.collect();
    match &*names {
        [] => String::new(),
        [name] => name.clone(),
        [names @ .., last] if names.len() < MAX_NAMED => {
            format!("{} and {last}", names.join(", "))
        }
        names if group.is_first_told => format!("{} other forwards", names.len()),
        names => format!("{} forwards", names.len()),
    }
}

fn forward_mut(event: &mut Event) -> Option<&mut Option<String>> {
    match event {
        Event::Reconnecting { forward, .. }
        | Event::Waiting { forward, .. }
        | Event::Resumed { forward, .. } => Some(forward),
        _ => None,
    }
}

fn gap(event: &Event) -> f64 {
    match event {
        Event::Resumed { gap, .. } => *gap,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests;
