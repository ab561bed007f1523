//! What is typed before the terminal belongs to the far side.

/// Keeps what is typed as it is until it is dropped, for whoever reads the terminal then: no key edits a line, is shown, or
/// stands for something else, but for Ctrl-C and Ctrl-\\, which still interrupt this program.
#[derive(Debug, Default)]
pub struct TypeAhead(Option<sys::Kept>);

impl TypeAhead {
    /// Begins, if standard input is a terminal and this program is the one in its foreground.
    pub fn keep(&mut self) {
        match sys::Kept::new() {
            Ok(kept) => self.0 = kept,
            Err(error) => tracing::debug!(%error, "the terminal edits what is typed ahead"),
        }
    }
}

#[cfg(unix)]
mod sys {
    use std::io::{self, IsTerminal};

    use rustix::process::getpgrp;
    use rustix::stdio::stdin;
    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp,
        tcsetattr,
    };

    /// The terminal while it keeps what is typed; it is as before when this is dropped, unless somebody else has changed it
    /// meanwhile.
    #[derive(Debug)]
    pub(super) struct Kept {
        before: Termios,
        kept: Termios,
    }

    impl Kept {
        pub(super) fn new() -> io::Result<Option<Self>> {
            // Whoever is in the background is stopped if it touches the terminal.
            if !io::stdin().is_terminal() || !is_in_foreground() {
                return Ok(None);
            }
            let before = tcgetattr(stdin())?;
            let mut kept = before.clone();
            kept.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN;
            kept.input_modes -= InputModes::ICRNL
                | InputModes::INLCR
                | InputModes::IGNCR
                | InputModes::ISTRIP
                | InputModes::IXON;
            kept.special_codes[SpecialCodeIndex::VMIN] = 1;
            kept.special_codes[SpecialCodeIndex::VTIME] = 0;
            // It is typed for the far side, too; stopped, nobody would make the terminal as before.
            kept.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            tcsetattr(stdin(), OptionalActions::Now, &kept)?;
            Ok(Some(Self { before, kept }))
        }

        fn restore(&self) -> io::Result<()> {
            if is_in_foreground() && is_alike(&tcgetattr(stdin())?, &self.kept) {
                tcsetattr(stdin(), OptionalActions::Now, &self.before)?;
            }
            Ok(())
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            if let Err(error) = self.restore() {
                tracing::debug!(%error, "the terminal was not restored");
            }
        }
    }

    /// What disables a special character (`_POSIX_VDISABLE`).
    const DISABLED: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

    fn is_in_foreground() -> bool {
        tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
    }

    fn is_alike(one: &Termios, other: &Termios) -> bool {
        one.local_modes == other.local_modes && one.input_modes == other.input_modes
    }
}

#[cfg(not(unix))]
mod sys {
    use std::io;

    /// The console has no such mode.
    #[derive(Debug)]
    pub(super) enum Kept {}

    impl Kept {
        pub(super) fn new() -> io::Result<Option<Self>> {
            Ok(None)
        }
    }
}
