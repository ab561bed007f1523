//! What the end of a session means for whoever may start another one.

use ssmfwd_protocol::channel::CloseReason;

use super::{Cause, Ended};

/// Tells why the session ended, for whoever may start another one.
pub(super) fn cause(ended: &Ended) -> Cause {
    match ended {
        Ended::Closed(CloseReason::Peer { output, .. }) if is_timeout(output) => Cause::TimedOut,
        Ended::Closed(CloseReason::Peer { output, .. }) if output.trim().is_empty() => {
            Cause::Terminated
        }
        Ended::Closed(CloseReason::Peer { .. }) => Cause::Failed,
        Ended::Closed(CloseReason::Unsupported(_)) => Cause::Unsupported,
        Ended::Closed(_)
        | Ended::Disconnected(_)
        | Ended::Gone { .. }
        | Ended::Refused { .. }
        | Ended::Unreachable { .. }
        | Ended::Aborted => Cause::Fault,
    }
}

/// Tells whether the service itself has said that the session is over.
pub(super) fn is_over(ended: &Ended) -> bool {
    matches!(
        ended,
        Ended::Closed(CloseReason::Peer { .. }) | Ended::Gone { .. }
    )
}

/// Tells whether the service's words are about a timeout of its own. Those on the maximum duration are
/// not known; the one on idleness is "Your session timed out due to inactivity and has been terminated."
fn is_timeout(output: &str) -> bool {
    let output = output.to_ascii_lowercase();
    [
        "timed out due to inactivity",
        "maximum duration",
        "maximum session duration",
    ]
    .iter()
    .any(|text| output.contains(text))
}
