//! `ssmfwd exec`: what a script relies on.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::process::Signal;
use ssmfwd::lab::{Chaos, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::{
    Client, Exit, Fixture, Random, TARGET, Terminal, bounded, eventually, receive_to_end,
};

impl Fixture {
    fn exec(&self, words: &[&str]) -> tokio::process::Command {
        let mut arguments = vec!["exec", TARGET, "--"];
        arguments.extend(words);
        self.command(&arguments)
    }

    fn exec_tty(&self, words: &[&str]) -> tokio::process::Command {
        let arguments = [&["exec", "--tty", TARGET, "--"], words].concat();
        self.command(&arguments)
    }

    async fn run_sh(&self, script: &str) -> Exit {
        Client::spawn(self.exec(&["sh", "-c", script])).exit().await
    }
}

#[tokio::test]
async fn the_exit_code_is_the_commands() {
    let fixture = Fixture::new().await;
    for code in [0, 1, 7, 127, 255] {
        let exit = fixture.run_sh(&format!("exit {code}")).await;
        assert_eq!(exit.code(), Some(code), "{}", exit.stderr);
        assert_eq!((&*exit.stdout, &*exit.stderr), ("", ""));
    }
    fixture.no_session_left().await;
}

#[tokio::test]
async fn both_outputs_stay_apart_byte_for_byte() {
    let fixture = Fixture::new().await;
    let exit = fixture
        .run_sh("printf 'out\\n\\n'; printf 'err\\r\\n' >&2; printf more; exit 3")
        .await;
    assert_eq!(exit.code(), Some(3));
    assert_eq!((&*exit.stdout, &*exit.stderr), ("out\n\nmore", "err\r\n"));
}

#[tokio::test]
async fn the_command_finds_the_words_as_they_were_given() {
    let fixture = Fixture::new().await;
    let words = [
        "",
        "a b",
        "it's",
        "\"",
        "$HOME",
        "`x`",
        "\\",
        "*",
        "#no",
        "ä\u{1F600}",
        "line\nbreak",
    ];
    let mut command = vec!["printf", "%s|"];
    command.extend(words);
    let exit = Client::spawn(fixture.exec(&command)).exit().await;
    assert_eq!(exit.stdout, words.join("|") + "|");
}

#[tokio::test]
async fn a_command_killed_by_a_signal_is_told_apart() {
    let fixture = Fixture::new().await;
    fixture
        .run_sh("kill -9 $$")
        .await
        .expect(255, &["killed by a signal"]);
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named() {
    let fixture = Fixture::new().await;
    let exit = Client::spawn(fixture.exec(&["no-such-program"]))
        .exit()
        .await;
    exit.expect(1, &["no-such-program"]);
}

#[tokio::test]
async fn a_hundred_megabytes_go_through_a_pipeline() {
    let fixture = Fixture::new().await;
    let bytes = Random::new(3).bytes(100 << 20);
    let expected = receive_to_end(&mut &bytes[..]).await.unwrap();
    let path = fixture.directory().join("file");
    std::fs::write(&path, &bytes).unwrap();
    let mut command = fixture.exec(&["cat", path.to_str().unwrap()]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let received = bounded("100 MiB", receive_to_end(&mut stdout))
        .await
        .unwrap();
    assert_eq!(received, expected);
    assert!(bounded("end", child.wait()).await.unwrap().success());
}

/// A reader that takes its time holds the command up, and loses nothing.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_slow_reader_holds_the_command_up() {
    let fixture = Fixture::new().await;
    let marker = fixture.directory().join("written");
    let script = format!("head -c 120000000 /dev/zero; echo > {}", marker.display());
    let mut command = fixture.exec(&["sh", "-c", &script]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    bounded("output", stdout.read_exact(&mut [0; 1000]))
        .await
        .unwrap();
    let mut rest = 0;
    let mut buffer = vec![0; 64 * 1024];
    // Buffers on the way hold less than half of it.
    while rest < 20_000_000 {
        assert!(!marker.exists(), "{rest}");
        rest += bounded("output", stdout.read(&mut buffer)).await.unwrap();
    }
    while let len @ 1.. = bounded("output", stdout.read(&mut buffer)).await.unwrap() {
        rest += len;
    }
    assert_eq!(rest, 120_000_000 - 1000);
    assert!(bounded("end", child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_reader_who_has_seen_enough_ends_the_command() {
    let fixture = Fixture::new().await;
    let mut command = fixture.exec(&["yes"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    bounded("output", stdout.read_exact(&mut [0; 100]))
        .await
        .unwrap();
    drop(stdout);
    let output = bounded("end", child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(output.stderr, b"");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn ctrl_c_is_passed_on_and_the_second_one_ends_the_session() {
    let fixture = Fixture::new().await;
    let mut client = Client::spawn(fixture.exec(&[
        "sh",
        "-c",
        "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done",
    ]));
    client.stdout_line("ready").await;
    client.signal(Signal::INT);
    let exit = client.exit().await;
    assert_eq!((exit.code(), &*exit.stdout), (Some(5), "ready\ncaught\n"));

    let mut client = Client::spawn(fixture.exec(&["sh", "-c", "echo ready; exec sleep 1000"]));
    client.stdout_line("ready").await;
    client.signal(Signal::INT);
    assert_eq!(client.exit().await.code(), Some(130));

    let mut client = Client::spawn(fixture.exec(&[
        "sh",
        "-c",
        "trap 'echo caught' INT; echo ready; while :; do sleep 0.1; done",
    ]));
    client.stdout_line("ready").await;
    client.signal(Signal::INT);
    client.stdout_line("caught").await;
    client.signal(Signal::INT);
    assert_eq!(client.exit().await.code(), Some(130));
    fixture.no_session_left().await;
}

#[tokio::test]
async fn other_signals_end_the_command() {
    let fixture = Fixture::new().await;
    let mut client = Client::spawn(fixture.exec(&["sh", "-c", "echo ready; exec sleep 1000"]));
    client.stdout_line("ready").await;
    client.signal(Signal::TERM);
    client
        .exit()
        .await
        .expect(130, &["stopped before the command had ended"]);
    fixture.no_session_left().await;

    let command = fixture.exec_tty(&["sh", "-c", "echo re''ady; exec sleep 1000"]);
    let mut terminal = Terminal::spawn(command);
    terminal.shows("ready").await;
    terminal.signal(Signal::TERM);
    let shown = terminal.exits(130).await;
    assert!(
        shown.contains("stopped before the command had ended"),
        "{shown:?}"
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn standard_input_is_left_alone() {
    let fixture = Fixture::new().await;
    let mut command = fixture.exec(&["cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"not for you").await.unwrap();
    let output = bounded("end", child.wait_with_output()).await.unwrap();
    assert_eq!(output.stdout, b"");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn what_an_old_agent_does_not_report_is_said() {
    let fixture = Fixture::with_agent("3.1.1500.0").await;
    let exit = fixture.run_sh("echo out; echo err >&2; exit 7").await;
    exit.expect(
        1,
        &[
            "3.1.1500.0 did not report its exit code",
            "update the SSM agent",
        ],
    );
    assert!(exit.stdout.contains("out\n"), "{}", exit.stdout);
}

#[tokio::test]
async fn a_command_may_have_a_terminal() {
    let fixture = Fixture::new().await;
    let command = fixture.exec_tty(&["sh",
        "-c",
        "tty; until [ \"$(stty size)\" = '24 80' ]; do sleep 0.05; done; echo sized; read line; echo \"<$line>\"",
    ]);
    let mut terminal = Terminal::spawn(command);
    terminal.shows("/dev/").await;
    terminal.shows("sized").await;
    terminal.input("typed\r").await;
    terminal.shows("<typed>").await;
    terminal.exits(0).await;
}

/// Without encryption nothing tells of a program before it prints, but for what it is asked.
#[tokio::test]
async fn a_command_with_a_terminal_may_read_before_it_prints() {
    let fixture = Fixture::new().await;
    let mut command = fixture.exec_tty(&["cat"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"typed\n").await.unwrap();
    drop(stdin);
    let exit = bounded("end", child.wait_with_output()).await.unwrap();
    // As it is typed, and as the program writes it.
    assert_eq!(String::from_utf8_lossy(&exit.stdout), "typed\r\ntyped\r\n");
    assert!(exit.status.success());
    fixture.no_session_left().await;
}

/// Ctrl-D is for the command too, and nothing is shown twice.
#[tokio::test]
async fn what_is_typed_ahead_of_a_command_is_for_it() {
    // Nothing begins.
    let fixture = Fixture::with_chaos("drop=100%").await;
    let command = fixture.exec_tty(&["cat", "-v"]);
    let mut terminal = Terminal::spawn(command);
    eventually("a terminal that keeps what is typed", || {
        !terminal.is_as_before()
    })
    .await;
    terminal.input("typed\r\x04").await;
    fixture.lab.set_chaos(Chaos::default());
    let shown = terminal.exits(0).await;
    assert_eq!(shown, "typed\r\ntyped\r\n");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_line_for_a_shell_in_one_word_is_explained() {
    let fixture = Fixture::new().await;
    let client = Client::spawn(fixture.exec(&["ls | wc -l"]));
    client
        .exit()
        .await
        .expect(1, &["hint: ", "sh -c 'ls | wc -l'"]);
}

#[tokio::test]
async fn the_loss_of_the_connection_can_be_the_end() {
    let fixture = Fixture::new().await;
    let arguments = [
        "exec",
        "--no-reconnect",
        TARGET,
        "--",
        "sh",
        "-c",
        "echo ready; exec sleep 1000",
    ];
    let mut client = Client::spawn(fixture.command(&arguments));
    client.stdout_line("ready").await;
    fixture.lab.inject(Fault::Cut);
    client.exit().await.expect(6, &["was lost"]);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_command_that_was_interrupted_before_it_began_has_not_succeeded() {
    for tty in [&[][..], &["--tty"]] {
        let fixture = Fixture::with_chaos("silent").await;
        let arguments = [&["exec"], tty, &[TARGET, "--", "true"]].concat();
        let client = Client::spawn(fixture.command(&arguments));
        eventually("a session", || !fixture.lab.sessions().is_empty()).await;
        client.signal(Signal::INT);
        client.exit().await.expect(130, &["interrupted before"]);
        fixture.no_session_left().await;
    }
}

/// As the descriptors of programs are that run others on the event loop of a library.
#[tokio::test]
async fn outputs_that_others_have_made_non_blocking_are_written_whole() {
    const LEN: u64 = 3_000_000;
    let fixture = Fixture::new().await;
    for redirection in ["", ">&2"] {
        let script = format!("head -c {LEN} /dev/zero {redirection}");
        let mut command = fixture.exec(&["sh", "-c", &script]);
        let (sink, mut reader) = UnixStream::pair().unwrap();
        let inherited = Stdio::from(OwnedFd::from(sink.into_std().unwrap()));
        match redirection {
            "" => command.stdout(inherited),
            _ => command.stderr(inherited),
        };
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        drop(command);
        let received = bounded("all of it", receive_to_end(&mut reader))
            .await
            .unwrap();
        assert_eq!(received.len, LEN, "{redirection:?}");
        assert!(bounded("end", child.wait()).await.unwrap().success());
    }
}

/// Without encryption such a session has no handshake, and its end is all that comes of it.
#[tokio::test]
async fn a_command_with_a_terminal_may_print_nothing() {
    let fixture = Fixture::new().await;
    let terminal = Terminal::spawn(fixture.exec_tty(&["true"]));
    terminal.exits(0).await;
    fixture.no_session_left().await;
}
