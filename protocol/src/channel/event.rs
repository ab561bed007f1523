//! What a channel tells its driver.

use crate::error::{ProtocolError, Unsupported};
use crate::version::Version;

/// Something the driver must know of. What happens to streams comes from [`crate::port::Port`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The handshake is done: streams can be opened.
    Established(Established),
    /// The channel has ended; nothing follows.
    Closed(CloseReason),
}

/// What the handshake brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The agent's version.
    pub agent_version: Version,
    /// Whether several connections can be open at a time.
    pub is_multiplexed: bool,
    /// The account's message to its users; often empty.
    pub customer_message: String,
}

/// Why a channel ended, by who ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// This end: [`crate::Channel::terminate`] was called.
    Terminated,
    /// The service or the agent, with its explanation, which may be empty.
    ///
    /// Nothing on the wire tells the two apart; see PROTOCOL section "Output texts for failures".
    Peer {
        /// `Output` of `channel_closed`.
        output: String,
    },
    /// Nobody: the agent did not finish the handshake in time.
    HandshakeTimedOut {
        /// Whether the agent had said anything.
        is_started: bool,
        /// Messages of the service that could not be decoded meanwhile.
        undecodable_count: u32,
    },
    /// This end, because the peer broke the protocol.
    Protocol(ProtocolError),
    /// This end, because the session is of a kind it does not support.
    Unsupported(Unsupported),
}
