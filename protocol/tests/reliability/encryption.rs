//! Encrypted sessions: the key's way, both proofs, and what happens to forgeries.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ssmfwd_protocol::agent::{AgentEvent, SessionType};
use ssmfwd_protocol::channel::{CloseReason, Event};
use ssmfwd_protocol::error::{CipherError, ProtocolError};
use ssmfwd_protocol::message::{Message, PayloadType};
use ssmfwd_protocol::{DataKey, Endpoint, StreamId};

use crate::support::{Behaviour, DATA_KEY, Faults, Options, Pair, for_each_seed, noise};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const KIB: usize = 1024;

const SHELL: SessionType = SessionType::StandardStream;

/// An encrypted shell that says hello and reads what it is told.
fn shell(options: Options) -> Pair {
    let mut pair = Pair::new(options);
    pair.host(StreamId::OUTPUT, Behaviour::Talk(2));
    pair.host(StreamId::ERROR, Behaviour::Talk(0));
    pair.connect();
    pair
}

fn encrypted() -> Options {
    Options::of(SHELL).encrypted()
}

fn closed(pair: &mut Pair) -> CloseReason {
    pair.drive_bounded(MINUTE, |pair| pair.close_reason().is_some());
    pair.close_reason().unwrap()
}

fn failure(pair: &mut Pair) -> String {
    let failed = |pair: &Pair| {
        pair.agent_events.iter().find_map(|event| match event {
            AgentEvent::Failed(output) => Some(output.clone()),
            _ => None,
        })
    };
    pair.drive_bounded(MINUTE, |pair| failed(pair).is_some());
    failed(pair).unwrap()
}

/// The stream messages in these wires, each number once.
fn messages(wires: &[Bytes]) -> Vec<Message> {
    let mut seen = BTreeSet::new();
    let decoded = wires
        .iter()
        .map(|wire| Message::decode(wire.clone()).unwrap());
    decoded
        .filter(|it| it.header.payload_type != PayloadType::None)
        .filter(|it| seen.insert(it.header.sequence))
        .collect()
}

fn is_sealed(message: &Message) -> bool {
    matches!(
        message.header.payload_type,
        PayloadType::Output | PayloadType::StandardError | PayloadType::ExitCode
    )
}

/// Everything these messages carry, still sealed.
fn sealed(wires: &[Bytes]) -> Vec<Message> {
    messages(wires).into_iter().filter(is_sealed).collect()
}

#[test]
fn the_challenge_is_bound_to_the_key_and_the_user_is_told() {
    let mut pair = shell(encrypted());
    pair.drive_bounded(MINUTE, Pair::is_established);
    let challenge = Some("BwcHBwcHBwcHBwcHBwcHBw==".to_owned());
    let needed = Event::DataKeyNeeded {
        key_id: "arn:aws:kms:eu-west-1:123456789012:key/1".to_owned(),
        challenge: challenge.clone(),
    };
    assert_eq!(pair.events[0], needed);
    let received = AgentEvent::DataKeyReceived {
        ciphertext: b"wrapped".to_vec(),
        challenge,
    };
    assert_eq!(pair.agent_events[0], received);
    let Event::Established(established) = &pair.events[1] else {
        panic!("{:?}", pair.events);
    };
    assert_eq!(
        established.customer_message,
        "This session is encrypted using AWS KMS."
    );
}

#[test]
fn nothing_but_the_length_of_data_can_be_seen_on_the_wire() {
    let mut pair = Pair::new(encrypted());
    let up = noise(9, 50 * KIB);
    let (down, error) = (50 * KIB, 5 * KIB);
    pair.plan(StreamId::OUTPUT, Behaviour::Talk(down), up.clone());
    pair.plan(StreamId::ERROR, Behaviour::Talk(error), Bytes::new());
    pair.connect();
    pair.complete(MINUTE);
    let plain = [up, noise(1, down), noise(2, error)].concat();
    let chunks: BTreeSet<_> = plain.windows(16).collect();
    for wires in [&pair.client_wires, &pair.agent_wires] {
        let sealed = sealed(wires);
        assert!(sealed.len() > 40);
        for message in sealed {
            assert!(message.payload.len() <= 1024);
            assert!(
                message
                    .payload
                    .windows(16)
                    .all(|chunk| !chunks.contains(chunk))
            );
        }
    }
}

#[test]
fn no_nonce_is_used_twice_and_repetitions_are_the_same_bytes() {
    for_each_seed(4, |seed| {
        let faults = Faults {
            loss: 0.2,
            ..Faults::delay(20)
        };
        let options = Options {
            seed,
            ..encrypted()
        };
        let mut pair = Pair::new(options.faults(faults));
        pair.plan(
            StreamId::OUTPUT,
            Behaviour::Talk(50 * KIB),
            noise(1, 50 * KIB),
        );
        pair.plan(StreamId::ERROR, Behaviour::Talk(0), Bytes::new());
        pair.connect();
        pair.complete(60 * MINUTE);
        for wires in [&pair.client_wires, &pair.agent_wires] {
            let all = wires
                .iter()
                .map(|wire| Message::decode(wire.clone()).unwrap());
            let sealed: BTreeSet<_> = all
                .filter(is_sealed)
                .map(|it| (it.header.sequence, it.payload))
                .collect();
            let numbers: BTreeSet<_> = sealed.iter().map(|(sequence, _)| sequence).collect();
            let nonces: BTreeSet<_> = sealed.iter().map(|(_, it)| it.slice(..12)).collect();
            assert_eq!(numbers.len(), sealed.len());
            assert_eq!(nonces.len(), sealed.len());
        }
    });
}

#[test]
fn a_flipped_bit_anywhere_ends_the_session_at_the_client() {
    let mut pair = shell(encrypted());
    pair.drive_bounded(MINUTE, |pair| !sealed(&pair.agent_wires).is_empty());
    let genuine = sealed(&pair.agent_wires).remove(0);
    for bit in 0..genuine.payload.len() * 8 {
        let mut pair = shell(encrypted());
        pair.down.lose_if(|wire| wire[115] == 1);
        pair.drive_bounded(MINUTE, Pair::is_established);
        let mut payload = genuine.payload.to_vec();
        payload[bit / 8] ^= 1 << (bit % 8);
        pair.forge(genuine.header.sequence, PayloadType::Output, &payload);
        let forged = ProtocolError::Cipher(CipherError::Forged);
        assert_eq!(
            closed(&mut pair),
            CloseReason::Protocol(forged),
            "bit {bit}"
        );
        assert!(
            pair.client
                .streams()
                .unwrap()
                .read(StreamId::OUTPUT)
                .is_empty()
        );
        assert!(pair.user.ended.is_empty());
    }
}

#[test]
fn a_flipped_bit_anywhere_ends_the_session_at_the_agent() {
    for bit in 0..(12 + 4 + 16) * 8 {
        let mut pair = shell(encrypted());
        pair.drive_bounded(MINUTE, Pair::is_established);
        pair.drive_for(SECOND);
        pair.up.lose_if(|wire| wire[115] == 1);
        let streams = pair.client.streams().unwrap();
        streams.write(StreamId::OUTPUT, &mut Bytes::from_static(b"keys"));
        pair.drive_for(Duration::from_millis(1));
        let mut message = sealed(&pair.client_wires).remove(0);
        let mut payload = message.payload.to_vec();
        payload[bit / 8] ^= 1 << (bit % 8);
        message.payload = payload.into();
        pair.agent.handle_message(pair.now, message.encode());
        assert!(
            failure(&mut pair).contains("sealed with another key or altered"),
            "bit {bit}"
        );
        let input = &pair.target.connections[&StreamId::OUTPUT].received;
        assert!(input.is_empty());
    }
}

#[test]
fn clear_text_and_what_is_too_short_to_be_sealed_are_forgeries_too() {
    for payload in [
        &b""[..],
        b"clear text",
        b"clear text that is long enough to be sealed",
    ] {
        for kind in [
            PayloadType::Output,
            PayloadType::StandardError,
            PayloadType::ExitCode,
        ] {
            let mut pair = shell(encrypted());
            pair.down.lose_if(|wire| wire[115] == 1);
            pair.drive_bounded(MINUTE, Pair::is_established);
            pair.forge(3, kind, payload);
            let reason = closed(&mut pair);
            let CloseReason::Protocol(ProtocolError::Cipher(_)) = reason else {
                panic!("{reason:?}");
            };
        }
    }
}

#[test]
fn an_agent_that_has_another_key_is_found_out() {
    for half in [0, 32] {
        let mut other = DATA_KEY;
        other[half] ^= 1;
        let mut pair = shell(Options {
            agent_key: Ok(other),
            ..encrypted()
        });
        if half == 0 {
            let proof = ProtocolError::Proof(CipherError::Forged);
            assert_eq!(closed(&mut pair), CloseReason::Protocol(proof));
        } else {
            let start = pair.now;
            let output = failure(&mut pair);
            assert!(output.contains("Timed out waiting for encryption challenge."));
            assert!(output.contains("Encountered error while initiating handshake."));
            assert!((pair.now - start) >= 15 * SECOND);
        }
        assert!(!pair.is_established());
    }
}

#[test]
fn an_agent_that_leaves_out_its_proof_is_not_believed() {
    let mut pair = shell(encrypted());
    pair.down.lose_if(|wire| wire[115] == 8);
    pair.drive_bounded(MINUTE, |pair| {
        let is_challenge =
            |it: &Message| it.header.payload_type == PayloadType::EncryptionChallengeRequest;
        messages(&pair.agent_wires).iter().any(is_challenge)
    });
    pair.forge(1, PayloadType::HandshakeComplete, b"{}");
    let reason = CloseReason::Protocol(ProtocolError::NoProof);
    assert_eq!(closed(&mut pair), reason);
    assert!(!pair.is_established());
}

#[test]
fn a_second_challenge_is_not_answered() {
    // It would have the client seal, as its own input, what the agent once sealed as output.
    let mut pair = shell(encrypted());
    pair.down.lose_if(|wire| wire[115] == 7);
    let answers = |pair: &Pair| {
        let all = messages(&pair.client_wires);
        let answer = PayloadType::EncryptionChallengeResponse;
        let answers = all.iter().filter(|it| it.header.payload_type == answer);
        answers.count()
    };
    pair.drive_bounded(MINUTE, |pair| answers(pair) == 1);
    let is_challenge =
        |it: &&Message| it.header.payload_type == PayloadType::EncryptionChallengeRequest;
    let all = messages(&pair.agent_wires);
    let challenge = all.iter().find(is_challenge).unwrap();
    pair.forge(
        2,
        PayloadType::EncryptionChallengeRequest,
        &challenge.payload,
    );
    pair.drive_for(SECOND);
    assert_eq!(answers(&pair), 1);
    assert_eq!(pair.close_reason(), None);
}

#[test]
fn malformed_challenges_end_the_session() {
    for payload in [
        &b""[..],
        b"{}",
        br#"{"Challenge":"*"}"#,
        br#"{"Challenge":7}"#,
    ] {
        let mut pair = shell(encrypted());
        pair.down.lose_if(|wire| wire[115] == 8);
        pair.drive_for(SECOND);
        pair.forge(1, PayloadType::EncryptionChallengeRequest, payload);
        let malformed = ProtocolError::Handshake("EncryptionChallengeRequest");
        assert_eq!(closed(&mut pair), CloseReason::Protocol(malformed));
    }
}

#[test]
fn a_client_without_a_key_says_why() {
    let reason = "AccessDeniedException: not allowed to call kms:GenerateDataKey".to_owned();
    let mut pair = shell(Options {
        client_key: Err(reason.clone()),
        ..encrypted()
    });
    let output = failure(&mut pair);
    assert!(output.contains("KMSEncryption failed on client with status 2 error: AccessDenied"));
    assert_eq!(closed(&mut pair), CloseReason::NoDataKey { reason });
}

#[test]
fn an_agent_without_a_key_says_why() {
    let mut pair = shell(Options {
        agent_key: Err("AccessDeniedException".to_owned()),
        ..encrypted()
    });
    let output = failure(&mut pair);
    assert!(
        output.ends_with("Fetching data key failed: AccessDeniedException"),
        "{output}"
    );
}

#[test]
fn a_key_that_comes_too_late_changes_nothing() {
    let mut pair = shell(Options {
        client_key: Err("first answer".to_owned()),
        ..encrypted()
    });
    let reason = closed(&mut pair);
    let key = DataKey::new(Vec::new(), &DATA_KEY).unwrap();
    pair.client.handle_data_key(pair.now, Ok(key));
    pair.drive_for(MINUTE);
    assert_eq!(pair.close_reason(), Some(reason));
    assert_eq!(pair.client.poll_transmit(pair.now), None);
}

#[test]
fn an_older_agent_asks_for_no_binding() {
    let mut options = encrypted();
    if let Some(encryption) = &mut options.encryption {
        encryption.context_challenge = None;
        encryption.requires_context_challenge = false;
    }
    let mut pair = shell(options);
    pair.drive_bounded(MINUTE, Pair::is_established);
    let Event::DataKeyNeeded {
        challenge: None, ..
    } = &pair.events[0]
    else {
        panic!("{:?}", pair.events);
    };
    let response = &messages(&pair.client_wires)[0];
    let json = std::str::from_utf8(&response.payload).unwrap();
    assert!(!json.contains("ChallengeAcknowledgement"), "{json}");
}

#[test]
fn port_sessions_are_encrypted_if_an_agent_asks_for_it() {
    // No official agent does; the official client would comply.
    for agent_version in ["3.3.987.0", "2.3.756.0"] {
        let mut pair = Pair::established(Options {
            agent_version,
            ..Options::default().encrypted()
        });
        pair.open(Behaviour::Echo, noise(1, 100 * KIB)).unwrap();
        pair.complete(MINUTE);
        assert!(
            sealed(&pair.client_wires)
                .iter()
                .all(|it| it.payload.len() >= 28)
        );
        pair.client.terminate(pair.now);
        assert_eq!(closed(&mut pair), CloseReason::Terminated);
        assert!(pair.agent_events.contains(&AgentEvent::Terminated));
    }
}

#[test]
fn the_handshake_survives_bad_networks_and_lost_channels() {
    for_each_seed(24, |seed| {
        let faults = Faults {
            loss: 0.2,
            duplication: 0.2,
            reordering: 0.3,
            ..Faults::delay(20)
        };
        let options = Options {
            seed,
            ..encrypted()
        };
        let mut pair = shell(options.faults(faults));
        for round in 0..4 {
            pair.drive_for(Duration::from_millis(15 * (1 + (seed + round) % 7)));
            pair.disconnect_client();
            pair.connect();
        }
        pair.drive_bounded(MINUTE, |pair| {
            pair.is_established() && pair.agent.is_drained()
        });
        let prompt = pair.client.streams().unwrap().read(StreamId::OUTPUT);
        assert_eq!(prompt, noise(1, 2));
    });
}
