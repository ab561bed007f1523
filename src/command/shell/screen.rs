//! From the far side to standard output.

use std::io::{self, IsTerminal};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::failure::{Exit, Failure};
use crate::local::stdio::Output;
use crate::output;
use crate::session::Console;
use crate::standard_streams::StandardSink;
use crate::stream::End;
use crate::terminal::modes::Modes;

/// How long a terminal may take to accept what makes it as it was.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Standard output, as long as the far side draws on it.
pub(super) struct Screen {
    stdout: Output,
    /// What the far side has set, if there is a terminal to set it on.
    modes: Option<Modes>,
}

impl Screen {
    /// Takes standard output over.
    ///
    /// # Errors
    ///
    /// When the system refuses what that takes.
    pub(super) fn new() -> Result<Self, Failure> {
        let stdout = Output::open(StandardSink::Output).map_err(|error| {
            let message = format!("cannot write to standard output: {error}");
            Failure::new(Exit::Failure, message)
        })?;
        Ok(Self {
            stdout,
            modes: io::stdout().is_terminal().then(Modes::default),
        })
    }

    /// Shows everything that comes, and returns why no more does.
    ///
    /// # Errors
    ///
    /// When it cannot be shown.
    pub(super) async fn show(&mut self, console: &Console) -> io::Result<End> {
        loop {
            let bytes = match console.read_output().await {
                Ok(bytes) => bytes,
                Err(end) => return Ok(end),
            };
            if let Some(modes) = &mut self.modes {
                modes.follow(&bytes);
                output::set_full_screen(modes.is_full_screen());
            }
            self.stdout.write(bytes).await?;
        }
    }

    /// Undoes what the far side has set and not taken back, as an editor that was cut off. Nothing of it is shown afterwards.
    pub(super) async fn restore(&mut self) {
        output::set_full_screen(false);
        let undo = self.modes.as_mut().map(Modes::undo).unwrap_or_default();
        let restored = self.stdout.write(Bytes::from(undo));
        // A terminal that does not take it has other troubles.
        let _: Result<io::Result<()>, _> = timeout(RESTORE_TIMEOUT, restored).await;
    }
}
