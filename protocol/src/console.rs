//! What goes with a terminal or a command beside its data: size, signals, exit code.
//!
//! Source: "Kinds of session" in the README; agent `shell.go`, plugin `shellsession.go`.

use serde::Deserialize;

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Size {
    /// Characters in a line.
    pub cols: u16,
    /// Lines.
    pub rows: u16,
}

impl Size {
    /// Writes the payload: JSON.
    pub(crate) fn encode(self) -> Vec<u8> {
        format!(r#"{{"cols":{},"rows":{}}}"#, self.cols, self.rows).into_bytes()
    }

    /// Reads the payload; `None` if it is no size.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

/// What a client can do to a command that has no terminal.
///
/// In a shell these bytes are keystrokes, which the remote terminal interprets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
}

impl Signal {
    /// The byte that stands for the signal in the client's output.
    pub fn byte(self) -> u8 {
        match self {
            Self::Interrupt => 0x03,
            Self::Quit => 0x1c,
        }
    }

    /// Returns the first signal in a payload; the agent passes over everything else in it.
    pub(crate) fn find(payload: &[u8]) -> Option<Self> {
        payload.iter().find_map(|byte| {
            [Self::Interrupt, Self::Quit]
                .into_iter()
                .find(|it| it.byte() == *byte)
        })
    }
}

/// What stands before the number in the payload that carries an exit code.
const EXIT_CODE_PREFIX: &str = "EXIT_CODE: ";

/// Writes the payload of an exit code.
pub(crate) fn encode_exit_code(code: i32) -> String {
    format!("{EXIT_CODE_PREFIX}{code}")
}

/// Reads the payload of an exit code; `None` if it is none.
pub(crate) fn decode_exit_code(payload: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(payload).ok()?;
    text.trim().strip_prefix(EXIT_CODE_PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_read_as_the_agent_writes_them() {
        for code in [0, 7, 255, -1, i32::MAX, i32::MIN] {
            assert_eq!(
                decode_exit_code(encode_exit_code(code).as_bytes()),
                Some(code)
            );
        }
        assert_eq!(decode_exit_code(b"EXIT_CODE: 7\n"), Some(7));
    }

    #[test]
    fn what_is_no_exit_code_is_none() {
        for payload in [
            &b""[..],
            b"7",
            b"EXIT_CODE:",
            b"EXIT_CODE: ",
            b"EXIT_CODE: seven",
            b"EXIT_CODE: 7 8",
            b"EXIT_CODE: 99999999999",
            b"\xffEXIT_CODE: 7",
        ] {
            assert_eq!(decode_exit_code(payload), None, "{payload:?}");
        }
    }

    #[test]
    fn sizes_are_written_as_the_official_client_writes_them() {
        let size = Size { cols: 80, rows: 24 };
        assert_eq!(size.encode(), br#"{"cols":80,"rows":24}"#);
        assert_eq!(Size::decode(&size.encode()), Some(size));
        assert_eq!(Size::decode(br#"{"cols":80}"#), None);
    }

    #[test]
    fn the_first_signal_of_a_payload_counts() {
        assert_eq!(Signal::find(b"text"), None);
        assert_eq!(Signal::find(b"a\x1cb\x03"), Some(Signal::Quit));
        assert_eq!(Signal::find(b"\x03"), Some(Signal::Interrupt));
    }
}
