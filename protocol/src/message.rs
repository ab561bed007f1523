//! One binary WebSocket message: a header of 116 or 120 bytes and its payload.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 4 | header length: offset of the payload length; 116, or 112 where there is no payload type |
//! | 4 | 32 | message type, padded with spaces or NULs |
//! | 36 | 4 | schema version, 1 |
//! | 40 | 8 | created date, ms since the epoch |
//! | 48 | 8 | sequence number, signed |
//! | 56 | 8 | flags: 1 first, 2 last, 3 both; nobody reads them |
//! | 64 | 16 | message id: a UUID whose second half comes first |
//! | 80 | 32 | SHA-256 of the payload |
//! | 112 | 4 | payload type |
//! | 116 | 4 | payload length |
//! | 120 | | payload |
//!
//! Everything is big-endian. Sources: agent `agentmessage.go`, plugin `clientmessage.go`.

mod kind;
mod reader;

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use kind::{Flag, MessageType, PayloadType};

use crate::error::DecodeError;
use reader::Reader;

/// Bytes before the payload in every message this crate sends.
pub const HEADER_LEN: usize = 120;

/// Offset of the payload length in messages that have a payload type, and the usual header length.
const LEN_OFFSET: u32 = 116;
/// Header length of the service's own messages, which have no payload type.
const SHORT_LEN_OFFSET: u32 = 112;
const SCHEMA_VERSION: u32 = 1;

/// Everything the header says apart from the payload's length and digest, which the codec computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the message is for.
    pub message_type: MessageType,
    /// When it was made, milliseconds since the epoch.
    pub created_date: u64,
    /// Position in its direction's sequence; 0 in messages that have none.
    pub sequence: i64,
    /// 1 first of a stream, 2 last, 3 both. No receiver reads them.
    pub flags: u64,
    /// Identifies the message in its acknowledgement.
    pub message_id: Uuid,
    /// What the payload is; [`PayloadType::None`] where the header has no such field.
    pub payload_type: PayloadType,
}

/// A decoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The header's fields.
    pub header: Header,
    /// The payload, its digest checked.
    pub payload: Bytes,
}

impl Message {
    /// Decodes one WebSocket message; the payload shares its memory.
    ///
    /// Bytes after the payload are ignored, as both official receivers do, provided the digest
    /// covers exactly the payload length the header gives.
    ///
    /// # Errors
    ///
    /// If a length points outside the message, the message type is empty, or the digest differs.
    pub fn decode(wire: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&wire);
        let header_len = reader.u32()?;
        if header_len < SHORT_LEN_OFFSET {
            return Err(DecodeError::HeaderLength { found: header_len });
        }
        let message_type =
            MessageType::from_wire(reader.array()?).ok_or(DecodeError::NoMessageType)?;
        let _schema_version = reader.u32()?;
        let created_date = reader.u64()?;
        let sequence = reader.i64()?;
        let flags = reader.u64()?;
        let message_id = unswapped(reader.array()?);
        let digest: [u8; 32] = reader.array()?;
        let payload_type = if header_len < LEN_OFFSET {
            PayloadType::None
        } else {
            reader.u32()?.into()
        };
        reader.seek(header_len as usize);
        let payload_len = reader.u32()? as usize;
        let start = reader.offset();
        let available = wire.len() - start;
        if payload_len > available {
            return Err(DecodeError::PayloadLength {
                found: payload_len,
                available,
            });
        }
        let payload = wire.slice(start..start + payload_len);
        if message_type.is_digest_checked() && digest[..] != Sha256::digest(&payload)[..] {
            return Err(DecodeError::Digest);
        }
        let header = Header {
            message_type,
            created_date,
            sequence,
            flags,
            message_id,
            payload_type,
        };
        Ok(Self { header, payload })
    }

    /// Encodes the message as client and agent do: header length 116, type padded with spaces.
    pub fn encode(&self) -> Bytes {
        let mut frame = Frame::new(self.payload.len());
        frame.payload().put_slice(&self.payload);
        frame.seal(&self.header)
    }
}

/// A message whose payload is written in place, behind room for the header.
pub struct Frame {
    wire: BytesMut,
}

impl Frame {
    /// Allocates room for a payload of the given length; a longer one grows it.
    pub fn new(payload_len: usize) -> Self {
        let mut wire = BytesMut::with_capacity(HEADER_LEN + payload_len);
        wire.put_bytes(0, HEADER_LEN);
        Self { wire }
    }

    /// The buffer to which the payload is appended. Only append to it: the header stands in front.
    pub fn payload(&mut self) -> &mut BytesMut {
        &mut self.wire
    }

    /// Bytes of payload so far.
    pub fn payload_len(&self) -> usize {
        self.wire.len() - HEADER_LEN
    }

    /// Writes the header, digest and length included.
    pub fn seal(mut self, header: &Header) -> Bytes {
        let payload_len = self.payload_len();
        let (head, payload) = self.wire.split_at_mut(HEADER_LEN);
        let digest = Sha256::digest(&*payload);
        let mut head = head;
        head.put_u32(LEN_OFFSET);
        head.put_slice(&header.message_type.to_wire());
        head.put_u32(SCHEMA_VERSION);
        head.put_u64(header.created_date);
        head.put_i64(header.sequence);
        head.put_u64(header.flags);
        head.put_slice(&swapped(header.message_id));
        head.put_slice(&digest);
        head.put_u32(header.payload_type.into());
        // A payload beyond 4 GiB cannot be sent by any caller: the WebSocket's limit is far below.
        head.put_u32(u32::try_from(payload_len).unwrap_or(u32::MAX));
        self.wire.freeze()
    }
}

/// The UUID as it travels: bytes 8 to 15 first, then 0 to 7.
fn swapped(id: Uuid) -> [u8; 16] {
    id.as_u128().rotate_left(64).to_be_bytes()
}

fn unswapped(wire: [u8; 16]) -> Uuid {
    Uuid::from_u128(u128::from_be_bytes(wire).rotate_left(64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input(payload: &'static [u8]) -> Message {
        Message {
            header: Header {
                message_type: MessageType::InputStreamData,
                created_date: 1_700_000_000_000,
                sequence: 5,
                flags: 0,
                message_id: Uuid::from_u128(0x01020304_0506_4708_890a_0b0c0d0e0f10),
                payload_type: PayloadType::Output,
            },
            payload: Bytes::from_static(payload),
        }
    }

    /// A message of the service: short header, NUL padding.
    fn channel_closed(payload: &[u8]) -> Vec<u8> {
        let mut wire = input(b"").encode()[..112].to_vec();
        wire[..4].copy_from_slice(&112_u32.to_be_bytes());
        wire[4..36].fill(0);
        wire[4..18].copy_from_slice(b"channel_closed");
        wire[80..112].copy_from_slice(&Sha256::digest(payload));
        wire.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        wire.extend_from_slice(payload);
        wire
    }

    #[test]
    fn every_field_is_where_the_official_decoder_reads_it() {
        let wire = input(b"ls\n").encode();
        assert_eq!(wire.len(), 123);
        assert_eq!(wire[..4], [0, 0, 0, 0x74]);
        assert_eq!(&wire[4..36], b"input_stream_data               ");
        assert_eq!(wire[40..48], [0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0]);
        assert_eq!(wire[48..56], [0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(
            wire[64..72],
            [0x89, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10]
        );
        assert_eq!(wire[72..80], [1, 2, 3, 4, 5, 6, 0x47, 8]);
        assert_eq!(wire[80..84], [0xe9, 0xfe, 0x7e, 0x88]);
        assert_eq!(wire[112..], [0, 0, 0, 1, 0, 0, 0, 3, b'l', b's', b'\n']);
    }

    #[test]
    fn the_short_header_of_the_service_is_read() {
        let body = br#"{"MessageType":"channel_closed","SessionId":"s","Output":""}"#;
        let message = Message::decode(channel_closed(body).into()).unwrap();
        assert_eq!(message.header.message_type, MessageType::ChannelClosed);
        assert_eq!(message.header.payload_type, PayloadType::None);
        assert_eq!(&message.payload[..], body);
    }

    #[test]
    fn every_prefix_is_refused_without_panic() {
        let wire = input(b"payload").encode();
        for len in 0..wire.len() {
            assert!(Message::decode(wire.slice(..len)).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn lengths_beyond_the_message_are_refused() {
        for offset in [0, 116] {
            let mut wire = input(b"payload").encode().to_vec();
            wire[offset..offset + 4].copy_from_slice(&u32::MAX.to_be_bytes());
            assert!(Message::decode(wire.into()).is_err());
        }
    }

    #[test]
    fn a_changed_payload_is_refused_except_in_flow_signals() {
        let mut wire = input(b"payload").encode().to_vec();
        wire[120] ^= 1;
        assert_eq!(
            Message::decode(wire.clone().into()),
            Err(DecodeError::Digest)
        );
        wire[4..36].copy_from_slice(&MessageType::PausePublication.to_wire());
        assert!(Message::decode(wire.into()).is_ok());
    }

    #[test]
    fn bytes_behind_the_payload_are_ignored() {
        let mut wire = input(b"payload").encode().to_vec();
        wire.extend_from_slice(b"trailing");
        assert_eq!(Message::decode(wire.into()), Ok(input(b"payload")));
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_are_inverse(
            created_date in any::<u64>(),
            sequence in any::<i64>(),
            flags in any::<u64>(),
            id in any::<u128>(),
            payload_type in any::<u32>(),
            payload in proptest::collection::vec(any::<u8>(), 0..3000),
        ) {
            let message = Message {
                header: Header {
                    message_type: MessageType::OutputStreamData,
                    created_date,
                    sequence,
                    flags,
                    message_id: Uuid::from_u128(id),
                    payload_type: payload_type.into(),
                },
                payload: payload.into(),
            };
            prop_assert_eq!(Message::decode(message.encode()), Ok(message));
        }

        #[test]
        fn arbitrary_and_mutated_bytes_never_panic(
            mut wire in proptest::collection::vec(any::<u8>(), 0..300),
            at in 0_usize..130,
            byte in any::<u8>(),
        ) {
            let _ = Message::decode(wire.clone().into());
            let valid = input(b"some payload").encode();
            wire.clear();
            wire.extend_from_slice(&valid);
            wire[at] = byte;
            let _ = Message::decode(wire.into());
        }
    }
}
