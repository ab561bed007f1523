//! The job of a shell that this program belongs to.

use rustix::process::{Pid, Signal, getpgid, getpgrp, getppid, getsid, kill_current_process_group};

/// Stops all processes of the job, as Ctrl-Z does on a terminal that is not raw. Returns whether it did: without a shell,
/// nobody would continue them.
///
/// SIGSTOP, since this program handles SIGTSTP, and the AWS CLI ignores it while it waits for its plugin.
pub(super) fn stop() -> bool {
    if !has_shell() {
        return false;
    }
    let stopped = kill_current_process_group(Signal::STOP);
    if let Err(error) = &stopped {
        tracing::warn!(%error, "cannot stop");
    }
    stopped.is_ok()
}

/// Whether an ancestor has the process group in its hands: it is of the same session, and not of the group (POSIX, "orphaned
/// process group").
fn has_shell() -> bool {
    let (group, session) = (getpgrp(), getsid(None).ok());
    let mut ancestor = getppid();
    while let Some(pid) = ancestor {
        if getsid(Some(pid)).ok() != session {
            return false;
        }
        // Where nobody tells who the parent of another process is, that of the group counts as having a shell.
        if getpgid(Some(pid)) != Ok(group) || cfg!(not(target_os = "linux")) {
            return true;
        }
        ancestor = parent(pid);
    }
    false
}

/// The parent of another process, where the system tells in a file.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in parentheses, and may contain some.
    let (_, rest) = stat.rsplit_once(')')?;
    let parent = rest.split_ascii_whitespace().nth(1)?;
    Pid::from_raw(parent.parse().ok()?)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use rustix::process::getpid;

    use super::*;

    #[test]
    fn the_parent_of_a_process_is_found() {
        assert_eq!(parent(getpid()), getppid());
        assert_eq!(Pid::from_raw(1).and_then(parent), None);
    }
}
