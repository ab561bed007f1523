//! When a session that is gone is followed by another one.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::session::Cause;

/// Sessions that may be terminated without a word within [`PERIOD`] before that is taken for an
/// administrator's will.
const MAX_TERMINATIONS: usize = 5;

const PERIOD: Duration = Duration::from_secs(60 * 60);

/// Age from which on a session counts as one that has worked. An agent that cannot do what it is asked
/// for says so within the time of a name lookup.
const PROVEN_AGE: Duration = Duration::from_secs(10);

/// When to start the next session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    AtOnce,
    /// With the next connection.
    OnDemand,
    Never,
    /// Never, since none has worked yet.
    NotEvenOnce,
}

/// Decides by how sessions end. What nobody wanted is repaired at once; what somebody may have wanted is
/// undone only when a user asks for it, and not again and again.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// A session has lasted, so that there is nothing wrong with what it was asked for.
    has_worked: bool,
    /// When sessions were terminated, the oldest first.
    terminations: VecDeque<Instant>,
}

impl Policy {
    /// Returns what follows a session that has ended at `now`, at this age and for this cause.
    pub(super) fn after(&mut self, cause: Cause, age: Duration, now: Instant) -> Next {
        self.has_worked |= age >= PROVEN_AGE;
        match cause {
            Cause::Fault => Next::AtOnce,
            // As if it had not been started: the agent looks at what it is asked for after the handshake.
            Cause::Failed if !self.has_worked => Next::NotEvenOnce,
            Cause::TimedOut | Cause::Failed => Next::OnDemand,
            Cause::Terminated => self.after_termination(now),
            Cause::Unsupported => Next::Never,
        }
    }

    fn after_termination(&mut self, now: Instant) -> Next {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= PERIOD;
        while self.terminations.front().is_some_and(is_old) {
            self.terminations.pop_front();
        }
        self.terminations.push_back(now);
        match self.terminations.len() > MAX_TERMINATIONS {
            true => Next::Never,
            false => Next::OnDemand,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_the_agent_cannot_do_at_the_very_beginning_is_not_asked_again() {
        let (mut policy, now) = (Policy::default(), Instant::now());
        let next = policy.after(Cause::Failed, Duration::ZERO, now);
        assert_eq!(next, Next::NotEvenOnce);
        let mut policy = Policy::default();
        assert_eq!(policy.after(Cause::Failed, MINUTE, now), Next::OnDemand);
        assert_eq!(
            policy.after(Cause::Failed, Duration::ZERO, now),
            Next::OnDemand
        );
    }

    #[tokio::test]
    async fn what_nobody_wanted_is_repaired_at_once_however_often() {
        let (mut policy, now) = (Policy::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(
                policy.after(Cause::Fault, Duration::ZERO, now),
                Next::AtOnce
            );
        }
    }

    #[tokio::test]
    async fn the_accounts_timeouts_are_followed_on_demand_however_often() {
        let (mut policy, now) = (Policy::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(policy.after(Cause::TimedOut, MINUTE, now), Next::OnDemand);
            assert_eq!(
                policy.after(Cause::Failed, Duration::ZERO, now),
                Next::OnDemand
            );
        }
    }

    #[tokio::test]
    async fn an_administrator_has_the_last_word() {
        let (mut policy, start) = (Policy::default(), Instant::now());
        for minute in 0..5 {
            let now = start + Duration::from_secs(60 * minute);
            assert_eq!(
                policy.after(Cause::Terminated, Duration::ZERO, now),
                Next::OnDemand
            );
        }
        let now = start + Duration::from_secs(59 * 60);
        assert_eq!(
            policy.after(Cause::Terminated, Duration::ZERO, now),
            Next::Never
        );
    }

    #[tokio::test]
    async fn terminations_are_forgotten_after_an_hour() {
        let (mut policy, start) = (Policy::default(), Instant::now());
        for number in 0..100 {
            let now = start + Duration::from_secs(60 * 60 / 5 * number);
            assert_eq!(
                policy.after(Cause::Terminated, Duration::ZERO, now),
                Next::OnDemand
            );
        }
    }

    #[tokio::test]
    async fn what_can_never_work_is_not_tried_again() {
        let (mut policy, now) = (Policy::default(), Instant::now());
        assert_eq!(policy.after(Cause::Unsupported, MINUTE, now), Next::Never);
    }
}
