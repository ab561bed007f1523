//! What is said of the connections of sessions: that one was lost, and that it is back.

use std::time::Duration;

use crate::failure::Failure;
use crate::output::{Action, Event, Printer};
use crate::session::{Notice, Observer};

/// Says what becomes of the connection of the session of a command that is no forward.
pub(super) fn observer(printer: Printer) -> Observer {
    Observer::new(move |session_id, notice| printer.event(&event(None, session_id, notice)))
}

/// What has become of a session's connection, as an event.
pub(super) fn event(forward: Option<String>, session_id: &str, notice: Notice) -> Event {
    let session_id = session_id.to_owned();
    match notice {
        Notice::Lost { reason } => Event::Reconnecting {
            forward,
            session_id,
            reason,
            action: Action::Resume,
        },
        Notice::Paused { failure } => waiting(forward, Some(session_id), failure),
        Notice::Resumed { gap, is_planned } => Event::Resumed {
            forward,
            session_id,
            gap: seconds(gap),
            planned: is_planned,
        },
        Notice::Unanswered { silence } => Event::Waiting {
            forward,
            session_id: Some(session_id),
            reason: format!(
                "the target's agent has acknowledged nothing for {} s",
                silence.as_secs()
            ),
            hint: Some(
                "it may be gone, or what it is connected to does not read: check the target"
                    .to_owned(),
            ),
        },
        Notice::Answered { gap } => Event::Resumed {
            forward,
            session_id,
            gap: seconds(gap),
            planned: false,
        },
        Notice::Delivering => Event::Delivering,
        Notice::Undelivered { len } => Event::Warning {
            message: format!(
                "session {session_id} has ended, and {len} bytes that were sent were not acknowledged by the target"
            ),
        },
    }
}

/// Nothing goes on before `failure` is mended, by whomever.
pub(super) fn waiting(
    forward: Option<String>,
    session_id: Option<String>,
    failure: Failure,
) -> Event {
    Event::Waiting {
        forward,
        session_id,
        reason: failure.message,
        hint: failure.hint,
    }
}

/// Seconds, to the millisecond.
pub(super) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
