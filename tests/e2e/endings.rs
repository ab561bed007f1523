//! However the user ends it, and whenever: no session is left, and no cut transfer looks whole.

use std::io;

use futures_util::future::join_all;
use rustix::process::Signal;
use ssmfwd::lab::{Fault, SessionRecord, SessionState};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Client, Exit, Fixture, TARGET, Terminal, bounded, connect, eventually, expect_reset, receive,
    serve,
};

const SIGNALS: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

/// Signals a client and expects a clean end without a session.
async fn expect_clean_end(fixture: &Fixture, client: Client, signal: Signal) -> Exit {
    client.signal(signal);
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(0), "{signal:?}: {}", exit.stderr);
    assert_eq!(exit.stderr, "", "{signal:?}");
    assert!(!exit.stdout.contains("may go on"), "{}", exit.stdout);
    fixture.no_session_left().await;
    exit
}

/// Agents take a flag, too.
#[tokio::test]
async fn a_session_that_its_agent_ends_needs_no_permission() {
    let fixture = Fixture::with_chaos("deny=TerminateSession").await;
    let (client, _) = fixture.forward(7).await;
    expect_clean_end(&fixture, client, Signal::INT).await;
}

#[tokio::test]
async fn a_signal_ends_a_start_that_waits_for_the_gateway() {
    for fault in ["silent", "mute"] {
        for signal in SIGNALS {
            let fixture = Fixture::with_chaos(fault).await;
            let client = fixture.spawn(&["80:0"]);
            let is_started = || fixture.lab.sessions().len() == 1;
            eventually("start of a session", is_started).await;
            expect_clean_end(&fixture, client, signal).await;
        }
    }
}

#[tokio::test]
async fn a_signal_ends_a_start_that_waits_for_the_api() {
    let ends = SIGNALS.map(async |signal| {
        let fixture = Fixture::new().await;
        // Accepts and never answers.
        let api = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", api.local_addr().unwrap());
        let mut command = fixture.command(&["--json", TARGET, "80:0"]);
        command.env("AWS_ENDPOINT_URL_SSM", endpoint);
        let client = Client::spawn(command);
        let _call = bounded("call of the API", api.accept()).await.unwrap();
        let exit = expect_clean_end(&fixture, client, signal).await;
        assert!(exit.stdout.contains("may have begun"), "{}", exit.stdout);
    });
    // Each waits for an answer that may still come, so they wait together.
    join_all(ends).await;
}

#[tokio::test]
async fn a_session_that_begins_after_the_signal_is_ended() {
    let fixture = Fixture::new().await;
    let answers = CancellationToken::new();
    let endpoint = relay_holding_answers(fixture.lab.endpoint_url(), answers.clone()).await;
    let mut command = fixture.command(&["--json", TARGET, "80:0"]);
    command.env("AWS_ENDPOINT_URL_SSM", endpoint);
    let client = Client::spawn(command);
    let is_started = || fixture.lab.sessions().len() == 1;
    eventually("start of a session", is_started).await;
    client.signal(Signal::INT);
    answers.cancel();
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    assert!(!exit.stdout.contains("may have begun"), "{}", exit.stdout);
    fixture.no_session_left().await;
}

/// Relays connections to an HTTP service, whose answers it holds back until `answers` is cancelled. Returns its URL.
async fn relay_holding_answers(service: String, answers: CancellationToken) -> String {
    let service = service.trim_start_matches("http://").to_owned();
    let port = serve(move |socket| {
        let (service, answers) = (service.clone(), answers.clone());
        async move {
            let upstream = TcpStream::connect(service).await.unwrap();
            let (mut from_service, mut to_service) = upstream.into_split();
            let (mut from_client, mut to_client) = socket.into_split();
            let answering = async {
                answers.cancelled().await;
                tokio::io::copy(&mut from_service, &mut to_client).await
            };
            // Either side may leave first.
            let _: (io::Result<u64>, io::Result<u64>) = tokio::join!(
                tokio::io::copy(&mut from_client, &mut to_service),
                answering
            );
        }
    });
    format!("http://127.0.0.1:{}", port.await)
}

#[tokio::test]
async fn a_signal_ends_idle_forwards() {
    for signal in SIGNALS {
        let fixture = Fixture::new().await;
        let mut client = fixture.spawn(&["7:0", "80:0"]);
        client.connected().await;
        client.connected().await;
        expect_clean_end(&fixture, client, signal).await;
    }
}

#[tokio::test]
async fn a_signal_resets_a_download_that_is_under_way() {
    for signal in SIGNALS {
        let fixture = Fixture::new().await;
        let (client, local) = fixture.forward(19).await;
        let mut socket = connect(local).await;
        let some = bounded("some bytes", receive(&mut socket, 4 << 20));
        assert_eq!(some.await.unwrap().len, 4 << 20);
        expect_clean_end(&fixture, client, signal).await;
        expect_reset(&mut socket).await;
    }
}

#[tokio::test]
async fn a_signal_ends_a_restart_that_waits_for_the_gateway() {
    for signal in SIGNALS {
        let fixture = Fixture::new().await;
        let (mut client, local) = fixture.forward(7).await;
        fixture.lab.update_chaos("silent").unwrap();
        fixture.lab.inject(Fault::Terminate);
        client.event("reconnecting").await;
        let mut socket = connect(local).await;
        let is_started = || fixture.lab.sessions().len() == 2;
        eventually("start of another session", is_started).await;
        expect_clean_end(&fixture, client, signal).await;
        expect_reset(&mut socket).await;
    }
}

#[tokio::test]
async fn a_signal_ends_a_resume_that_waits_for_the_gateway() {
    for fault in ["silent", "mute"] {
        for signal in SIGNALS {
            let fixture = Fixture::new().await;
            let (mut client, _) = fixture.forward(7).await;
            fixture.lab.update_chaos(fault).unwrap();
            fixture.lab.inject(Fault::Cut);
            client.event("reconnecting").await;
            expect_clean_end(&fixture, client, signal).await;
        }
    }
}

#[tokio::test]
async fn a_terminal_that_is_closed_ends_whatever_runs_in_it() {
    let commands: [&[&str]; 5] = [
        &[TARGET, "7:0"],
        &[TARGET, "7:0", "--", "sleep", "1000"],
        &["shell", TARGET],
        &["exec", TARGET, "--", "sleep", "1000"],
        &["proxy", TARGET, "7"],
    ];
    for arguments in commands {
        let fixture = Fixture::new().await;
        let terminal = Terminal::spawn(fixture.command(arguments));
        let is_connected = |session: &SessionRecord| session.state == SessionState::Connected;
        let is_there = || fixture.lab.sessions().iter().any(is_connected);
        eventually("data channel", is_there).await;
        terminal.hang_up().await;
        fixture.no_session_left().await;
    }
}

#[tokio::test]
async fn a_download_is_reset_even_if_the_client_is_killed() {
    let fixture = Fixture::new().await;
    let (client, local) = fixture.forward(19).await;
    let mut socket = connect(local).await;
    let some = bounded("some bytes", receive(&mut socket, 4 << 20));
    assert_eq!(some.await.unwrap().len, 4 << 20);
    client.signal(Signal::KILL);
    expect_reset(&mut socket).await;
    assert_eq!(client.exit().await.signal(), Some(Signal::KILL.as_raw()));
}

#[tokio::test]
async fn a_signal_ends_the_command_and_the_forwards() {
    for signal in SIGNALS {
        let fixture = Fixture::new().await;
        let mut client = fixture.spawn(&["7:0", "--", "sh", "-c", "echo '{}'; exec sleep 1000"]);
        client.stdout_line("{}").await;
        client.signal(signal);
        let exit = client.exit().await;
        let terminated = 128 + Signal::TERM.as_raw();
        assert_eq!(exit.code(), Some(terminated), "{}", exit.stderr);
        fixture.no_session_left().await;
    }
}

#[tokio::test]
async fn a_signal_before_the_command_runs_means_it_never_ran() {
    let fixture = Fixture::with_chaos("silent").await;
    let client = fixture.spawn(&["7:0", "--", "touch", "ran"]);
    let is_started = || fixture.lab.sessions().len() == 1;
    eventually("start of a session", is_started).await;
    client.signal(Signal::INT);
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(130), "{}", exit.stderr);
    assert!(!fixture.directory().join("ran").exists());
    fixture.no_session_left().await;
}
