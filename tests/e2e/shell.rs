//! `ssmfwd shell` as a person uses it, in a terminal, and as a script does, without one.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use ssmfwd::lab::{Condition, EndedBy, Fault};
use tokio::io::AsyncWriteExt;

use crate::network::namespace::unshare;
use crate::support::{Client, Fixture, Random, TARGET, Terminal, bounded, eventually, wrapped};

impl Fixture {
    /// A shell that has shown that it works.
    pub(crate) async fn ready_shell(&self, options: &[&str]) -> Terminal {
        let arguments = [&["shell", TARGET], options].concat();
        let mut terminal = Terminal::spawn(self.command(&arguments));
        terminal.begin().await;
        terminal
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_shell_ends_when_its_user_logs_out() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    assert!(!terminal.is_as_before());
    terminal.input("exit\r").await;
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn the_remote_terminal_has_the_size_of_the_local_one() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    assert_eq!(terminal.run("stty size").await, "24 80\r\n");
    terminal.resize(132, 50);
    terminal
        .run("while [ \"$(stty size)\" != '50 132' ]; do sleep 0.05; done")
        .await;
    terminal.input("exit\r").await;
    terminal.exits(0).await;
}

#[tokio::test]
async fn ctrl_c_interrupts_the_remote_program_and_nothing_else() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    for _ in 0..10 {
        terminal
            .input("sh -c 'echo slee\"\"ping; exec sleep 1000'\r")
            .await;
        terminal.shows("sleeping").await;
        terminal.input("\x03").await;
        terminal.shows("^C").await;
        let shown = terminal.run("echo $((40 + 2))").await;
        assert!(shown.ends_with("42\r\n"), "{shown:?}");
    }
    // A storm.
    for _ in 0..500 {
        terminal.input("\x03").await;
    }
    terminal.input("\recho $((40 + 2))\r").await;
    terminal.shows("\n42\r\n").await;
    terminal.input("exit\r").await;
    terminal.exits(0).await;
}

#[tokio::test]
async fn every_byte_is_typed_as_it_is() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend("ä\u{1F600}\x1b[200~pasted\x1b[201~\x1b[<0;1;1M".bytes());
    let command = format!(
        "stty raw -echo; echo re''ady; head -c {} | sha256sum; stty sane; echo re''stored\r",
        bytes.len()
    );
    terminal.input(command).await;
    terminal.shows("ready").await;
    terminal.input(&bytes).await;
    terminal.shows(&sha256(&bytes)).await;
    // Before that, Enter was no end of a line.
    terminal.shows("restored").await;
    terminal.input("exit\r").await;
    terminal.exits(0).await;
}

#[tokio::test]
async fn a_large_paste_arrives_whole() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    let mut pasted = Random::new(1).bytes(1024 * 1024);
    // No escapes.
    pasted
        .iter_mut()
        .filter(|byte| **byte == b'~')
        .for_each(|byte| *byte = b'-');
    let command = format!(
        "stty raw -echo; echo re''ady; head -c {} | sha256sum; stty sane; echo re''stored\r",
        pasted.len()
    );
    terminal.input(command).await;
    terminal.shows("ready").await;
    terminal.input(&pasted).await;
    terminal.shows(&sha256(&pasted)).await;
    // Before that, Enter was no end of a line.
    terminal.shows("restored").await;
    terminal.input("exit\r").await;
    terminal.exits(0).await;
}

#[tokio::test]
async fn much_output_is_shown_whole() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    let bytes = Random::new(2).bytes(10 * 1024 * 1024);
    let path = fixture.directory().join("output");
    std::fs::write(&path, &bytes).unwrap();
    let command = format!(
        "stty -opost; echo be''gin; cat {}; echo e''nd; stty sane\r",
        path.display()
    );
    terminal.input(command).await;
    terminal.shows("begin\n").await;
    let shown = terminal.shows("end\n").await;
    assert_eq!(sha256(&shown), sha256(&bytes));
    terminal.input("exit\r").await;
    terminal.exits(0).await;
}

#[tokio::test]
async fn full_screen_programs_work() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    let path = fixture.directory().join("file");
    let lines: String = (1..=500).map(|line| format!("line {line}\n")).collect();
    std::fs::write(&path, lines).unwrap();

    terminal
        .input(format!("vim -u NONE -i NONE {}\r", path.display()))
        .await;
    terminal.shows("line 23").await;
    terminal.input("Goadded ä\x1b:wq\r").await;
    terminal.shows("\x1b[?1049l").await;
    // The editor may not have switched the echo on again.
    terminal
        .input(format!("tail -n 1 {}\r", path.display()))
        .await;
    terminal.shows("added ä\r\n").await;

    terminal.input(format!("less {}\r", path.display())).await;
    terminal.shows("line 23").await;
    terminal.input("G").await;
    terminal.shows("added ä").await;
    terminal.input("q").await;
    terminal.shows("\x1b[?1049l").await;
    terminal.input("echo $((40 + 2))\r").await;
    terminal.shows("42\r\n").await;
    terminal.input("exit\r").await;
    terminal.exits(0).await;
}

#[tokio::test]
async fn escapes_speak_to_the_program() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    terminal.input("~?").await;
    terminal.shows("~. ends the session").await;
    assert_eq!(terminal.run("echo ~~~.").await, "~~~.\r\n");
    terminal.input("\r~~.\r").await;
    terminal.shows("~.").await;
    terminal.input("sleep 1000\r~.").await;
    let shown = terminal.exits(0).await;
    let closed = format!("\r\nconnection to {TARGET} closed\r\n");
    assert!(shown.ends_with(&closed), "{shown:?}");
    fixture.no_session_left().await;
}

/// The session's end takes its time where the service does not answer.
#[tokio::test]
async fn what_is_typed_behind_the_end_is_for_whoever_has_the_terminal_next() {
    let fixture = Fixture::new().await;
    let command = fixture.command(&["shell", TARGET]);
    let script = "\"$@\"; read -r line; echo \"<$line>\"";
    let mut terminal = Terminal::spawn(wrapped(&command, "bash", &["-c", script, "bash"]));
    terminal.begin().await;
    let condition = Condition::BlackHole;
    fixture
        .lab
        .inject(Fault::Holds(condition, Duration::from_secs(3600)));
    terminal.input("\r~.").await;
    terminal.shows(" closed\r\n").await;
    terminal.input("typed ahead\r").await;
    terminal.shows("<typed ahead>").await;
    terminal.exits(0).await;
}

#[tokio::test]
async fn another_escape_character_leaves_the_tilde_alone() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&["--escape-char", "%"]).await;
    terminal.input("~.\r").await;
    terminal.shows("~.: not found\r\n").await;
    assert_eq!(terminal.run("echo $((40 + 2))").await, "42\r\n");
    terminal.input("\r%.").await;
    terminal.exits(0).await;
}

/// Whatever ends the program, and whatever the far side has made of the terminal, it is as it was.
#[tokio::test]
async fn signals_leave_the_terminal_as_it_was() {
    let fixture = Fixture::new().await;
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut terminal = fixture.ready_shell(&[]).await;
        terminal.input("vim -u NONE -i NONE\r").await;
        terminal.shows("\x1b[?1049h").await;
        terminal.shows("~").await;
        terminal.signal(signal);
        let shown = terminal.exits(0).await;
        assert!(shown.contains("\x1b[?1049l"), "{shown:?}");
        fixture.no_session_left().await;
    }
}

#[tokio::test]
async fn the_service_can_end_a_session_and_says_why() {
    let idle_timeout = Duration::from_secs(5);
    let fixture = Fixture::with(|config| config.idle_timeout = idle_timeout).await;
    let mut terminal = fixture.ready_shell(&[]).await;
    terminal.input("vim -u NONE -i NONE\r").await;
    let shown = terminal.exits(6).await;
    assert!(shown.contains("\x1b[?1049l"), "{shown:?}");
    assert!(shown.contains("timed out due to inactivity"), "{shown:?}");
    assert!(
        shown.contains("hint: the account's idle timeout"),
        "{shown:?}"
    );
}

#[tokio::test]
async fn a_shell_that_dies_leaves_the_terminal_as_it_was() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    terminal
        .input("printf '\\033[?1049h\\033[?1000hrea''dy'; read line; kill -9 $$\r")
        .await;
    terminal.shows("ready").await;
    terminal.input("\r").await;
    let shown = terminal.exits(0).await;
    assert!(shown.contains("\x1b[?1000l\x1b[?1049l"), "{shown:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_program_can_be_stopped_and_goes_on() {
    let fixture = Fixture::new().await;
    let mut terminal = Terminal::spawn_job(fixture.command(&["shell", TARGET]));
    terminal.begin().await;
    for way in ["signal", "escape"] {
        match way {
            "signal" => terminal.signal_job(Signal::TSTP),
            _ => terminal.input("\r~\x1a").await,
        }
        terminal.shows("stopped").await;
        assert!(terminal.is_as_before(), "{way}");
        terminal.input("\r").await;
        eventually("raw terminal", || !terminal.is_as_before()).await;
        assert_eq!(terminal.run("echo $((40 + 2))").await, "42\r\n");
    }
    terminal.input("exit\r").await;
    terminal.exits(0).await;
}

/// It leaves the terminal, which would stop it, to whoever has it.
#[tokio::test]
async fn a_program_in_the_background_that_cannot_begin_ends() {
    let fixture = Fixture::with_chaos("drop=100%").await;
    let command = fixture.command(&["shell", TARGET]);
    let script = "\"$@\" & wait $!; echo \"rc=$?\"";
    let mut terminal = Terminal::spawn(wrapped(&command, "bash", &["-m", "-c", script, "bash"]));
    let id = fixture.connected_session().await;
    assert!(fixture.lab.end_session(&id, EndedBy::IdleTimeout));
    terminal.shows("rc=6").await;
    terminal.exits(0).await;
}

/// It would never go on.
#[tokio::test]
async fn a_program_without_a_shell_is_not_stopped() {
    let fixture = Fixture::new().await;
    let mut terminal = fixture.ready_shell(&[]).await;
    terminal.signal(Signal::TSTP);
    terminal.input("\r~\x1a").await;
    terminal.shows("not stopped: ").await;
    assert!(!terminal.is_as_before());
    assert!(terminal.run("echo $((40 + 2))").await.ends_with("42\r\n"));
    terminal.input("exit\r").await;
    terminal.exits(0).await;
}

/// The numbers of its session and group are 0 there.
#[tokio::test]
async fn a_program_in_a_namespace_of_processes_is_not_stopped() {
    let Some(unshare) = unshare() else {
        return;
    };
    let fixture = Fixture::new().await;
    let shell = fixture.command(&["shell", TARGET]);
    let arguments = [unshare, &["--pid", "--fork", "--"]].concat();
    let mut terminal = Terminal::spawn(wrapped(&shell, "unshare", &arguments));
    terminal.begin().await;
    terminal.input("\r~\x1a").await;
    terminal.shows("not stopped: ").await;
    terminal.input("exit\r").await;
    terminal.exits(0).await;
}

/// Runs in a terminal of its own for the test below.
#[test]
#[ignore = "it fails on purpose, in a process of its own"]
fn panic_in_raw_mode() {
    let _raw = ssmfwd::terminal::RawMode::enter().unwrap().unwrap();
    panic!("on purpose");
}

#[tokio::test]
async fn a_panic_leaves_the_terminal_as_it_was() {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args([
        "--ignored",
        "--exact",
        "--nocapture",
        "shell::panic_in_raw_mode",
    ]);
    let mut terminal = Terminal::spawn(command);
    // Said when the terminal could be read again.
    terminal.shows("on purpose\r\n").await;
    terminal.exits(101).await;
}

#[tokio::test]
async fn a_script_may_be_piped_in() {
    let fixture = Fixture::new().await;
    for script in [
        "stty size; echo $((40 + 2))",
        "stty size\necho $((40 + 2))\n",
    ] {
        let mut command = fixture.command(&["shell", TARGET]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(script.as_bytes()).await.unwrap();
        drop(stdin);
        let output = bounded("end of the process", child.wait_with_output())
            .await
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.contains("100 300\r\n"), "{stdout:?}");
        assert!(stdout.contains("42\r\n"), "{stdout:?}");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(output.stderr, b"");
    }
    fixture.no_session_left().await;
}

#[tokio::test]
async fn without_any_input_the_shell_ends_at_once() {
    let fixture = Fixture::new().await;
    // The client of these tests has no standard input.
    let exit = Client::spawn(fixture.command(&["shell", TARGET]))
        .exit()
        .await;
    exit.expect(0, &[]);
    fixture.no_session_left().await;
}
