//! What a client says of its outages: one line when it breaks, one when it is back.

use serde_json::Value;

/// What a client's events tell.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// How long each outage was, in seconds.
    pub(crate) gaps: Vec<f64>,
    /// What should not have been said, or should have been.
    pub(crate) complaints: Vec<String>,
}

/// Where the forward stands, as far as it has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Works,
    Resuming,
    Restarting,
}

impl Story {
    /// Reads the events of a client with one forward, from its start to its end.
    pub(crate) fn of(events: &[Value]) -> Self {
        let mut story = Self::default();
        let mut told = Told::Works;
        let mut has_waited = false;
        for event in events {
            let name = event["event"].as_str().unwrap_or_default();
            let next = match (name, told) {
                ("reconnecting", Told::Works) if event["action"] == "resume" => Told::Resuming,
                // What was to be resumed may turn out to be gone, which costs its connections.
                ("reconnecting", Told::Works | Told::Resuming) if event["action"] != "resume" => {
                    Told::Restarting
                }
                ("waiting", Told::Resuming | Told::Restarting) if !has_waited => told,
                ("resumed", Told::Resuming) | ("restarted", Told::Restarting) => Told::Works,
                ("resumed", Told::Works) if event["planned"] == true => Told::Works,
                ("reconnecting" | "waiting" | "resumed" | "restarted" | "warning" | "error", _) => {
                    story
                        .complaints
                        .push(format!("{told:?}, and then: {event}"));
                    told
                }
                _ => continue,
            };
            has_waited = name == "waiting";
            story.gaps.extend(event["gap"].as_f64());
            told = next;
        }
        if told != Told::Works {
            story.complaints.push(format!("{told:?} at the end"));
        }
        story
    }

    /// The longest outage, in seconds.
    pub(crate) fn longest_gap(&self) -> Option<f64> {
        self.gaps.iter().copied().reduce(f64::max)
    }
}
