//! The sessions of a lab.

use std::sync::{Arc, Mutex};

use super::lock;
use super::session::Session;

/// Sessions in the order they were started.
#[derive(Debug, Default)]
pub(super) struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    all: Vec<Arc<Session>>,
    started_count: u64,
}

impl Registry {
    /// Adds a session and returns how many were started before it. Forgets the oldest ended ones
    /// beyond [`MAX_ENDED`].
    pub(super) fn insert(&self, session: Arc<Session>) -> u64 {
        let mut sessions = lock(&self.sessions);
        let ended_count = sessions.all.iter().filter(|s| s.is_ended()).count();
        let mut surplus = ended_count.saturating_sub(MAX_ENDED);
        sessions.all.retain(|session| {
            let is_forgotten = surplus > 0 && session.is_ended();
            surplus -= usize::from(is_forgotten);
            !is_forgotten
        });
        sessions.all.push(session);
        sessions.started_count += 1;
        sessions.started_count - 1
    }

    /// Finds a session by its id.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Session>> {
        let sessions = lock(&self.sessions);
        sessions.all.iter().rev().find(|s| s.id == id).cloned()
    }

    /// Every session, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        lock(&self.sessions).all.clone()
    }

    /// Whether no further session may be started.
    pub(super) fn is_full(&self) -> bool {
        let sessions = lock(&self.sessions);
        sessions.all.iter().filter(|s| !s.is_ended()).count() >= MAX_RUNNING
    }
}

/// Ended sessions that are remembered.
const MAX_ENDED: usize = 1000;

/// Sessions at a time, as many as an agent runs workers (agent `appconfig/constants.go`).
const MAX_RUNNING: usize = 1000;

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::lab::session::{EndedBy, NewSession};

    fn session() -> Arc<Session> {
        let (session, _) = Session::new(NewSession::default(), CancellationToken::new());
        session
    }

    #[test]
    fn a_session_is_found_by_its_id() {
        let registry = Registry::default();
        let session = session();
        assert_eq!(registry.insert(session.clone()), 0);
        assert!(Arc::ptr_eq(&registry.find(&session.id).unwrap(), &session));
        assert!(registry.find("lab-user-0").is_none());
    }

    #[test]
    fn the_oldest_ended_sessions_are_forgotten() {
        let registry = Registry::default();
        let running = session();
        registry.insert(running.clone());
        let ended: Vec<_> = (0..MAX_ENDED + 2).map(|_| session()).collect();
        for session in &ended {
            session.end(EndedBy::Agent);
            registry.insert(session.clone());
        }
        assert!(registry.find(&running.id).is_some());
        assert!(registry.find(&ended[0].id).is_none());
        assert!(registry.find(&ended[1].id).is_some());
        assert_eq!(registry.all().len(), 1 + MAX_ENDED + 1);
    }

    #[test]
    fn running_sessions_are_bounded() {
        let registry = Registry::default();
        for count in 0..MAX_RUNNING as u64 {
            assert!(!registry.is_full());
            assert_eq!(registry.insert(session()), count);
        }
        assert!(registry.is_full());
        registry.all()[0].end(EndedBy::Caller);
        assert!(!registry.is_full());
    }
}
