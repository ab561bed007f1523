//! The whole program, as two processes over loopback, against a bare pipe that carries the same frames.
//!
//! `cargo bench --bench tunnel` runs the lab and the client, measures them and the pipe in turn, and prints two tables.
//! docs/benchmarks.md says how to read it.

mod latency;
mod measure;
mod pipe;
mod process;
mod report;
mod stalls;
mod tunnel;
mod usage;

use std::io::{self, Write};

use measure::{Plan, measure};

/// Whatever goes wrong ends the benchmark.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(pipe::FAR_END) => pipe::far_end(&args.next().unwrap_or_default()),
        Some("--bench") => {
            let table = measure(&Plan::FULL)?;
            Ok(io::stdout().write_all(table.as_bytes())?)
        }
        // As a test, which is what cargo makes of benchmarks with --all-targets: does it run?
        _ => measure(&Plan::TRIAL).map(drop),
    }
}
