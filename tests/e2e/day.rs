//! A day in the life of a forward, in half a minute.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use ssmfwd::lab::{Fault, SessionState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, Fixture, Random, TARGET, bounded, connect};

/// What is left of an hour between its events.
const HOUR: Duration = Duration::from_millis(250);

/// How long the laptop is closed: longer than a connection may be silent.
const NAP: Duration = Duration::from_secs(3);
const DEAD_AFTER: &str = "--dead-after=2";

const CONVERSATION_COUNT: usize = 3;

/// What the day came to.
#[derive(Debug)]
pub(crate) struct Figures {
    before: Holdings,
    after: Holdings,
    /// Messages that were sent and came back.
    message_count: u64,
    /// Connections that were reset.
    reset_count: u64,
}

impl Figures {
    /// Says what they are in Markdown.
    pub(crate) fn page(&self) -> String {
        let Self {
            before,
            after,
            message_count,
            reset_count,
        } = self;
        let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
        let rows = [
            (
                "open file descriptors",
                before.descriptor_count.to_string(),
                after.descriptor_count.to_string(),
            ),
            (
                "threads",
                before.thread_count.to_string(),
                after.thread_count.to_string(),
            ),
            (
                "resident memory of a debug build",
                mib(before.resident_kib),
                mib(after.resident_kib),
            ),
            (
                "sessions in the lab",
                before.session_count.to_string(),
                after.session_count.to_string(),
            ),
            (
                "listening sockets",
                before.listeners.len().to_string(),
                "the same".to_owned(),
            ),
        ];
        let rows = rows.map(|(what, before, after)| format!("| {what} | {before} | {after} |\n"));
        format!(
            "{message_count} messages came back over {CONVERSATION_COUNT} connections; {reset_count} connections were reset, all by \
             the reboot.\n\n| | before | after |\n|---|---|---|\n{}",
            rows.concat()
        )
    }
}

/// What the client has.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    descriptor_count: usize,
    thread_count: usize,
    resident_kib: u64,
    session_count: usize,
    /// The inodes of the sockets that listen.
    listeners: BTreeSet<String>,
}

/// Lives through the day; panics unless the client comes out of it as it went in.
pub(crate) async fn live() -> Figures {
    let fixture = Fixture::new().await;
    // Closed connections are over at once.
    let options = [
        "--json",
        TARGET,
        "--ping-interval=1",
        DEAD_AFTER,
        "--half-close=0",
    ];
    let arguments: Vec<_> = options.into_iter().chain(["7:0"]).collect();
    let mut client = Client::spawn(fixture.command_with_keys_in_a_file(&arguments));
    let local = client.connected().await;

    // Whatever is made once has been made then.
    let morning = Conversations::begin(local);
    for _ in 0..2 {
        close_hourly(&fixture, &mut client).await;
    }
    morning.end(&mut client).await;
    let before = Holdings::of(&client, &fixture);

    let conversations = Conversations::begin(local);
    for hour in 0..24 {
        match hour {
            3 | 14 => nap(&fixture, &mut client).await,
            9 => renew_credentials(&fixture, &mut client).await,
            18 => reboot(&fixture, &mut client).await,
            _ => close_hourly(&fixture, &mut client).await,
        }
        sleep(HOUR).await;
    }
    let (message_count, reset_count) = conversations.end(&mut client).await;
    let after = Holdings::of(&client, &fixture);

    assert_eq!(after.listeners, before.listeners);
    assert_eq!(after.session_count, before.session_count);
    assert!(reset_count <= CONVERSATION_COUNT as u64, "{reset_count}");
    // The SDK keeps connections for its next call: fewer than one an hour would leave behind.
    assert!(
        after.descriptor_count < before.descriptor_count + 8,
        "{before:?} {after:?}"
    );
    assert!(
        after.resident_kib < before.resident_kib + 16 * 1024,
        "{before:?} {after:?}"
    );
    client.stop().await;
    fixture.no_session_left().await;
    Figures {
        before,
        after,
        message_count,
        reset_count,
    }
}

async fn close_hourly(fixture: &Fixture, client: &mut Client) {
    fixture.lab.inject(Fault::Cut);
    client.event("resumed").await;
}

/// The laptop is closed, and the gateway's hour ends meanwhile.
async fn nap(fixture: &Fixture, client: &mut Client) {
    client.signal(Signal::STOP);
    fixture.lab.inject(Fault::Cut);
    sleep(NAP).await;
    client.signal(Signal::CONT);
    client.event("resumed").await;
}

async fn renew_credentials(fixture: &Fixture, client: &mut Client) {
    fixture.lab.renew_credentials();
    fixture.lab.inject(Fault::Cut);
    client.event("waiting").await;
    fixture.write_keys();
    client.event("resumed").await;
}

async fn reboot(fixture: &Fixture, client: &mut Client) {
    fixture.lab.inject(Fault::Offline {
        target: None,
        length: Duration::from_secs(1),
    });
    client.event("restarted").await;
}

/// Connections in use.
struct Conversations {
    talking: JoinSet<(u64, u64)>,
    enough: CancellationToken,
}

impl Conversations {
    fn begin(local: u16) -> Self {
        let enough = CancellationToken::new();
        let talking = (0..CONVERSATION_COUNT as u64)
            .map(|seed| talk(local, seed, enough.clone()))
            .collect();
        Self { talking, enough }
    }

    /// Closes the connections, and waits until the client has too; returns how many messages came back and how many
    /// connections were reset.
    async fn end(self, client: &mut Client) -> (u64, u64) {
        self.enough.cancel();
        let ended = bounded("end of the conversations", self.talking.join_all()).await;
        let (messages, resets): (Vec<u64>, Vec<u64>) = ended.into_iter().unzip();
        let reset_count = resets.iter().sum();
        // Those that were reset have been passed over by the wait for what followed.
        for _ in 0..CONVERSATION_COUNT {
            client.event("connection_closed").await;
        }
        (messages.iter().sum(), reset_count)
    }
}

/// Sends messages and expects each of them back, over another connection when one is reset.
async fn talk(local: u16, seed: u64, enough: CancellationToken) -> (u64, u64) {
    let mut random = Random::new(seed);
    let (mut message_count, mut reset_count) = (0, 0);
    let mut socket = connect(local).await;
    while !enough.is_cancelled() {
        let message = random.bytes(1000);
        let mut answer = vec![0; message.len()];
        let exchanging = async {
            socket.write_all(&message).await?;
            socket.read_exact(&mut answer).await
        };
        match bounded("an answer", exchanging).await {
            Ok(_) => {
                assert!(answer == message, "conversation {seed}");
                message_count += 1;
                sleep(Duration::from_millis(10)).await;
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                reset_count += 1;
                socket = connect(local).await;
            }
        }
    }
    (message_count, reset_count)
}

impl Holdings {
    fn of(client: &Client, fixture: &Fixture) -> Self {
        let process = format!("/proc/{}", client.pid());
        let descriptors = fs::read_dir(format!("{process}/fd")).unwrap();
        let targets: Vec<_> = descriptors
            .map(|entry| fs::read_link(entry.unwrap().path()).unwrap())
            .map(|target| target.to_string_lossy().into_owned())
            .collect();
        let is_over = |state| matches!(state, SessionState::Terminated(_));
        let sessions = fixture.lab.sessions();
        Self {
            descriptor_count: targets.len(),
            thread_count: fs::read_dir(format!("{process}/task")).unwrap().count(),
            resident_kib: client.resident_kib(),
            session_count: sessions.iter().filter(|s| !is_over(s.state)).count(),
            listeners: listening_sockets()
                .intersection(&targets.into_iter().collect())
                .cloned()
                .collect(),
        }
    }
}

/// Every socket of this machine that listens, as the descriptors of its process name it.
fn listening_sockets() -> BTreeSet<String> {
    const LISTEN: &str = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let sockets = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    sockets
        .filter(|columns| columns[3] == LISTEN)
        .map(|columns| format!("socket:[{}]", columns[9]))
        .collect()
}

#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "the figures are what the test is about"
)]
async fn a_day_leaves_nothing_behind() {
    println!("{}", live().await.page());
}
