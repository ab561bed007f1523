//! What goes wrong, in the lab's own words.

use std::time::Duration;

/// A fault, and how a cell is made for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// What it is, for people.
    pub(crate) name: &'static str,
    /// The same, as `--chaos` and `POST /lab/chaos` take it.
    pub(crate) chaos: &'static str,
    /// How long it lasts. What stands is there for so long at least, and until the workload is done.
    pub(crate) length: Duration,
    /// Options of the client.
    pub(crate) options: &'static [&'static str],
    /// Bytes of one bulk transfer, each way.
    pub(crate) bulk_len: u64,
    /// What the destination is known by.
    pub(crate) route: Route,
    /// The session does not survive it, nor do its connections.
    pub(crate) ends_session: bool,
    /// Most lines that people are to read of it.
    pub(crate) line_count: usize,
}

/// What a destination is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// A port of a target that is given by its id.
    Id,
    /// A port of a target that is given by a tag.
    Tag,
    /// A name that the target looks up. Where it led at first refuses connections once the fault has begun.
    Host,
}

impl Fault {
    const fn new(name: &'static str, chaos: &'static str) -> Self {
        Self {
            name,
            chaos,
            length: Duration::ZERO,
            options: &[],
            bulk_len: 4 << 20,
            route: Route::Id,
            ends_session: false,
            line_count: 2,
        }
    }

    const fn lasts(self, seconds: u64) -> Self {
        Self {
            length: Duration::from_secs(seconds),
            ..self
        }
    }

    /// The agent repeats ten messages a second, so that what is lost costs its time.
    const fn carries(self, bulk_len: u64) -> Self {
        Self { bulk_len, ..self }
    }

    const fn by(self, route: Route) -> Self {
        Self { route, ..self }
    }

    const fn ends_session(self) -> Self {
        Self {
            ends_session: true,
            ..self
        }
    }

    const fn says(self, line_count: usize) -> Self {
        Self { line_count, ..self }
    }

    /// Has the client notice silence soon.
    const fn impatient(self) -> Self {
        Self {
            options: &["--ping-interval=1", "--dead-after=3"],
            ..self
        }
    }
}

/// Every fault, as long and as bad as in the field.
pub(crate) const FULL: &[Fault] = &[
    Fault::new("close 1000 every 5 s", "cut/5s")
        .lasts(17)
        .says(8),
    Fault::new("abrupt reset", "reset"),
    Fault::new("black hole for 1 s", "black-hole=1s").lasts(1),
    Fault::new("black hole for 30 s", "black-hole=30s").lasts(30),
    Fault::new("black hole for 120 s", "black-hole=120s")
        .lasts(120)
        .says(3),
    Fault::new("loss 1 %", "drop=1%").lasts(2).carries(1 << 20),
    Fault::new("loss 5 %", "drop=5%").lasts(2).carries(1 << 20),
    Fault::new("loss 20 %", "drop=20%")
        .lasts(2)
        .carries(1 << 20),
    Fault::new("reorder 10 %", "reorder=10%").lasts(2),
    Fault::new("duplicates 10 %", "duplicate=10%").lasts(2),
    Fault::new("delay 50 ms", "delay=50ms,jitter=10ms").lasts(2),
    Fault::new("delay 200 ms", "delay=200ms,jitter=50ms").lasts(2),
    Fault::new("delay 1000 ms", "delay=1s,jitter=200ms")
        .lasts(5)
        .carries(256 << 10),
    Fault::new("acknowledgements swallowed for 10 s", "swallow-acks=10s").lasts(10),
    Fault::new("pause_publication for 10 s", "pause=10s").lasts(10),
    Fault::new(
        "reset, reconnects refused for 60 s",
        "refuse-connections=60s,reset",
    )
    .lasts(60)
    .says(3),
    Fault::new("expired token", "expire-tokens,cut"),
    Fault::new(
        "expired credentials, renewed after 10 s",
        "expire-credentials=10s,cut",
    )
    .lasts(10)
    .says(3),
    Fault::new("expired cell in the stream URL", "expire-cells,cut"),
    Fault::new("API answers 500 for 10 s", "fail-calls=10s,cut").lasts(10),
    Fault::new("agent killed", "kill-agents").ends_session(),
    Fault::new("session terminated", "terminate").ends_session(),
    Fault::new("target rebooted, back after 10 s", "offline=10s")
        .lasts(10)
        .ends_session()
        .says(3),
    Fault::new("target replaced behind its tag", "replace=i-0abc:i-0def")
        .by(Route::Tag)
        .ends_session()
        .says(3),
    Fault::new("remote host moved", "host=db.internal:127.0.0.3").by(Route::Host),
];

/// Every kind of fault, short.
pub(crate) const REDUCED: &[Fault] = &[
    Fault::new("close 1000 every second", "cut/1s")
        .lasts(3)
        .says(8)
        .carries(1 << 20),
    Fault::new("abrupt reset", "reset").carries(1 << 20),
    Fault::new("black hole for 1 s", "black-hole=1s")
        .lasts(1)
        .carries(1 << 20),
    Fault::new("black hole for 5 s", "black-hole=5s")
        .lasts(5)
        .carries(1 << 20)
        .impatient(),
    Fault::new("loss 5 %", "drop=5%")
        .lasts(1)
        .carries(256 << 10),
    Fault::new("reorder 10 %", "reorder=10%")
        .lasts(1)
        .carries(1 << 20),
    Fault::new("duplicates 10 %", "duplicate=10%")
        .lasts(1)
        .carries(1 << 20),
    Fault::new("delay 50 ms", "delay=50ms,jitter=10ms")
        .lasts(1)
        .carries(1 << 20),
    Fault::new("acknowledgements swallowed for 2 s", "swallow-acks=2s")
        .lasts(2)
        .carries(1 << 20),
    Fault::new("pause_publication for 2 s", "pause=2s")
        .lasts(2)
        .carries(1 << 20),
    Fault::new(
        "reset, reconnects refused for 2 s",
        "refuse-connections=2s,reset",
    )
    .lasts(2)
    .carries(1 << 20),
    Fault::new("expired token", "expire-tokens,cut").carries(1 << 20),
    Fault::new(
        "expired credentials, renewed after 2 s",
        "expire-credentials=2s,cut",
    )
    .lasts(2)
    .says(3)
    .carries(1 << 20),
    Fault::new("expired cell in the stream URL", "expire-cells,cut").carries(1 << 20),
    Fault::new("API answers 500 for 2 s", "fail-calls=2s,cut")
        .lasts(2)
        .carries(1 << 20),
    Fault::new("agent killed", "kill-agents")
        .carries(1 << 20)
        .ends_session(),
    Fault::new("session terminated", "terminate")
        .carries(1 << 20)
        .ends_session(),
    Fault::new("target rebooted, back after 2 s", "offline=2s")
        .lasts(2)
        .ends_session()
        .says(3)
        .carries(1 << 20),
    Fault::new("target replaced behind its tag", "replace=i-0abc:i-0def")
        .carries(1 << 20)
        .by(Route::Tag)
        .ends_session()
        .says(3),
    Fault::new("remote host moved", "host=db.internal:127.0.0.3")
        .carries(1 << 20)
        .by(Route::Host),
];
