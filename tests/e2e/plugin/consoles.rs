//! Shells and commands through the AWS CLI.

use rustix::process::Signal;

use super::cli::{aws, signal_group, spawn_group, start_session, start_shell};
use crate::support::{Fixture, Terminal, eventually};

const INTERACTIVE_DOCUMENT: &str = "AWS-StartInteractiveCommand";
const NON_INTERACTIVE_DOCUMENT: &str = "AWS-StartNonInteractiveCommand";

/// A command's parameters as the AWS CLI takes them.
fn parameters(command: &str, separate: bool) -> String {
    let separate = separate.to_string();
    let parameters = serde_json::json!({
        "command": [command],
        "separateOutputStream": [separate],
    });
    parameters.to_string()
}

/// Sees whether a shell works.
async fn expect_shell(terminal: &mut Terminal) {
    terminal.begin().await;
    assert_eq!(terminal.run("echo $((40 + 2))").await, "42\r\n");
}

#[tokio::test]
async fn a_shell_has_the_terminal_and_gives_it_back() {
    let fixture = Fixture::new().await;
    let mut terminal = Terminal::spawn(start_shell(&fixture));
    terminal.shows("Starting session with SessionId: ").await;
    expect_shell(&mut terminal).await;
    assert_eq!(terminal.run("stty size").await, "24 80\r\n");
    // One process from the line on: a shell interrupted just before it forks waits for its child first.
    let script = "sh -c 'echo slee\"\"ping; exec sleep 1000'\r";
    terminal.input(script).await;
    terminal.shows("sleeping").await;
    terminal.input("\x03").await;
    // The shell begins a line of its own first.
    let shown = terminal.run("echo $((40 + 2))").await;
    assert!(shown.ends_with("42\r\n"), "{shown:?}");
    terminal.input("exit\r").await;
    let shown = terminal.exits(0).await;
    let id = &fixture.lab.sessions()[0].id;
    let last = format!("\r\n\r\nExiting session with sessionId: {id}.\r\n\r\n");
    assert!(shown.ends_with(&last), "{shown:?}");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_shells_escape_ends_the_session() {
    let fixture = Fixture::new().await;
    let mut terminal = Terminal::spawn(start_shell(&fixture));
    expect_shell(&mut terminal).await;
    terminal.input("\r~.").await;
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_interactive_command_has_the_terminal() {
    let fixture = Fixture::new().await;
    let command = r#"{"command":["echo na''me; read line; echo got $line; stty size"]}"#;
    let mut terminal = Terminal::spawn(start_session(&fixture, INTERACTIVE_DOCUMENT, command));
    terminal.shows("name\r\n").await;
    terminal.input("this\r").await;
    terminal.shows("got this\r\n24 80\r\n").await;
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_command_keeps_its_outputs_apart_and_its_exit_code() {
    for (code, cli_code) in [(0, 0), (7, 255)] {
        let fixture = Fixture::new().await;
        let command = format!("sh -c 'echo out; echo err >&2; exit {code}'");
        let parameters = parameters(&command, true);
        let client = spawn_group(start_session(
            &fixture,
            NON_INTERACTIVE_DOCUMENT,
            &parameters,
        ));
        let exit = client.exit().await;
        let id = &fixture.lab.sessions()[0].id;
        let expected = format!(
            "\nStarting session with SessionId: {id}\nout\nEXIT_CODE: {code}\
             \n\nExiting session with sessionId: {id}.\n\n"
        );
        assert_eq!(exit.stdout, expected);
        exit.expect(cli_code, &["err\n"]);
        if code != 0 {
            exit.expect(cli_code, &["returned non-zero exit status 7"]);
        }
        fixture.no_session_left().await;
    }
}

#[tokio::test]
async fn a_command_whose_exit_code_nobody_reports_ends_in_good_order() {
    let fixture = Fixture::new().await;
    let parameters = parameters("sh -c 'echo both; exit 7'", false);
    let client = spawn_group(start_session(
        &fixture,
        NON_INTERACTIVE_DOCUMENT,
        &parameters,
    ));
    let exit = client.exit().await;
    exit.expect(0, &[]);
    assert!(
        exit.stdout.contains("\nboth\n\n\nExiting session"),
        "{}",
        exit.stdout
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_interactive_command_may_print_nothing() {
    let fixture = Fixture::new().await;
    let command = start_session(&fixture, INTERACTIVE_DOCUMENT, r#"{"command":["true"]}"#);
    let terminal = Terminal::spawn(command);
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn ctrl_c_goes_to_the_command() {
    let fixture = Fixture::new().await;
    let script =
        "sh -c 'trap \"echo trapped; exit 3\" INT; echo ready; while :; do sleep 0.05; done'";
    let parameters = parameters(script, true);
    let mut client = spawn_group(start_session(
        &fixture,
        NON_INTERACTIVE_DOCUMENT,
        &parameters,
    ));
    client.stdout_line("ready").await;
    signal_group(&client, Signal::INT);
    let exit = client.exit().await;
    assert!(
        exit.stdout.contains("trapped\nEXIT_CODE: 3\n"),
        "{}",
        exit.stdout
    );
    exit.expect(255, &["returned non-zero exit status 3"]);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_command_and_a_shell_run_encrypted() {
    let encrypted = || Fixture::with(|config| config.kms_key = Some("alias/sessions".to_owned()));
    let said = "This session is encrypted using AWS KMS.";
    let fixture = encrypted().await;
    let parameters = parameters("sh -c 'echo out; exit 7'", true);
    let client = spawn_group(start_session(
        &fixture,
        NON_INTERACTIVE_DOCUMENT,
        &parameters,
    ));
    let exit = client.exit().await;
    let expected = format!("{said}\nout\nEXIT_CODE: 7\n");
    assert!(exit.stdout.contains(&expected), "{}", exit.stdout);
    exit.expect(255, &["returned non-zero exit status 7"]);
    fixture.no_session_left().await;

    let fixture = encrypted().await;
    let mut terminal = Terminal::spawn(start_shell(&fixture));
    terminal.shows(said).await;
    expect_shell(&mut terminal).await;
    terminal.input("exit\r").await;
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_command_is_executed_in_a_container() {
    let target = "ecs:web_0123456789abcdef_0123456789abcdef-1";
    let fixture = Fixture::with(|config| config.targets[0].id = target.to_owned()).await;
    let arguments = [
        "ecs",
        "execute-command",
        "--cluster",
        "web",
        "--task",
        "0123456789abcdef",
        "--interactive",
        "--command",
        "/bin/sh",
    ];
    let mut terminal = Terminal::spawn(aws(&fixture, &arguments));
    terminal
        .shows("The Session Manager plugin was installed successfully.")
        .await;
    terminal.shows("Starting session with SessionId: ").await;
    expect_shell(&mut terminal).await;
    terminal.input("exit\r").await;
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

/// The AWS CLI, which ignores Ctrl-Z while it waits, stops with its plugin.
#[tokio::test]
async fn a_shells_escape_stops_the_aws_cli_too() {
    let fixture = Fixture::new().await;
    let mut terminal = Terminal::spawn_job(start_shell(&fixture));
    expect_shell(&mut terminal).await;
    terminal.input("\r~\x1a").await;
    terminal.shows("stopped").await;
    terminal.input("\r").await;
    eventually("raw terminal", || !terminal.is_as_before()).await;
    assert_eq!(terminal.run("echo $((40 + 2))").await, "42\r\n");
    terminal.input("exit\r").await;
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

/// Whoever closes the window of a shell means the session too.
#[tokio::test]
async fn a_hangup_ends_a_shells_session() {
    let fixture = Fixture::new().await;
    let mut terminal = Terminal::spawn(start_shell(&fixture));
    expect_shell(&mut terminal).await;
    drop(terminal);
    fixture.no_session_left().await;
}
