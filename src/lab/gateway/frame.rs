//! Messages the gateway itself makes, and what it needs to know of those it passes on.
//!
//! The gateway's own messages have a header of 112 bytes without a payload type, and pad the
//! message type with NUL, unlike the agent's and the client's.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::lab::session::Session;

/// A message that says the session is over; `output` is the reason, empty for an orderly end.
pub(super) fn channel_closed(session: &Session, output: &str) -> Bytes {
    let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid();
    let body = json!({
        "MessageType": "channel_closed",
        "MessageId": id,
        "CreatedDate": created_date().to_string(),
        "DestinationId": session.request.target,
        "SessionId": session.id,
        "SchemaVersion": 1,
        "Output": output,
    });
    encode("channel_closed", &body.to_string())
}

/// A message that lets the receiver send stream messages.
pub(super) fn start_publication() -> Bytes {
    encode("start_publication", "{\"SchemaVersion\":1}")
}

/// A message that keeps the receiver from sending stream messages: nobody is there to take them.
pub(super) fn pause_publication() -> Bytes {
    encode("pause_publication", "{\"SchemaVersion\":1}")
}

/// Whether a message is stream data from the client.
pub(super) fn is_input(wire: &[u8]) -> bool {
    has_type(wire, b"input_stream_data")
}

/// Whether a message is an acknowledgement.
pub(in crate::lab) fn is_acknowledge(wire: &[u8]) -> bool {
    has_type(wire, b"acknowledge")
}

/// Whether a message is meant for the gateway and not for the client.
pub(super) fn is_session_state(wire: &[u8]) -> bool {
    has_type(wire, b"agent_session_state")
}

/// Changes a bit of the payload of stream data, and makes the digest fit.
pub(in crate::lab) fn alter(wire: &mut Bytes, rng: &mut fastrand::Rng) {
    if !is_input(wire) && !has_type(wire, b"output_stream_data") {
        return;
    }
    let mut altered = BytesMut::from(&wire[..]);
    let Some((header, payload)) = altered.split_at_mut_checked(STREAM_HEADER_LEN) else {
        return;
    };
    if payload.is_empty() {
        return;
    }
    payload[rng.usize(..payload.len())] ^= 1 << rng.u32(..u8::BITS);
    header[DIGEST].copy_from_slice(&Sha256::digest(payload));
    *wire = altered.freeze();
}

fn has_type(wire: &[u8], message_type: &[u8]) -> bool {
    let field = wire.get(4..36).unwrap_or_default();
    let rest = field.strip_prefix(message_type);
    rest.is_some_and(|rest| matches!(rest.first(), Some(b' ' | 0)))
}

fn encode(message_type: &str, body: &str) -> Bytes {
    let id = fastrand::u128(..);
    let mut wire = BytesMut::with_capacity(HEADER_LEN + 4 + body.len());
    wire.put_u32(112);
    wire.put_slice(message_type.as_bytes());
    wire.put_bytes(0, TYPE_LEN.saturating_sub(message_type.len()));
    wire.put_u32(1); // schema version
    wire.put_u64(created_date());
    wire.put_i64(0); // sequence number
    wire.put_u64(0); // flags
    wire.put_u128(id);
    wire.put_slice(&Sha256::digest(body));
    wire.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    wire.put_slice(body.as_bytes());
    wire.freeze()
}

/// Milliseconds since the epoch.
fn created_date() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// Bytes before the payload length.
const HEADER_LEN: usize = 112;

/// Bytes before the payload of stream data, with its type and its length.
const STREAM_HEADER_LEN: usize = 120;

/// Where the payload's digest is.
const DIGEST: Range<usize> = 80..112;

/// Bytes of the message type field.
const TYPE_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::lab::session::NewSession;

    #[test]
    fn channel_closed_has_the_gateways_form() {
        let request = NewSession {
            target: "i-0abc".to_owned(),
            ..NewSession::default()
        };
        let (session, _) = Session::new(request, CancellationToken::new());
        let wire = channel_closed(&session, "It is over.");
        assert_eq!(wire[..4], [0, 0, 0, 112]);
        assert_eq!(
            &wire[4..36],
            b"channel_closed\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
        );
        let payload = &wire[116..];
        assert_eq!(
            wire[112..116],
            u32::try_from(payload.len()).unwrap().to_be_bytes()
        );
        assert_eq!(wire[80..112], Sha256::digest(payload)[..]);
        let body: serde_json::Value = serde_json::from_slice(payload).unwrap();
        assert_eq!(body["Output"], "It is over.");
        assert_eq!(body["DestinationId"], "i-0abc");
        assert_eq!(body["SessionId"], session.id);
    }

    #[test]
    fn an_altered_message_differs_by_a_bit_and_its_digest_fits() {
        let mut rng = fastrand::Rng::with_seed(1);
        let stream_data = |kind: &str, payload: &[u8]| {
            let header = format!("\0\0\0\x74{kind:<32}{}", "x".repeat(84));
            Bytes::from([header.as_bytes(), payload].concat())
        };
        for kind in ["input_stream_data", "output_stream_data"] {
            let before = stream_data(kind, b"payload");
            let mut after = before.clone();
            alter(&mut after, &mut rng);
            let bits = |(one, other): (&u8, &u8)| (one ^ other).count_ones();
            let differences = before[120..].iter().zip(&after[120..]).map(bits);
            assert_eq!(differences.sum::<u32>(), 1);
            assert_eq!(after[80..112], Sha256::digest(&after[120..])[..]);
            assert_eq!(before[..80], after[..80]);
            assert_eq!(before[112..120], after[112..120]);
        }
        for wire in [
            stream_data("input_stream_data", b""),
            stream_data("acknowledge", b"{}"),
            Bytes::new(),
        ] {
            let mut after = wire.clone();
            alter(&mut after, &mut rng);
            assert_eq!(after, wire);
        }
    }

    #[test]
    fn types_are_recognized_whatever_the_padding() {
        assert!(is_session_state(&encode("agent_session_state", "{}")));
        assert!(is_input(
            &[&[0; 4], "input_stream_data               ".as_bytes()].concat()
        ));
        assert!(!is_input(&encode("input_stream_data_2", "{}")));
        assert!(!is_input(&start_publication()));
        assert!(!is_input(b"") && !is_session_state(b"\0\0\0\x74agent_"));
    }
}
