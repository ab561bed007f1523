//! The page that says what came of it.

use std::fmt::Write;

use crate::cell::Outcome;
use crate::fault::Fault;
use crate::workload::{Fates, Workload};

/// What came of one fault.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// By workload; those that were not run are missing.
    pub(crate) outcomes: Vec<(Workload, Outcome)>,
    /// What people were told.
    pub(crate) words: Option<Vec<String>>,
}

/// Writes the page: the matrix, what people were told, and what the day came to.
pub(crate) fn page(faults: &[Fault], rows: &[Row], day: Option<&str>) -> String {
    let mut page = format!("{HEADER}\n{}\n\n", summary(rows));
    write_matrix(&mut page, faults, rows);
    page.push_str(WORDS_HEADER);
    write_words(&mut page, faults, rows);
    if let Some(day) = day {
        page.push_str(DAY_HEADER);
        page.push_str(day);
    }
    page
}

fn write_matrix(page: &mut String, faults: &[Fault], rows: &[Row]) {
    page.push_str("| fault |");
    for workload in Workload::ALL {
        let _ = write!(page, " {} |", workload.name());
    }
    page.push_str("\n|---|---|---|---|---|---|\n");
    for (fault, row) in faults.iter().zip(rows) {
        if row.outcomes.is_empty() {
            continue;
        }
        let _ = write!(page, "| {}<br>`{}` |", fault.name, fault.chaos);
        for workload in Workload::ALL {
            let outcome = row.outcomes.iter().find(|(of, _)| *of == workload);
            let text = outcome.map(|(_, outcome)| cell(outcome));
            let _ = write!(page, " {} |", text.unwrap_or_default());
        }
        page.push('\n');
    }
}

fn write_words(page: &mut String, faults: &[Fault], rows: &[Row]) {
    for (fault, row) in faults.iter().zip(rows) {
        let Some(words) = &row.words else { continue };
        let words = match &words[..] {
            [] => "nothing".to_owned(),
            lines => lines.join("<br>"),
        };
        let _ = writeln!(page, "| {} | {words} |", fault.name);
    }
}

fn summary(rows: &[Row]) -> String {
    let outcomes = || rows.iter().flat_map(|row| &row.outcomes).map(|(_, o)| o);
    let lost: u64 = outcomes().map(|o| o.fates.lost_len).sum();
    let corrupted: u64 = outcomes().map(|o| o.corrupted_len).sum();
    let hung = outcomes().filter(|o| o.has_hung).count();
    let count = outcomes().count();
    format!("In {count} cells: **{lost}** bytes lost, **{corrupted}** corrupted, **{hung}** hangs.")
}

/// What one cell of the table says; what is wrong stands out.
pub(crate) fn cell(outcome: &Outcome) -> String {
    let mut text = fates(outcome.fates);
    let time = match outcome.gap {
        Some(gap) => seconds(gap),
        None => format!("*{}*", seconds(outcome.pause)),
    };
    let _ = write!(text, ", {time}");
    if outcome.has_hung {
        text.push_str(", **hung**");
    } else if !outcome.fates.works_afterwards {
        text.push_str(", **does not work afterwards**");
    }
    for (len, what) in [
        (outcome.fates.lost_len, "lost"),
        (outcome.corrupted_len, "corrupted"),
    ] {
        if len > 0 {
            let _ = write!(text, ", **{len} bytes {what}**");
        }
    }
    for complaint in &outcome.complaints {
        let _ = write!(text, ", **{complaint}**");
    }
    text
}

fn fates(fates: Fates) -> String {
    match fates {
        Fates {
            survived: 0,
            reset: 0,
            ..
        } => "ended".to_owned(),
        Fates { reset: 0, .. } => "survived".to_owned(),
        Fates { survived: 0, .. } => "reset".to_owned(),
        Fates {
            survived, reset, ..
        } => format!("{survived} survived, {reset} reset"),
    }
}

fn seconds(time: f64) -> String {
    match time {
        time if time < 10.0 => format!("{time:.1} s"),
        time => format!("{time:.0} s"),
    }
}

const HEADER: &str = "\
# When things go wrong

    cargo test --test matrix -- --full >docs/faults.md

has every fault meet every workload, each with a lab, a client and a forward of its own, and prints this page. Agents are
as fast as real ones (`--pace`). A bulk transfer has 4 MiB; 1 MiB where messages are lost, of which the agent repeats ten a
second, and 256 KiB where a round trip takes two seconds. Both ends of every connection know beforehand what is to
come, and compare. A connection carries all of it or is reset, and does not end as if it were whole when it is not;
connections that are made afterwards work; the client says one thing when it breaks and one when it is back, and leaves no
session. What fails stands out in bold, and the command fails.

*survived* and *reset* is what became of the connections that were made before the fault was over. The time is the longest
outage as the client's events tell it, from when it is noticed; where they tell of none, in italics, the longest time in which
nothing arrived at either end.
";

const WORDS_HEADER: &str = "
## What is printed

In front of each line stands the forward.

| fault | lines |
|---|---|
";

const DAY_HEADER: &str = "
## A day

One forward with connections in use, in half a minute instead of 24 hours: an hourly close by the gateway, two sleeps longer
than a connection may be silent, credentials that expire and are renewed, and a reboot.
";
