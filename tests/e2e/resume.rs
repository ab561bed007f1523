//! Connections to the service that are lost and replaced, under local ones that notice nothing.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use ssmfwd::lab::{Chaos, Condition, Fault, SessionState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};

use crate::support::{
    Client, Fixture, TARGET, bounded, connect, eventually, receive, receive_to_end, send, serve,
};

/// A condition that holds until it is ended.
const LONG: Duration = Duration::from_secs(3600);

const NEVER: Duration = Duration::ZERO;

async fn echo(socket: &mut TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; text.len()];
    let reading = socket.read_exact(&mut answer);
    bounded("the echo", reading).await.unwrap();
    assert_eq!(answer, text.as_bytes());
}

/// Cuts the connection to the service some times, each time after it has come back.
async fn cut(fixture: &Fixture, client: &mut Client, count: usize) {
    for round in 0..count {
        let fault = if round % 2 == 0 {
            Fault::Cut
        } else {
            Fault::Reset
        };
        fixture.lab.inject(fault);
        let lost = client.event("reconnecting").await;
        assert_eq!(lost["action"], "resume", "{lost}");
        client.event("resumed").await;
    }
}

/// Fails unless one session was started, and it is over.
async fn expect_one_session(fixture: &Fixture) {
    fixture.no_session_left().await;
    assert_eq!(fixture.lab.sessions().len(), 1);
}

#[tokio::test]
async fn a_download_survives_cuts_byte_by_byte() {
    const LEN: u64 = 3 << 20;
    // At the real agent's pace, since it repairs what was under way at ten messages a second.
    let fixture = Fixture::with(|config| config.pace = true).await;
    let port = serve(|mut socket| async move {
        send(&mut socket, 1, LEN).await.unwrap();
    });
    let (mut client, local) = fixture.forward(port.await).await;
    let mut socket = connect(local).await;
    let receiving = receive_to_end(&mut socket);
    let (received, ()) = tokio::join!(
        bounded("the download", receiving),
        cut(&fixture, &mut client, 4)
    );
    let expected = send(&mut tokio::io::sink(), 1, LEN).await.unwrap();
    assert_eq!(received.unwrap(), expected);
    client.stop().await;
    expect_one_session(&fixture).await;
}

#[tokio::test]
async fn an_upload_survives_cuts_byte_by_byte() {
    /// More than all buffers on the way hold, so that every cut hits one that is under way.
    const PART_LEN: u64 = 16 << 20;
    const PART_COUNT: u64 = 4;
    let fixture = Fixture::new().await;
    let (go_tx, go_rx) = mpsc::unbounded_channel::<()>();
    let (received_tx, mut received_rx) = mpsc::unbounded_channel();
    let go_rx = Arc::new(Mutex::new(go_rx));
    let port = serve(move |mut socket| {
        let (go_rx, received_tx) = (go_rx.clone(), received_tx.clone());
        async move {
            let mut go_rx = go_rx.lock().await;
            for _ in 0..PART_COUNT {
                go_rx.recv().await.unwrap();
                let received = receive(&mut socket, PART_LEN).await.unwrap();
                received_tx.send(received).unwrap();
            }
        }
    });
    let (mut client, local) = fixture.forward(port.await).await;
    let mut socket = connect(local).await;
    let sending = async {
        let mut sent = Vec::new();
        for part in 0..PART_COUNT {
            sent.push(send(&mut socket, part, PART_LEN).await.unwrap());
        }
        sent
    };
    let receiving = async {
        let mut received = Vec::new();
        for _ in 0..PART_COUNT {
            cut(&fixture, &mut client, 2).await;
            go_tx.send(()).unwrap();
            received.push(received_rx.recv().await.unwrap());
        }
        received
    };
    let (sent, received) = bounded("the upload", async { tokio::join!(sending, receiving) }).await;
    assert_eq!(received, sent);
    client.stop().await;
    expect_one_session(&fixture).await;
}

#[tokio::test]
async fn a_connection_opened_meanwhile_waits() {
    let fixture = Fixture::new().await;
    let (mut client, local) = fixture.forward(7).await;
    let mut before = connect(local).await;
    echo(&mut before, "before").await;
    fixture
        .lab
        .inject(Fault::Holds(Condition::FailUpgrades, LONG));
    fixture.lab.inject(Fault::Cut);
    client.event("reconnecting").await;
    before.write_all(b"written meanwhile").await.unwrap();
    let mut meanwhile = connect(local).await;
    meanwhile.write_all(b"opened meanwhile").await.unwrap();
    client.event("connection_opened").await;
    fixture
        .lab
        .inject(Fault::Holds(Condition::FailUpgrades, NEVER));
    client.event("resumed").await;
    for (socket, expected) in [
        (&mut before, "written meanwhile"),
        (&mut meanwhile, "opened meanwhile"),
    ] {
        let mut answer = vec![0; expected.len()];
        let reading = socket.read_exact(&mut answer);
        bounded("the echo", reading).await.unwrap();
        assert_eq!(answer, expected.as_bytes());
    }
    client.stop().await;
    expect_one_session(&fixture).await;
}

#[tokio::test]
async fn worthless_tokens_and_stream_urls_are_replaced() {
    let fixture = Fixture::new().await;
    let (mut client, local) = fixture.forward(7).await;
    let mut socket = connect(local).await;
    for fault in [Fault::ExpireTokens, Fault::ExpireCells] {
        fixture.lab.inject(fault);
        fixture.lab.inject(Fault::Cut);
        client.event("resumed").await;
        echo(&mut socket, "still here").await;
    }
    client.stop().await;
    expect_one_session(&fixture).await;
}

#[tokio::test]
async fn a_gateway_that_refuses_for_a_while_is_asked_again() {
    for condition in [
        Condition::RefuseConnections,
        Condition::RefuseUpgrades,
        Condition::RefuseTokens,
    ] {
        let fixture = Fixture::new().await;
        let (mut client, local) = fixture.forward(7).await;
        let mut socket = connect(local).await;
        echo(&mut socket, "before").await;
        fixture
            .lab
            .inject(Fault::Holds(condition, Duration::from_secs(1)));
        fixture.lab.inject(Fault::Reset);
        client.event("reconnecting").await;
        client.event("resumed").await;
        echo(&mut socket, "after").await;
        let exit = client.stop().await;
        let losses = exit.events();
        let losses = losses
            .iter()
            .filter(|event| event["event"] == "reconnecting");
        assert_eq!(losses.count(), 1, "{condition:?}");
        expect_one_session(&fixture).await;
    }
}

#[tokio::test]
async fn a_gateway_that_denies_every_upgrade_is_no_secret() {
    let fixture = Fixture::new().await;
    let (mut client, local) = fixture.forward(7).await;
    let mut socket = connect(local).await;
    echo(&mut socket, "before").await;
    fixture.lab.update_chaos("refuse-upgrade").unwrap();
    fixture.lab.inject(Fault::Cut);
    let waiting = client.event("waiting").await;
    let reason = waiting["reason"].as_str().unwrap();
    assert!(reason.contains("HTTP 403"), "{reason}");
    let hint = waiting["hint"].as_str().unwrap();
    assert!(hint.contains("ssmmessages:OpenDataChannel"), "{hint}");
    fixture.lab.set_chaos(Chaos::default());
    client.event("resumed").await;
    echo(&mut socket, "after").await;
    let exit = client.stop().await;
    let pauses = exit.events();
    let pauses = pauses.iter().filter(|event| event["event"] == "waiting");
    assert_eq!(pauses.count(), 1);
    expect_one_session(&fixture).await;
}

#[tokio::test]
async fn a_silent_connection_is_noticed_and_replaced() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&["--ping-interval=1", "--dead-after=3", "7:0"]);
    let local = client.connected().await;
    let mut socket = connect(local).await;
    echo(&mut socket, "before").await;
    fixture
        .lab
        .inject(Fault::Holds(Condition::BlackHole, Duration::from_secs(5)));
    let lost = client.event("reconnecting").await;
    let reason = lost["reason"].as_str().unwrap();
    assert!(reason.ends_with("nothing was received for 3 s"), "{reason}");
    client.event("resumed").await;
    echo(&mut socket, "after").await;
    client.stop().await;
    expect_one_session(&fixture).await;
}

fn client_with_keys_in_a_file(fixture: &Fixture) -> Client {
    Client::spawn(fixture.command_with_keys_in_a_file(&["--json", TARGET, "7:0"]))
}

#[tokio::test]
async fn expired_credentials_pause_the_forward_until_there_are_others() {
    let fixture = Fixture::new().await;
    let mut client = client_with_keys_in_a_file(&fixture);
    let local = client.connected().await;
    let mut socket = connect(local).await;
    echo(&mut socket, "before").await;
    fixture.lab.renew_credentials();
    fixture.lab.inject(Fault::Cut);
    let waiting = client.event("waiting").await;
    let reason = waiting["reason"].as_str().unwrap();
    assert!(reason.contains("credentials have expired"), "{reason}");
    assert!(waiting["hint"].is_string(), "{waiting}");
    fixture.write_keys();
    client.event("resumed").await;
    echo(&mut socket, "after").await;
    let exit = client.stop().await;
    let pauses = exit.events();
    let pauses = pauses.iter().filter(|event| event["event"] == "waiting");
    assert_eq!(pauses.count(), 1);
    expect_one_session(&fixture).await;
}

#[tokio::test]
async fn a_signal_while_credentials_are_waited_for_ends_the_client_and_says_what_it_leaves() {
    let fixture = Fixture::new().await;
    let mut client = client_with_keys_in_a_file(&fixture);
    client.connected().await;
    fixture.lab.renew_credentials();
    fixture.lab.inject(Fault::Cut);
    client.event("waiting").await;
    let exit = client.stop().await;
    assert!(exit.stdout.contains("may go on"), "{}", exit.stdout);
}

#[tokio::test]
async fn a_signal_while_the_connection_is_lost_leaves_no_session() {
    for signal in [Signal::INT, Signal::TERM] {
        let fixture = Fixture::new().await;
        let (mut client, _) = fixture.forward(7).await;
        fixture
            .lab
            .inject(Fault::Holds(Condition::FailUpgrades, LONG));
        fixture.lab.inject(Fault::Cut);
        client.event("reconnecting").await;
        client.signal(signal);
        let exit = client.exit().await;
        assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
        assert!(!exit.stdout.contains("may go on"), "{}", exit.stdout);
        expect_one_session(&fixture).await;
    }
}

#[tokio::test]
async fn without_reconnecting_a_cut_ends_the_client() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&["--no-reconnect", "7:0"]);
    client.connected().await;
    fixture.lab.inject(Fault::Cut);
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(6), "{}", exit.stderr);
    expect_one_session(&fixture).await;
}

#[tokio::test]
async fn a_lost_connection_costs_two_calm_lines() {
    let fixture = Fixture::new().await;
    let mut client = Client::spawn(fixture.command(&[TARGET, "7:0"]));
    client.stderr_line(" is now ").await;
    fixture.lab.inject(Fault::Cut);
    let lost = client.stderr_line("7:0: ").await;
    assert_eq!(
        lost,
        "7:0: the service closed the connection (code 1000, \"Bye\"); reconnecting, open connections wait\n"
    );
    let back = client.stderr_line("7:0: ").await;
    assert!(back.starts_with("7:0: connected again after "), "{back}");
    assert!(back.ends_with(" s, nothing was lost\n"), "{back}");
    let exit = client.stop().await;
    assert_eq!(exit.stderr.lines().count(), 3, "{}", exit.stderr);
    let is_connected = |state| state == SessionState::Connected;
    eventually("end", || {
        !fixture.lab.sessions().iter().any(|s| is_connected(s.state))
    })
    .await;
}

#[tokio::test]
async fn an_outage_of_many_forwards_costs_few_lines() {
    const FORWARDS: [&str; 10] = [
        "1:0", "2:0", "3:0", "4:0", "5:0", "6:0", "7:0", "8:0", "9:0", "10:0",
    ];
    let fixture = Fixture::new().await;
    let arguments = [&[TARGET], &FORWARDS[..]].concat();
    let mut client = Client::spawn(fixture.command(&arguments));
    for _ in FORWARDS {
        client.stderr_line(" is now ").await;
    }
    fixture.lab.inject(Fault::Cut);
    for part in ["; reconnecting, ", ": connected again after "] {
        let (mut forward_count, mut line_count) = (0, 0);
        while forward_count < FORWARDS.len() {
            let line = client.stderr_line(part).await;
            let (subject, _) = line.split_once(": ").unwrap();
            forward_count += match subject.split_once(' ') {
                Some((count, "forwards" | "other forwards")) => count.parse().unwrap(),
                _ => subject
                    .split(", ")
                    .flat_map(|names| names.split(" and "))
                    .count(),
            };
            line_count += 1;
        }
        assert_eq!(forward_count, FORWARDS.len());
        assert!(line_count < FORWARDS.len(), "{line_count} lines");
    }
    client.stop().await;
    fixture.no_session_left().await;
}
