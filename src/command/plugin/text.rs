//! What the official plugin writes to standard output, to the byte: programs wait for these lines.
//!
//! Source: plugin `session.go`, `sessionhandler.go`, `*portforwarding.go`.

use std::fmt;
use std::path::Path;

use ssmfwd_protocol::version::CLIENT_VERSION;

/// One text, with every line feed it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text<'a> {
    /// There were no arguments.
    Installed,
    /// The version was asked for.
    Version,
    /// One or two arguments that mean nothing.
    UnknownOperation(&'a str),
    /// The third argument is not StartSession.
    InvalidOperation,
    /// A session begins; the first line of every one.
    Starting(&'a str),
    /// The account has something to say, or the agent about encryption.
    CustomerMessage(&'a str),
    /// A port is listened on.
    PortOpened(u16, &'a str),
    /// A Unix socket is listened on.
    SocketOpened(&'a Path, &'a str),
    /// Follows one of the two before when connections are multiplexed.
    Waiting,
    /// Follows one of the two when there is one connection at a time.
    OneAtATime,
    /// The first connection has come.
    Accepted(&'a str),
    /// The same when there is one connection at a time.
    OneAccepted(&'a str),
    /// The agent could not connect to the destination.
    Refused,
    /// The command has ended with this code. The official plugin shows the agent's message as it is.
    ExitCode(i32),
    /// A signal asks for the end.
    Signalled,
    /// The session ends, or was ended, without a word.
    Exiting(&'a str),
    /// The session was ended with an explanation.
    Closed(&'a str, &'a str),
    /// The service does not know the session any more.
    TimedOut(&'a str),
    /// Anything else went wrong.
    Failed(&'a str),
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed => f.write_str(
                "\nThe Session Manager plugin was installed successfully. \
                 Use the AWS CLI to start a session.\n\n",
            ),
            Self::Version => writeln!(f, "{CLIENT_VERSION}"),
            Self::UnknownOperation(name) => write!(
                f,
                "\nUnknown operation {name}. \n\
                 Use session-manager-plugin --version to check the version.\n\n"
            ),
            Self::InvalidOperation => f.write_str("Invalid Operation"),
            Self::Starting(id) => write!(f, "\nStarting session with SessionId: {id}\n"),
            Self::CustomerMessage(message) => writeln!(f, "{message}"),
            Self::PortOpened(port, id) => write!(f, "Port {port} opened for sessionId {id}."),
            Self::SocketOpened(path, id) => {
                write!(
                    f,
                    "Unix socket {} opened for sessionId {id}.",
                    path.display()
                )
            }
            Self::Waiting => f.write_str("\nWaiting for connections...\n"),
            Self::OneAtATime => f.write_str("\n"),
            Self::Accepted(id) => write!(f, "\nConnection accepted for session [{id}]\n"),
            Self::OneAccepted(id) => writeln!(f, "Connection accepted for session {id}."),
            Self::Refused => {
                f.write_str("\nConnection to destination port failed, check SSM Agent logs.\n")
            }
            Self::ExitCode(code) => write!(f, "EXIT_CODE: {code}"),
            Self::Signalled => f.write_str("Terminate signal received, exiting.\n"),
            Self::Exiting(id) => write!(f, "\n\nExiting session with sessionId: {id}.\n\n"),
            Self::Closed(id, output) => write!(f, "\n\nSessionId: {id} : {output}\n\n"),
            Self::TimedOut(id) => writeln!(f, "Session: {id} timed out."),
            Self::Failed(error) => writeln!(f, "Cannot perform start session: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the official plugin's sources have them.
    #[test]
    fn texts_are_the_official_ones() {
        let expected = [
            (
                Text::Installed,
                "\nThe Session Manager plugin was installed successfully. Use the AWS CLI to start a session.\n\n",
            ),
            (
                Text::UnknownOperation("x"),
                "\nUnknown operation x. \nUse session-manager-plugin --version to check the version.\n\n",
            ),
            (Text::InvalidOperation, "Invalid Operation"),
            (
                Text::Starting("s"),
                "\nStarting session with SessionId: s\n",
            ),
            (Text::CustomerMessage("hello"), "hello\n"),
            (Text::PortOpened(80, "s"), "Port 80 opened for sessionId s."),
            (
                Text::SocketOpened(Path::new("/s.sock"), "s"),
                "Unix socket /s.sock opened for sessionId s.",
            ),
            (Text::Waiting, "\nWaiting for connections...\n"),
            (
                Text::Accepted("s"),
                "\nConnection accepted for session [s]\n",
            ),
            (
                Text::OneAccepted("s"),
                "Connection accepted for session s.\n",
            ),
            (
                Text::Refused,
                "\nConnection to destination port failed, check SSM Agent logs.\n",
            ),
            (Text::ExitCode(7), "EXIT_CODE: 7"),
            (Text::Signalled, "Terminate signal received, exiting.\n"),
            (
                Text::Exiting("s"),
                "\n\nExiting session with sessionId: s.\n\n",
            ),
            (Text::Closed("s", "why"), "\n\nSessionId: s : why\n\n"),
            (Text::TimedOut("s"), "Session: s timed out.\n"),
            (Text::Failed("why"), "Cannot perform start session: why\n"),
        ];
        for (text, expected) in expected {
            assert_eq!(text.to_string(), expected);
        }
    }

    /// What the AWS CLI makes of the version: from 1.2.764.0 on it does not warn, after 1.2.497.0 it hands the response
    /// over in the environment, and it takes no more than four numbers.
    #[test]
    fn the_version_is_one_the_cli_understands() {
        let text = Text::Version.to_string();
        let version = text.strip_suffix('\n').unwrap();
        let numbers: Vec<u32> = version
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect();
        assert_eq!(numbers.len(), 4);
        assert!(numbers >= vec![1, 2, 764, 0]);
    }
}
