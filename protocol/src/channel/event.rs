//! What a channel tells its driver.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{ProtocolError, Unsupported};
use crate::session_kind::SessionKind;
use crate::version::Version;

/// Something the driver must know of. What happens to streams comes from [`crate::streams::Streams`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The agent demands encryption: the answer is [`crate::Channel::handle_data_key`], within the
    /// fifteen seconds the agent waits.
    DataKeyNeeded {
        /// The key of KMS, an id, ARN or alias, under which the data key is to be generated.
        key_id: String,
        /// To be put, as `aws:ssm:RandomChallenge`, into the encryption context of the data key, beside
        /// `aws:ssm:SessionId` and `aws:ssm:TargetId`.
        challenge: Option<String>,
    },
    /// The session has begun: its streams are there, or can be opened.
    Established(Established),
    /// The agent has acknowledged nothing for [`Config::answer_timeout`](crate::config::Config::answer_timeout), although there is
    /// a connection: it is gone, or the destination takes nothing. Everything waits.
    Unanswered,
    /// It has, after [`Self::Unanswered`], this long since the last time.
    Answered(Duration),
    /// The channel has ended; nothing follows.
    Closed(CloseReason),
}

/// What the handshake brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The agent's version. Shells that are not encrypted begin without a handshake, which alone tells.
    pub agent_version: Option<Version>,
    /// What the session is for.
    pub kind: SessionKind,
    /// The properties of a port session's document, its parameters filled in. Those that are no text are left out.
    pub properties: BTreeMap<String, String>,
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
    /// Nothing on the wire tells the two apart; see "Texts of an end" in the README.
    Peer {
        /// `Output` of `channel_closed`.
        output: String,
        /// Nothing that the agent sent is known to be missing.
        is_whole: bool,
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
    /// This end, because it was given no data key for a session that has to be encrypted.
    NoDataKey {
        /// Why, as [`crate::Channel::handle_data_key`] was told.
        reason: String,
    },
}

impl CloseReason {
    /// Returns whether the peer has ended the session without a complaint, and nothing it sent is known to
    /// be missing.
    pub fn is_in_order(&self) -> bool {
        matches!(self, Self::Peer { output, is_whole: true } if output.trim().is_empty())
    }
}
