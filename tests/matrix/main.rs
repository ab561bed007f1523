//! Every fault meets every workload: the binary as a process, a lab, and real sockets on both sides.
//!
//! `cargo test --test matrix` runs a reduced matrix, `cargo test --test matrix -- --full` all of it, in some six
//! minutes. Either prints what comes of it as the Markdown page that docs/faults.md is. Further words select the
//! faults and workloads whose names contain one of them.

#![cfg_attr(
    target_os = "linux",
    expect(
        clippy::unwrap_used,
        reason = "the lint knows test functions, and this is a test as a whole"
    )
)]

// The lab needs Unix, and the figures of the day come from /proc.
#[cfg(target_os = "linux")]
mod calm;
#[cfg(target_os = "linux")]
mod cell;
#[cfg(target_os = "linux")]
#[path = "../e2e/day.rs"]
mod day;
#[cfg(target_os = "linux")]
mod destination;
#[cfg(target_os = "linux")]
mod exchange;
#[cfg(target_os = "linux")]
mod fault;
#[cfg(target_os = "linux")]
mod plan;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
#[expect(
    dead_code,
    unused_imports,
    reason = "the end-to-end tests need more of it"
)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(target_os = "linux")]
mod tally;
#[cfg(target_os = "linux")]
mod workload;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    plan::run(std::env::args().skip(1))
}

#[cfg(not(target_os = "linux"))]
fn main() {}
