//! The life of a channel, apart from whether a socket carries it at the moment.

use super::event::CloseReason;
use crate::handshake::{Agreed, Answer};

/// ```text
///             KMSEncryption            data key
///           ┌───────────────▶ Keying ───────────┐
///           │ HandshakeRequest                  ▼   HandshakeComplete          barrier
/// Opening ──┼────────────────────────────▶ Handshaking ──────────▶ Settling ──────────▶ Running
///           │ Output, or a question acknowledged in silence                               ▲
///           └─────────────────────────────────────────────────────────────────────────────┘
///
/// Settling lasts no longer than its deadline.
///
/// any ──▶ Closing   refusal, terminate(), with a last message to be acknowledged
/// any ──▶ Draining  channel_closed, which may have overtaken messages
/// any ──▶ Closed    channel_closed, protocol error, deadline; from Closing and Draining also disconnected
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for the agent's request.
    Opening,
    /// Waiting for the data key that belongs into the answer.
    Keying(Box<Answer>, Agreed),
    /// The response is under way.
    Handshaking {
        agreed: Agreed,
        /// The agent has yet to prove that it has the data key.
        is_proof_due: bool,
    },
    /// Complete, but the agent may still drop what it receives: one harmless message goes ahead, or
    /// some time must pass.
    Settling(Agreed),
    /// Data flows.
    Running(Agreed),
    /// The last message is under way.
    Closing(CloseReason),
    /// The peer has ended the session, which may have overtaken messages of its own.
    Draining {
        /// What it said.
        output: String,
    },
    /// Over.
    Closed,
}

impl Phase {
    /// What the handshake agreed on, while the session is usable.
    pub(crate) fn established(&self) -> Option<Agreed> {
        match self {
            Self::Settling(agreed) | Self::Running(agreed) => Some(*agreed),
            Self::Opening
            | Self::Keying(..)
            | Self::Handshaking { .. }
            | Self::Closing(_)
            | Self::Draining { .. }
            | Self::Closed => None,
        }
    }
}
