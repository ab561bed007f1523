//! The streams of a shell or a command, and what goes with them.

use std::future::poll_fn;

use bytes::Bytes;
use ssmfwd_protocol::{Channel, Endpoint, Size};

use super::Session;
use crate::endpoint::Shared;
use crate::stream::{End, Stream};

/// A shell or a command, as far as its user deals with it. It does not own the session.
#[derive(Debug)]
pub struct Console {
    shared: Shared<Channel>,
    output: Stream<Channel>,
    error: Stream<Channel>,
}

impl Session {
    /// Takes the streams of a shell or a command, which there are once.
    ///
    /// Returns `None` for a session of another kind, and for one that is over.
    pub async fn console(&self) -> Option<Console> {
        if self.established().kind.is_port() {
            return None;
        }
        Some(Console {
            output: self.shared.accept().await?,
            error: self.shared.accept().await?,
            shared: self.shared.clone(),
        })
    }
}

impl Console {
    /// Reads what the terminal shows, or the command's standard output; never empty.
    ///
    /// # Errors
    ///
    /// Why nothing more comes: [`End::Finished`] if all of it has.
    pub async fn read_output(&self) -> Result<Bytes, End> {
        poll_fn(|cx| self.output.poll_read(cx)).await
    }

    /// Reads the command's standard error; never empty.
    ///
    /// # Errors
    ///
    /// As [`Console::read_output`].
    pub async fn read_error(&self) -> Result<Bytes, End> {
        poll_fn(|cx| self.error.poll_read(cx)).await
    }

    /// Queues all of `data`, which is typed; waits while too much is under way. What is left in `data` if that is cancelled is not queued
    /// yet.
    ///
    /// # Errors
    ///
    /// Why the rest will never arrive.
    pub async fn write(&self, data: &mut Bytes) -> Result<(), End> {
        poll_fn(|cx| self.output.poll_write(cx, data)).await
    }

    /// Tells the far side the size of the terminal.
    pub fn resize(&self, size: Size) {
        self.shared.with(|channel| {
            if let Some(streams) = channel.streams() {
                streams.resize(size);
            }
        });
    }

    /// The exit code of the command, once the agent has reported it.
    pub fn exit_code(&self) -> Option<i32> {
        self.shared.with(|channel| channel.streams()?.exit_code())
    }
}
