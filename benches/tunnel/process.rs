//! Runs the program and follows its events.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ssmfwd");

/// The target in the lab.
pub(crate) const TARGET: &str = "i-0abc";

/// How long an event may be waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running ssmfwd; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) started: Instant,
    lines: Receiver<(Instant, String)>,
}

impl Process {
    /// Starts ssmfwd with `--json` and `args`.
    pub(crate) fn start(args: &[&str], environment: &BTreeMap<String, String>) -> Result<Self> {
        let started = Instant::now();
        let mut child = Command::new(BINARY)
            .args(args)
            .arg("--json")
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {BINARY}: {error}"))?;
        let stdout = child.stdout.take().ok_or("no pipe from the child")?;
        let (sender, lines) = mpsc::channel();
        // Reads to the end even if nobody wants to know: a full pipe would stop the program.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout)
                .lines()
                .map_while(std::io::Result::ok)
            {
                let _ = sender.send((Instant::now(), line));
            }
        });
        Ok(Self {
            child,
            started,
            lines,
        })
    }

    /// Waits for the next event of this name, and returns when it came and what it says.
    pub(crate) fn event(&self, name: &str) -> Result<(Instant, Value)> {
        let event = self.event_within(name, PATIENCE)?;
        event.ok_or_else(|| format!("ssmfwd did not report `{name}`").into())
    }

    /// As [`Self::event`]; `None` if nothing is reported for so long.
    pub(crate) fn event_within(
        &self,
        name: &str,
        patience: Duration,
    ) -> Result<Option<(Instant, Value)>> {
        while let Ok((at, line)) = self.lines.recv_timeout(patience) {
            let event: Value = serde_json::from_str(&line)?;
            match event["event"].as_str() {
                Some(found) if found == name => return Ok(Some((at, event))),
                Some("error") => return Err(format!("ssmfwd failed: {}", event["message"]).into()),
                _ => {}
            }
        }
        Ok(None)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        terminate(&mut self.child)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
fn terminate(child: &mut Child) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};

    Ok(kill_process(Pid::from_child(child), Signal::TERM)?)
}

#[cfg(not(unix))]
fn terminate(child: &mut Child) -> Result<()> {
    Ok(child.kill()?)
}

/// A Session Manager of our own.
pub(crate) struct Lab {
    process: Process,
    /// What points a client at it.
    pub(crate) environment: BTreeMap<String, String>,
}

impl Lab {
    pub(crate) fn start() -> Result<Self> {
        let process = Process::start(&["lab", TARGET], &BTreeMap::new())?;
        let (_, mut event) = process.event("lab_started")?;
        let environment = serde_json::from_value(event["environment"].take())?;
        Ok(Self {
            process,
            environment,
        })
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop()
    }
}
