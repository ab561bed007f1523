//! What an agent does with clients other than this crate's.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ssmfwd_protocol::agent::{Agent, AgentEvent, Session, SessionType};
use ssmfwd_protocol::message::{Header, Message, MessageType, PayloadType};
use ssmfwd_protocol::{Endpoint, Transmit};
use uuid::Uuid;

use crate::support::{Options, any_instant};

const PLEASE_UPDATE: &str = "Please update session manager plugin version (minimum required version \
                             1.2.312.0) for fully support of separate StdOut/StdErr output.\r\n";

struct Alone {
    now: Instant,
    agent: Agent,
    next: i64,
}

impl Alone {
    fn new(options: Options) -> Self {
        let now = any_instant();
        let session = Session {
            id: "session".to_owned(),
            agent_version: options.agent_version.parse().unwrap(),
            session_type: options.session_type,
            encryption: options.encryption,
        };
        let mut agent = Agent::new(session, 1, now, Duration::ZERO);
        agent.handle_connected(now);
        Self {
            now,
            agent,
            next: 0,
        }
    }

    fn input(&mut self, payload_type: PayloadType, payload: &str) {
        let header = Header {
            message_type: MessageType::InputStreamData,
            created_date: 1,
            sequence: self.next,
            flags: 0,
            message_id: Uuid::nil(),
            payload_type,
        };
        self.next += 1;
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.agent
            .handle_message(self.now, Message { header, payload }.encode());
    }

    /// Answers the handshake as a client of this version.
    fn respond(&mut self, client_version: &str, kms_result: &str) {
        let session =
            r#"{"ActionType":"SessionType","ActionStatus":1,"ActionResult":null,"Error":""}"#;
        let kms = format!(
            r#",{{"ActionType":"KMSEncryption","ActionStatus":1,"ActionResult":{kms_result},"Error":""}}"#
        );
        let kms = if kms_result.is_empty() { "" } else { &kms };
        let response = format!(
            r#"{{"ClientVersion":"{client_version}","ProcessedClientActions":[{session}{kms}],"Errors":null}}"#
        );
        self.input(PayloadType::HandshakeResponse, &response);
    }

    fn customer_message(&mut self) -> String {
        let sent = std::iter::from_fn(|| self.agent.poll_transmit(self.now));
        let binary = sent.filter_map(|transmit| match transmit {
            Transmit::Binary(wire) => Message::decode(wire).ok(),
            Transmit::Text(_) => None,
        });
        let complete = binary
            .into_iter()
            .find(|it| it.header.payload_type == PayloadType::HandshakeComplete)
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&complete.payload).unwrap();
        body["CustomerMessage"].as_str().unwrap().to_owned()
    }
}

#[test]
fn clients_that_cannot_tell_the_outputs_apart_are_asked_to_update() {
    let cases = [
        (true, "1.2.295", PLEASE_UPDATE),
        (true, "1.2.54.0", PLEASE_UPDATE),
        (true, "1.2.312.0", ""),
        (true, "1.2.764.0", ""),
        (false, "1.2.295", ""),
    ];
    for (separates_outputs, client_version, message) in cases {
        let mut alone = Alone::new(Options::of(SessionType::NonInteractiveCommands {
            separates_outputs,
        }));
        alone.respond(client_version, "");
        assert_eq!(alone.customer_message(), message, "{client_version}");
    }
}

#[test]
fn a_client_that_does_not_bind_the_challenge_is_refused_where_that_is_required() {
    let result = r#"{"KMSCipherTextKey":"d3JhcHBlZA==","KMSCipherTextHash":null}"#;
    for is_required in [true, false] {
        let mut options = Options::of(SessionType::StandardStream).encrypted();
        if let Some(encryption) = &mut options.encryption {
            encryption.requires_context_challenge = is_required;
        }
        let mut alone = Alone::new(options);
        alone.respond("1.2.694.0", result);
        let event = alone.agent.poll_event().unwrap();
        let expected = match is_required {
            true => AgentEvent::Failed(
                "\n----------ERROR-------\nEncountered error while initiating handshake. client does \
                 not support required encryption context random challenge"
                    .to_owned(),
            ),
            false => AgentEvent::DataKeyReceived {
                ciphertext: b"wrapped".to_vec(),
                challenge: None,
            },
        };
        assert_eq!(event, expected);
    }
}

#[test]
fn a_client_that_brings_no_key_is_refused() {
    for result in ["", "null", "{}", r#"{"KMSCipherTextKey":"*"}"#] {
        let options = Options::of(SessionType::StandardStream).encrypted();
        let mut alone = Alone::new(options);
        alone.respond("1.2.694.0", result);
        let event = alone.agent.poll_event();
        assert!(matches!(event, Some(AgentEvent::Failed(_))), "{result}");
    }
}

#[test]
fn what_comes_before_the_end_of_the_handshake_is_dropped() {
    let mut alone = Alone::new(Options::of(SessionType::NonInteractiveCommands {
        separates_outputs: true,
    }));
    alone.input(PayloadType::Output, "\u{3}");
    alone.input(PayloadType::Size, r#"{"cols":80,"rows":24}"#);
    alone.respond("1.2.764.0", "");
    let started = alone.agent.poll_event();
    assert!(matches!(started, Some(AgentEvent::Started { .. })));
    assert_eq!(alone.agent.poll_event(), None);
}
