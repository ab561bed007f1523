//! `ssmfwd` in a terminal of its own, whose keyboard and screen the test is.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex};

use pty_process::{OwnedReadPty, OwnedWritePty, Pts, Size};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::termios::{Termios, tcgetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::bounded;

/// `command` as arguments of another program.
pub(crate) fn wrapped(command: &Command, program: &str, arguments: &[&str]) -> Command {
    let command = command.as_std();
    let mut outer = Command::new(program);
    outer
        .args(arguments)
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        outer.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// A process and its terminal, of 80 columns and 24 rows. It is killed when dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: OwnedWritePty,
    screen: Arc<Mutex<Vec<u8>>>,
    /// Counts what was read, and closes when nothing more comes.
    drawn: watch::Receiver<usize>,
    reading: JoinHandle<()>,
    /// Bytes of the screen that have been looked for already.
    seen_len: usize,
    /// The terminal as its owner sees it.
    pts: Pts,
    before: Termios,
}

impl Terminal {
    pub(crate) fn spawn(command: Command) -> Self {
        let (pty, pts) = pty_process::open().unwrap();
        pty.resize(Size::new(24, 80)).unwrap();
        let before = tcgetattr(&pts).unwrap();
        let child = pty_process::Command::from(command)
            .kill_on_drop(true)
            .env("TERM", "xterm-256color")
            .spawn_borrowed(&pts)
            .unwrap();
        let (reader, keyboard) = pty.into_split();
        let screen = Arc::default();
        let (drawing, drawn) = watch::channel(0);
        let reading = tokio::spawn(read(reader, Arc::clone(&screen), drawing));
        Self {
            child,
            keyboard,
            screen,
            drawn,
            reading,
            seen_len: 0,
            pts,
            before,
        }
    }

    /// The same as a job of a shell, which says `stopped` whenever it is, and has it go on after a line.
    pub(crate) fn spawn_job(command: Command) -> Self {
        let script =
            "\"$@\"; while [ $? = 147 ]; do echo 'sto''pped'; read -r _; fg >/dev/null; done";
        Self::spawn(wrapped(&command, "bash", &["-m", "-c", script, "bash"]))
    }

    /// Types or pastes.
    #[track_caller]
    pub(crate) fn input(&mut self, bytes: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let writing = async move { self.keyboard.write_all(bytes.as_ref()).await.unwrap() };
        bounded("room for what is typed", writing)
    }

    /// Waits until the terminal shows `text` after what was waited for before; returns what stood between.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) -> impl Future<Output = Vec<u8>> {
        let what = format!("{text:?} on the screen");
        let screen = Arc::clone(&self.screen);
        let seen_len = self.seen_len;
        bounded_with(what, screen, seen_len, async move {
            // What has been searched in vain.
            let mut searched_len = seen_len;
            loop {
                self.drawn.borrow_and_update();
                {
                    let screen = self.screen.lock().unwrap();
                    if let Some(at) = find(&screen[searched_len..], text.as_bytes()) {
                        let at = searched_len + at;
                        self.seen_len = at + text.len();
                        return screen[seen_len..at].to_vec();
                    }
                    searched_len = seen_len.max(screen.len().saturating_sub(text.len()));
                }
                self.drawn.changed().await.unwrap();
            }
        })
    }

    /// How many bytes the terminal has shown.
    pub(crate) fn shown_len(&self) -> usize {
        *self.drawn.borrow()
    }

    /// Waits until the shell works, and has it write nothing of its own.
    pub(crate) async fn begin(&mut self) {
        self.input("PS1= PS2=; echo re''ady\r").await;
        self.shows("ready\r\n").await;
    }

    /// Runs a command of the shell, and returns everything it writes, with `\r\n` for line feeds.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        self.input(format!("{command}; echo do''ne\r")).await;
        self.shows("do''ne\r\n").await;
        String::from_utf8(self.shows("done\r\n").await).unwrap()
    }

    pub(crate) fn resize(&self, cols: u16, rows: u16) {
        self.keyboard.resize(Size::new(rows, cols)).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Sends a signal to all processes in the foreground.
    pub(crate) fn signal_job(&self, signal: Signal) {
        // The terminal tells its own session only.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let group = stat.split_ascii_whitespace().nth(7).unwrap();
        let group = Pid::from_raw(group.parse().unwrap()).unwrap();
        kill_process_group(group, signal).unwrap();
    }

    /// Whether the terminal is as the process found it.
    pub(crate) fn is_as_before(&self) -> bool {
        same(&tcgetattr(&self.pts).unwrap(), &self.before)
    }

    /// Closes the terminal under the process, as closing its window does, and waits for the end of the process.
    #[track_caller]
    pub(crate) fn hang_up(mut self) -> impl Future<Output = ExitStatus> {
        bounded("end of the process", async move {
            self.reading.abort();
            // Cancelled, which has closed its half.
            let _ = self.reading.await;
            drop((self.keyboard, self.pts));
            self.child.wait().await.unwrap()
        })
    }

    /// Waits for the end of the process, which must leave the terminal as it was; returns its status and everything
    /// the terminal has shown since the last wait.
    #[track_caller]
    pub(crate) fn exit(mut self) -> impl Future<Output = (ExitStatus, String)> {
        let exiting = async move {
            let status = self.child.wait().await.unwrap();
            assert!(self.is_as_before(), "the terminal is not as it was");
            drop(self.pts);
            self.reading.await.unwrap();
            let screen = self.screen.lock().unwrap();
            let text = String::from_utf8_lossy(&screen[self.seen_len..]);
            (status, text.into_owned())
        };
        bounded("end of the process", exiting)
    }

    /// As [`Terminal::exit`], with this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        let exiting = self.exit();
        async move {
            let (status, shown) = exiting.await;
            assert_eq!(status.code(), Some(code), "{caller}: {shown}");
            shown
        }
    }
}

/// As [`bounded`], and shows the screen if it takes too long.
#[track_caller]
fn bounded_with<F: Future>(
    what: String,
    screen: Arc<Mutex<Vec<u8>>>,
    from: usize,
    future: F,
) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(super::PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => {
                let screen = screen.lock().unwrap();
                let shown = String::from_utf8_lossy(&screen[from..]).into_owned();
                let tail: String = shown
                    .chars()
                    .rev()
                    .take(2000)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect();
                panic!("{caller}: no {what} but {tail:?}")
            }
        }
    }
}

async fn read(mut pty: OwnedReadPty, screen: Arc<Mutex<Vec<u8>>>, drawing: watch::Sender<usize>) {
    let mut buffer = vec![0; 64 * 1024];
    // A terminal nobody has open any more cannot be read.
    while let Ok(len @ 1..) = pty.read(&mut buffer).await {
        screen.lock().unwrap().extend_from_slice(&buffer[..len]);
        drawing.send_modify(|count| *count += len);
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn same(one: &Termios, other: &Termios) -> bool {
    let modes = |termios: &Termios| {
        (
            termios.input_modes,
            termios.output_modes,
            termios.control_modes,
            termios.local_modes,
        )
    };
    modes(one) == modes(other)
        && format!("{:?}", one.special_codes) == format!("{:?}", other.special_codes)
}
