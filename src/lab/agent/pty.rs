//! A pseudo-terminal with a program in it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BufMut;
use pty_process::{OwnedReadPty, OwnedWritePty};
use rustix::io::Errno;
use ssmfwd_protocol::Size;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio_util::task::TaskTracker;

use super::process::{MARK, Process};
use crate::lab::lock;

/// Starts a program in a new terminal.
///
/// # Errors
///
/// When there is no terminal to be had, or the program cannot be started.
pub(super) fn open(
    program: &[String],
    session_id: &str,
    tracker: &TaskTracker,
) -> io::Result<(Screen, Keyboard)> {
    let [name, arguments @ ..] = program else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let (pty, pts) = pty_process::open().map_err(into_io)?;
    let mut command = pty_process::Command::new(name)
        .args(arguments)
        .env(MARK, session_id)
        .env("TERM", "xterm-256color");
    // Session Manager knows no other encoding than UTF-8.
    if std::env::var_os("LANG").is_none_or(|language| language.is_empty()) {
        command = command.env("LANG", "C.UTF-8");
    }
    let child = command.spawn(pts).map_err(into_io)?;
    let (reader, writer) = pty.into_split();
    let writer = Arc::new(Mutex::new(writer));
    let screen = Screen {
        reader,
        _writer: writer.clone(),
        _process: Process::new(child, session_id).with_grace(HANG_UP_GRACE, tracker),
    };
    Ok((screen, Keyboard(writer)))
}

/// What the terminal's program writes. Once this and the [`Keyboard`]s are dropped, the terminal hangs
/// up, and a little later whatever still runs in it is killed.
pub(super) struct Screen {
    reader: OwnedReadPty,
    // Dropped before the process, so that its program is told by the terminal first.
    _writer: Arc<Mutex<OwnedWritePty>>,
    _process: Process,
}

impl Screen {
    /// Reads what there is, at least one byte and as much as `buffer` has room for; 0 at the end.
    pub(super) async fn read(&mut self, buffer: &mut impl BufMut) -> io::Result<usize> {
        match self.reader.read_buf(buffer).await {
            // What Linux says when nobody has the terminal open any more.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(0),
            read => read,
        }
    }
}

/// What the terminal's program reads.
#[derive(Clone)]
pub(super) struct Keyboard(Arc<Mutex<OwnedWritePty>>);

impl Keyboard {
    /// Types all of `keys`, waiting for the program to take them.
    pub(super) async fn write_all(&self, mut keys: &[u8]) -> io::Result<()> {
        while !keys.is_empty() {
            let len = poll_fn(|cx| Pin::new(&mut *lock(&self.0)).poll_write(cx, keys)).await?;
            keys = keys.get(len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Tells the program that the terminal has another size.
    pub(super) fn resize(&self, size: Size) {
        let size = pty_process::Size::new(size.rows, size.cols);
        if let Err(error) = lock(&self.0).resize(size) {
            tracing::debug!(%error, "the terminal keeps its size");
        }
    }
}

fn into_io(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(errno) => errno.into(),
        other => io::Error::other(other.to_string()),
    }
}

/// How long programs may take to end after the terminal has hung up.
const HANG_UP_GRACE: Duration = Duration::from_millis(500);
