//! Standard input, output and error, as they were inherited.
//!
//! Everything blocks, or waits where another process that shares the open file has made it non-blocking. Pipes, sockets,
//! terminals and files therefore all work, and descriptors keep their flags, which are not ours alone.

use std::io::{self, ErrorKind, PipeReader, Read, StdinLock};

/// Standard output or standard error, without a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandardSink {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl StandardSink {
    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// When nobody reads them, or they cannot be stored.
    pub fn write_all(self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match patiently(|| sys::write(self, bytes), || sys::wait_for_room(self))? {
                0 => return Err(ErrorKind::WriteZero.into()),
                len => bytes = bytes.get(len..).unwrap_or_default(),
            }
        }
        Ok(())
    }
}

/// Reads what there is of standard input, once there is something; 0 at its end.
///
/// # Errors
///
/// Why there is no more although it is not at its end.
pub fn read(stdin: &mut StdinLock<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    patiently(|| stdin.read(buffer), sys::wait_for_input)
}

/// Waits until [`read`] need not; returns whether to read, which is over once the writing end of `stopped` is closed. Where the
/// system cannot wait for both, reading itself waits.
pub fn wait_to_read(stopped: &PipeReader) -> bool {
    sys::wait_for_input_unless(stopped)
}

/// Does what may block, until it is done; where it does not block, `wait` waits.
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
    use std::io::{self, PipeReader};

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::fd::BorrowedFd;
    use rustix::io::Errno;
    use rustix::stdio::{stderr, stdin, stdout};

    use super::StandardSink;

    pub(super) fn write(sink: StandardSink, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(descriptor(sink), bytes)?)
    }

    /// Waits until there is room to write, or nobody to read.
    pub(super) fn wait_for_room(sink: StandardSink) -> io::Result<()> {
        wait(descriptor(sink), PollFlags::OUT)
    }

    /// Waits until there is something to read, or never will be.
    pub(super) fn wait_for_input() -> io::Result<()> {
        wait(stdin(), PollFlags::IN)
    }

    /// Waits for input; `false` if `stopped` comes to its end before.
    pub(super) fn wait_for_input_unless(stopped: &PipeReader) -> bool {
        let stdin = stdin();
        let mut both = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        loop {
            match poll(&mut both, None) {
                Err(Errno::INTR) => {}
                // Whatever is wrong with it, reading tells.
                Err(_) => return true,
                Ok(_) => return both[1].revents().is_empty(),
            }
        }
    }

    fn descriptor(sink: StandardSink) -> BorrowedFd<'static> {
        match sink {
            StandardSink::Output => stdout(),
            StandardSink::Error => stderr(),
        }
    }

    fn wait(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(&fd, flags)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(windows)]
mod sys {
    use std::io::{self, PipeReader, Write};

    use super::StandardSink;

    pub(super) fn write(sink: StandardSink, bytes: &[u8]) -> io::Result<usize> {
        match sink {
            StandardSink::Output => {
                let mut stdout = io::stdout().lock();
                let len = stdout.write(bytes)?;
                stdout.flush()?;
                Ok(len)
            }
            StandardSink::Error => io::stderr().write(bytes),
        }
    }

    /// Handles do not share such a flag.
    pub(super) fn wait_for_room(_sink: StandardSink) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Reading itself waits.
    pub(super) fn wait_for_input_unless(_stopped: &PipeReader) -> bool {
        true
    }

    /// As [`wait_for_room`].
    pub(super) fn wait_for_input() -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
