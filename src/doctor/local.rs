//! The local side of a forward.

use super::{Check, Finding};
use crate::local::Listener;
use crate::spec::Forward;

/// Listens at a forward's local address for a moment.
pub fn port(forward: &Forward) -> Finding {
    let finding = match Listener::bind(&forward.local) {
        Ok(listener) => Finding::pass(Check::LocalPort, format!("{} is free", listener.address())),
        Err(failure) => Finding::fail(Check::LocalPort, &failure),
    };
    finding.of(forward.to_string())
}
