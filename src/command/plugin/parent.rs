//! The AWS CLI, as the process that waits for this one.

/// Has this process end as by SIGTERM when the AWS CLI does that has started it: whoever kills the CLI wants the session
/// to end, and does not know of its child.
///
/// The CLI is known by the three signals it has ignored for its child. Other programs may mean what they started to
/// outlive them, and threads of theirs may end before they do. Must be called before those signals are handled.
#[cfg(target_os = "linux")]
pub(super) fn end_with_the_cli() {
    use rustix::process::{Signal, set_parent_process_death_signal};

    use crate::signals;

    let is_the_cli = [Signal::INT, Signal::QUIT, Signal::TSTP]
        .into_iter()
        .all(signals::is_ignored);
    if is_the_cli && let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::debug!(%error, "the end of the AWS CLI will not be noticed");
    }
}

/// Only Linux tells which signals are ignored.
#[cfg(not(target_os = "linux"))]
pub(super) fn end_with_the_cli() {}
