//! The command that runs while the forwards do.

use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use tokio::process;
use tokio::time::timeout;

use crate::failure::{Exit, Failure};
use crate::settings::Command;

/// How long the command may take to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running command, killed when dropped.
pub(super) struct Child {
    process: process::Child,
    program: String,
}

impl Child {
    /// Starts the command with standard input, output and error of its own parent.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub(super) fn spawn(
        command: &Command,
        environment: &[(String, String)],
    ) -> Result<Self, Failure> {
        let program = command.program.to_string_lossy().into_owned();
        let process = process::Command::new(&command.program)
            .args(&command.arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true)
            .spawn();
        match process {
            Ok(process) => Ok(Self { process, program }),
            Err(error) => Err(Failure::new(
                Exit::Failure,
                format!("cannot run {program}: {error}"),
            )),
        }
    }

    /// The program as the user wrote it.
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// The exit code of a command that has ended already.
    pub(super) fn ended(&mut self) -> Option<ExitCode> {
        self.process.try_wait().ok().flatten().map(exit_code)
    }

    /// Waits for the command to end; its exit code is the result.
    async fn wait(&mut self) -> Result<ExitCode, Failure> {
        match self.process.wait().await {
            Ok(status) => Ok(exit_code(status)),
            Err(error) => Err(Failure::new(
                Exit::Failure,
                format!("cannot wait for {}: {error}", self.program),
            )),
        }
    }

    /// Asks the command to end, kills it if it does not, and returns its exit code.
    pub(super) async fn stop(&mut self) -> Result<ExitCode, Failure> {
        self.ask_to_end();
        if let Ok(exit) = timeout(STOP_TIMEOUT, self.wait()).await {
            return exit;
        }
        tracing::warn!(
            program = self.program,
            "the command does not end and is killed"
        );
        if let Err(error) = self.process.start_kill() {
            tracing::debug!(%error, "the command is gone already");
        }
        self.wait().await
    }

    /// A signal from the terminal has reached the command already; one sent to us alone has not.
    #[cfg(unix)]
    fn ask_to_end(&self) {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        let pid = id.and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        {
            tracing::debug!(%error, "the command is gone already");
        }
    }

    /// There is no polite way to end a process that has no window: it is killed after the wait.
    #[cfg(not(unix))]
    fn ask_to_end(&self) {}
}

/// Waits for the command to end; without one, for ever.
pub(super) async fn exited(child: &mut Option<Child>) -> Result<ExitCode, Failure> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

/// The command's exit code; death by a signal is 128 and its number, as in shells.
fn exit_code(status: ExitStatus) -> ExitCode {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return ExitCode::from(128_u8.saturating_add(u8::try_from(signal).unwrap_or(127)));
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<Child, Failure> {
        let command = Command {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
        };
        Child::spawn(&command, &[])
    }

    #[tokio::test]
    async fn a_command_that_has_ended_has_an_exit_code_of_its_own() {
        let mut running = run("exec sleep 600").unwrap();
        assert_eq!(running.ended(), None);
        drop(running);
        let mut ended = run("exit 7").unwrap();
        ended.wait().await.unwrap();
        assert_eq!(ended.ended(), Some(ExitCode::from(7)));
    }
}
