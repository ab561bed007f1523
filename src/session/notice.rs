//! What becomes of the connections of sessions, for whoever tells people.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::failure::Failure;

/// What becomes of a session's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It is lost, and being replaced.
    Lost {
        /// Why, for people.
        reason: String,
    },
    /// It cannot be replaced, for want of credentials the service accepts, or for another reason that lasts.
    Paused {
        /// What is in the way, and what to do about it.
        failure: Failure,
    },
    /// It has been replaced; nothing was lost.
    Resumed {
        /// How long there was none.
        gap: Duration,
        /// It was replaced in time, before the service would have closed it. [`Self::Lost`] comes first only
        /// if that takes noticeably long.
        is_planned: bool,
    },
    /// There is a connection, and the agent has acknowledged nothing for so long: everything waits.
    Unanswered {
        /// How long.
        silence: Duration,
    },
    /// The agent has acknowledged something, after [`Self::Unanswered`].
    Answered {
        /// How long it had not.
        gap: Duration,
    },
    /// The session is to end, and everything written to it is still being delivered.
    Delivering,
    /// The session was ended before everything written to it was delivered.
    Undelivered {
        /// Bytes that the agent has not acknowledged, as far as is known.
        len: usize,
    },
}

/// Is told what becomes of the connections of sessions. The default passes over it.
#[derive(Clone)]
pub struct Observer(Arc<OnNotice>);

type OnNotice = dyn Fn(&str, Notice) + Send + Sync;

impl Observer {
    /// Makes an observer from what is to be called with a session's id and what has become of its
    /// connection. It must not block.
    pub fn new(on_notice: impl Fn(&str, Notice) + Send + Sync + 'static) -> Self {
        Self(Arc::new(on_notice))
    }

    pub(crate) fn notify(&self, session_id: &str, notice: Notice) {
        tracing::debug!(session_id, ?notice, "connection of the session");
        (self.0)(session_id, notice);
    }
}

impl Default for Observer {
    fn default() -> Self {
        Self::new(|_, _| {})
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer(..)")
    }
}
