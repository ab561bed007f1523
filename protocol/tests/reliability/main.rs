//! Both ends against each other over bad networks: what goes in comes out, once and in order.
//!
//! A test that draws its faults from a seed names it when it fails; `SSMFWD_SEED=n` repeats it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

#[path = "../support/mod.rs"]
mod support;

mod agent_versions;
mod agents;
mod closing;
mod consoles;
mod delivering;
mod encryption;
mod faults;
mod flow;
mod resuming;
mod schedules;
mod silence;
mod ten_thousand;
