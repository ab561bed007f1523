//! What is typed before the terminal belongs to the far side.

use super::restore_on_panic;

/// Keeps what is typed as it is until it is dropped, for whoever reads the terminal then: no key edits a line, is shown, or
/// stands for something else. Ctrl-C and Ctrl-Z still reach this program.
#[derive(Debug)]
pub struct TypeAhead(());

impl TypeAhead {
    /// Begins, if standard input is a terminal.
    pub fn keep() -> Self {
        restore_on_panic();
        if let Err(error) = sys::keep() {
            tracing::debug!(%error, "the terminal edits what is typed ahead");
        }
        Self(())
    }
}

impl Drop for TypeAhead {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal as it was before, if it was changed.
pub(super) fn restore() {
    if let Err(error) = sys::restore() {
        tracing::debug!(%error, "the terminal was not restored");
    }
}

#[cfg(unix)]
mod sys {
    use std::io::{self, IsTerminal};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use rustix::stdio::stdin;
    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };

    /// The terminal as it was; a panic has to find it.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    fn before() -> MutexGuard<'static, Option<Termios>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep() -> io::Result<()> {
        if !io::stdin().is_terminal() {
            return Ok(());
        }
        let mut termios = tcgetattr(stdin())?;
        *before() = Some(termios.clone());
        termios.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN;
        termios.input_modes -= InputModes::ICRNL
            | InputModes::INLCR
            | InputModes::IGNCR
            | InputModes::ISTRIP
            | InputModes::IXON;
        termios.special_codes[SpecialCodeIndex::VMIN] = 1;
        termios.special_codes[SpecialCodeIndex::VTIME] = 0;
        Ok(tcsetattr(stdin(), OptionalActions::Now, &termios)?)
    }

    pub(super) fn restore() -> io::Result<()> {
        match before().take() {
            Some(termios) => Ok(tcsetattr(stdin(), OptionalActions::Now, &termios)?),
            None => Ok(()),
        }
    }
}

#[cfg(not(unix))]
mod sys {
    use std::io;

    /// The console has no such mode.
    pub(super) fn keep() -> io::Result<()> {
        Ok(())
    }

    pub(super) fn restore() -> io::Result<()> {
        Ok(())
    }
}
