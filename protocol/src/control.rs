//! The JSON bodies outside the handshake.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The first WebSocket message after every connect, as text: authenticates the data channel.
///
/// Source: plugin `service/model.go`; `ClientVersion` since plugin 1.2.677.0.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OpenDataChannelInput {
    /// Always `1.0`.
    pub message_schema_version: String,
    /// Fresh for every connect.
    pub request_id: Uuid,
    /// The secret of StartSession or ResumeSession.
    pub token_value: String,
    /// Constant for one client process; third-party clients leave it out.
    #[serde(default)]
    pub client_id: String,
    /// See [`crate::version::CLIENT_VERSION`].
    #[serde(default)]
    pub client_version: String,
}

/// Payload of an `acknowledge` message. The receiver uses the sequence number and nothing else.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Acknowledge {
    pub(crate) acknowledged_message_type: &'static str,
    pub(crate) acknowledged_message_id: Uuid,
    pub(crate) acknowledged_message_sequence_number: i64,
    pub(crate) is_sequential_message: bool,
}

/// What is read of a received acknowledgement.
#[derive(Debug, Deserialize)]
pub(crate) struct Acknowledged {
    #[serde(rename = "AcknowledgedMessageSequenceNumber")]
    pub(crate) sequence: i64,
}

/// Payload of `channel_closed`, the service's last message.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChannelClosed {
    /// `channel_closed` again.
    #[serde(default)]
    pub message_type: String,
    /// The message's id.
    #[serde(default)]
    pub message_id: String,
    /// Milliseconds since the epoch, as text.
    #[serde(default)]
    pub created_date: String,
    /// The target.
    #[serde(default)]
    pub destination_id: String,
    /// The session.
    #[serde(default)]
    pub session_id: String,
    /// Always 1.
    #[serde(default)]
    pub schema_version: u32,
    /// The only human-readable reason there is; often empty.
    #[serde(default)]
    pub output: String,
}

/// What is read of a received `channel_closed`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Closing {
    pub(crate) output: Option<String>,
}

/// Payload of `agent_session_state`, with which an agent reports to the service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentSessionState<'a> {
    pub(crate) schema_version: u32,
    pub(crate) session_state: &'a str,
    pub(crate) session_id: &'a str,
}
