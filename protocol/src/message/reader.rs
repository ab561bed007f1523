//! A cursor over received bytes that checks every length in one place.

use crate::error::DecodeError;

/// Reads big-endian fields from the front of a message.
pub(super) struct Reader<'a> {
    wire: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at offset 0.
    pub(super) fn new(wire: &'a [u8]) -> Self {
        Self { wire, offset: 0 }
    }

    /// Moves to an absolute offset, which later reads check.
    pub(super) fn seek(&mut self, offset: usize) {
        self.offset = offset;
    }

    /// Bytes from the start of the message to the next field.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// Takes a field of fixed length.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let field = self
            .wire
            .get(self.offset..)
            .and_then(|rest| rest.first_chunk::<N>());
        let field = field.ok_or(DecodeError::Truncated {
            offset: self.offset,
            needed: N,
            len: self.wire.len(),
        })?;
        self.offset += N;
        Ok(*field)
    }

    /// Takes a big-endian u32.
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes a big-endian u64.
    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Takes a big-endian i64.
    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }
}
