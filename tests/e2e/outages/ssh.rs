//! `ssh` and what carries files over it.

use std::fs;
use std::path::Path;

use super::{FAULTS, back, disconnect, lost, reconnect};
use crate::ssh::server::{Server, succeed};
use crate::support::{Client, Fixture, Random, TARGET, Terminal, eventually};

fn len(path: &Path) -> usize {
    fs::metadata(path).map_or(0, |file| file.len().try_into().unwrap())
}

#[tokio::test]
async fn files_survive_cuts_both_ways() {
    const LEN: usize = 3 << 20;
    // At the real agent's pace, since it repairs what was under way at ten messages a second.
    let fixture = Fixture::with(|config| config.pace = true).await;
    let server = Server::with_stanza(&fixture).await;
    let [file, there, again] = ["file", "there", "back"].map(|name| server.path(name));
    fs::write(&file, Random::new(9).bytes(LEN)).unwrap();
    let remote = format!("{TARGET}:{}", there.display());
    for (source, destination, arriving) in [
        (file.display().to_string(), remote.clone(), &there),
        (remote, again.display().to_string(), &again),
    ] {
        let mut command = server.command(&fixture, "scp");
        // Uploads are not paced: at most a megabyte a second.
        command.args(["-q", "-l", "8000", &source, &destination]);
        let mut client = Client::spawn(command);
        for (round, fault) in (1..).zip(FAULTS) {
            eventually("some of the file", || len(arriving) > round * LEN / 8).await;
            assert!(len(arriving) < LEN);
            fixture.lab.inject(fault);
            let lost = client.stderr_line("ssmfwd: session ").await;
            assert!(lost.contains(": reconnecting, "), "{lost}");
            let back = client.stderr_line("ssmfwd: session ").await;
            assert!(back.ends_with(" s, nothing was lost\n"), "{back}");
        }
        let exit = client.exit().await;
        exit.expect(0, &[]);
        assert_eq!(
            exit.stderr.lines().count(),
            2 * FAULTS.len(),
            "{}",
            exit.stderr
        );
        assert!(fs::read(arriving).unwrap() == fs::read(&file).unwrap());
        fixture.no_session_left().await;
    }
}

/// `ssh` has made the terminal raw, and does not say so.
#[tokio::test]
async fn lines_in_an_ssh_terminal_begin_at_its_left() {
    let fixture = Fixture::new().await;
    let server = Server::with_stanza(&fixture).await;
    let mut command = server.command(&fixture, "ssh");
    command.args(["-tt", TARGET, "echo ready; read line; echo got $line"]);
    let mut terminal = Terminal::spawn(command);
    terminal.shows("ready\r\n").await;
    disconnect(&fixture);
    terminal
        .shows(&format!("\r\nssmfwd: {}\r\n", lost(&fixture)))
        .await;
    reconnect(&fixture);
    let [first, last] = back(&fixture);
    terminal.shows(&format!("\r\nssmfwd: {first}")).await;
    terminal.shows(&format!("{last}\r\n")).await;
    terminal.input("this\r").await;
    terminal.shows("got this\r\n").await;
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_login_survives_an_outage() {
    let fixture = Fixture::new().await;
    let server = Server::with_stanza(&fixture).await;
    let mut command = server.command(&fixture, "ssh");
    let go = server.path("go");
    let script = format!(
        "echo ready; until [ -e {} ]; do sleep 0.05; done; exit 7",
        go.display()
    );
    command.args([TARGET, &script]);
    let mut client = Client::spawn(command);
    client.stdout_line("ready").await;
    disconnect(&fixture);
    client.stderr_line(": reconnecting, ").await;
    fs::write(&go, "").unwrap();
    reconnect(&fixture);
    client.stderr_line("connected again after").await;
    client.exit().await.expect(7, &[]);
    let mut after = server.command(&fixture, "ssh");
    after.args([TARGET, "true"]);
    succeed(after).await;
    fixture.no_session_left().await;
}
