//! The user's terminal while it belongs to the far side.

pub mod changes;
pub mod escape;
#[cfg(unix)]
mod job;
pub mod modes;
pub mod type_ahead;

use std::io::{self, IsTerminal};
use std::sync::Once;

use crossterm::terminal;

use crate::failure::{Exit, Failure};

/// Raw mode: every key goes to the program as it is. Dropping it makes the terminal as it was before, whatever the
/// reason, and so does a panic before it says anything.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Makes the terminal raw; `None` if standard input is none.
    ///
    /// # Errors
    ///
    /// When the terminal refuses.
    pub fn enter() -> Result<Option<Self>, Failure> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        restore_on_panic();
        terminal::enable_raw_mode().map_err(|error| {
            let message = format!("the terminal cannot be made raw: {error}");
            Failure::new(Exit::Failure, message)
        })?;
        Ok(Some(Self(())))
    }

    /// Makes the terminal as it was and stops the program, as Ctrl-Z does with others; returns whether it did. Call
    /// [`RawMode::renew`] on the signal that comes when it goes on.
    #[cfg(unix)]
    pub fn suspend(&self) -> bool {
        // Before the terminal is touched: what is typed while it is not raw goes elsewhere.
        if !job::has_shell() {
            return false;
        }
        restore();
        let is_stopped = job::stop();
        if !is_stopped {
            self.renew();
        }
        is_stopped
    }

    /// There are no stopped programs.
    #[cfg(not(unix))]
    pub fn suspend(&self) -> bool {
        false
    }

    /// Makes the terminal raw after whoever had it meanwhile.
    pub fn renew(&self) {
        restore();
        if let Err(error) = terminal::enable_raw_mode() {
            tracing::warn!(%error, "the terminal cannot be made raw again");
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Columns and rows of the terminal the output goes to, or else the input comes from; `None` if neither is one.
pub fn size() -> Option<(u16, u16)> {
    if !io::stdout().is_terminal() && !io::stdin().is_terminal() {
        return None;
    }
    let size = terminal::size().unwrap_or_default();
    // A serial line, and a pseudo-terminal nobody has drawn yet, do not know.
    Some(match size {
        (0, _) | (_, 0) => (80, 24),
        size => size,
    })
}

/// Columns of the terminal that standard output goes to; `None` if that is none.
pub fn output_width() -> Option<usize> {
    let size = size().filter(|_| io::stdout().is_terminal())?;
    Some(size.0.into())
}

/// Columns of the terminal that standard error goes to; `None` if that is none.
pub fn error_width() -> Option<usize> {
    let size = size().filter(|_| io::stderr().is_terminal())?;
    Some(size.0.into())
}

/// Whether the user can be asked: standard input and standard error are a terminal.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Makes the terminal as it was before it was made raw, if it was.
fn restore() {
    // A terminal that has gone away needs no restoring.
    if let Err(error) = terminal::disable_raw_mode() {
        tracing::debug!(%error, "the terminal was not restored");
    }
}

/// A panic message must be readable, and nobody may unwind to the guard.
fn restore_on_panic() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
}
