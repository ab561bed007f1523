//! Which cells are run, and how many of them side by side.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use crate::cell::{self, Outcome};
use crate::fault::{self, Fault};
use crate::report::{self, Row};
use crate::workload::Workload;

/// Cells side by side. Most of them wait most of the time.
const SIDE_BY_SIDE: usize = 8;

/// What is done with a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Carry(Workload),
    /// Hear what people are told.
    Listen,
}

impl Task {
    const ALL: [Self; 6] = [
        Self::Carry(Workload::BulkDown),
        Self::Carry(Workload::BulkUp),
        Self::Carry(Workload::Both),
        Self::Carry(Workload::Short),
        Self::Carry(Workload::Idle),
        Self::Listen,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Carry(workload) => workload.name(),
            Self::Listen => "what is printed",
        }
    }
}

/// A cell, by the number of its fault.
type Place = (usize, Task);

enum Done {
    Carried(Outcome),
    Heard(Vec<String>),
}

/// Runs what the arguments ask for and prints the page; fails if anything was wrong.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut is_full = false;
    let mut words = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--full" => is_full = true,
            // `cargo test` passes on what is meant for the standard harness.
            argument if argument.starts_with('-') => {}
            word => words.push(word.to_owned()),
        }
    }
    let faults = match is_full {
        true => fault::FULL,
        false => fault::REDUCED,
    };
    let is_selected = |place: &Place| {
        let name = name(faults, *place);
        words.is_empty() || words.iter().any(|word| name.contains(word))
    };
    let mut places: Vec<Place> = places(faults.len(), is_full || !words.is_empty())
        .filter(is_selected)
        .collect();
    // The longest first, so that none is waited for at the end.
    places.sort_by_key(|(fault, _)| std::cmp::Reverse(faults[*fault].length));
    let (rows, mut is_good) = run_all(faults, places);
    let day = (is_full && words.is_empty()).then(|| {
        let lived = thread::spawn(|| block_on(crate::day::live())).join();
        is_good &= lived.is_ok();
        lived.map_or_else(|_| "**It failed.**\n".to_owned(), |figures| figures.page())
    });
    let page = report::page(faults, &rows, day.as_deref());
    io::stdout().write_all(page.as_bytes()).unwrap();
    ExitCode::from(u8::from(!is_good))
}

/// All cells; of the reduced matrix two for each fault, so that every workload meets several.
fn places(fault_count: usize, is_full: bool) -> impl Iterator<Item = Place> {
    (0..fault_count).flat_map(move |fault| {
        let count = Task::ALL.len();
        let is_chosen = move |task: usize| is_full || task % (count / 2) == fault % (count / 2);
        (0..count)
            .filter(move |task| is_chosen(*task))
            .map(move |task| (fault, Task::ALL[task]))
    })
}

fn name(faults: &[Fault], (fault, task): Place) -> String {
    format!("{} × {}", faults[fault].name, task.name())
}

/// Runs the cells, each in a thread of its own, and says of each how it went.
fn run_all(faults: &'static [Fault], places: Vec<Place>) -> (Vec<Row>, bool) {
    let mut rows: Vec<Row> = faults.iter().map(|_| Row::default()).collect();
    let mut is_good = true;
    let count = places.len();
    let places = Mutex::new(VecDeque::from(places));
    let (done_tx, done_rx) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            let (places, done_tx) = (&places, done_tx.clone());
            scope.spawn(move || {
                loop {
                    // Not held while the cell runs.
                    let Some(place) = places.lock().unwrap().pop_front() else {
                        return;
                    };
                    let running = thread::spawn(move || run_one(&faults[place.0], place.1));
                    done_tx.send((place, running.join())).unwrap();
                }
            });
        }
        drop(done_tx);
        for (number, (place, done)) in done_rx.iter().enumerate() {
            let verdict = match done {
                Ok(Done::Carried(outcome)) => {
                    let verdict = verdict(&outcome);
                    is_good &= outcome.is_good();
                    if let Task::Carry(workload) = place.1 {
                        rows[place.0].outcomes.push((workload, outcome));
                    }
                    verdict
                }
                Ok(Done::Heard(lines)) => {
                    let verdict = format!("{} lines", lines.len());
                    rows[place.0].words = Some(lines);
                    verdict
                }
                Err(_) => {
                    is_good = false;
                    "PANICKED".to_owned()
                }
            };
            let name = name(faults, place);
            let line = format!("{}/{count} {name}: {verdict}\n", number + 1);
            io::stderr().write_all(line.as_bytes()).unwrap();
        }
    });
    (rows, is_good)
}

fn run_one(fault: &Fault, task: Task) -> Done {
    block_on(async {
        match task {
            Task::Carry(workload) => Done::Carried(cell::run(fault, workload).await),
            Task::Listen => Done::Heard(cell::words(fault).await),
        }
    })
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn verdict(outcome: &Outcome) -> String {
    match outcome.is_good() {
        true => report::cell(outcome),
        false => format!("FAILED: {}\n{}", report::cell(outcome), outcome.transcript),
    }
}
