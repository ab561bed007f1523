//! The 8-byte frame header of smux v1, little-endian, unlike everything around it.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | command: 0 open, 1 close, 2 data, 3 keep-alive |
//! | 2 | 2 | length of the data |
//! | 4 | 4 | stream id |
//!
//! Source: xtaci/smux `frame.go` as vendored by plugin and agent.

use bytes::{BufMut, BytesMut};

use super::StreamId;
use crate::error::MuxError;

/// Bytes before a frame's data.
pub(crate) const HEADER_LEN: usize = 8;
const VERSION: u8 = 1;

/// What a frame does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameHeader {
    /// SYN: opens a stream.
    Open(StreamId),
    /// FIN: its sender has closed the stream, both ways.
    Close(StreamId),
    /// PSH: `len` bytes follow.
    Data { stream: StreamId, len: u16 },
    /// NOP: keep-alive, not answered.
    KeepAlive,
}

impl FrameHeader {
    /// Decodes a header.
    ///
    /// # Errors
    ///
    /// If version or command are unknown, or a frame without data announces some.
    pub(crate) fn decode(wire: [u8; HEADER_LEN]) -> Result<Self, MuxError> {
        let [version, command, len_low, len_high, id @ ..] = wire;
        let len = u16::from_le_bytes([len_low, len_high]);
        let stream = StreamId(u32::from_le_bytes(id));
        if version != VERSION {
            return Err(MuxError::Version(version));
        }
        let header = match command {
            0 => Self::Open(stream),
            1 => Self::Close(stream),
            2 => return Ok(Self::Data { stream, len }),
            3 => Self::KeepAlive,
            unknown => return Err(MuxError::Command(unknown)),
        };
        if len != 0 {
            return Err(MuxError::ControlWithData { command, len });
        }
        Ok(header)
    }

    /// Appends the header.
    pub(crate) fn encode(self, out: &mut BytesMut) {
        let (command, len, stream) = match self {
            Self::Open(stream) => (0, 0, stream),
            Self::Close(stream) => (1, 0, stream),
            Self::Data { stream, len } => (2, len, stream),
            Self::KeepAlive => (3, 0, StreamId(0)),
        };
        out.put_u8(VERSION);
        out.put_u8(command);
        out.put_u16_le(len);
        out.put_u32_le(stream.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(header: FrameHeader) -> [u8; HEADER_LEN] {
        let mut out = BytesMut::new();
        header.encode(&mut out);
        out[..].try_into().unwrap()
    }

    #[test]
    fn frames_are_those_of_the_official_library() {
        let three = StreamId(3);
        let cases = [
            (FrameHeader::Open(three), [1, 0, 0, 0, 3, 0, 0, 0]),
            (
                FrameHeader::Data {
                    stream: three,
                    len: 5,
                },
                [1, 2, 5, 0, 3, 0, 0, 0],
            ),
            (FrameHeader::Close(three), [1, 1, 0, 0, 3, 0, 0, 0]),
            (FrameHeader::KeepAlive, [1, 3, 0, 0, 0, 0, 0, 0]),
        ];
        for (header, wire) in cases {
            assert_eq!(encoded(header), wire);
            assert_eq!(FrameHeader::decode(wire), Ok(header));
        }
    }

    #[test]
    fn what_the_official_library_never_sends_is_refused() {
        let cases = [
            ([2, 0, 0, 0, 3, 0, 0, 0], MuxError::Version(2)),
            ([1, 4, 8, 0, 3, 0, 0, 0], MuxError::Command(4)),
            (
                [1, 1, 1, 0, 3, 0, 0, 0],
                MuxError::ControlWithData { command: 1, len: 1 },
            ),
        ];
        for (wire, error) in cases {
            assert_eq!(FrameHeader::decode(wire), Err(error));
        }
    }
}
