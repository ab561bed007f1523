//! Errors by who is to blame: the bytes, the peer, or the caller.

use thiserror::Error;

/// A message that cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A field lies outside the message.
    #[error("message of {len} bytes ends inside the {needed}-byte field at offset {offset}")]
    Truncated {
        /// Offset of the field, bytes.
        offset: usize,
        /// Length of the field, bytes.
        needed: usize,
        /// Length of the message, bytes.
        len: usize,
    },
    /// The header length leaves no room for the fixed fields.
    #[error("header length {found} is below 112")]
    HeaderLength {
        /// The header length as sent.
        found: u32,
    },
    /// The message type is nothing but padding.
    #[error("message type is empty")]
    NoMessageType,
    /// The payload is said to be longer than what follows.
    #[error("payload length {found} exceeds the {available} bytes that follow")]
    PayloadLength {
        /// The payload length as sent.
        found: usize,
        /// Bytes behind the header.
        available: usize,
    },
    /// The payload is not what its sender hashed.
    #[error("payload does not match its SHA-256 digest")]
    Digest,
}

/// A violation of the stream multiplexer's rules, after which nothing on it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MuxError {
    /// Only version 1 is spoken by the official ends.
    #[error("mux frame has version {0}, not 1")]
    Version(u8),
    /// A command outside open, close, data and keep-alive.
    #[error("mux frame has unknown command {0}")]
    Command(u8),
    /// Open, close and keep-alive frames carry no data.
    #[error("mux control frame {command} carries {len} bytes")]
    ControlWithData {
        /// The command byte.
        command: u8,
        /// Length of the data, bytes.
        len: u16,
    },
    /// The agent opened a stream, which only clients do.
    #[error("peer opened mux stream {0}, which only the client may")]
    UnexpectedOpen(u32),
    /// More streams are open than the configuration allows.
    #[error("peer opened more than {0} mux streams")]
    TooManyStreams(usize),
}

/// A payload that cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CipherError {
    /// There is no room for nonce and tag in it.
    #[error("{len} bytes are too few for a nonce and a tag")]
    Truncated {
        /// Its length, bytes.
        len: usize,
    },
    /// It was sealed with another key, or altered on its way.
    #[error("it was sealed with another key or altered on its way")]
    Forged,
    /// The cipher does not take it.
    #[error("the cipher refuses to seal it")]
    Unsealable,
}

/// What the peer did that is understood and not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Message after message could not be decoded.
    #[error("{count} messages in a row cannot be decoded, the last because: {last}")]
    Undecodable {
        /// How many.
        count: u32,
        /// What was wrong with the last one.
        last: DecodeError,
    },
    /// A message of the handshake is not the JSON it should be.
    #[error("the agent's {0} is malformed")]
    Handshake(&'static str),
    /// The end of the session is not the JSON it should be.
    #[error("the session was ended by a malformed message")]
    ChannelClosed,
    /// A message of this end has no JSON form.
    #[error("a message has no JSON form")]
    NoJson,
    /// The multiplexer's byte stream is broken.
    #[error(transparent)]
    Mux(#[from] MuxError),
    /// A message of an encrypted session is not what its sender sealed.
    #[error("a message of the encrypted session cannot be trusted: {0}")]
    Cipher(#[from] CipherError),
    /// The agent could not seal its challenge with the session's data key.
    #[error("the agent's proof that it has the data key is wrong: {0}")]
    Proof(CipherError),
    /// The agent ended the handshake of an encrypted session without its challenge.
    #[error("the agent did not prove that it has the data key")]
    NoProof,
    /// The agent began a handshake in a session that had begun without one.
    #[error("the agent began its handshake after the session had begun without one")]
    LateHandshake,
}

/// What the peer asked for that is legal and not supported here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// The document starts a kind of session nobody has documented.
    #[error("the document starts a session of the unknown type {0:?}")]
    SessionType(String),
    /// The agent asks for something nobody has documented.
    #[error("the agent asks for the unknown action {0:?}")]
    Action(String),
}

/// Why a stream cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The agent carries one connection at a time and has one.
    #[error("the agent carries one connection at a time")]
    Busy,
    /// There is no session to open it on: it is over, or has not begun.
    #[error("the session is over")]
    Ended,
    /// The stream ids of this session are used up, or too many are open.
    #[error("the session has no more streams")]
    Exhausted,
}
