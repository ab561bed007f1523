//! Encryption under a data key of KMS: one half of the key for each direction.
//!
//! A sealed payload is a nonce of 12 bytes, the ciphertext, and a tag of 16 bytes; AES-256-GCM without
//! additional data. Receivers take the nonce as it comes. Source: "Encryption" in the README;
//! plugin `encrypter.go`, agent `blockcipher.go`.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use crate::error::CipherError;
use crate::message::{Frame, PayloadType};
use crate::reliable::Side;
use crate::streams::Streams;

/// Bytes of a data key, both halves together; what GenerateDataKey is asked for.
pub const DATA_KEY_LEN: usize = 64;

/// Bytes a sealed payload is longer than what is in it.
pub(crate) const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

const TAG_LEN: usize = 16;
const KEY_LEN: usize = DATA_KEY_LEN / 2;

/// The plain bytes of a data key, wiped when they are dropped.
pub type PlainKey = Zeroizing<[u8; DATA_KEY_LEN]>;

/// A data key as KMS generates it.
pub struct DataKey {
    /// The key under the KMS key, `CiphertextBlob`: what the agent has decrypted.
    pub ciphertext: Vec<u8>,
    /// The key itself, `Plaintext`.
    pub plaintext: PlainKey,
}

impl DataKey {
    /// Copies the key; returns `None` unless it is [`DATA_KEY_LEN`] bytes long.
    pub fn new(ciphertext: Vec<u8>, plaintext: &[u8]) -> Option<Self> {
        let plaintext = Zeroizing::new(plaintext.try_into().ok()?);
        Some(Self {
            ciphertext,
            plaintext,
        })
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// Seals what this end sends and opens what it receives.
///
/// The library wipes its copies of the keys when they are dropped.
pub(crate) struct Cipher {
    sealing: LessSafeKey,
    opening: LessSafeKey,
    /// The nonce to be used next.
    nonce: [u8; NONCE_LEN],
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(..)")
    }
}

impl Cipher {
    /// Takes the halves of the key apart.
    ///
    /// Nonces count up from `first_nonce`, which need not be secret: a data key serves one session.
    pub(crate) fn new(
        side: Side,
        key: &PlainKey,
        first_nonce: [u8; NONCE_LEN],
    ) -> Result<Self, CipherError> {
        let (agents, clients) = key.split_at(KEY_LEN);
        let (sealing, opening) = match side {
            Side::Client => (clients, agents),
            Side::Agent => (agents, clients),
        };
        Ok(Self {
            sealing: bind(sealing)?,
            opening: bind(opening)?,
            nonce: first_nonce,
        })
    }

    /// Seals everything in `out` from `start` on, in place.
    pub(crate) fn seal_tail(
        &mut self,
        out: &mut BytesMut,
        start: usize,
    ) -> Result<(), CipherError> {
        let plain_len = out.len().saturating_sub(start);
        let nonce = self.next_nonce();
        out.extend_from_slice(&nonce);
        let Some(sealed) = out.get_mut(start..) else {
            return Err(CipherError::Unsealable);
        };
        sealed.copy_within(..plain_len, NONCE_LEN);
        let (head, text) = sealed.split_at_mut(NONCE_LEN);
        head.copy_from_slice(&nonce);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .sealing
            .seal_in_place_separate_tag(nonce, Aad::empty(), text)
            .map_err(|_| CipherError::Unsealable)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Seals a whole payload.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Result<Bytes, CipherError> {
        let mut out = BytesMut::with_capacity(plain.len() + OVERHEAD);
        out.extend_from_slice(plain);
        self.seal_tail(&mut out, 0)?;
        Ok(out.freeze())
    }

    /// Opens a payload of the peer.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Bytes, CipherError> {
        let too_short = CipherError::Truncated { len: sealed.len() };
        let (nonce, text) = sealed.split_first_chunk().ok_or(too_short)?;
        if text.len() < TAG_LEN {
            return Err(too_short);
        }
        let mut text = BytesMut::from(text);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain_len = self
            .opening
            .open_in_place(nonce, Aad::empty(), &mut text)
            .map_err(|_| CipherError::Forged)?
            .len();
        text.truncate(plain_len);
        Ok(text.freeze())
    }

    /// Returns the next nonce: a little-endian number, as the agent counts.
    fn next_nonce(&mut self) -> [u8; NONCE_LEN] {
        let nonce = self.nonce;
        for byte in &mut self.nonce {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        nonce
    }
}

/// Writes the streams' next payload into a new message, sealed where the session is encrypted.
///
/// Returns what it is; `None` if there is nothing to send.
pub(crate) fn transmit(
    streams: &mut Streams,
    cipher: Option<&mut Cipher>,
    frame: &mut Frame,
    max_len: usize,
) -> Result<Option<PayloadType>, CipherError> {
    let out = frame.payload();
    let start = out.len();
    let Some(cipher) = cipher else {
        return Ok(streams.poll_transmit(out, max_len));
    };
    let kind = streams.poll_transmit(out, max_len.saturating_sub(OVERHEAD));
    if kind.is_some_and(PayloadType::is_sealed) {
        cipher.seal_tail(out, start)?;
    }
    Ok(kind)
}

fn bind(key: &[u8]) -> Result<LessSafeKey, CipherError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| CipherError::Unsealable)?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PlainKey {
        Zeroizing::new(std::array::from_fn(|at| at as u8))
    }

    const NONCE: [u8; NONCE_LEN] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

    fn pair() -> (Cipher, Cipher) {
        let client = Cipher::new(Side::Client, &key(), NONCE).unwrap();
        let agent = Cipher::new(Side::Agent, &key(), NONCE).unwrap();
        (client, agent)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn both_directions_are_sealed_as_the_official_ends_seal_them() {
        let (mut client, mut agent) = pair();
        assert_eq!(
            hex(&agent.seal(b"hello").unwrap()),
            "000102030405060708090a0b2f67ba77aa2797ff353b8a046d28236dcd9d057bbb"
        );
        assert_eq!(
            hex(&client.seal(b"ls\n").unwrap()),
            "000102030405060708090a0b302157090cf9c165b82a99da9fc1a070d21cbb"
        );
    }

    #[test]
    fn each_end_opens_what_the_other_has_sealed_and_nothing_else() {
        let (mut client, mut agent) = pair();
        for plain in [&b""[..], b"x", &[7; 40_000]] {
            let up = client.seal(plain).unwrap();
            assert_eq!(up.len(), plain.len() + OVERHEAD);
            assert_eq!(agent.open(&up).unwrap(), plain);
            assert_eq!(client.open(&up), Err(CipherError::Forged));
            let down = agent.seal(plain).unwrap();
            assert_eq!(client.open(&down).unwrap(), plain);
        }
    }

    #[test]
    fn no_bit_can_be_changed() {
        let (mut client, agent) = pair();
        let sealed = client.seal(b"keystrokes").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(agent.open(&flipped), Err(CipherError::Forged), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(agent.open(&sealed[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(
            agent.open(&[0; 27]),
            Err(CipherError::Truncated { len: 27 })
        );
    }

    #[test]
    fn nonces_count_up_and_carry() {
        let mut first = [0xff; NONCE_LEN];
        first[NONCE_LEN - 1] = 0;
        let mut cipher = Cipher::new(Side::Client, &key(), first).unwrap();
        let nonces: Vec<_> = (0..2)
            .map(|_| cipher.seal(b"").unwrap()[..NONCE_LEN].to_vec())
            .collect();
        assert_eq!(nonces[0], first);
        assert_eq!(nonces[1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn keys_are_not_shown() {
        let key = DataKey::new(vec![0xab; 10], &key()[..]).unwrap();
        assert_eq!(format!("{key:?}"), "DataKey(..)");
        assert_eq!(format!("{:?}", pair().0), "Cipher(..)");
        assert!(DataKey::new(Vec::new(), &[0; 32]).is_none());
    }
}
