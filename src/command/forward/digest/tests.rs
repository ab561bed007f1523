use tokio::time::advance;

use super::*;

/// A digest, and the lines it has told.
struct Fixture {
    digest: Digest,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    fn new(is_folding: bool) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&lines);
        let tell = move |event: &Event| told.lock().unwrap().push(event.to_string());
        Self {
            digest: Digest::with(is_folding, tell),
            lines,
        }
    }

    fn lost(&self, forward: &str, reason: &str) {
        self.reconnecting(forward, reason, Action::Resume);
    }

    fn reconnecting(&self, forward: &str, reason: &str, action: Action) {
        self.digest.tell(Event::Reconnecting {
            forward: Some(forward.to_owned()),
            session_id: format!("s-{forward}"),
            reason: reason.to_owned(),
            action,
        });
    }

    fn resumed(&self, forward: &str, gap: f64) {
        self.digest.tell(Event::Resumed {
            forward: Some(forward.to_owned()),
            session_id: format!("s-{forward}"),
            gap,
            planned: false,
        });
    }

    fn waiting(&self, forward: &str) {
        self.digest.tell(Event::Waiting {
            forward: Some(forward.to_owned()),
            session_id: None,
            reason: "the credentials have expired".to_owned(),
            hint: Some("log in".to_owned()),
        });
    }

    /// Lets a moment pass.
    async fn moment(&self) {
        // Whoever waits for it begins to.
        tokio::task::yield_now().await;
        advance(MOMENT).await;
        tokio::task::yield_now().await;
    }

    /// What was told since the last time, without the words that are always the same.
    fn told(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        let parts = [
            "; reconnecting, open connections wait",
            ", nothing was lost",
        ];
        let short = |line: String| parts.iter().fold(line, |line, part| line.replace(part, ""));
        lines.into_iter().map(short).collect()
    }
}

const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

#[tokio::test(start_paused = true)]
async fn one_forward_is_told_of_at_once() {
    let fixture = Fixture::new(true);
    fixture.lost("a", "bye");
    assert_eq!(fixture.told(), ["a: bye"]);
    fixture.resumed("a", 0.5);
    assert_eq!(fixture.told(), ["a: connected again after 0.5 s"]);
    fixture.moment().await;
    assert_eq!(fixture.told(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_ten_forwards_costs_three_lines() {
    let fixture = Fixture::new(true);
    for name in NAMES {
        fixture.lost(name, "bye");
    }
    assert_eq!(fixture.told(), ["a: bye"]);
    fixture.moment().await;
    assert_eq!(fixture.told(), ["9 other forwards: bye"]);
    for (name, gap) in NAMES.into_iter().zip([1.0, 3.0].into_iter().cycle()) {
        fixture.resumed(name, gap);
    }
    assert_eq!(fixture.told(), ["10 forwards: connected again after 3.0 s"]);
}

#[tokio::test(start_paused = true)]
async fn a_few_forwards_are_named() {
    let fixture = Fixture::new(true);
    for name in ["a", "b", "c", "d"] {
        fixture.lost(name, "bye");
    }
    fixture.moment().await;
    assert_eq!(fixture.told(), ["a: bye", "b, c and d: bye"]);
    for name in ["a", "b"] {
        fixture.resumed(name, 2.0);
    }
    fixture.moment().await;
    assert_eq!(fixture.told(), ["a and b: connected again after 2.0 s"]);
    for name in ["c", "d"] {
        fixture.resumed(name, 7.0);
    }
    assert_eq!(fixture.told(), ["c and d: connected again after 7.0 s"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_told_before_what_is_back() {
    let fixture = Fixture::new(true);
    for name in ["a", "b"] {
        fixture.lost(name, "bye");
    }
    fixture.resumed("a", 0.1);
    assert_eq!(fixture.told(), ["a: bye", "b: bye"]);
    fixture.resumed("b", 0.1);
    assert_eq!(fixture.told(), ["a and b: connected again after 0.1 s"]);
}

#[tokio::test(start_paused = true)]
async fn each_cause_has_its_line() {
    let fixture = Fixture::new(true);
    for (name, reason) in [("a", "bye"), ("b", "reset"), ("c", "bye"), ("d", "reset")] {
        fixture.lost(name, reason);
    }
    assert_eq!(fixture.told(), ["a: bye", "b: reset"]);
    for name in ["a", "b", "c"] {
        fixture.waiting(name);
    }
    let waiting = "waiting, the credentials have expired; log in";
    assert_eq!(fixture.told(), [format!("a: {waiting}")]);
    fixture.moment().await;
    assert_eq!(
        fixture.told(),
        ["c: bye", "d: reset", &format!("b and c: {waiting}")]
    );
}

#[tokio::test(start_paused = true)]
async fn forwards_whose_sessions_are_gone_wait_together() {
    let fixture = Fixture::new(true);
    for name in ["a", "b", "c"] {
        fixture.waiting(name);
    }
    assert_eq!(fixture.told().len(), 1);
    fixture.moment().await;
    let told = fixture.told();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("b and c: waiting, "), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_a_moment_later_is_told_at_once() {
    let fixture = Fixture::new(true);
    fixture.lost("a", "bye");
    fixture.moment().await;
    fixture.lost("b", "bye");
    assert_eq!(fixture.told(), ["a: bye", "b: bye"]);
}

#[tokio::test(start_paused = true)]
async fn reset_connections_are_told_of_for_each_forward() {
    let fixture = Fixture::new(true);
    for name in ["a", "b", "c"] {
        fixture.lost(name, "bye");
    }
    for name in ["b", "c"] {
        fixture.reconnecting(name, "gone", Action::Restart);
    }
    let told = fixture.told();
    assert_eq!(told[..2], ["a: bye", "b and c: bye"]);
    assert!(told[2].starts_with("b: gone; any open connections were reset"));
    assert!(told[3].starts_with("c: gone; any open connections were reset"));
    // Nobody waits for those to be back.
    fixture.resumed("a", 0.1);
    assert_eq!(fixture.told(), ["a: connected again after 0.1 s"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_at_the_end() {
    let fixture = Fixture::new(true);
    for name in ["a", "b"] {
        fixture.lost(name, "bye");
    }
    let Fixture { digest, lines } = fixture;
    drop(digest);
    assert_eq!(lines.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn programs_get_every_event_at_once() {
    let fixture = Fixture::new(false);
    for name in NAMES {
        fixture.lost(name, "bye");
    }
    for name in NAMES {
        fixture.resumed(name, 0.1);
    }
    assert_eq!(fixture.told().len(), 2 * NAMES.len());
}
