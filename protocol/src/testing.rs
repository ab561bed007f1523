//! What unit tests share.

use std::time::Instant;

/// Some instant: tests only ever add to it.
#[expect(
    clippy::disallowed_methods,
    reason = "tests need one instant to start from"
)]
pub(crate) fn any_instant() -> Instant {
    Instant::now()
}
