//! One cell of the matrix: a lab, a client and a forward of its own.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::timeout;

use crate::calm::Story;
use crate::exchange::answer;
use crate::fault::Fault;
use crate::support::{Client, Fixture, TARGET, serve};
use crate::tally::Tally;
use crate::workload::{Fates, Scene, Workload};

/// How long a cell may take beyond its fault. Far above what is needed on a loaded machine: who takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came of a workload and a fault.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) fates: Fates,
    pub(crate) corrupted_len: u64,
    pub(crate) has_hung: bool,
    /// The longest outage as the client tells it, in seconds.
    pub(crate) gap: Option<f64>,
    /// The longest time in which nothing arrived, in seconds.
    pub(crate) pause: f64,
    /// What else was wrong.
    pub(crate) complaints: Vec<String>,
    /// Everything the client said.
    pub(crate) transcript: String,
}

impl Outcome {
    pub(crate) fn is_good(&self) -> bool {
        self.fates.lost_len == 0
            && self.corrupted_len == 0
            && !self.has_hung
            && self.complaints.is_empty()
    }
}

/// Runs a workload through a fault.
pub(crate) async fn run(fault: &Fault, workload: Workload) -> Outcome {
    let (fixture, tally, remote) = set_up().await;
    let forward = format!("{remote}:0");
    let arguments = ["--json", TARGET].into_iter();
    let arguments = arguments.chain(fault.options.iter().copied());
    let arguments: Vec<_> = arguments.chain([&*forward]).collect();
    let mut client = Client::spawn(fixture.command_with_keys_in_a_file(&arguments));
    let local = client.connected().await;
    let scene = Scene::new(&fixture.lab, fault, &tally, local);
    let playing = scene.play(workload);
    let has_hung = timeout(fault.length + PATIENCE, playing).await.is_err();
    let exit = match has_hung {
        true => {
            client.signal(Signal::KILL);
            client.exit().await
        }
        false => {
            let exit = client.stop().await;
            fixture.no_session_left().await;
            exit
        }
    };
    let story = Story::of(&exit.events());
    Outcome {
        fates: scene.fates(),
        corrupted_len: tally.corrupted_len(),
        has_hung,
        gap: story.longest_gap(),
        pause: tally.longest_pause().as_secs_f64(),
        complaints: story.complaints,
        transcript: exit.stdout,
    }
}

/// Has a fault meet a download, and returns what people are told of it, one line each.
pub(crate) async fn words(fault: &Fault) -> Vec<String> {
    let (fixture, tally, remote) = set_up().await;
    let forward = format!("{remote}:0");
    let arguments = [TARGET].into_iter().chain(fault.options.iter().copied());
    let arguments: Vec<_> = arguments.chain([&*forward]).collect();
    let mut client = Client::spawn(fixture.command_with_keys_in_a_file(&arguments));
    let announcement = client.stderr_line(" is now ").await;
    let (_, local) = announcement.trim_end().rsplit_once(':').unwrap();
    let scene = Scene::new(&fixture.lab, fault, &tally, local.parse().unwrap());
    let playing = scene.play(Workload::BulkDown);
    timeout(fault.length + PATIENCE, playing).await.unwrap();
    let exit = client.stop().await;
    let said = exit
        .stderr
        .lines()
        .filter(|line| !line.contains(" is now "));
    said.map(|line| line.trim_start_matches(&format!("{forward}: ")).to_owned())
        .collect()
}

/// A lab whose agent is as fast as the real one, and the port of a destination.
async fn set_up() -> (Fixture, Arc<Tally>, u16) {
    let fixture = Fixture::with(|config| config.pace = true).await;
    let tally = Arc::new(Tally::new());
    let destination = Arc::clone(&tally);
    let remote = serve(move |socket| answer(socket, Arc::clone(&destination))).await;
    (fixture, tally, remote)
}
