//! How long one half of a connection outlives the other.

use std::time::Duration;

/// Seconds for which the local end of data is held back, unless told otherwise.
pub const DEFAULT_HOLD: u32 = 10;

/// How long a local side may keep a connection open that the remote side has closed. Systems give
/// their own orphaned connections about as long.
const LINGER: Duration = Duration::from_secs(60);
/// How long an end of data is held back at most while the agent carries one connection at a time: it
/// never reports the other end, and the next connection waits.
const HOLD_WITHOUT_MULTIPLEXING: Duration = Duration::from_secs(1);

/// How a half-closed connection ends.
#[derive(Debug, Clone, Copy)]
pub struct HalfClose {
    /// How long the local end of data is held back while nothing comes the other way, although the
    /// destination has everything and could answer. The agent closes its connection both ways when it sees
    /// the end of a stream, and the answer would be lost.
    pub hold: Duration,
    /// How long the local side may take to close after the remote side has.
    pub linger: Duration,
}

impl HalfClose {
    /// Holds the local end of data back for `hold` at most.
    pub fn new(hold: Duration, is_multiplexed: bool) -> Self {
        Self {
            hold: match is_multiplexed {
                true => hold,
                false => hold.min(HOLD_WITHOUT_MULTIPLEXING),
            },
            linger: LINGER,
        }
    }
}
