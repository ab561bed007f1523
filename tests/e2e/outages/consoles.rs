//! Shells and commands.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use ssmfwd::lab::Fault;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;

use super::{FAULTS, back, disconnect, lost, reconnect};
use crate::support::{Client, Fixture, Random, TARGET, bounded, eventually};

#[tokio::test]
async fn a_shell_says_that_its_connection_is_lost_and_that_it_is_back() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    disconnect(&fixture);
    let line = format!("\r\n{}\r\n", lost(&fixture));
    assert_eq!(terminal.shows(&line).await, b"");
    reconnect(&fixture);
    let [first, last] = back(&fixture);
    assert_eq!(terminal.shows(&format!("\r\n{first}")).await, b"");
    terminal.shows(&format!("{last}\r\n")).await;
    assert_eq!(terminal.run("echo $((40 + 2))").await, "42\r\n");
    terminal.input("exit\r").await;
    assert_eq!(terminal.exits(0).await, "exit\r\n");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn what_is_typed_without_a_connection_arrives_later() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    disconnect(&fixture);
    terminal.shows(": reconnecting, ").await;
    terminal.input("echo $((40 + 2))\r").await;
    reconnect(&fixture);
    terminal.shows("42\r\n").await;
    terminal.input("exit\r").await;
    terminal.exits(0).await;
}

/// More than the far side's and the terminal's own buffers hold.
#[tokio::test]
async fn an_escape_works_behind_a_paste_without_a_connection() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    disconnect(&fixture);
    terminal.shows(": reconnecting, ").await;
    terminal.input("a pasted line\r".repeat(40_000)).await;
    terminal.input("~.").await;
    terminal.shows(" closed\r\n").await;
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_quiet_shell_shows_what_the_far_side_shows_and_nothing_else() {
    const LEN: usize = 3 << 20;
    // At the real agent's pace, since it repairs what was under way at ten messages a second.
    let fixture = Fixture::with(|config| config.pace = true).await;
    let mut terminal = fixture.ready_shell(&["--quiet"]).await;
    let bytes = Random::new(7).bytes(LEN);
    let path = fixture.directory().join("output");
    std::fs::write(&path, &bytes).unwrap();
    let command = format!(
        "stty -opost; echo be''gin; cat {}; echo e''nd; stty sane\r",
        path.display()
    );
    terminal.input(command).await;
    terminal.shows("begin\n").await;
    let before = terminal.shown_len();
    for (round, fault) in (1..).zip(FAULTS) {
        let is_under_way = || terminal.shown_len() > before + round * LEN / 8;
        eventually("some output", is_under_way).await;
        fixture.cut_and_wait(fault).await;
    }
    assert!(terminal.shown_len() < before + LEN);
    let shown = terminal.shows("end\n").await;
    assert!(shown == bytes, "{} bytes", shown.len());
    terminal.input("exit\r").await;
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_full_screen_keeps_all_but_its_last_row_and_is_drawn_anew_afterwards() {
    let fixture = Fixture::new().await;
    let path = fixture.directory().join("file");
    let lines: String = (1..=500).map(|line| format!("line {line}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    for program in ["vim -u NONE -i NONE", "less"] {
        let mut terminal = fixture.ready_shell(&[]).await;
        let session = fixture.lab.sessions().pop().unwrap().id;
        terminal
            .input(format!("{program} {}\r", path.display()))
            .await;
        terminal.shows("line 23").await;
        disconnect(&fixture);
        let line =
            |text: &str| format!("\x1b7\x1b[?6l\x1b[24;1H\x1b[0;7msession {session}: {text}");
        terminal
            .shows(&line("reconnecting, the service closed "))
            .await;
        terminal.shows("\x1b[0m\x1b[K\x1b8").await;
        reconnect(&fixture);
        terminal.shows(&line("connected again after ")).await;
        terminal.shows("line 23").await;
        terminal.input("\x1b:q\r").await;
        terminal.shows("\x1b[?1049l").await;
        terminal.input("exit\r").await;
        terminal.exits(0).await;
    }
    fixture.no_session_left().await;
}

/// The connection is lost while an editor has the screen, and when it could be replaced, the session is over.
#[tokio::test]
async fn a_session_that_is_not_resumed_leaves_the_terminal_as_it_was() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    terminal.input("vim -u NONE -i NONE\r").await;
    terminal.shows("\x1b[?1049h").await;
    terminal.shows("~").await;
    disconnect(&fixture);
    terminal.shows(": reconnecting, ").await;
    fixture.lab.inject(Fault::Terminate);
    let shown = terminal.exits(6).await;
    assert!(shown.contains("\x1b[?1049l"), "{shown:?}");
    let error = "was over when it was to be resumed";
    assert!(shown.contains(error), "{shown:?}");
}

/// What a command has written so far.
async fn receive(mut stdout: ChildStdout, received: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let len @ 1.. = stdout.read(&mut buffer).await.unwrap() {
        received.lock().unwrap().extend_from_slice(&buffer[..len]);
    }
}

#[tokio::test]
async fn a_commands_output_and_exit_code_survive_cuts() {
    const CHUNK_LEN: usize = 20_000;
    const COUNT: usize = 500;
    for (options, is_quiet) in [(&[][..], false), (&["--quiet"][..], true)] {
        let fixture = Fixture::new().await;
        let bytes = Random::new(8).bytes(COUNT * CHUNK_LEN);
        std::fs::write(fixture.directory().join("file"), &bytes).unwrap();
        // In chunks, since the agent repairs what was under way at ten messages a second.
        let script = format!(
            "cd {}; i=0; while [ $i -lt {COUNT} ]; do \
             dd if=file bs={CHUNK_LEN} count=1 skip=$i status=none; sleep 0.01; i=$((i + 1)); \
             done; exit 7",
            fixture.directory().display()
        );
        let words = ["--", "sh", "-c", &script];
        let arguments = [&["exec", TARGET], options, &words].concat();
        let mut command = fixture.command(&arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let received = Arc::default();
        let stdout = child.stdout.take().unwrap();
        let receiving = tokio::spawn(receive(stdout, Arc::clone(&received)));
        for (round, fault) in (1..).zip(FAULTS) {
            let is_under_way = || received.lock().unwrap().len() > round * bytes.len() / 8;
            eventually("some output", is_under_way).await;
            fixture.cut_and_wait(fault).await;
        }
        assert!(received.lock().unwrap().len() < bytes.len());
        let output = bounded("end", child.wait_with_output()).await.unwrap();
        bounded("all of the output", receiving).await.unwrap();
        assert!(*received.lock().unwrap() == bytes);
        assert_eq!(output.status.code(), Some(7));
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = if is_quiet { 0 } else { FAULTS.len() };
        for part in [": reconnecting, ", " s, nothing was lost\n"] {
            assert_eq!(said.matches(part).count(), expected, "{said}");
        }
        assert_eq!(said.lines().count(), 2 * expected, "{said}");
        fixture.no_session_left().await;
    }
}

#[tokio::test]
async fn a_commands_user_reads_two_lines_about_an_outage() {
    let fixture = Fixture::new().await;
    let go = fixture.directory().join("go");
    let script = format!(
        "echo ready; until [ -e {} ]; do sleep 0.05; done; exit 7",
        go.display()
    );
    let mut client = Client::spawn(fixture.command(&["exec", TARGET, "--", "sh", "-c", &script]));
    client.stdout_line("ready").await;
    disconnect(&fixture);
    assert_eq!(client.stderr_line("").await, lost(&fixture) + "\n");
    reconnect(&fixture);
    let line = client.stderr_line("").await;
    let [first, last] = back(&fixture);
    assert!(
        line.starts_with(&first) && line.ends_with(&(last + "\n")),
        "{line}"
    );
    std::fs::write(&go, "").unwrap();
    client.exit().await.expect(7, &[]);
}
