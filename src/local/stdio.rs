//! Standard input, output and error, for whoever has other things to do meanwhile.
//!
//! A thread for each reads or writes. Nobody waits for the threads: neither a writer who writes nothing nor a reader who reads
//! nothing holds up the end of the process.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, StdinLock};
use std::thread;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

pub use carry::{Carried, carry};

use crate::standard_streams::{self, StandardSink};

mod carry;

/// Bytes read from standard input at a time: what a pipe holds on Linux.
const READ_LEN: usize = 64 * 1024;
/// A shorter rest of the buffer is not read into. The library reads ahead for whoever asks for less.
const MIN_READ_LEN: usize = 8 * 1024;

/// Standard input, read ahead by one chunk. Once it is dropped, nothing more is taken from where it comes from.
#[derive(Debug)]
pub struct Input {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    /// Dropped, it has the thread stop waiting.
    _stop: PipeWriter,
}

/// Standard output or standard error.
#[derive(Debug)]
pub struct Output {
    chunks: mpsc::Sender<Bytes>,
    results: mpsc::Receiver<io::Result<()>>,
    /// Nobody has waited for the result of the last chunk.
    is_unanswered: bool,
}

impl Input {
    /// Takes standard input over; nothing else may use it from here on.
    ///
    /// # Errors
    ///
    /// When there are no threads or descriptors left.
    pub fn open() -> io::Result<Self> {
        let (read, chunks) = mpsc::channel(1);
        let (stopped, stop) = io::pipe()?;
        thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || read_all(io::stdin().lock(), &read, &stopped))?;
        Ok(Self {
            chunks,
            _stop: stop,
        })
    }

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
    /// Takes a sink over; nothing else should write to it from here on.
    ///
    /// # Errors
    ///
    /// When there are no threads left.
    pub fn open(sink: StandardSink) -> io::Result<Self> {
        let (chunks, to_write) = mpsc::channel(1);
        let (written, results) = mpsc::channel(1);
        let name = match sink {
            StandardSink::Output => "stdout",
            StandardSink::Error => "stderr",
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write_all(sink, to_write, &written))?;
        Ok(Self {
            chunks,
            results,
            is_unanswered: false,
        })
    }

    /// Writes all of `bytes`, which may be none, after what a cancelled write has left, and returns when that is done. What is
    /// cancelled is written all the same, or not at all.
    ///
    /// # Errors
    ///
    /// When nobody reads them, or they cannot be stored.
    pub async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        if self.is_unanswered {
            self.result().await?;
        }
        let sent = self.chunks.send(bytes).await;
        sent.map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
        self.is_unanswered = true;
        self.result().await
    }

    async fn result(&mut self) -> io::Result<()> {
        let result = self.results.recv().await;
        self.is_unanswered = false;
        result.unwrap_or_else(|| Err(ErrorKind::BrokenPipe.into()))
    }
}

/// Waits until nobody can read standard output any more, where the system tells: files and the like have no reader. Must be
/// called within a runtime.
pub async fn abandoned() {
    if let Err(error) = sys::abandoned().await {
        tracing::trace!(%error, "standard output has no reader who could go away");
        std::future::pending().await
    }
}

/// Has the reader of standard output see its end, although the process goes on; where that cannot be done, the reader sees
/// it when the process ends.
pub fn close_output() {
    if let Err(error) = sys::release_stdout() {
        tracing::debug!(%error, "standard output stays open");
    }
}

fn read_all(
    mut stdin: StdinLock<'_>,
    read: &mpsc::Sender<io::Result<Bytes>>,
    stopped: &PipeReader,
) {
    let mut buffer = BytesMut::new();
    while standard_streams::wait_to_read(stopped) {
        if buffer.len() < MIN_READ_LEN {
            buffer = BytesMut::zeroed(READ_LEN);
        }
        let chunk = match standard_streams::read(&mut stdin, &mut buffer) {
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
    sink: StandardSink,
    mut to_write: mpsc::Receiver<Bytes>,
    written: &mpsc::Sender<io::Result<()>>,
) {
    while let Some(bytes) = to_write.blocking_recv() {
        if written.blocking_send(sink.write_all(&bytes)).is_err() {
            return;
        }
    }
}

#[cfg(unix)]
mod sys {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsFd;

    use tokio::io::Interest;
    use tokio::net::unix::pipe::Sender;

    /// Waits until the other end of standard output is closed.
    pub(super) async fn abandoned() -> io::Result<()> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        // Never written to through this handle, so that it need be neither a pipe nor non-blocking.
        let watched = Sender::from_file_unchecked(stdout)?;
        watched.ready(Interest::ERROR).await.map(drop)
    }

    /// Closes the last descriptor of standard output: its number has to remain in use.
    pub(super) fn release_stdout() -> io::Result<()> {
        let null = File::options().write(true).open("/dev/null")?;
        Ok(rustix::stdio::dup2_stdout(null)?)
    }
}

#[cfg(windows)]
mod sys {
    use std::io;

    pub(super) async fn abandoned() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn release_stdout() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_write_that_was_cancelled_is_waited_for() {
        let (chunks, mut to_write) = mpsc::channel(1);
        let (written, results) = mpsc::channel(1);
        let mut output = Output {
            chunks,
            results,
            is_unanswered: false,
        };
        let first = Bytes::from_static(b"first");
        assert!(output.write(first.clone()).now_or_never().is_none());
        assert_eq!(to_write.recv().await, Some(first));
        let nothing = Bytes::new();
        assert!(output.write(nothing.clone()).now_or_never().is_none());
        assert!(to_write.try_recv().is_err(), "one after the other");
        written.send(Ok(())).await.unwrap();
        assert!(output.write(nothing.clone()).now_or_never().is_none());
        assert_eq!(to_write.recv().await, Some(nothing));
    }
}
