//! What a user would see, end to end: the binary as a process, a lab, and real sockets on both sides.

// Without the lab there is no Session Manager to test against.
#![cfg(all(feature = "lab", unix))]
#![expect(
    clippy::unwrap_used,
    reason = "the lint knows test functions, and not what they are made of"
)]

mod agents;
mod backpressure;
mod completion;
#[cfg(target_os = "linux")]
mod day;
mod delivery;
mod doctor;
mod encryption;
mod endings;
mod exec;
mod failures;
mod forwards;
mod gateways;
mod http;
mod interface;
mod names;
mod network;
mod outages;
mod plugin;
mod pool;
mod restart;
mod resume;
mod secrets;
mod shell;
mod ssh;
#[path = "../support/mod.rs"]
mod support;
mod transfers;
