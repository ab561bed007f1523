//! Bytes made from a seed, and digests of what arrives: no transfer is held in memory.

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The SHA-256 of a transfer and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) len: u64,
    sha256: [u8; 32],
}

/// A reproducible sequence of bytes (SplitMix64).
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let number = self.number().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

/// Writes `len` bytes made from `seed`.
pub(crate) async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    seed: u64,
    len: u64,
) -> std::io::Result<Digest> {
    let mut random = Random::new(seed);
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; CHUNK_LEN];
    let mut left = len;
    while left > 0 {
        let chunk_len = left.min(CHUNK_LEN as u64) as usize;
        let chunk = &mut buffer[..chunk_len];
        random.fill(chunk);
        sha256.update(&chunk);
        writer.write_all(chunk).await?;
        left -= chunk_len as u64;
    }
    Ok(Digest {
        len,
        sha256: sha256.finalize().into(),
    })
}

/// Reads `len` bytes, or fewer if the other side ends sooner.
pub(crate) async fn receive(
    reader: &mut (impl AsyncRead + Unpin),
    len: u64,
) -> std::io::Result<Digest> {
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; CHUNK_LEN];
    let mut received = 0;
    while received < len {
        let wanted = (len - received).min(CHUNK_LEN as u64) as usize;
        match reader.read(&mut buffer[..wanted]).await? {
            0 => break,
            count => {
                sha256.update(&buffer[..count]);
                received += count as u64;
            }
        }
    }
    Ok(Digest {
        len: received,
        sha256: sha256.finalize().into(),
    })
}

/// Reads until the other side ends.
pub(crate) async fn receive_to_end(
    reader: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<Digest> {
    receive(reader, u64::MAX).await
}

/// Bytes moved at a time.
const CHUNK_LEN: usize = 64 * 1024;
