//! A session's process, and the end of everything it has started.

mod mark;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;

pub(super) use self::mark::MARK;
use self::mark::marked_processes;

/// A process that leads a group of its own, and carries [`MARK`] with the session's id. Dropping it
/// ends all processes of the session.
#[derive(Debug)]
pub(super) struct Process {
    /// `None` once the end is under way.
    child: Option<Child>,
    session_id: String,
    /// How long the processes may take to end by themselves after this is dropped, and who waits.
    grace: Option<(Duration, TaskTracker)>,
}

impl Process {
    /// Takes a process whose end is sudden.
    pub(super) fn new(child: Child, session_id: &str) -> Self {
        Self {
            child: Some(child),
            session_id: session_id.to_owned(),
            grace: None,
        }
    }

    /// Gives the processes time to end by themselves, in a task of `tracker`.
    pub(super) fn with_grace(mut self, grace: Duration, tracker: &TaskTracker) -> Self {
        self.grace = Some((grace, tracker.clone()));
        self
    }

    /// Waits until the process has ended, and returns its exit code; -1 if a signal ended it.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub(super) async fn exit_code(&mut self) -> io::Result<i32> {
        match &mut self.child {
            Some(child) => child.wait().await.map(exit_code),
            None => Ok(NO_EXIT_CODE),
        }
    }

    /// Sends a signal to the process alone, as the agent does.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(id) = self.child.as_ref().and_then(leader) {
            let _ = kill_process(id, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else {
            return;
        };
        let remains = Remains {
            child,
            session_id: std::mem::take(&mut self.session_id),
        };
        // Without a runtime `remains` is dropped here, and with a runtime that ends, there.
        if let (Some((grace, tracker)), Ok(runtime)) = (self.grace.take(), Handle::try_current()) {
            tracker.spawn_on(remains.end_within(grace), &runtime);
        }
    }
}

/// Processes that are to end; dropping them kills those that have not.
struct Remains {
    child: Child,
    session_id: String,
}

impl Remains {
    async fn end_within(mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        let _ = timeout_at(deadline, self.child.wait()).await;
        while Instant::now() < deadline && !marked_processes(&self.session_id).is_empty() {
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        // The group only while its leader is there: its number may mean another one afterwards.
        if let Some(group) = leader(&self.child) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let mut killed = Vec::new();
        loop {
            // One that was just forking may have left a child that the list before did not have.
            let mut found = marked_processes(&self.session_id);
            found.retain(|process| !killed.contains(process));
            if found.is_empty() {
                return;
            }
            for process in found {
                let _ = kill_process(process, Signal::KILL);
                killed.push(process);
            }
        }
    }
}

/// The process, unless it has ended and the system has forgotten it.
fn leader(child: &Child) -> Option<Pid> {
    let id = child.id().and_then(|id| i32::try_from(id).ok())?;
    Pid::from_raw(id)
}

fn exit_code(status: ExitStatus) -> i32 {
    debug_assert!(status.code().is_some() || status.signal().is_some());
    status.code().unwrap_or(NO_EXIT_CODE)
}

/// What the agent reports of a process that a signal has ended (Go's `ExitCode`).
const NO_EXIT_CODE: i32 = -1;

/// How often to look whether processes have ended: they are nobody's children here.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use tokio::process::Command;

    use super::*;

    /// A mark of this run of the tests: others on the machine must not count its processes as theirs.
    fn mark(name: &str) -> String {
        format!("{name}-{}", std::process::id())
    }

    fn run(name: &str, script: &str) -> Process {
        let session_id = mark(name);
        let mut command = Command::new("sh");
        command.args(["-c", script]).env(MARK, &session_id);
        let child = command.process_group(0).spawn().unwrap();
        Process::new(child, &session_id)
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            sleep(POLL_INTERVAL).await;
        }
    }

    #[tokio::test]
    async fn exit_codes_are_those_of_the_process() {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -1)] {
            let mut process = run("exit-codes", script);
            assert_eq!(process.exit_code().await.unwrap(), code, "{script}");
        }
    }

    #[tokio::test]
    async fn a_signal_reaches_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        let script = format!(
            "trap 'exit 3' INT; : >{}; while :; do sleep 0.01; done",
            ready.display()
        );
        let mut process = run("signal", &script);
        until(|| ready.exists()).await;
        process.signal(Signal::INT);
        assert_eq!(process.exit_code().await.unwrap(), 3);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn dropping_a_process_ends_what_it_has_started_wherever_that_is() {
        let script = "sleep 600 & setsid sleep 600 & timeout 600 sleep 600 & wait";
        let tracker = TaskTracker::new();
        for is_sudden in [true, false] {
            let process = match is_sudden {
                true => run("tree", script),
                false => run("tree", script).with_grace(POLL_INTERVAL, &tracker),
            };
            // The script, three times `sleep`, and `timeout`.
            until(|| marked_processes(&mark("tree")).len() == 5).await;
            drop(process);
            until(|| marked_processes(&mark("tree")).is_empty()).await;
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_a_process_leaves_behind_ends_with_it() {
        let mut process = run("background", "sleep 600 & exit 0");
        assert_eq!(process.exit_code().await.unwrap(), 0);
        assert_eq!(marked_processes(&mark("background")).len(), 1);
        drop(process);
        until(|| marked_processes(&mark("background")).is_empty()).await;
    }
}
