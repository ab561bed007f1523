//! Standard input, for whoever reads it, and with standard output as the two directions of a connection.
//!
//! One thread reads and one writes, both with calls that block, or wait where another process has made the open file
//! non-blocking. Whatever was inherited therefore works, be it a pipe, a socket, a terminal or a file, and descriptors
//! that other processes share keep their flags. Nobody waits for the
//! threads: neither a writer who writes nothing nor a reader who reads nothing holds up the end of the process.

use std::fs::File;
use std::io::{self, ErrorKind, Read, StdinLock, Write};
use std::thread;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use carry::{Carried, carry};

mod carry;

/// Bytes read from standard input at a time: what a pipe holds on Linux.
const READ_LEN: usize = 64 * 1024;
/// A shorter rest of the buffer is not read into. The library reads ahead for whoever asks for less.
const MIN_READ_LEN: usize = 8 * 1024;

/// Standard input, read ahead by one chunk.
#[derive(Debug)]
pub struct Input {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
}

/// Standard output.
#[derive(Debug)]
pub struct Output {
    chunks: mpsc::Sender<Bytes>,
    results: mpsc::Receiver<io::Result<()>>,
    _watcher: AbortOnDropHandle<()>,
}

/// Takes standard input over; nothing else may use it from here on.
///
/// # Errors
///
/// When there are no threads left.
pub fn input() -> io::Result<Input> {
    let (read, chunks) = mpsc::channel(1);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || read_all(io::stdin().lock(), &read))?;
    Ok(Input { chunks })
}

/// Takes standard output over; nothing else may use it from here on. Must be called within a runtime.
///
/// `abandoned` is cancelled when nobody can read it any more, where the system tells.
///
/// # Errors
///
/// When there are no descriptors or threads left.
pub fn output(abandoned: CancellationToken) -> io::Result<Output> {
    let (stdout, watched) = (sys::stdout()?, sys::stdout()?);
    let (chunks, to_write) = mpsc::channel(1);
    let (written, results) = mpsc::channel(1);
    thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(move || write_all(stdout, to_write, &written))?;
    let watcher = tokio::spawn(async move {
        sys::abandoned(watched).await;
        abandoned.cancel();
    });
    Ok(Output {
        chunks,
        results,
        _watcher: AbortOnDropHandle::new(watcher),
    })
}

impl Input {
    /// Returns the next bytes; `None` at the end.
    ///
    /// # Errors
    ///
    /// Why there are no more although it is not at its end.
    pub async fn read(&mut self) -> Option<io::Result<Bytes>> {
        self.chunks.recv().await
    }
}

impl Output {
    /// Writes all of `bytes`, and returns when that is done.
    ///
    /// # Errors
    ///
    /// When nobody reads them, or they cannot be stored.
    pub async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        let gone = || io::Error::from(ErrorKind::BrokenPipe);
        self.chunks.send(bytes).await.map_err(|_| gone())?;
        self.results.recv().await.ok_or_else(gone)?
    }

    /// Has the reader see the end of the data, although the process goes on; where that cannot be done, the reader
    /// sees it when the process ends.
    pub fn close(self) {
        if let Err(error) = sys::release_stdout() {
            tracing::debug!(%error, "standard output stays open");
        }
    }
}

fn read_all(mut stdin: StdinLock<'_>, read: &mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.len() < MIN_READ_LEN {
            buffer = BytesMut::zeroed(READ_LEN);
        }
        let chunk = match patiently(|| stdin.read(&mut buffer), sys::wait_for_input) {
            Ok(0) => return,
            Ok(len) => Ok(buffer.split_to(len).freeze()),
            Err(error) => Err(error),
        };
        let is_broken = chunk.is_err();
        if read.blocking_send(chunk).is_err() || is_broken {
            return;
        }
    }
}

fn write_all(
    mut stdout: File,
    mut to_write: mpsc::Receiver<Bytes>,
    written: &mpsc::Sender<io::Result<()>>,
) {
    while let Some(bytes) = to_write.blocking_recv() {
        if written.blocking_send(write(&mut stdout, &bytes)).is_err() {
            return;
        }
    }
}

fn write(stdout: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match patiently(|| stdout.write(bytes), sys::wait_for_room)? {
            0 => return Err(ErrorKind::WriteZero.into()),
            len => bytes = bytes.get(len..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Does what may block, until it is done. Another process that shares the open file may have made it non-blocking: then
/// `wait` waits.
fn patiently(
    mut act: impl FnMut() -> io::Result<usize>,
    wait: impl Fn() -> io::Result<()>,
) -> io::Result<usize> {
    loop {
        match act() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait()?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(unix)]
mod sys {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsFd;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::fd::BorrowedFd;
    use rustix::io::Errno;
    use tokio::io::Interest;
    use tokio::net::unix::pipe::Sender;

    pub(super) fn stdout() -> io::Result<File> {
        Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
    }

    /// Waits until there is something to read, or never will be.
    pub(super) fn wait_for_input() -> io::Result<()> {
        wait(io::stdin().as_fd(), PollFlags::IN)
    }

    /// Waits until there is room to write, or nobody to read.
    pub(super) fn wait_for_room() -> io::Result<()> {
        wait(io::stdout().as_fd(), PollFlags::OUT)
    }

    fn wait(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(&fd, flags)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the other end of `stdout` is closed. Files and the like have no other end.
    pub(super) async fn abandoned(stdout: File) {
        // Never written to through this handle, so that it need be neither a pipe nor non-blocking.
        if let Ok(stdout) = Sender::from_file_unchecked(stdout)
            && stdout.ready(Interest::ERROR).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// Closes the last descriptor of standard output: its number has to remain in use.
    pub(super) fn release_stdout() -> io::Result<()> {
        let null = File::options().write(true).open("/dev/null")?;
        Ok(rustix::stdio::dup2_stdout(null)?)
    }
}

#[cfg(windows)]
mod sys {
    use std::fs::File;
    use std::io;
    use std::os::windows::io::AsHandle;

    pub(super) fn stdout() -> io::Result<File> {
        Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
    }

    /// Handles do not share such a flag.
    pub(super) fn wait_for_input() -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// As [`wait_for_input`].
    pub(super) fn wait_for_room() -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    pub(super) async fn abandoned(_stdout: File) {
        std::future::pending().await
    }

    pub(super) fn release_stdout() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
