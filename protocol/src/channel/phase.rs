//! The life of a channel, apart from whether a socket carries it at the moment.

use super::event::CloseReason;
use crate::handshake::Agreed;

/// ```text
///           HandshakeRequest           HandshakeComplete           barrier
/// Opening ──────────────────▶ Handshaking ─────────────▶ Settling ────────▶ Running
///    │                            │                          │                 │
///    │  unsupported               │         terminate()      │                 │
///    ├───────────▶ Closing ◀──────┼──────────────────────────┴─────────────────┤
///    │                │ acknowledged, disconnected, deadline                   │
///    ▼                ▼                                                        ▼
///  Closed ◀───────────┴──────────── channel_closed, protocol error ────────────┘
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for the agent's request.
    Opening,
    /// The response is under way.
    Handshaking(Agreed),
    /// Complete, but the agent may still drop what it receives: one harmless message goes ahead, or
    /// some time must pass.
    Settling(Agreed),
    /// Data flows.
    Running(Agreed),
    /// The last message is under way.
    Closing(CloseReason),
    /// Over.
    Closed,
}

impl Phase {
    /// What the handshake agreed on, while the session is usable.
    pub(crate) fn established(&self) -> Option<Agreed> {
        match self {
            Self::Settling(agreed) | Self::Running(agreed) => Some(*agreed),
            Self::Opening | Self::Handshaking(_) | Self::Closing(_) | Self::Closed => None,
        }
    }
}
