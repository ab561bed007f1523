//! What is measured, in which order and how often.

use crate::pipe;
use crate::process::{BINARY, Lab};
use crate::report::{Row, Samples, Target, table};
use crate::tunnel::{Direction, ECHO, Tunnel};
use crate::{Result, latency, stalls};

/// How much of everything.
pub(crate) struct Plan {
    /// Times that tunnel and pipe take turns.
    rounds: usize,
    /// Bytes of a transfer.
    transfer_len: usize,
    /// Exchanges of one ping-pong.
    ping_count: usize,
    /// Times the client is started to see how long that takes.
    start_count: usize,
    /// Connections opened to see what they cost.
    connection_count: usize,
}

impl Plan {
    /// What gives figures.
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        transfer_len: 500 * MEGABYTE,
        ping_count: 10_000,
        start_count: 40,
        connection_count: 1_000,
    };
    /// What shows that everything works.
    pub(crate) const TRIAL: Self = Self {
        rounds: 1,
        transfer_len: MEGABYTE,
        ping_count: 10,
        start_count: 1,
        connection_count: 10,
    };
}

/// Measures everything and returns the tables.
pub(crate) fn measure(plan: &Plan) -> Result<String> {
    let lab = Lab::start()?;
    let mut rows = Vec::new();
    rows.extend(transfers(plan, &lab)?);
    rows.extend(round_trips(plan, &lab)?);
    rows.extend(starts(plan, &lab)?);
    rows.extend(memory(plan, &lab)?);
    rows.push(binary()?);
    let stalls = stalls::measure(plan.rounds, plan.transfer_len, &lab)?;
    lab.stop()?;
    let (rows, stalls) = (table("bare pipe", &rows), table("without it", &stalls));
    Ok(format!("{rows}\n{stalls}"))
}

/// Throughput of tunnel and pipe in turn, so that whatever else the machine does meets both; and what the client's
/// processor time is meanwhile.
fn transfers(plan: &Plan, lab: &Lab) -> Result<Vec<Row>> {
    let tunnel = Tunnel::open(lab, &[Direction::Down.port(), Direction::Up.port()])?;
    let (mut rows, mut cpu_rows) = (Vec::new(), Vec::new());
    for direction in [Direction::Down, Direction::Up] {
        let (mut rate, mut bare_rate, mut cpu) = Default::default();
        for _ in 0..plan.rounds {
            let moved = tunnel.transfer(direction, plan.transfer_len)?;
            Samples::add(
                &mut rate,
                moved.len as f64 / moved.duration.as_secs_f64() / MB,
            );
            if let Some(used) = moved.cpu {
                Samples::add(&mut cpu, used.as_secs_f64() * 100.0 * MB / moved.len as f64);
            }
            let duration = pipe::transfer(direction, plan.transfer_len)?;
            Samples::add(
                &mut bare_rate,
                plan.transfer_len as f64 / duration.as_secs_f64() / MB,
            );
        }
        let row = Row::new(
            format!("throughput {direction}, one connection"),
            "MB/s",
            rate,
        );
        rows.push(row.against(bare_rate).target(Target::RatioAtLeast(0.5)));
        let row = Row::new(
            format!("client's CPU time per 100 MB {direction}"),
            "s",
            cpu,
        );
        cpu_rows.push(row.target(Target::AtMost(0.5)));
    }
    tunnel.close()?;
    rows.extend(cpu_rows);
    Ok(rows)
}

fn round_trips(plan: &Plan, lab: &Lab) -> Result<Vec<Row>> {
    let tunnel = Tunnel::open(lab, &[ECHO])?;
    let [mut p50, mut p99, mut bare_p50, mut bare_p99] = Default::default();
    for _ in 0..plan.rounds {
        let latencies = tunnel.ping_pong(plan.ping_count)?;
        Samples::add(&mut p50, latencies.percentile(50));
        Samples::add(&mut p99, latencies.percentile(99));
        let latencies = pipe::ping_pong(plan.ping_count)?;
        Samples::add(&mut bare_p50, latencies.percentile(50));
        Samples::add(&mut bare_p99, latencies.percentile(99));
    }
    tunnel.close()?;
    let name = |percentile| format!("{}-byte ping-pong, {percentile}", latency::PING_LEN);
    Ok(vec![
        Row::new(name("p50"), "µs", p50)
            .against(bare_p50)
            .target(Target::RatioAtMost(3.0)),
        Row::new(name("p99"), "µs", p99).against(bare_p99),
    ])
}

/// From the start of the process to the bound port, and to the forward that works.
fn starts(plan: &Plan, lab: &Lab) -> Result<Vec<Row>> {
    let (mut listening, mut connected) = (Samples::default(), Samples::default());
    for _ in 0..plan.start_count {
        let tunnel = Tunnel::open(lab, &[ECHO])?;
        listening.add(tunnel.listening_after.as_secs_f64() * 1e3);
        connected.add(tunnel.connected_after.as_secs_f64() * 1e3);
        tunnel.close()?;
    }
    Ok(vec![
        Row::new("process start to bound port", "ms", listening).target(Target::AtMost(10.0)),
        Row::new("process start to working forward", "ms", connected),
    ])
}

/// What an idle client occupies, and what each open connection adds.
fn memory(plan: &Plan, lab: &Lab) -> Result<Vec<Row>> {
    let (mut idle, mut each) = (Samples::default(), Samples::default());
    for _ in 0..plan.rounds {
        let tunnel = Tunnel::open(lab, &[ECHO])?;
        let before = tunnel.settled_memory()?;
        let connections = tunnel.connect(plan.connection_count)?;
        if let (Some(before), Some(after)) = (before, tunnel.settled_memory()?) {
            idle.add(before as f64 / MIB);
            each.add((after as f64 - before as f64) / KIB / plan.connection_count as f64);
        }
        drop(connections);
        tunnel.close()?;
    }
    let count = plan.connection_count;
    Ok(vec![
        Row::new("resident memory, one idle forward", "MiB", idle).target(Target::AtMost(12.0)),
        Row::new(
            format!("more for each of {count} idle connections"),
            "KiB",
            each,
        )
        .target(Target::AtMost(16.0)),
    ])
}

fn binary() -> Result<Row> {
    let mut len = Samples::default();
    len.add(std::fs::metadata(BINARY)?.len() as f64 / MIB);
    Ok(Row::new("binary", "MiB", len).target(Target::AtMost(20.0)))
}

const MEGABYTE: usize = 1_000_000;
const MB: f64 = MEGABYTE as f64;
const MIB: f64 = 1024.0 * 1024.0;
const KIB: f64 = 1024.0;
