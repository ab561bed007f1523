//! The texts an agent reports when a session fails: `Output` of the service's `channel_closed`.
//!
//! Source: "Texts of an end" in the README; agent `iohandler.go`, `shell.go`.

/// Marks an error that was not made for the user.
const ERROR_HEAD: &str = "\n----------ERROR-------\n";
/// Ends a text that was cut.
const TRUNCATED: &str = "\n---Error truncated----";
/// Bytes of the longest text, head and end included.
const MAX_LEN: usize = 2500;

pub(super) const HANDSHAKE_TIMED_OUT: &str = "Handshake timed out. Please ensure that you have the \
                                              latest version of the session manager plugin.";
pub(super) const CHALLENGE_TIMED_OUT: &str = "Timed out waiting for encryption challenge.";
pub(super) const CHALLENGE_NOT_BOUND: &str =
    "client does not support required encryption context random challenge";
pub(super) const ENCRYPTED: &str = "This session is encrypted using AWS KMS.";
pub(super) const OUTDATED_CLIENT: &str = "Please update session manager plugin version (minimum \
                                          required version 1.2.312.0) for fully support of separate \
                                          StdOut/StdErr output.\r\n";

/// An error that was not made for the user, cut to what the agent reports at most.
pub fn error(text: &str) -> String {
    let mut output = format!("{ERROR_HEAD}{text}");
    if output.len() > MAX_LEN {
        let mut len = MAX_LEN - TRUNCATED.len();
        while !output.is_char_boundary(len) {
            len -= 1;
        }
        output.truncate(len);
        output.push_str(TRUNCATED);
    }
    output
}

/// The shell or command could not be started.
pub fn start_failed(reason: &str) -> String {
    error(&format!("Unable to start command: {reason}"))
}

/// The document names no command.
pub fn no_command(session_type: &str) -> String {
    format!("Commands cannot be empty for session type {session_type}")
}

pub(super) fn handshake_failed(reason: &str) -> String {
    error(&format!(
        "Encountered error while initiating handshake. {reason}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_errors_are_cut_between_characters() {
        let output = error(&"é".repeat(5000));
        assert!((MAX_LEN - 1..=MAX_LEN).contains(&output.len()));
        assert!(output.ends_with(TRUNCATED));
        assert!(error("short").ends_with("short"));
    }
}
