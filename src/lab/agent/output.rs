//! What a program writes, on its way to the client.

use std::future::poll_fn;

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use ssmfwd_protocol::agent::Agent;

use crate::lab::pacer::Pacer;
use crate::stream::Stream;

/// Cuts a program's output into what the agent sends at a time, and sends it.
pub(super) struct Output<'a> {
    stream: &'a Stream<Agent>,
    /// Set for an agent that pauses after each message.
    pacer: Option<Pacer>,
    /// What goes before a chunk that begins a line.
    prefix: &'a str,
    begins_line: bool,
    /// Read and not sent: the beginning of a character.
    buffer: BytesMut,
}

impl<'a> Output<'a> {
    pub(super) fn new(stream: &'a Stream<Agent>, pacer: Option<Pacer>, prefix: &'a str) -> Self {
        Self {
            stream,
            pacer,
            prefix,
            begins_line: true,
            buffer: BytesMut::new(),
        }
    }

    /// Where to read to: room for as much as is to be read at a time.
    pub(super) fn room(&mut self) -> Limit<&mut BytesMut> {
        if self.begins_line && self.buffer.is_empty() {
            self.buffer.extend_from_slice(self.prefix.as_bytes());
        }
        let is_by_message = self.pacer.is_some() || !self.prefix.is_empty();
        let len = match is_by_message {
            true => MESSAGE_LEN - self.prefix.len().min(MESSAGE_LEN / 2),
            false => READ_LEN,
        };
        self.buffer.reserve(len);
        (&mut self.buffer).limit(len)
    }

    /// Sends what has been read, up to the end of the last whole character. Returns whether there is
    /// still somebody to send to.
    pub(super) async fn send(&mut self) -> bool {
        self.begins_line = self.buffer.ends_with(b"\n");
        let (whole, _) = self
            .buffer
            .split_at(self.buffer.len() - incomplete_len(&self.buffer));
        // Copied: a queue of short reads must not hold on to the room of long ones.
        let data = Bytes::copy_from_slice(whole);
        self.buffer.advance(data.len());
        data.is_empty() || self.write(data).await
    }

    /// Sends what is left at the end of the output.
    ///
    /// The real agent forgets it; a test of what the client does should not lose a byte to that.
    pub(super) async fn finish(self) {
        // A prefix alone is nothing the program has written.
        if !self.begins_line && !self.buffer.is_empty() {
            self.write(Bytes::copy_from_slice(&self.buffer)).await;
        }
    }

    async fn write(&self, mut data: Bytes) -> bool {
        if let Some(pacer) = &self.pacer {
            pacer.turn().await;
        }
        poll_fn(|cx| self.stream.poll_write(cx, &mut data))
            .await
            .is_ok()
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character whose rest is missing; 3 at most.
fn incomplete_len(text: &[u8]) -> usize {
    let tail = text.get(text.len().saturating_sub(3)..).unwrap_or_default();
    for (place, byte) in tail.iter().enumerate().rev() {
        let char_len = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        let len = tail.len() - place;
        return if len < char_len { len } else { 0 };
    }
    0
}

/// Bytes the agent reads, and sends, at a time (`StreamDataPayloadSize`).
const MESSAGE_LEN: usize = 1024;

/// Bytes read at a time where that is not told apart.
const READ_LEN: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_cut() {
        for text in ["a", "é", "€", "𝄞"] {
            for len in 1..=text.len() {
                let expected = if len == text.len() { 0 } else { len };
                let cut = [b"before".as_slice(), &text.as_bytes()[..len]].concat();
                assert_eq!(incomplete_len(&cut), expected, "{cut:x?}");
                assert_eq!(incomplete_len(&text.as_bytes()[..len]), expected);
            }
        }
    }

    #[test]
    fn what_is_no_character_is_not_held_back() {
        for text in [
            &b""[..],
            b"\xff",
            b"\x80",
            b"\x80\x80\x80",
            b"a\xc0",
            b"\xf5\x80",
        ] {
            assert_eq!(incomplete_len(text), 0, "{text:x?}");
        }
    }
}
