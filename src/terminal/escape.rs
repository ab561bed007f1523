//! What a user types to speak to this program instead of the far side, as in OpenSSH.

use std::str::FromStr;

use bytes::Bytes;

/// The character that begins an escape at the start of a line, if any does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EscapeChar(Option<u8>);

impl EscapeChar {
    /// No escapes: everything typed is data.
    pub const NONE: Self = Self(None);
    /// The one of OpenSSH and of the official plugin.
    pub const TILDE: Self = Self(Some(b'~'));
}

impl FromStr for EscapeChar {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.as_bytes() {
            b"none" => Ok(Self::NONE),
            [byte] if byte.is_ascii_graphic() && !matches!(byte, b'.' | b'?' | b'-') => {
                Ok(Self(Some(*byte)))
            }
            _ => Err("it is one printable ASCII character other than `.`, `?` and `-`, or `none`"),
        }
    }
}

/// A part of what was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// Bytes for the far side, as they are.
    Data(Bytes),
    /// The session is to end.
    End,
    /// The program is to stop, as with Ctrl-Z.
    Suspend,
    /// The escapes are to be listed.
    Help,
}

/// Finds escapes in what is typed, however it is cut into pieces.
#[derive(Debug)]
pub struct Escapes {
    char: EscapeChar,
    state: State,
    paste: Paste,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of this line has been typed.
    LineStart,
    InLine,
    /// The escape character began the line, and is held back.
    Escaped,
}

impl Escapes {
    /// Starts at the beginning of a line.
    pub fn new(char: EscapeChar) -> Self {
        Self {
            char,
            state: State::LineStart,
            paste: Paste::default(),
        }
    }

    /// Lists the escapes.
    pub fn help(&self) -> String {
        let EscapeChar(Some(escape)) = self.char else {
            return "there are no escapes".to_owned();
        };
        let escape = char::from(escape);
        format!(
            "{escape}. ends the session, {escape}^Z stops ssmfwd, {escape}{escape} sends {escape}, {escape}- ends escapes, {escape}? shows this"
        )
    }

    /// Takes the next piece apart. An escape character that may begin an escape is held back until what follows it
    /// is known.
    pub fn parse(&mut self, input: Bytes) -> Vec<Typed> {
        let EscapeChar(Some(escape)) = self.char else {
            return vec![Typed::Data(input)];
        };
        let mut parts = Vec::new();
        // Where the bytes begin that are not in `parts` yet.
        let mut start = 0;
        for (index, &byte) in input.iter().enumerate() {
            self.paste.follow(byte);
            match (self.state, byte) {
                (State::LineStart, _) if byte == escape && !self.paste.is_open => {
                    push_data(&mut parts, input.slice(start..index));
                    start = index;
                    self.state = State::Escaped;
                }
                (State::Escaped, b'-') => {
                    self.char = EscapeChar::NONE;
                    self.state = State::LineStart;
                    push_data(&mut parts, input.slice(index + 1..));
                    return parts;
                }
                (State::Escaped, b'.' | b'?' | CTRL_Z) => {
                    parts.push(command(byte));
                    start = index + 1;
                    self.state = State::LineStart;
                }
                (State::Escaped, _) if byte == escape => {
                    // Of two, one is sent.
                    start = index;
                    self.state = State::InLine;
                }
                (State::Escaped, _) => {
                    if index == 0 {
                        parts.push(Typed::Data(Bytes::copy_from_slice(&[escape])));
                    }
                    self.state = after(byte);
                }
                (State::LineStart | State::InLine, _) => self.state = after(byte),
            }
        }
        if self.state != State::Escaped {
            push_data(&mut parts, input.slice(start..));
        }
        parts
    }
}

/// Finds pasted text, which terminals put into brackets if the far side has asked for it: nobody has typed what is in
/// there.
#[derive(Debug, Default)]
struct Paste {
    is_open: bool,
    /// How much of a bracket has come, bytes.
    matched_len: u8,
    /// What tells the brackets apart.
    is_opening: bool,
}

impl Paste {
    /// The brackets are `ESC [ 2 0 0 ~` and `ESC [ 2 0 1 ~`.
    fn follow(&mut self, byte: u8) {
        self.matched_len = match (self.matched_len, byte) {
            (_, 0x1b) => 1,
            (1, b'[') => 2,
            (2, b'2') => 3,
            (3, b'0') => 4,
            (4, b'0' | b'1') => {
                self.is_opening = byte == b'0';
                5
            }
            (5, b'~') => {
                self.is_open = self.is_opening;
                0
            }
            _ => 0,
        };
    }
}

const CTRL_Z: u8 = 0x1a;

fn push_data(parts: &mut Vec<Typed>, data: Bytes) {
    if !data.is_empty() {
        parts.push(Typed::Data(data));
    }
}

fn command(byte: u8) -> Typed {
    match byte {
        b'.' => Typed::End,
        b'?' => Typed::Help,
        _ => Typed::Suspend,
    }
}

fn after(byte: u8) -> State {
    match byte {
        b'\r' | b'\n' => State::LineStart,
        _ => State::InLine,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escapes() -> Escapes {
        Escapes::new("~".parse().unwrap())
    }

    /// Data as text, commands in brackets.
    fn render(parts: Vec<Typed>) -> String {
        let parts = parts.into_iter().map(|part| match part {
            Typed::Data(data) => String::from_utf8(data.to_vec()).unwrap(),
            Typed::End => "<end>".to_owned(),
            Typed::Suspend => "<suspend>".to_owned(),
            Typed::Help => "<help>".to_owned(),
        });
        parts.collect()
    }

    fn typed(pieces: &[&str]) -> String {
        let mut escapes = escapes();
        let parts = pieces
            .iter()
            .map(|piece| render(escapes.parse(Bytes::copy_from_slice(piece.as_bytes()))));
        parts.collect()
    }

    #[test]
    fn escapes_count_at_the_start_of_a_line_only() {
        let table = [
            ("~.", "<end>"),
            ("ls\r~.", "ls\r<end>"),
            ("ls\n~.", "ls\n<end>"),
            ("ls ~.", "ls ~."),
            ("cd ~\r", "cd ~\r"),
            ("~?~.", "<help><end>"),
            ("~\u{1a}ls", "<suspend>ls"),
            ("~~.", "~."),
            ("\r~~~.", "\r~~."),
            ("~/bin\r", "~/bin\r"),
            ("~\r~.", "~\r<end>"),
            ("~?~-~?\r~.", "<help>~?\r~."),
            ("a~-\r~.", "a~-\r<end>"),
            ("ä~.\r~ä", "ä~.\r~ä"),
        ];
        for (input, expected) in table {
            assert_eq!(typed(&[input]), expected, "{input:?}");
        }
    }

    #[test]
    fn the_list_has_the_character_that_was_chosen() {
        let escapes = Escapes::new("%".parse().unwrap());
        let list =
            "%. ends the session, %^Z stops ssmfwd, %% sends %, %- ends escapes, %? shows this";
        assert_eq!(escapes.help(), list);
    }

    #[test]
    fn what_is_pasted_in_brackets_has_no_escapes() {
        let pasted = "\x1b[200~~.\r~.\r~?\r\x1b[201~";
        assert_eq!(typed(&[pasted]), pasted);
        assert_eq!(typed(&[pasted, "\r~."]), format!("{pasted}\r<end>"));
        assert_eq!(
            typed(&["\x1b[20", "0~\r~.\x1b[", "201~\r~?"]),
            "\x1b[200~\r~.\x1b[201~\r<help>"
        );
        assert_eq!(typed(&["\x1b[2;5~\r~."]), "\x1b[2;5~\r<end>");
    }

    #[test]
    fn the_escape_character_waits_for_what_follows_it() {
        assert_eq!(escapes().parse(Bytes::from_static(b"~")), []);
        assert_eq!(typed(&["~", "."]), "<end>");
        assert_eq!(typed(&["~", "x"]), "~x");
        assert_eq!(typed(&["~", "~", "."]), "~.");
        assert_eq!(typed(&["\r", "~", "", "?"]), "\r<help>");
    }

    #[test]
    fn another_character_or_none_may_be_chosen() {
        let mut percent = Escapes::new("%".parse().unwrap());
        assert_eq!(
            render(percent.parse(Bytes::from_static(b"~.\r%."))),
            "~.\r<end>"
        );
        let mut none = Escapes::new("none".parse().unwrap());
        assert_eq!(render(none.parse(Bytes::from_static(b"~.\r~."))), "~.\r~.");
        for text in ["", "ab", ".", "?", "-", "\t", "ä"] {
            text.parse::<EscapeChar>().unwrap_err();
        }
    }

    proptest! {
        /// What is typed means the same however it arrives.
        #[test]
        fn pieces_do_not_matter(input in "([~.?a\r\n\u{1a}-]|\u{1b}\\[20[01]~){0,16}", cuts in prop::collection::vec(0_usize..64, 0..6)) {
            let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut <= input.len()).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect();
            prop_assert_eq!(typed(&pieces), typed(&[&input]));
        }

        #[test]
        fn without_escapes_every_byte_passes(input in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut none = Escapes::new(EscapeChar::NONE);
            let parts = none.parse(Bytes::from(input.clone()));
            prop_assert_eq!(parts, vec![Typed::Data(Bytes::from(input))]);
        }
    }
}
