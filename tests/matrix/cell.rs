//! One cell of the matrix: a lab, a client and a forward of its own.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use ssmfwd::lab::Target;
use tokio::time::timeout;

use crate::calm::Story;
use crate::destination::Destination;
use crate::fault::{Fault, Route};
use crate::support::{Client, Fixture, TARGET};
use crate::tally::Tally;
use crate::workload::{Fates, Scene, Workload};

/// How long a cell may take beyond its fault. Far above what is needed on a loaded machine: who takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// The node in a cell's lab, and what it is called if not by its id.
const NODE: &str = "i-0abc,Role=web";
const TAG: &str = "tag:Role=web";

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
        self.fates.works_afterwards
            && self.fates.lost_len == 0
            && self.corrupted_len == 0
            && !self.has_hung
            && self.complaints.is_empty()
    }
}

/// Runs a workload through a fault.
pub(crate) async fn run(fault: &Fault, workload: Workload) -> Outcome {
    let stage = Stage::set_up(fault).await;
    let mut client = stage.client(fault, &["--json"]);
    let local = client.connected().await;
    let scene = Scene::new(&stage, fault, local);
    let playing = scene.play(workload);
    let has_hung = timeout(fault.length + PATIENCE, playing).await.is_err();
    let exit = match has_hung {
        true => {
            client.signal(Signal::KILL);
            client.exit().await
        }
        false => {
            let exit = client.stop().await;
            stage.fixture.no_session_left().await;
            exit
        }
    };
    let mut story = Story::of(&exit.events());
    let fates = scene.fates();
    // Short connections may be made, and be refused, while there is no session.
    let may_reset = fault.ends_session || workload == Workload::Short;
    if fates.reset > 0 && !may_reset {
        let complaint = "reset, although the session goes on".to_owned();
        story.complaints.push(complaint);
    }
    Outcome {
        fates,
        corrupted_len: stage.tally.corrupted_len(),
        has_hung,
        gap: story.longest_gap(),
        pause: stage.tally.longest_pause().as_secs_f64(),
        complaints: story.complaints,
        transcript: exit.stdout,
    }
}

/// Has a fault meet a download, and returns what people are told of it, one line each; panics if they are too many.
pub(crate) async fn words(fault: &Fault) -> Vec<String> {
    let stage = Stage::set_up(fault).await;
    let mut client = stage.client(fault, &[]);
    let announcement = client.stderr_line(" is now ").await;
    let (_, local) = announcement.trim_end().rsplit_once(':').unwrap();
    let scene = Scene::new(&stage, fault, local.parse().unwrap());
    let playing = scene.play(Workload::BulkDown);
    timeout(fault.length + PATIENCE, playing).await.unwrap();
    let exit = client.stop().await;
    let said = exit
        .stderr
        .lines()
        .filter(|line| !line.contains(" is now "));
    let forward = format!("{}: ", stage.forward());
    let lines: Vec<_> = said
        .map(|line| line.trim_start_matches(&forward).to_owned())
        .collect();
    let (name, most) = (fault.name, fault.line_count);
    assert!(lines.len() <= most, "{name}: more than {most}: {lines:#?}");
    lines
}

/// What a cell has of its own beside the client.
pub(crate) struct Stage {
    /// A lab whose agent is as fast as the real one.
    pub(crate) fixture: Fixture,
    pub(crate) tally: Arc<Tally>,
    pub(crate) destination: Destination,
}

impl Stage {
    async fn set_up(fault: &Fault) -> Self {
        let fixture = Fixture::with(|config| {
            config.pace = true;
            config.targets = vec![Target::parse(NODE).unwrap()];
        })
        .await;
        let tally = Arc::new(Tally::new());
        let destination = Destination::serve(fault.route, &fixture.lab, &tally).await;
        Self {
            fixture,
            tally,
            destination,
        }
    }

    fn client(&self, fault: &Fault, options: &[&str]) -> Client {
        let target = match fault.route {
            Route::Tag => TAG,
            Route::Id | Route::Host => TARGET,
        };
        let forward = self.forward();
        let arguments = [options, fault.options, &[target, &forward]].concat();
        Client::spawn(self.fixture.command_with_keys_in_a_file(&arguments))
    }

    fn forward(&self) -> String {
        format!("{}:0", self.destination.name)
    }
}
