//! What standard error looks like to whoever reads it, if it is a terminal that another program draws on.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::terminal;

/// Whether a program on the far side has the whole screen of the terminal.
static IS_FULL_SCREEN: AtomicBool = AtomicBool::new(false);
/// Whether something was written across what that program shows.
static IS_OVERWRITTEN: AtomicBool = AtomicBool::new(false);

/// Says whether a program on the far side has the whole screen, so that text for people takes no more of it than its last
/// row.
pub fn set_full_screen(is_full_screen: bool) {
    IS_FULL_SCREEN.store(is_full_screen, Ordering::Relaxed);
    if !is_full_screen {
        IS_OVERWRITTEN.store(false, Ordering::Relaxed);
    }
}

/// Whether text stands where a program that has the whole screen does not know of it, since this was last asked.
pub fn take_overwritten() -> bool {
    IS_OVERWRITTEN.swap(false, Ordering::Relaxed)
}

/// Makes `text` readable on standard error as it is at the moment.
pub(super) fn fit(text: Vec<u8>) -> Vec<u8> {
    if !is_raw() {
        return text;
    }
    if !IS_FULL_SCREEN.load(Ordering::Relaxed) {
        return on_own_lines(&text);
    }
    IS_OVERWRITTEN.store(true, Ordering::Relaxed);
    let (cols, rows) = terminal::size().unwrap_or((80, 24));
    on_last_row(&String::from_utf8_lossy(&text), cols, rows).into_bytes()
}

/// Whether standard error is a terminal that does not return to the first column by itself: our own while a shell has it,
/// or that of the `ssh` which has started us.
#[cfg(unix)]
fn is_raw() -> bool {
    use rustix::termios::{OutputModes, tcgetattr};

    let modes = tcgetattr(io::stderr()).map(|termios| termios.output_modes);
    modes.is_ok_and(|modes| !modes.contains(OutputModes::OPOST))
}

/// As on Unix, but that no `ssh` is noticed.
#[cfg(not(unix))]
fn is_raw() -> bool {
    use std::io::IsTerminal;

    io::stderr().is_terminal() && terminal::is_raw_mode_enabled().unwrap_or(false)
}

/// Puts `text` on lines of its own, whatever stands where the cursor is.
fn on_own_lines(text: &[u8]) -> Vec<u8> {
    let mut raw = b"\r\n".to_vec();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => raw.extend([line, b"\r\n"].concat()),
            None => raw.extend(line),
        }
    }
    raw
}

/// Puts as much of `text` as fits on the last row, reversed, and the cursor back to where it was.
///
/// The cursor is saved with everything that goes with it (DECSC), and rows are counted from the top of the screen and not
/// of the part that scrolls (DECOM). Source: xterm's ctlseqs.
fn on_last_row(text: &str, cols: u16, rows: u16) -> String {
    let line = text.lines().collect::<Vec<_>>().join("; ");
    // The last column is left free: writing to it may scroll the screen.
    let line: String = line
        .chars()
        .take(usize::from(cols.saturating_sub(1)))
        .collect();
    format!("\x1b7\x1b[?6l\x1b[{rows};1H\x1b[0;7m{line}\x1b[0m\x1b[K\x1b8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_on_a_raw_terminal_begin_at_its_left() {
        assert_eq!(on_own_lines(b"one\ntwo\n"), b"\r\none\r\ntwo\r\n");
    }

    #[test]
    fn what_is_said_across_a_full_screen_takes_one_row_of_it() {
        assert_eq!(
            on_last_row("error: lost\nhint: look\n", 14, 24),
            "\x1b7\x1b[?6l\x1b[24;1H\x1b[0;7merror: lost; \x1b[0m\x1b[K\x1b8"
        );
    }
}
