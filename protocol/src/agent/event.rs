//! What an agent tells its driver.

use crate::console::{Signal, Size};
use crate::session_kind::SessionKind;

/// Something the agent's driver must know of. What happens to streams comes from its
/// [`Streams`](crate::streams::Streams).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentEvent {
    /// The client has sent the data key that was demanded of it: decrypt it and answer with
    /// [`Agent::handle_data_key`](super::Agent::handle_data_key).
    DataKeyReceived {
        /// What KMS is to decrypt, with the session's key.
        ciphertext: Vec<u8>,
        /// `aws:ssm:RandomChallenge` of the encryption context, if the client has bound it.
        challenge: Option<String>,
    },
    /// Data flows: the destination is to be connected, the program to be started.
    Started {
        /// What the session turned out to be.
        kind: SessionKind,
    },
    /// The client's terminal has this size.
    Resized(Size),
    /// The client wants the command to get this signal.
    Signalled(Signal),
    /// The client has ended the session.
    Terminated,
    /// What [`Agent::exit`](super::Agent::exit) was called for is done.
    Exited,
    /// The session cannot go on; the text is what the official agent reports.
    Failed(String),
}
