//! Which session of a forward a connection goes to, and how many sessions there are.
//!
//! Usually there is one, and everything goes there. Further ones are for connections that the present
//! ones cannot serve as well: because a stream in it is stalled and may come to block all others, because
//! the agent carries one connection at a time, or because the host has moved, which an agent learns only
//! when a session starts.

use std::time::Duration;

use tokio::time::Instant;

/// Sessions a forward has at most.
///
/// Browsers open six connections to a host, and database clients a few. Each session is a process on the
/// target, whose agent runs 1,000 at most for all its users (agent `appconfig/constants.go`).
pub(super) const MAX_SESSIONS: usize = 8;

/// Starts of additional sessions that one forward has under way at a time. An account may start three a second
/// in a region ("Quotas" of Systems Manager in the AWS General Reference), which other forwards and users share.
const MAX_STARTS: usize = 3;

/// How long an additional session is kept without connections, so that a page that is loaded now and then
/// does not start and end sessions each time.
const GRACE: Duration = Duration::from_secs(30);

/// How long no additional session is started after one could not be.
const PAUSE: Duration = Duration::from_secs(10);

/// Time between two sessions that are started because the host may have moved. A service that is down looks
/// the same, and somebody may be trying to reach it all day.
const RENEWAL_PERIOD: Duration = Duration::from_secs(60);

/// Names a session within its pool.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(u64);

/// What a pool asks a session when it chooses: all of it changes without the pool being told.
pub(super) trait Poolable: Clone {
    /// It has a connection to the service.
    fn is_connected(&self) -> bool;
    /// One of its streams may come to block it.
    fn is_stalled(&self) -> bool;
    /// It carries several connections at a time.
    fn is_multiplexed(&self) -> bool;
    /// It has streams, which may go on for a while after their connections: what was written is sent.
    fn has_streams(&self) -> bool;
    /// Something has come from its destination.
    fn has_received(&self) -> bool;
}

/// The sessions of one forward that run, with the connections each of them carries.
#[derive(Debug)]
pub(super) struct Pool<S> {
    /// The oldest first.
    entries: Vec<Entry<S>>,
    next_number: u64,
    /// Whether the destination is a name, which may come to mean another address.
    can_host_move: bool,
    /// The destination has been reached by a session that is gone.
    was_reached: bool,
    /// When the sessions of that time were given up for their idea of where the host is.
    renewed: Option<Instant>,
    /// Until when no additional session is started.
    paused_until: Option<Instant>,
    /// No additional session will ever be started beside the present ones.
    is_full: bool,
}

#[derive(Debug)]
struct Entry<S> {
    number: Number,
    session: S,
    /// Connections that use it, or wait for it alone.
    connections: usize,
    /// Since when it has had none, or when it was last kept although it had none.
    idle_since: Instant,
    /// Its destination may have moved.
    is_stale: bool,
}

/// What a connection that wants a session gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim<S> {
    /// This one, until [`Pool::release`].
    Granted(Number, S),
    /// None that is worth having. If another one can be started, that is worth waiting for; one that
    /// comes free may be sooner.
    Scarce { can_grow: bool },
    /// None has a connection to the service.
    Offline,
}

/// Why another session is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// A stream that is stalled may come to block the others of its session.
    Stalled,
    /// The agent carries one connection at a time.
    OneAtATime,
    /// The destination's name may mean another address than when the session was started.
    Moved,
}

impl<S: Poolable> Pool<S> {
    /// Creates a pool without sessions. `can_host_move` says whether the destination is known by name.
    pub(super) fn new(can_host_move: bool) -> Self {
        Self {
            entries: Vec::new(),
            next_number: 0,
            can_host_move,
            was_reached: false,
            renewed: None,
            paused_until: None,
            is_full: false,
        }
    }

    /// Adds a session.
    pub(super) fn add(&mut self, session: S, now: Instant) -> Number {
        let number = Number(self.next_number);
        self.next_number += 1;
        // The first one was started after all.
        self.is_full &= !self.entries.is_empty();
        self.entries.push(Entry {
            number,
            session,
            connections: 0,
            idle_since: now,
            is_stale: false,
        });
        number
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, number: Number) {
        if let Some(at) = self.entries.iter().position(|entry| entry.number == number) {
            self.take(at);
        }
    }

    /// Chooses a session for a connection: the oldest that is good. Failing that, the least loaded one,
    /// unless the connection is patient and another one can be started.
    pub(super) fn claim(&mut self, is_patient: bool, now: Instant) -> Claim<S> {
        let can_grow = self.room() > 0;
        let is_worth_waiting = is_patient && can_grow && !self.is_paused(now);
        let chosen = match self.entries.iter().position(Entry::is_offered) {
            None if !is_worth_waiting => self.least_loaded(),
            good => good,
        };
        if let Some(entry) = chosen.and_then(|at| self.entries.get_mut(at)) {
            entry.connections += 1;
            return Claim::Granted(entry.number, entry.session.clone());
        }
        match self.sessions().any(Poolable::is_connected) {
            true => Claim::Scarce { can_grow },
            false => Claim::Offline,
        }
    }

    /// Gives a session back; returns whether that may matter to anybody else.
    pub(super) fn release(&mut self, number: Number, now: Instant) -> bool {
        let is_alone = self.entries.len() == 1;
        let Some(entry) = self.entry(number) else {
            return false;
        };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections == 0 {
            entry.idle_since = now;
        }
        !is_alone || !entry.session.is_multiplexed()
    }

    /// The agent could not connect to the destination in this session. If that is a name and was reached
    /// before, it may mean another address by now: no connection goes to the present sessions any more if
    /// there can be a new one.
    pub(super) fn on_refused(&mut self, number: Number, now: Instant) {
        let is_known = self.entry(number).is_none_or(|entry| entry.is_stale);
        let is_recent = |renewed| now.saturating_duration_since(renewed) < RENEWAL_PERIOD;
        if is_known || !self.can_host_move || self.renewed.is_some_and(is_recent) {
            return;
        }
        self.was_reached |= self
            .entries
            .iter()
            .any(|entry| entry.session.has_received());
        if self.was_reached {
            self.renewed = Some(now);
            self.entries
                .iter_mut()
                .for_each(|entry| entry.is_stale = true);
        }
    }

    /// An additional session could not be started.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + PAUSE);
    }

    /// Additional sessions cannot be started, and trying again does not help.
    pub(super) fn stop_growing(&mut self) {
        self.is_full = true;
    }

    /// How many sessions are to be started beside those that are `starting`, for so many connections that
    /// wait for one.
    pub(super) fn missing(&self, waiting: usize, starting: usize, now: Instant) -> usize {
        if self.entries.is_empty() || self.is_paused(now) {
            return 0;
        }
        // Connections that have not yet seen what they waited for take it in a moment.
        let offered = self.offered_count();
        let wanted = match self.is_multiplexed() {
            true => waiting.min(1),
            false => waiting,
        };
        let wanted = wanted.saturating_sub(offered);
        wanted
            .min(self.room())
            .min(MAX_STARTS)
            .saturating_sub(starting)
    }

    /// Sessions that the next connection may well take.
    pub(super) fn offered_count(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.is_offered())
            .count()
    }

    /// What another session would be for.
    pub(super) fn shortage(&self) -> Shortage {
        match (
            self.entries.iter().any(|entry| entry.is_stale),
            self.is_multiplexed(),
        ) {
            (true, _) => Shortage::Moved,
            (false, true) => Shortage::Stalled,
            (false, false) => Shortage::OneAtATime,
        }
    }

    /// Takes out the sessions that have been without connections for too long and have nothing left to send,
    /// the youngest first, as long as there is a sound one left.
    pub(super) fn retire(&mut self, now: Instant) -> Vec<Number> {
        let mut retired = Vec::new();
        for at in (0..self.entries.len()).rev() {
            let is_due = |entry: &Entry<S>| entry.retires().is_some_and(|due| due <= now);
            if !self.entries.get(at).is_some_and(is_due) {
                continue;
            }
            let mut others = self
                .entries
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at);
            let is_needed = self.entries[at].session.has_streams();
            match !is_needed && others.any(|(_, entry)| entry.is_sound()) {
                true => retired.push(self.take(at).number),
                false => self.entries[at].idle_since = now,
            }
        }
        retired
    }

    /// When to look again: for sessions to [`Self::retire`], or whether some are [`Self::missing`].
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        let retirements = self.entries.iter().filter_map(Entry::retires);
        let retirement = retirements.min().filter(|_| self.entries.len() > 1);
        let resumption = self.paused_until.filter(|until| *until > now);
        retirement.into_iter().chain(resumption).min()
    }

    /// The sessions there are.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &S> {
        self.entries.iter().map(|entry| &entry.session)
    }

    fn take(&mut self, at: usize) -> Entry<S> {
        let entry = self.entries.remove(at);
        self.was_reached |= entry.session.has_received();
        entry
    }

    fn least_loaded(&self) -> Option<usize> {
        let usable = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.is_usable());
        usable
            .min_by_key(|(_, entry)| entry.load())
            .map(|(at, _)| at)
    }

    fn is_multiplexed(&self) -> bool {
        self.sessions().any(Poolable::is_multiplexed)
    }

    /// How many sessions there can be beside those there are.
    fn room(&self) -> usize {
        match self.is_full {
            true => 0,
            false => MAX_SESSIONS.saturating_sub(self.entries.len()),
        }
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    fn entry(&mut self, number: Number) -> Option<&mut Entry<S>> {
        self.entries.iter_mut().find(|entry| entry.number == number)
    }
}

impl<S: Poolable> Entry<S> {
    /// It can take another connection at all.
    fn is_usable(&self) -> bool {
        self.session.is_connected() && (self.connections == 0 || self.session.is_multiplexed())
    }

    /// The next connection may well take it.
    fn is_offered(&self) -> bool {
        self.is_usable() && self.is_good()
    }

    /// A connection has nothing to fear from what else the session carries, or from its age.
    fn is_good(&self) -> bool {
        !self.is_stale && !self.session.is_stalled()
    }

    /// It can do without the others.
    fn is_sound(&self) -> bool {
        self.session.is_connected() && self.is_good()
    }

    /// The lower, the better: one that may be stalled later is better than one that is refused at once.
    fn load(&self) -> (bool, usize) {
        (self.is_stale, self.connections)
    }

    fn retires(&self) -> Option<Instant> {
        (self.connections == 0).then(|| self.idle_since + GRACE)
    }
}

#[cfg(test)]
mod tests;
