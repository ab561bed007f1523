//! The bodies of the handshake, and the client's answer to a request.
//!
//! Sources: plugin `handshakemessage.go` and `streaming.go`, agent `datachannel.go`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ProtocolError, Unsupported};
use crate::session_kind::SessionKind;
use crate::version::{CLIENT_VERSION, Version};

/// The action whose parameters name the kind of session.
const SESSION_TYPE: &str = "SessionType";
/// The action that asks for a data key.
const KMS_ENCRYPTION: &str = "KMSEncryption";
/// The session type of every port document.
pub(crate) const PORT: &str = "Port";
/// Of a shell.
pub(crate) const STANDARD_STREAM: &str = "Standard_Stream";
/// Of a command with a terminal.
pub(crate) const INTERACTIVE_COMMANDS: &str = "InteractiveCommands";
/// Of a command without one.
pub(crate) const NON_INTERACTIVE_COMMANDS: &str = "NonInteractiveCommands";
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HandshakeResponse {
    pub(crate) client_version: String,
    #[serde(default)]
    pub(crate) processed_client_actions: Vec<ProcessedClientAction>,
    #[serde(default)]
    pub(crate) errors: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// What the agent wants to know of the key before it seals anything: both challenges of the protocol.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EncryptionChallenge {
    /// Random bytes, sealed by the sender.
    #[serde(with = "base64_bytes")]
    pub(crate) challenge: Vec<u8>,
}

/// The parameters of the action that asks for a data key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KmsRequest {
    #[serde(rename = "KMSKeyId")]
    pub(crate) key_id: String,
    /// To be bound to the data key by its encryption context; older agents send none.
    #[serde(rename = "Challenge", default, skip_serializing_if = "Option::is_none")]
    pub(crate) challenge: Option<String>,
}

/// The result of that action.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KmsResult {
    #[serde(rename = "KMSCipherTextKey", with = "base64_bytes")]
    pub(crate) ciphertext: Vec<u8>,
    /// Not read by any agent.
    #[serde(rename = "KMSCipherTextHash", default)]
    pub(crate) hash: Value,
    /// Whether the challenge is part of the key's encryption context.
    #[serde(
        rename = "ChallengeAcknowledgement",
        default,
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub(crate) is_challenge_bound: bool,
}

/// What a port document says, by name.
pub(crate) type Properties = BTreeMap<String, String>;

/// What both ends agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// Unknown in sessions without a handshake.
    pub(crate) agent_version: Option<Version>,
    pub(crate) kind: SessionKind,
}

impl Agreed {
    pub(crate) fn is_without_handshake(self) -> bool {
        self.agent_version.is_none()
    }
}

/// The client's answer to a handshake request.
///
/// The response goes out whatever was agreed, so that the agent learns why the session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) response: HandshakeResponse,
    /// `Err` if the request asks for what is not supported.
    pub(crate) agreed: Result<Agreed, Unsupported>,
    /// The properties of a port document.
    pub(crate) properties: Properties,
    /// The data key the response has to bring.
    pub(crate) key_request: Option<KeyRequest>,
}

/// Which data key the agent asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRequest {
    pub(crate) key_id: String,
    pub(crate) challenge: Option<String>,
}

impl Answer {
    /// Answers a handshake request.
    ///
    /// # Errors
    ///
    /// If the payload is not a request.
    pub(crate) fn to(payload: &[u8]) -> Result<Self, ProtocolError> {
        let malformed = ProtocolError::Handshake("HandshakeRequest");
        let request: HandshakeRequest =
            serde_json::from_slice(payload).map_err(|_| malformed.clone())?;
        let agent_version: Version = request
            .agent_version
            .parse()
            .map_err(|_| malformed.clone())?;

        let mut kind = None;
        let mut properties = Properties::new();
        let mut key_request = None;
        let mut refusal = None;
        let mut processed = Vec::with_capacity(request.requested_client_actions.len());
        for action in request.requested_client_actions {
            let outcome = match action.action_type.as_str() {
                SESSION_TYPE if kind.is_none() => {
                    properties = texts(action.action_parameters.get("Properties"));
                    session_kind(&action.action_parameters, agent_version)
                        .map(|found| kind = Some(found))
                }
                KMS_ENCRYPTION if key_request.is_none() => {
                    let parameters = KmsRequest::deserialize(action.action_parameters);
                    key_request = Some(parameters.map_err(|_| malformed.clone())?.into());
                    Ok(())
                }
                // Asked for twice: nothing tells which one counts.
                SESSION_TYPE | KMS_ENCRYPTION => return Err(malformed),
                _ => Err(Unsupported::Action(action.action_type.clone())),
            };
            processed.push(ProcessedClientAction::new(
                action.action_type,
                outcome.as_ref().err(),
            ));
            refusal = refusal.or_else(|| outcome.err());
        }
        let agreed = match (refusal, kind) {
            (Some(refusal), _) => Err(refusal),
            (None, None) => return Err(malformed),
            (None, Some(kind)) => Ok(Agreed {
                agent_version: Some(agent_version),
                kind,
            }),
        };
        let response = HandshakeResponse {
            client_version: CLIENT_VERSION.to_owned(),
            processed_client_actions: processed,
            errors: None,
        };
        Ok(Self {
            response,
            agreed,
            properties,
            key_request,
        })
    }

    /// Puts in the data key that was asked for, as KMS has encrypted it.
    ///
    /// # Errors
    ///
    /// If that has no JSON form.
    pub(crate) fn provide_key(&mut self, ciphertext: Vec<u8>) -> serde_json::Result<()> {
        let challenge = self
            .key_request
            .as_ref()
            .and_then(|it| it.challenge.as_ref());
        let result = KmsResult {
            ciphertext,
            hash: Value::Null,
            is_challenge_bound: challenge.is_some(),
        };
        if let Some(action) = self.key_action() {
            action.action_result = serde_json::to_value(result)?;
        }
        Ok(())
    }

    /// Tells the agent why there is no data key.
    pub(crate) fn refuse_key(&mut self, reason: &str) {
        if let Some(action) = self.key_action() {
            action.action_status = FAILED;
            action.error = reason.to_owned();
        }
    }

    fn key_action(&mut self) -> Option<&mut ProcessedClientAction> {
        let actions = &mut self.response.processed_client_actions;
        actions
            .iter_mut()
            .find(|action| action.action_type == KMS_ENCRYPTION)
    }
}

impl From<KmsRequest> for KeyRequest {
    fn from(request: KmsRequest) -> Self {
        Self {
            key_id: request.key_id,
            challenge: request.challenge.filter(|text| !text.is_empty()),
        }
    }
}

impl ProcessedClientAction {
    fn new(action_type: String, refusal: Option<&Unsupported>) -> Self {
        let action_status = match refusal {
            None => SUCCESS,
            Some(Unsupported::Action(_)) => UNSUPPORTED,
            Some(Unsupported::SessionType(_)) => FAILED,
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

impl HandshakeResponse {
    /// The data key in it, if there is one that can be read.
    pub(crate) fn key(&self) -> Option<KmsResult> {
        let mut actions = self.processed_client_actions.iter();
        let action = actions.find(|action| action.action_type == KMS_ENCRYPTION)?;
        KmsResult::deserialize(&action.action_result).ok()
    }
}

fn texts(properties: Option<&Value>) -> Properties {
    let properties = properties.and_then(Value::as_object).into_iter().flatten();
    properties
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn session_kind(parameters: &Value, agent: Version) -> Result<SessionKind, Unsupported> {
    let session_type = parameters
        .get(SESSION_TYPE)
        .and_then(Value::as_str)
        .unwrap_or_default();
    match session_type {
        PORT => {
            let kind = parameters
                .get("Properties")
                .and_then(|properties| properties.get("type"));
            Ok(SessionKind::Port {
                is_multiplexed: is_multiplexed(kind.and_then(Value::as_str), agent),
            })
        }
        STANDARD_STREAM | INTERACTIVE_COMMANDS => Ok(SessionKind::Shell),
        NON_INTERACTIVE_COMMANDS => Ok(SessionKind::Command),
        unknown => Err(Unsupported::SessionType(unknown.to_owned())),
    }
}

/// Returns whether a port session uses smux: both ends must come to the same result.
pub(crate) fn is_multiplexed(kind: Option<&str>, agent: Version) -> bool {
    kind == Some(LOCAL_PORT_FORWARDING) && agent.agent_multiplexes()
}

impl HandshakeRequest {
    /// The agent's opening of a session of this type, with the properties of a port document.
    pub(crate) fn new(
        agent_version: Version,
        session_type: &str,
        properties: Option<&Properties>,
        kms: Option<KmsRequest>,
    ) -> Self {
        let session = serde_json::json!({ SESSION_TYPE: session_type, "Properties": properties });
        let kms = kms.and_then(|kms| serde_json::to_value(kms).ok());
        let actions = [(SESSION_TYPE, Some(session)), (KMS_ENCRYPTION, kms)];
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

/// Bytes as text, the way Go's JSON writes them.
mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(D::Error::custom)
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
            let answer = Answer::to(request(version, &port(properties)).as_bytes()).unwrap();
            let kind = SessionKind::Port {
                is_multiplexed: expected,
            };
            assert_eq!(answer.agreed.unwrap().kind, kind, "{version} {properties}");
            assert!(answer.response.processed_client_actions[0].is_success());
            assert_eq!(answer.response.client_version, CLIENT_VERSION);
        }
    }

    #[test]
    fn properties_that_are_text_are_handed_out() {
        let properties = r#"{"portNumber":"80","localPortNumber":"","odd":80,"none":null}"#;
        let answer = Answer::to(request("3.3.987.0", &port(properties)).as_bytes()).unwrap();
        let expected = [("localPortNumber", ""), ("portNumber", "80")];
        let found = answer.properties.iter();
        assert!(found.map(|(name, value)| (&**name, &**value)).eq(expected));
    }

    fn session(session_type: &str) -> String {
        let parameters = format!(r#"{{"SessionType":"{session_type}","Properties":null}}"#);
        format!(r#"{{"ActionType":"SessionType","ActionParameters":{parameters}}}"#)
    }

    fn kms(parameters: &str) -> String {
        format!(r#"{{"ActionType":"KMSEncryption","ActionParameters":{parameters}}}"#)
    }

    #[test]
    fn each_session_type_has_its_kind() {
        let cases = [
            ("Standard_Stream", SessionKind::Shell),
            ("InteractiveCommands", SessionKind::Shell),
            ("NonInteractiveCommands", SessionKind::Command),
        ];
        for (session_type, kind) in cases {
            let answer = Answer::to(request("3.3.987.0", &session(session_type)).as_bytes());
            let agreed = answer.unwrap().agreed.unwrap();
            assert_eq!(agreed.kind, kind, "{session_type}");
        }
    }

    #[test]
    fn the_answer_brings_the_data_key_and_takes_up_the_challenge() {
        let cases = [
            (r#"{"KMSKeyId":"k"}"#, None),
            (r#"{"KMSKeyId":"k","Challenge":""}"#, None),
            (r#"{"KMSKeyId":"k","Challenge":"AAEC"}"#, Some("AAEC")),
        ];
        for (parameters, challenge) in cases {
            let text = format!("{},{}", session("Standard_Stream"), kms(parameters));
            let mut answer = Answer::to(request("3.3.987.0", &text).as_bytes()).unwrap();
            let key_request = KeyRequest {
                key_id: "k".to_owned(),
                challenge: challenge.map(ToOwned::to_owned),
            };
            assert_eq!(answer.key_request, Some(key_request));
            answer.provide_key(b"wrapped".to_vec()).unwrap();
            let key = answer.response.key().unwrap();
            assert_eq!(key.ciphertext, b"wrapped");
            assert_eq!(key.is_challenge_bound, challenge.is_some());
            let json = serde_json::to_string(&answer.response).unwrap();
            assert!(
                json.contains(r#""KMSCipherTextKey":"d3JhcHBlZA==""#),
                "{json}"
            );
            assert_eq!(json.contains("Acknowledgement"), challenge.is_some());
        }
    }

    #[test]
    fn a_missing_key_is_explained_to_the_agent() {
        let text = format!(
            "{},{}",
            session("Standard_Stream"),
            kms(r#"{"KMSKeyId":"k"}"#)
        );
        let mut answer = Answer::to(request("3.3.987.0", &text).as_bytes()).unwrap();
        answer.refuse_key("access denied");
        let actions = &answer.response.processed_client_actions;
        assert!(actions[0].is_success());
        assert_eq!(actions[1].action_status, FAILED);
        assert_eq!(actions[1].error, "access denied");
    }

    #[test]
    fn unknown_session_types_and_actions_are_refused() {
        let answer = Answer::to(request("3.3.987.0", &session("Dance")).as_bytes()).unwrap();
        assert_eq!(answer.agreed, Err(Unsupported::SessionType("Dance".into())));

        let dance = format!(
            r#"{},{{"ActionType":"Dance","ActionParameters":null}}"#,
            port(FORWARDING)
        );
        let answer = Answer::to(request("3.3.987.0", &dance).as_bytes()).unwrap();
        assert_eq!(answer.agreed, Err(Unsupported::Action("Dance".into())));
        assert_eq!(
            answer.response.processed_client_actions[1].action_status,
            UNSUPPORTED
        );
    }

    #[test]
    fn malformed_requests_are_errors() {
        let empty = request("3.3.987.0", "");
        let versionless = request("new", &port(FORWARDING));
        let twice = format!("{0},{0}", port(FORWARDING));
        let keyless = format!("{},{}", port(FORWARDING), kms("{}"));
        let two_keys = format!("{0},{1},{1}", port(FORWARDING), kms(r#"{"KMSKeyId":"k"}"#));
        let requests = [twice, keyless, two_keys].map(|text| request("3.3.987.0", &text));
        let fixed = ["", "{}", "[]", empty.as_str(), versionless.as_str()];
        for text in fixed.into_iter().chain(requests.iter().map(String::as_str)) {
            assert!(Answer::to(text.as_bytes()).is_err(), "{text}");
        }
    }
}
