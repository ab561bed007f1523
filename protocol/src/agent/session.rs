//! What an agent is told of the session it is to start.

use std::collections::BTreeMap;
use std::fmt;

use crate::handshake;
use crate::version::Version;

/// The session an agent has been told to start.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// The version the agent reports, which switches features at the client.
    pub agent_version: Version,
    /// What its document starts.
    pub session_type: SessionType,
    /// Demands encryption. Real agents never do so for port sessions.
    pub encryption: Option<Encryption>,
}

/// What a session's document starts: its `sessionType`, and what of its inputs concerns the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionType {
    /// `Port`.
    Port {
        /// Of the document, all of them; `type` decides on multiplexing.
        properties: BTreeMap<String, String>,
    },
    /// `Standard_Stream`: a shell.
    StandardStream,
    /// `InteractiveCommands`: a command with a terminal.
    InteractiveCommands,
    /// `NonInteractiveCommands`: a command without one.
    NonInteractiveCommands {
        /// `separateOutputStream`: standard error and the exit code are reported by themselves.
        separates_outputs: bool,
    },
}

impl SessionType {
    /// The document's word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Port { .. } => handshake::PORT,
            Self::StandardStream => handshake::STANDARD_STREAM,
            Self::InteractiveCommands => handshake::INTERACTIVE_COMMANDS,
            Self::NonInteractiveCommands { .. } => handshake::NON_INTERACTIVE_COMMANDS,
        }
    }

    /// Returns whether the agent shakes hands even if nothing is encrypted.
    pub(super) fn has_handshake(&self) -> bool {
        matches!(
            self,
            Self::Port { .. } | Self::NonInteractiveCommands { .. }
        )
    }

    pub(super) fn properties(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Port { properties } => Some(properties),
            _ => None,
        }
    }

    pub(super) fn separates_outputs(&self) -> bool {
        matches!(
            self,
            Self::NonInteractiveCommands {
                separates_outputs: true
            }
        )
    }
}

/// How a session is encrypted. The random bytes are the caller's to draw.
#[derive(Clone)]
pub struct Encryption {
    /// The key of KMS the account demands.
    pub key_id: String,
    /// Random bytes for the client to bind to the data key; agents before 3.3.808.0 ask for none.
    pub context_challenge: Option<[u8; 16]>,
    /// Whether a client that does not take up `context_challenge` is refused
    /// (`Kms.RequireKMSChallengeResponse`, by default not).
    pub requires_context_challenge: bool,
    /// Random bytes for the client to prove with that it has the data key.
    pub proof_challenge: [u8; 64],
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption")
            .field("key_id", &self.key_id)
            .field(
                "requires_context_challenge",
                &self.requires_context_challenge,
            )
            .finish_non_exhaustive()
    }
}
