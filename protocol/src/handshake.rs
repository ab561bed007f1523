//! The three handshake bodies, and the client's answer to a request.
//!
//! Sources: plugin `handshakemessage.go` and `streaming.go`, agent `datachannel.go`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ProtocolError, Unsupported};
use crate::version::{CLIENT_VERSION, Version};

/// The action whose parameters name the kind of session.
const SESSION_TYPE: &str = "SessionType";
/// The action that asks for a data key.
const KMS_ENCRYPTION: &str = "KMSEncryption";
/// The session type of every port document.
const PORT: &str = "Port";
/// The property value that asks for a listener on the client's side, hence multiplexing.
const LOCAL_PORT_FORWARDING: &str = "LocalPortForwarding";

const SUCCESS: u32 = 1;
const FAILED: u32 = 2;
const UNSUPPORTED: u32 = 3;

/// What the agent asks of the client before data may flow.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HandshakeRequest {
    pub(crate) agent_version: String,
    #[serde(default)]
    pub(crate) requested_client_actions: Vec<RequestedClientAction>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RequestedClientAction {
    pub(crate) action_type: String,
    #[serde(default)]
    pub(crate) action_parameters: Value,
}

/// One entry for each requested action, and the version that switches the agent's features.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HandshakeResponse {
    pub(crate) client_version: String,
    #[serde(default)]
    pub(crate) processed_client_actions: Vec<ProcessedClientAction>,
    #[serde(default)]
    pub(crate) errors: Option<Vec<String>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ProcessedClientAction {
    pub(crate) action_type: String,
    pub(crate) action_status: u32,
    #[serde(default)]
    pub(crate) action_result: Value,
    #[serde(default)]
    pub(crate) error: String,
}

/// Tells the client that data may flow.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HandshakeComplete {
    /// Nanoseconds.
    pub(crate) handshake_time_to_complete: i64,
    pub(crate) customer_message: String,
}

/// What both ends agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) agent_version: Version,
    /// Whether connections are multiplexed with smux; else there is one at a time.
    pub(crate) multiplexed: bool,
}

/// Answers a handshake request.
///
/// The response goes out whatever the result, so that the agent learns why the session ends.
///
/// # Errors
///
/// `Err` if the payload is not a request; an inner `Err` if it asks for what is not supported.
pub(crate) fn answer(
    payload: &[u8],
) -> Result<(HandshakeResponse, Result<Agreed, Unsupported>), ProtocolError> {
    let malformed = ProtocolError::Handshake("HandshakeRequest");
    let request: HandshakeRequest =
        serde_json::from_slice(payload).map_err(|_| malformed.clone())?;
    let agent_version: Version = request
        .agent_version
        .parse()
        .map_err(|_| malformed.clone())?;

    let mut multiplexed = None;
    let mut refusal = None;
    let mut processed = Vec::with_capacity(request.requested_client_actions.len());
    for action in request.requested_client_actions {
        let outcome = match action.action_type.as_str() {
            SESSION_TYPE => session_is_multiplexed(&action.action_parameters, agent_version)
                .map(|found| multiplexed = Some(found)),
            KMS_ENCRYPTION => Err(Unsupported::Encryption),
            _ => Err(Unsupported::Action(action.action_type.clone())),
        };
        processed.push(ProcessedClientAction::new(
            action.action_type,
            outcome.as_ref().err(),
        ));
        refusal = refusal.or_else(|| outcome.err());
    }
    let response = HandshakeResponse {
        client_version: CLIENT_VERSION.to_owned(),
        processed_client_actions: processed,
        errors: None,
    };
    let agreed = match (refusal, multiplexed) {
        (Some(refusal), _) => Err(refusal),
        (None, None) => return Err(malformed),
        (None, Some(multiplexed)) => Ok(Agreed {
            agent_version,
            multiplexed,
        }),
    };
    Ok((response, agreed))
}

impl ProcessedClientAction {
    fn new(action_type: String, refusal: Option<&Unsupported>) -> Self {
        let action_status = match refusal {
            None => SUCCESS,
            Some(Unsupported::Action(_)) => UNSUPPORTED,
            Some(Unsupported::Encryption | Unsupported::SessionType(_)) => FAILED,
        };
        Self {
            action_type,
            action_status,
            action_result: Value::Null,
            error: refusal.map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Returns whether the client did what was asked. The agent ends the session otherwise.
    pub(crate) fn is_success(&self) -> bool {
        self.action_status == SUCCESS
    }
}

fn session_is_multiplexed(parameters: &Value, agent: Version) -> Result<bool, Unsupported> {
    let session_type = parameters
        .get(SESSION_TYPE)
        .and_then(Value::as_str)
        .unwrap_or_default();
    if session_type != PORT {
        return Err(Unsupported::SessionType(session_type.to_owned()));
    }
    let kind = parameters
        .get("Properties")
        .and_then(|properties| properties.get("type"));
    Ok(is_multiplexed(kind.and_then(Value::as_str), agent))
}

/// Returns whether a port session uses smux: both ends must come to the same result.
pub(crate) fn is_multiplexed(kind: Option<&str>, agent: Version) -> bool {
    kind == Some(LOCAL_PORT_FORWARDING) && agent.agent_multiplexes()
}

impl HandshakeRequest {
    /// The agent's opening of a port session.
    pub(crate) fn port(
        agent_version: Version,
        properties: &std::collections::BTreeMap<String, String>,
        kms_key_id: Option<&str>,
    ) -> Self {
        let session = serde_json::json!({ SESSION_TYPE: PORT, "Properties": properties });
        let key = kms_key_id.map(|key| serde_json::json!({ "KMSKeyId": key }));
        let actions = [(SESSION_TYPE, Some(session)), (KMS_ENCRYPTION, key)];
        Self {
            agent_version: agent_version.to_string(),
            requested_client_actions: actions
                .into_iter()
                .filter_map(|(action_type, parameters)| {
                    Some(RequestedClientAction {
                        action_type: action_type.to_owned(),
                        action_parameters: parameters?,
                    })
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: &str, actions: &str) -> String {
        format!(r#"{{"AgentVersion":"{version}","RequestedClientActions":[{actions}]}}"#)
    }

    fn port(properties: &str) -> String {
        let parameters = format!(r#"{{"SessionType":"Port","Properties":{properties}}}"#);
        format!(r#"{{"ActionType":"SessionType","ActionParameters":{parameters}}}"#)
    }

    const FORWARDING: &str = r#"{"portNumber":"80","type":"LocalPortForwarding"}"#;

    #[test]
    fn multiplexing_needs_the_property_and_a_new_agent() {
        let cases = [
            ("3.3.987.0", FORWARDING, true),
            ("3.0.196.0", FORWARDING, false),
            ("3.3.987.0", r#"{"portNumber":"22"}"#, false),
        ];
        for (version, properties, expected) in cases {
            let (response, agreed) =
                answer(request(version, &port(properties)).as_bytes()).unwrap();
            assert_eq!(
                agreed.unwrap().multiplexed,
                expected,
                "{version} {properties}"
            );
            assert!(response.processed_client_actions[0].is_success());
            assert_eq!(response.client_version, CLIENT_VERSION);
        }
    }

    #[test]
    fn encryption_is_refused_with_a_reason_the_agent_sees() {
        let kms = r#"{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"k"}}"#;
        let text = request("3.3.987.0", &format!("{},{kms}", port(FORWARDING)));
        let (response, agreed) = answer(text.as_bytes()).unwrap();
        assert_eq!(agreed, Err(Unsupported::Encryption));
        assert!(response.processed_client_actions[0].is_success());
        assert_eq!(response.processed_client_actions[1].action_status, FAILED);
        assert!(response.processed_client_actions[1].error.contains("KMS"));
    }

    #[test]
    fn other_session_types_and_actions_are_refused() {
        let shell = r#"{"ActionType":"SessionType","ActionParameters":{"SessionType":"Standard_Stream","Properties":null}}"#;
        let (_, agreed) = answer(request("3.3.987.0", shell).as_bytes()).unwrap();
        assert_eq!(
            agreed,
            Err(Unsupported::SessionType("Standard_Stream".into()))
        );

        let dance = format!(
            r#"{},{{"ActionType":"Dance","ActionParameters":null}}"#,
            port(FORWARDING)
        );
        let (response, agreed) = answer(request("3.3.987.0", &dance).as_bytes()).unwrap();
        assert_eq!(agreed, Err(Unsupported::Action("Dance".into())));
        assert_eq!(
            response.processed_client_actions[1].action_status,
            UNSUPPORTED
        );
    }

    #[test]
    fn malformed_requests_are_errors() {
        let empty = request("3.3.987.0", "");
        let versionless = request("new", &port(FORWARDING));
        for text in ["", "{}", "[]", empty.as_str(), versionless.as_str()] {
            assert!(answer(text.as_bytes()).is_err(), "{text}");
        }
    }
}
