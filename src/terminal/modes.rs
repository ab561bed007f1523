//! What the far side has made of the terminal, so that it can be undone when the far side no longer can.

use std::fmt::Write;

/// Private modes (DECSET) that spoil a terminal for its next user, and whether they are on by default.
///
/// Source: xterm's ctlseqs, "DEC Private Mode Set".
const MODES: [(u16, bool); 18] = [
    // The arrow keys send other sequences.
    (1, false),
    // Rows are counted from the top of the scrolling region.
    (ORIGIN, false),
    // Lines wrap.
    (7, true),
    // The cursor is visible.
    (25, true),
    // Mouse and focus are reported, and how.
    (9, false),
    (1000, false),
    (1001, false),
    (1002, false),
    (1003, false),
    (1004, false),
    (1005, false),
    (1006, false),
    (1015, false),
    (1016, false),
    // Pasted text is put in brackets.
    (2004, false),
    // The alternate screen.
    (47, false),
    (1047, false),
    (1049, false),
];

/// DECOM.
const ORIGIN: u16 = 6;

/// The longest control sequence that is looked at; longer ones set none of the modes above.
const MAX_SEQUENCE_LEN: usize = 64;

/// Follows output to a terminal and remembers the modes it sets.
#[derive(Debug, Default)]
pub struct Modes {
    state: State,
    /// What has come of a control sequence.
    sequence: Vec<u8>,
    /// For each of [`MODES`], whether it is not as by default.
    is_changed: [bool; MODES.len()],
    is_keypad_changed: bool,
    /// Ctrl and other keys send sequences of their own (xterm's modifyOtherKeys).
    are_keys_changed: bool,
    /// How often the kitty keyboard protocol was switched on.
    kitty_depth: u8,
    /// Only some of the rows scroll (DECSTBM).
    has_region: bool,
    /// Letters are drawn as something else, such as lines.
    is_charset_changed: bool,
    /// The other one of two character sets is drawn (SO).
    is_shifted: bool,
    /// What is written pushes what stands there aside (IRM).
    is_inserting: bool,
    is_cursor_reshaped: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    Sequence,
    /// The next byte chooses the character set, of which there are several.
    Charset {
        is_first: bool,
    },
}

impl Modes {
    /// Looks at output that goes to the terminal.
    pub fn follow(&mut self, output: &[u8]) {
        let mut rest = output;
        while !rest.is_empty() {
            // Most output is text: skipped at the speed of a search.
            if self.state == State::Text {
                let is_control = |byte: &u8| matches!(*byte, ESC | SHIFT_OUT | SHIFT_IN);
                let Some(at) = rest.iter().position(is_control) else {
                    return;
                };
                rest = &rest[at..];
            }
            self.on_byte(rest[0]);
            rest = &rest[1..];
        }
    }

    fn on_byte(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (_, ESC) => State::Escape,
            (_, SHIFT_OUT | SHIFT_IN) => {
                self.is_shifted = byte == SHIFT_OUT;
                self.state
            }
            (State::Escape, b'[') => {
                self.sequence.clear();
                State::Sequence
            }
            (State::Escape, b'=' | b'>') => {
                self.is_keypad_changed = byte == b'=';
                State::Text
            }
            (State::Escape, b'(' | b')' | b'*' | b'+') => State::Charset {
                is_first: byte == b'(',
            },
            (State::Charset { is_first }, _) => {
                if is_first {
                    self.is_charset_changed = byte != ASCII;
                }
                State::Text
            }
            // A full reset.
            (State::Escape, b'c') => {
                *self = Self::default();
                State::Text
            }
            (State::Sequence, 0x20..=0x3f) if self.sequence.len() < MAX_SEQUENCE_LEN => {
                self.sequence.push(byte);
                State::Sequence
            }
            (State::Sequence, 0x40..=0x7e) => {
                self.on_sequence(byte);
                State::Text
            }
            (State::Text | State::Escape | State::Sequence, _) => State::Text,
        };
    }

    fn on_sequence(&mut self, last: u8) {
        let text = String::from_utf8_lossy(&self.sequence);
        match (&*text, last) {
            (rows, b'r') if rows.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b';')) => {
                self.has_region = !rows.is_empty();
                return;
            }
            ("4", b'h' | b'l') => {
                self.is_inserting = last == b'h';
                return;
            }
            ("!", b'p') => return self.on_soft_reset(),
            (shape, b'q') if shape.ends_with(' ') => {
                self.is_cursor_reshaped = !matches!(shape, " " | "0 ");
                return;
            }
            _ => {}
        }
        let Some((kind, parameters)) = text.split_at_checked(1) else {
            return;
        };
        let parameters = parameters.split(';').map(|number| number.parse().ok());
        let parameters: Vec<Option<u16>> = parameters.collect();
        match (kind, last) {
            ("?", b'h' | b'l') => {
                for mode in parameters.into_iter().flatten() {
                    if let Some(index) = MODES.iter().position(|(known, _)| *known == mode) {
                        self.is_changed[index] = (last == b'h') != MODES[index].1;
                    }
                }
            }
            (">", b'm') if parameters.first() == Some(&Some(4)) => {
                self.are_keys_changed = matches!(parameters.get(1), Some(Some(1..)));
            }
            (">", b'u') => self.kitty_depth = self.kitty_depth.saturating_add(1),
            ("<", b'u') => {
                let count = parameters.first().copied().flatten().unwrap_or(1);
                let count = u8::try_from(count).unwrap_or(u8::MAX);
                self.kitty_depth = self.kitty_depth.saturating_sub(count);
            }
            _ => {}
        }
    }

    /// DECSTR: as at the start, but for the screen, mouse and paste.
    fn on_soft_reset(&mut self) {
        for ((mode, _), is_changed) in MODES.iter().zip(&mut self.is_changed) {
            *is_changed &= !matches!(mode, 1 | 6 | 25);
        }
        self.is_keypad_changed = false;
        self.has_region = false;
        self.is_charset_changed = false;
        self.is_shifted = false;
        self.is_inserting = false;
    }

    /// Whether a program has taken the whole screen, and will give back what was on it.
    pub fn is_full_screen(&self) -> bool {
        let changed = MODES.iter().zip(self.is_changed);
        let mut changed = changed.filter(|(_, is_changed)| *is_changed);
        changed.any(|((mode, _), _)| matches!(mode, 47 | 1047 | 1049))
    }

    /// Undoes what confines the cursor. That sends it into the corner, which the end of the alternate screen undoes.
    fn undo_region(&mut self) -> String {
        let has_origin = MODES
            .iter()
            .zip(&mut self.is_changed)
            .any(|((mode, _), is_changed)| *mode == ORIGIN && std::mem::take(is_changed));
        let undo = match (has_origin, self.has_region) {
            (false, false) => return String::new(),
            (true, _) => "\x1b[?6l\x1b[r",
            (false, true) => "\x1b[r",
        };
        match self.is_full_screen() {
            true => undo.to_owned(),
            false => format!("\x1b7{undo}\x1b8"),
        }
    }

    /// Returns what makes the terminal as it was, and forgets everything.
    pub fn undo(&mut self) -> String {
        let mut undo = self.undo_region();
        for ((mode, default), _) in MODES
            .iter()
            .zip(self.is_changed)
            .filter(|(_, is_changed)| *is_changed)
        {
            let last = if *default { 'h' } else { 'l' };
            // Writing to a string cannot fail.
            let _: std::fmt::Result = write!(undo, "\x1b[?{mode}{last}");
        }
        if self.is_keypad_changed {
            undo.push_str("\x1b>");
        }
        if self.are_keys_changed {
            undo.push_str("\x1b[>4m");
        }
        for _ in 0..self.kitty_depth {
            undo.push_str("\x1b[<u");
        }
        let others = [
            (self.is_shifted, "\x0f"),
            (self.is_charset_changed, "\x1b(B"),
            (self.is_inserting, "\x1b[4l"),
            (self.is_cursor_reshaped, "\x1b[0 q"),
        ];
        for (_, sequence) in others.iter().filter(|(is_changed, _)| *is_changed) {
            undo.push_str(sequence);
        }
        if !undo.is_empty() {
            // Whatever drew on the screen may have left its colour behind.
            undo.push_str("\x1b[0m");
        }
        *self = Self::default();
        undo
    }
}

const ESC: u8 = 0x1b;
const SHIFT_OUT: u8 = 0x0e;
const SHIFT_IN: u8 = 0x0f;
/// What designates it as a character set.
const ASCII: u8 = b'B';

#[cfg(test)]
mod tests {
    use super::*;

    fn undone(output: &str) -> String {
        let mut modes = Modes::default();
        modes.follow(output.as_bytes());
        modes.undo()
    }

    #[test]
    fn a_terminal_nothing_was_done_to_is_left_alone() {
        for output in [
            "",
            "plain ä text\r\n",
            "\x1b[1;31mred\x1b[0m\x1b[2J\x1b[H",
            "\x1b]0;title\x07",
            // An editor that came and went.
            "\x1b[?1049h\x1b[?25l\x1b[?1h\x1b=text\x1b[?1l\x1b>\x1b[?25h\x1b[?1049l",
            "\x1b[?2004hls\r\x1b[?2004l",
            "\x1b[?12h\x1b[?9999h",
            "\x1b[>4;2m\x1b[>4;m\x1b[>1u\x1b[<u",
            "\x1b[1;23r\x1b[4h\x1b(0lqk\x0e\x1b[5 q\x1b[r\x1b[4l\x1b(B\x0f\x1b[ q",
            "\x1b)0\x1b[?1h\x1b[?25l\x1b[2;3r\x1b(0\x1b[!p",
            "\x1b[?1049h\x1b[?1000h\x1b[2;3r\x1bc",
        ] {
            assert_eq!(undone(output), "", "{output:?}");
        }
    }

    #[test]
    fn what_is_left_behind_is_undone() {
        let editor = "\x1b[?1049h\x1b[22;0;0t\x1b[>4;2m\x1b[?1h\x1b=\x1b[?2004h\x1b[?25l";
        assert_eq!(
            undone(editor),
            "\x1b[?1l\x1b[?25h\x1b[?2004l\x1b[?1049l\x1b>\x1b[>4m\x1b[0m"
        );
        assert_eq!(
            undone("\x1b[?1002;1006h\x1b[>1u"),
            "\x1b[?1002l\x1b[?1006l\x1b[<u\x1b[0m"
        );
        assert_eq!(undone("\x1b[?7l"), "\x1b[?7h\x1b[0m");
        assert_eq!(
            undone("\x1b[1;5r\x1b(0\x0e\x1b[5 q\x1b[4h"),
            "\x1b7\x1b[r\x1b8\x0f\x1b(B\x1b[4l\x1b[0 q\x1b[0m"
        );
        assert_eq!(
            undone("\x1b[1;5r\x1b[?6h"),
            "\x1b7\x1b[?6l\x1b[r\x1b8\x1b[0m"
        );
        assert_eq!(undone("\x1b[?1049h\x1b[1;5r"), "\x1b[r\x1b[?1049l\x1b[0m");
    }

    #[test]
    fn a_program_has_the_whole_screen_until_it_gives_it_back() {
        let mut modes = Modes::default();
        for (output, is_full_screen) in [
            ("text\x1b[?25l", false),
            ("\x1b[?1049h", true),
            ("\x1b[?25h", true),
            ("\x1b[?1049l", false),
        ] {
            modes.follow(output.as_bytes());
            assert_eq!(modes.is_full_screen(), is_full_screen, "{output:?}");
        }
        modes.follow(b"\x1b[?47h");
        modes.undo();
        assert!(!modes.is_full_screen());
    }

    #[test]
    fn sequences_may_be_cut_and_broken() {
        let mut modes = Modes::default();
        for byte in b"\x1b[?10\x1b[?1049h" {
            modes.follow(&[*byte]);
        }
        assert_eq!(modes.undo(), "\x1b[?1049l\x1b[0m");
        assert_eq!(modes.undo(), "");
        let endless = format!("\x1b[?{}h", "1049;".repeat(100));
        assert_eq!(undone(&endless), "");
    }
}
