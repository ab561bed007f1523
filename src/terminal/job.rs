//! The job of a shell that this program belongs to.

use rustix::process::{Signal, kill_current_process_group};

/// Stops all processes of the job, as Ctrl-Z does on a terminal that is not raw; returns whether it did.
///
/// SIGSTOP, since this program handles SIGTSTP, and the AWS CLI ignores it while it waits for its plugin.
pub(super) fn stop() -> bool {
    let stopped = kill_current_process_group(Signal::STOP);
    if let Err(error) = &stopped {
        tracing::warn!(%error, "cannot stop");
    }
    stopped.is_ok()
}

/// Whether there is a shell, which can continue a stopped job: an ancestor of the same session, and not of the process group
/// (POSIX, "orphaned process group").
#[cfg(target_os = "linux")]
pub(super) fn has_shell() -> bool {
    use process::Process;

    let Some(this) = Process::read("self") else {
        return false;
    };
    let mut ancestor = this.parent();
    while let Some(process) = ancestor {
        if process.session != this.session {
            return false;
        }
        if process.group != this.group {
            return true;
        }
        ancestor = process.parent();
    }
    false
}

/// Whether the parent is of the same session: nobody tells who its own parent is, so that of the group counts as having a
/// shell.
#[cfg(not(target_os = "linux"))]
pub(super) fn has_shell() -> bool {
    use rustix::process::{getppid, getsid};

    getppid().is_some_and(|parent| getsid(Some(parent)) == getsid(None))
}

#[cfg(target_os = "linux")]
mod process {
    /// A process as `/proc/PID/stat` describes it (proc_pid_stat(5)).
    ///
    /// All of it is read from there, since the system calls number processes as the namespace of this one does, and `/proc` may
    /// be of another. What is outside of the namespace of `/proc` is 0.
    #[derive(Debug, PartialEq)]
    pub(super) struct Process {
        parent: u32,
        pub(super) group: u32,
        pub(super) session: u32,
    }

    impl Process {
        /// The process whose directory in `/proc` is `name`.
        pub(super) fn read(name: &str) -> Option<Self> {
            Self::parse(&std::fs::read_to_string(format!("/proc/{name}/stat")).ok()?)
        }

        fn parse(stat: &str) -> Option<Self> {
            // The name of the program stands in parentheses, and may contain some.
            let (_, rest) = stat.rsplit_once(')')?;
            let mut fields = rest.split_ascii_whitespace().skip(1);
            let mut next = || fields.next()?.parse().ok();
            Some(Self {
                parent: next()?,
                group: next()?,
                session: next()?,
            })
        }

        pub(super) fn parent(&self) -> Option<Self> {
            Self::read(&self.parent.to_string())
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_process_is_found() {
            let this = Process::read("self").unwrap();
            assert_eq!(this.parent, std::os::unix::process::parent_id());
            assert_eq!(Process::read("1").and_then(|init| init.parent()), None);
        }

        #[test]
        fn names_of_programs_mislead_nobody() {
            let parse = Process::parse;
            let process = Process {
                parent: 4,
                group: 5,
                session: 6,
            };
            assert_eq!(parse("7 (a) S 1 (b) S 4 5 6 34816 5"), Some(process));
            let init = Process {
                parent: 0,
                group: 0,
                session: 0,
            };
            assert_eq!(parse("1 (init) S 0 0 0 0 -1"), Some(init));
            assert_eq!(parse("7 (a) S 4 5"), None);
            assert_eq!(parse("7 (a) S -4 5 6"), None);
            assert_eq!(parse("7"), None);
        }
    }
}
