//! The enumerations of the message header; values nobody has documented stay representable.

use std::fmt;

/// Length of the message type field, bytes.
pub(super) const TYPE_LEN: usize = 32;

/// What a message is for: the text at offset 4 of the header.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageType {
    /// Client to agent, sequenced and acknowledged.
    InputStreamData,
    /// Agent to client, sequenced and acknowledged.
    OutputStreamData,
    /// Either way; names one received stream message.
    Acknowledge,
    /// Service to both: the session is over.
    ChannelClosed,
    /// Service to both: the other side can be reached.
    StartPublication,
    /// Service to both: the other side is away or behind.
    PausePublication,
    /// Agent to service; never passed on to a client.
    AgentSessionState,
    /// Any other text, padded with spaces.
    Other([u8; TYPE_LEN]),
}

impl MessageType {
    const NAMES: [(Self, &'static str); 7] = [
        (Self::InputStreamData, "input_stream_data"),
        (Self::OutputStreamData, "output_stream_data"),
        (Self::Acknowledge, "acknowledge"),
        (Self::ChannelClosed, "channel_closed"),
        (Self::StartPublication, "start_publication"),
        (Self::PausePublication, "pause_publication"),
        (Self::AgentSessionState, "agent_session_state"),
    ];

    /// Reads the header field: text padded with spaces (client, agent) or NULs (service).
    ///
    /// Returns `None` if nothing but padding is there.
    pub(super) fn from_wire(field: [u8; TYPE_LEN]) -> Option<Self> {
        let is_text = |byte: &u8| *byte != 0 && !byte.is_ascii_whitespace();
        let start = field.iter().position(is_text)?;
        let end = field.iter().rposition(is_text)?;
        let text = field.get(start..=end)?;
        let known = Self::NAMES.iter().find(|(_, name)| name.as_bytes() == text);
        Some(match known {
            Some((kind, _)) => *kind,
            None => Self::Other(padded(text)),
        })
    }

    /// Writes the header field, padded with spaces as client and agent do.
    pub(super) fn to_wire(self) -> [u8; TYPE_LEN] {
        match self {
            Self::Other(field) => field,
            known => padded(known.as_str().as_bytes()),
        }
    }

    /// The type's name on the wire; `unknown` for one this crate has no name for.
    pub fn as_str(&self) -> &'static str {
        let known = Self::NAMES.iter().find(|(kind, _)| kind == self);
        known.map_or("unknown", |(_, name)| name)
    }

    /// Returns whether the receiver must check the payload's digest.
    ///
    /// The official client skips validation of the service's flow signals altogether
    /// (plugin `clientmessage.go`), so theirs cannot be relied upon.
    pub(super) fn is_digest_checked(self) -> bool {
        !matches!(self, Self::StartPublication | Self::PausePublication)
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(field) => write!(f, "Other({})", field.escape_ascii()),
            known => f.write_str(known.as_str()),
        }
    }
}

fn padded(text: &[u8]) -> [u8; TYPE_LEN] {
    let mut field = [b' '; TYPE_LEN];
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
    field
}

/// What the payload of a stream message is: the u32 at offset 112.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PayloadType {
    /// Acknowledgements and everything that is not stream data.
    None,
    /// Bytes of the stream, either way.
    Output,
    /// Reserved; nobody sends it.
    Error,
    /// The terminal's size, client to agent.
    Size,
    /// Reserved; nobody sends it.
    Parameter,
    /// Opens the handshake, agent to client.
    HandshakeRequest,
    /// Answers it.
    HandshakeResponse,
    /// Ends it, agent to client.
    HandshakeComplete,
    /// Asks for a proof of the data key, agent to client.
    EncryptionChallengeRequest,
    /// Answers it.
    EncryptionChallengeResponse,
    /// A [`Flag`].
    Flag,
    /// Standard error of a command, agent to client.
    StandardError,
    /// Exit code of a command, agent to client.
    ExitCode,
    /// A value this crate does not know: acknowledged and passed over.
    Unknown(u32),
}

impl PayloadType {
    const CODES: [Self; 13] = [
        Self::None,
        Self::Output,
        Self::Error,
        Self::Size,
        Self::Parameter,
        Self::HandshakeRequest,
        Self::HandshakeResponse,
        Self::HandshakeComplete,
        Self::EncryptionChallengeRequest,
        Self::EncryptionChallengeResponse,
        Self::Flag,
        Self::StandardError,
        Self::ExitCode,
    ];

    /// Returns whether encrypted sessions seal it.
    pub(crate) fn is_sealed(self) -> bool {
        matches!(self, Self::Output | Self::StandardError | Self::ExitCode)
    }
}

impl From<u32> for PayloadType {
    fn from(code: u32) -> Self {
        let known = usize::try_from(code)
            .ok()
            .and_then(|at| Self::CODES.get(at));
        known.copied().unwrap_or(Self::Unknown(code))
    }
}

impl From<PayloadType> for u32 {
    fn from(kind: PayloadType) -> Self {
        if let PayloadType::Unknown(code) = kind {
            return code;
        }
        let codes = (0..).zip(PayloadType::CODES);
        codes
            .into_iter()
            .find(|(_, known)| *known == kind)
            .map_or(0, |(code, _)| code)
    }
}

/// The payload of a [`PayloadType::Flag`] message: a big-endian u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flag {
    /// Close the one connection of a session without multiplexing (client to agent).
    DisconnectToPort,
    /// End the session (client to agent).
    TerminateSession,
    /// Connecting to the destination failed (agent to client); names no stream.
    ConnectToPortError,
    /// A value this crate does not know.
    Unknown(u32),
}

impl Flag {
    /// Reads the payload; `None` unless it is four bytes.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        Some(match u32::from_be_bytes(payload.try_into().ok()?) {
            1 => Self::DisconnectToPort,
            2 => Self::TerminateSession,
            3 => Self::ConnectToPortError,
            code => Self::Unknown(code),
        })
    }

    /// Writes the payload.
    pub fn encode(self) -> [u8; 4] {
        let code = match self {
            Self::DisconnectToPort => 1,
            Self::TerminateSession => 2,
            Self::ConnectToPortError => 3,
            Self::Unknown(code) => code,
        };
        u32::to_be_bytes(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_types_keep_their_codes() {
        for code in 0..100 {
            assert_eq!(u32::from(PayloadType::from(code)), code);
        }
        assert_eq!(PayloadType::from(1), PayloadType::Output);
        assert_eq!(PayloadType::from(10), PayloadType::Flag);
        assert_eq!(PayloadType::from(12), PayloadType::ExitCode);
    }

    #[test]
    fn both_paddings_are_read() {
        let mut field = [0; TYPE_LEN];
        field[..14].copy_from_slice(b"channel_closed");
        assert_eq!(
            MessageType::from_wire(field),
            Some(MessageType::ChannelClosed)
        );
        let spaces = MessageType::ChannelClosed.to_wire();
        assert_eq!(
            MessageType::from_wire(spaces),
            Some(MessageType::ChannelClosed)
        );
        field[14..20].copy_from_slice(b"\0 \0 \0 ");
        assert_eq!(
            MessageType::from_wire(field),
            Some(MessageType::ChannelClosed)
        );
        assert_eq!(MessageType::from_wire([0; TYPE_LEN]), None);
        assert_eq!(MessageType::from_wire([b' '; TYPE_LEN]), None);
    }

    #[test]
    fn unknown_types_survive_a_round_trip() {
        let field = padded(b"agent_job_reply");
        let kind = MessageType::from_wire(field).unwrap();
        assert!(matches!(kind, MessageType::Other(_)));
        assert_eq!(kind.to_wire(), field);
    }

    #[test]
    fn flags_keep_their_codes() {
        for code in 0_u32..6 {
            let payload = code.to_be_bytes();
            assert_eq!(Flag::decode(&payload).unwrap().encode(), payload);
        }
        assert_eq!(Flag::decode(&[0, 0, 2]), None);
    }
}
