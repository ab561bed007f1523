//! `ssmfwd`, or another program, as a process whose output is read line by line.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::bounded;

/// A running process, killed when dropped.
pub(crate) struct Client {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// How a process ended and everything it said.
pub(crate) struct Exit {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Client {
    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let program = command.as_std().get_program();
                panic!("cannot run {}: {error}", program.display());
            }
        };
        Self {
            stdout: Output::read(child.stdout.take().unwrap()),
            stderr: Output::read(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Waits for the next event of this name; others are passed over.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        let what = format!("event {name}");
        loop {
            let Some(line) = bounded(&what, self.stdout.lines.recv()).await else {
                panic!(
                    "the output ended before the {what}\nstdout: {}\nstderr: {}",
                    self.stdout.text(),
                    self.stderr.text(),
                );
            };
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Waits until a forward works, and returns its local port.
    pub(crate) async fn connected(&mut self) -> u16 {
        let event = self.event("connected").await;
        event["port"].as_u64().unwrap().try_into().unwrap()
    }

    /// Waits for a line on standard output.
    pub(crate) async fn stdout_line(&mut self, part: &str) -> String {
        self.stdout.line(part).await
    }

    /// Waits for a line on standard error.
    pub(crate) async fn stderr_line(&mut self, part: &str) -> String {
        self.stderr.line(part).await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the process to end.
    #[track_caller]
    pub(crate) fn exit(mut self) -> impl Future<Output = Exit> {
        let waiting = async move {
            Exit {
                status: self.child.wait().await.unwrap(),
                stdout: self.stdout.all().await,
                stderr: self.stderr.all().await,
            }
        };
        bounded("end of the process", waiting)
    }

    /// Stops the process as Ctrl-C would and expects that to be no failure.
    #[track_caller]
    pub(crate) fn stop(self) -> impl Future<Output = Exit> {
        self.signal(Signal::INT);
        let exiting = self.exit();
        async {
            let exit = exiting.await;
            assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
            exit
        }
    }

    /// Memory the process has resident, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let value = line.and_then(|line| line.split_ascii_whitespace().nth(1));
        value.unwrap().parse().unwrap()
    }
}

impl Exit {
    /// The exit code; `None` if a signal ended the process.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended the process.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// The events of standard output.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Fails unless the process ended with this code and these texts on standard error.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code(), Some(code), "{}", self.stderr);
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "{text:?} is not in:\n{}",
                self.stderr
            );
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// One of a process's outputs, read as it comes so that the process never waits for its reader.
struct Output {
    lines: mpsc::UnboundedReceiver<String>,
    text: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

impl Output {
    fn read(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, lines) = mpsc::unbounded_channel();
        let text = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&text);
        let reading = tokio::spawn(async move {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).await.unwrap() > 0 {
                let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
                written.lock().unwrap().push_str(&text);
                // Nobody may be interested in lines.
                let _: Result<(), _> = sender.send(text);
            }
        });
        Self {
            lines,
            text,
            reading,
        }
    }

    async fn line(&mut self, part: &str) -> String {
        let what = format!("line with {part:?}");
        loop {
            match bounded(&what, self.lines.recv()).await {
                Some(line) if line.contains(part) => return line,
                Some(_) => {}
                None => panic!("no {what} in:\n{}", self.text()),
            }
        }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Everything, once the other side has closed it.
    async fn all(self) -> String {
        self.reading.await.unwrap();
        let text = self.text.lock().unwrap();
        text.clone()
    }
}
