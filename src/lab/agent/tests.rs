//! Shells and commands, through the whole lab.

use std::time::Duration;

use ssmfwd_protocol::Endpoint;
use ssmfwd_protocol::Size;
use ssmfwd_protocol::channel::CloseReason;

use crate::lab::testing::{Console, Tunnel, good_order, lab, sdk};
use crate::lab::{Document, KeyState, KmsKey, Lab, SessionState, SessionType};

const INTERACTIVE: &str = "AWS-StartInteractiveCommand";
const NON_INTERACTIVE: &str = "AWS-StartNonInteractiveCommand";

async fn separate(lab: &Lab, command: &str) -> Console {
    let parameters = [("command", command), ("separateOutputStream", "true")];
    Console::start(lab, NON_INTERACTIVE, &parameters).await
}

async fn interactive(lab: &Lab, command: &str) -> Console {
    Console::start(lab, INTERACTIVE, &[("command", command)]).await
}

/// Waits until no process has the session's mark in its environment.
#[cfg(target_os = "linux")]
async fn all_processes_gone(session_id: &str) {
    let mark = format!("SSMFWD_LAB_SESSION={session_id}");
    loop {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut environments =
            processes.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
        let is_left = environments.any(|text| String::from_utf8_lossy(&text).contains(&mark));
        if !is_left {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_shell_is_a_terminal_in_which_one_types() {
    let lab = lab(|_| {}).await;
    let shell = Console::start(&lab, "", &[]).await;
    shell.send("stty -echo; echo $((6 * 7)) $TERM\n").await;
    shell.expect("42 xterm-256color\r\n").await;
    shell.send("sh -c 'echo waiting; exec sleep 600'\n").await;
    shell.expect("waiting\r\n").await;
    shell.send("\u{3}").await;
    shell.send("echo still; tty\n").await;
    let text = shell.expect("/dev/").await;
    assert!(text.contains("still\r\n"), "{text:?}");
    shell.send("exit\n").await;
    let ended = shell.ended().await;
    assert_eq!((ended.exit_code, ended.reason), (None, good_order()));
    assert_eq!(lab.sessions()[0].document, "SSM-SessionManagerRunShell");
    lab.shutdown().await;
}

#[tokio::test]
async fn a_terminal_has_the_clients_size_at_any_time() {
    let lab = lab(|_| {}).await;
    let script = "stty -echo; echo ready; while read line; do stty size; done";
    let shell = interactive(&lab, script).await;
    shell.expect("ready\r\n").await;
    for (rows, cols) in [(24, 80), (1, 1), (500, 1000)] {
        let size = Size { cols, rows };
        let channel = &shell.tunnel.channel;
        channel.with(|channel| channel.streams().unwrap().resize(size));
        shell.send("now\n").await;
        shell.expect(&format!("{rows} {cols}\r\n")).await;
    }
}

#[tokio::test]
async fn an_interactive_command_ends_the_session_without_an_exit_code() {
    let lab = lab(|_| {}).await;
    let command = "test -t 0 && printf out; test -t 2 && printf err >&2; exit 7";
    let ended = interactive(&lab, command).await.ended().await;
    assert_eq!((&*ended.output, &*ended.error), ("outerr", ""));
    assert_eq!((ended.exit_code, ended.reason), (None, good_order()));
}

#[tokio::test]
async fn characters_arrive_whole_and_the_rest_as_it_is() {
    let lab = lab(|config| config.pace = true).await;
    let command =
        r"printf 'a\303'; sleep 0.1; printf '\251\377\342\202'; sleep 0.1; printf '\254b'";
    let shell = interactive(&lab, command).await;
    let mut parts = Vec::new();
    while let Ok(data) = std::future::poll_fn(|cx| shell.output.poll_read(cx)).await {
        parts.extend_from_slice(&data);
    }
    assert_eq!(parts, b"a\xc3\xa9\xff\xe2\x82\xacb");
}

#[tokio::test]
async fn separate_outputs_are_told_apart_and_the_exit_code_is_reported() {
    let lab = lab(|_| {}).await;
    for code in [0, 1, 7, 127, 255] {
        let command = format!("sh -c 'printf out; printf err >&2; exit {code}'");
        let ended = separate(&lab, &command).await.ended().await;
        assert_eq!((&*ended.output, &*ended.error), ("out", "err"));
        assert_eq!((ended.exit_code, ended.reason), (Some(code), good_order()));
    }
}

#[tokio::test]
async fn separate_output_comes_as_it_is_written() {
    let lab = lab(|_| {}).await;
    let command = separate(&lab, "sh -c 'echo first; sleep 600'").await;
    command.expect("first\n").await;
}

#[tokio::test]
async fn combined_output_comes_at_the_end_and_without_an_exit_code() {
    let lab = lab(|_| {}).await;
    let parameters = [("command", "sh -c 'echo 1; echo 2 >&2; echo 3; exit 7'")];
    let command = Console::start(&lab, NON_INTERACTIVE, &parameters).await;
    let ended = command.ended().await;
    assert_eq!((&*ended.output, &*ended.error), ("1\n2\n3\n", ""));
    assert_eq!((ended.exit_code, ended.reason), (None, good_order()));
}

#[tokio::test]
async fn words_are_run_as_they_are_and_without_input() {
    let lab = lab(|_| {}).await;
    let command = separate(&lab, r#"printf '%s|' 'a  b' $HOME "c"*;"#).await;
    assert_eq!(command.ended().await.output, "a  b|$HOME|c*;|");
    let ended = separate(&lab, "cat").await.ended().await;
    assert_eq!((&*ended.output, ended.exit_code), ("", Some(0)));
}

#[tokio::test]
async fn signals_reach_a_command() {
    let lab = lab(|_| {}).await;
    let script = "trap 'echo got 3; exit 4' QUIT; trap 'echo got 2; exit 5' INT; echo ready; \
                  while :; do sleep 0.01; done";
    for (byte, output, code) in [("ab\u{3}", "got 2\n", 5), ("\u{1c}", "got 3\n", 4)] {
        let command = separate(&lab, &format!("sh -c \"{script}\"")).await;
        command.expect("ready\n").await;
        command.send(byte).await;
        let ended = command.ended().await;
        assert_eq!((&*ended.output, ended.exit_code), (output, Some(code)));
    }
    let ended = separate(&lab, "sh -c 'kill -9 $$'").await.ended().await;
    assert_eq!(ended.exit_code, Some(-1));
}

#[tokio::test]
async fn a_command_that_cannot_be_started_says_why() {
    let lab = lab(|_| {}).await;
    for (command, reason) in [
        (
            "no-such-program x",
            "exec: \"no-such-program\": executable file not found in $PATH",
        ),
        ("/no/such", "fork/exec /no/such: no such file or directory"),
        ("/etc/passwd", "fork/exec /etc/passwd: permission denied"),
    ] {
        let text = format!("Error occurred starting the command: {reason}\n");
        let ended = separate(&lab, command).await.ended().await;
        assert_eq!((&*ended.error, ended.exit_code), (&*text, Some(1)));
        let combined = Console::start(&lab, NON_INTERACTIVE, &[("command", command)]).await;
        let ended = combined.ended().await;
        assert_eq!((&*ended.error, ended.exit_code), (&*text, None));
        assert_eq!(ended.reason, good_order());
    }
    let ended = separate(&lab, "echo 'open").await.ended().await;
    let text = "Unable to start command: Failed to parse commands input: ";
    assert!(ended.error.starts_with(text), "{}", ended.error);
    let CloseReason::Peer { output, .. } = ended.reason else {
        panic!("not ended by the agent");
    };
    assert!(output.starts_with("\n----------ERROR-------\nUnable to start command: "));
}

#[tokio::test]
async fn a_blank_command_is_none() {
    let lab = lab(|_| {}).await;
    for (document, name) in [
        (INTERACTIVE, "InteractiveCommands"),
        (NON_INTERACTIVE, "NonInteractiveCommands"),
    ] {
        let request = sdk(&lab).start_session().target("i-0abc");
        let request = request.document_name(document);
        let request = request.parameters("command", vec!["  ".to_owned()]);
        let session = request.send().await.unwrap();
        let tunnel = Tunnel::open(&lab, session).await;
        let output = format!("Commands cannot be empty for session type {name}");
        assert_eq!(
            tunnel.closed.await.unwrap(),
            CloseReason::Peer {
                output,
                is_whole: true
            }
        );
    }
}

#[tokio::test]
async fn lines_are_marked_as_the_document_wants() {
    let document = Document {
        commands: Some("sh -c '{{ script }}'".to_owned()),
        ..Document::new("My-Command", SessionType::NonInteractiveCommands)
    };
    let lab = lab(|config| config.documents.push(document)).await;
    let parameters = [
        (
            "script",
            "echo 1; sleep 0.2; printf 2; sleep 0.2; echo 3; echo 4 >&2",
        ),
        ("separateOutputStream", "true"),
        ("stdOutSeparatorPrefix", "O:"),
        ("stdErrSeparatorPrefix", "E:"),
    ];
    let ended = Console::start(&lab, "My-Command", &parameters).await;
    let ended = ended.ended().await;
    assert_eq!((&*ended.output, &*ended.error), ("O:1\nO:23\n", "E:4\n"));
}

#[tokio::test]
async fn much_output_waits_for_its_reader_and_arrives_whole() {
    let lab = lab(|_| {}).await;
    let len = 64 << 20;
    let command = format!("sh -c 'head -c {len} /dev/zero; echo done >&2'");
    let command = separate(&lab, &command).await;
    // Nobody reads yet: what the buffers on the way hold is far less.
    let received = std::future::poll_fn(|cx| command.error.poll_read(cx));
    let waited = tokio::time::timeout(Duration::from_millis(300), received).await;
    assert!(waited.is_err(), "the command has ended without a reader");
    let ended = command.ended().await;
    assert_eq!((ended.output.len(), &*ended.error), (len, "done\n"));
    assert_eq!((ended.exit_code, ended.reason), (Some(0), good_order()));
}

#[tokio::test]
async fn old_agents_do_not_know_everything() {
    let with = async |version: &str| {
        let version = version.to_owned();
        lab(|config| config.targets[0].agent_version = version).await
    };
    let lab = with("3.1.1510.0").await;
    let ended = separate(&lab, "sh -c 'echo 1; echo 2 >&2; exit 7'").await;
    let ended = ended.ended().await;
    assert_eq!((&*ended.output, ended.exit_code), ("1\n2\n", None));

    let lab = with("3.0.1123.0").await;
    let request = sdk(&lab).start_session().target("i-0abc");
    let request = request.document_name(NON_INTERACTIVE);
    let request = request.parameters("command", vec!["ls".to_owned()]);
    let session = request.send().await.unwrap();
    let tunnel = Tunnel::open(&lab, session).await;
    let CloseReason::Peer { output, .. } = tunnel.closed.await.unwrap() else {
        panic!("not ended by the agent");
    };
    let expected = "Plugin with name NonInteractiveCommands is not supported by this version";
    assert!(output.starts_with(expected), "{output}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_end_of_a_session_is_the_end_of_its_processes() {
    let lab = lab(|_| {}).await;
    let script = "sleep 600 & setsid sleep 600 & echo ready; sleep 600";
    for is_terminal in [true, false] {
        let console = match is_terminal {
            true => interactive(&lab, script).await,
            false => separate(&lab, &format!("sh -c '{script}'")).await,
        };
        console.expect("ready").await;
        let session = lab.sessions().pop().unwrap();
        let id = session.id.clone();
        let ending = sdk(&lab).terminate_session().session_id(&id).send();
        ending.await.unwrap();
        assert_eq!(console.ended().await.reason, good_order());
        all_processes_gone(&id).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_end_of_the_lab_is_the_end_of_all_processes() {
    let lab = lab(|_| {}).await;
    let console = interactive(&lab, "nohup sleep 600 >/dev/null & echo ready; cat").await;
    console.expect("ready").await;
    let id = lab.sessions()[0].id.clone();
    lab.shutdown().await;
    all_processes_gone(&id).await;
}

#[tokio::test]
async fn a_terminal_hangs_up_when_its_session_ends() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hung up");
    let lab = lab(|_| {}).await;
    let script = format!(
        "trap 'echo >\"{}\"; exit' HUP; echo ready; while :; do sleep 0.01; done",
        file.display()
    );
    let console = interactive(&lab, &script).await;
    console.expect("ready").await;
    let id = lab.sessions()[0].id.clone();
    sdk(&lab)
        .terminate_session()
        .session_id(id)
        .send()
        .await
        .unwrap();
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn shells_and_commands_are_encrypted_if_the_account_demands_it() {
    for (version, name) in [
        ("3.3.987.0", "alias/sessions"),
        ("3.3.807.0", "arn:aws:kms:us-east-1:000000000000:key/1234"),
    ] {
        let lab = lab(|config| {
            config.targets[0].agent_version = version.to_owned();
            config.kms_key = Some(name.to_owned());
        })
        .await;
        let shell = Console::start(&lab, "", &[]).await;
        shell.send("stty -echo; echo $((6 * 7))\n").await;
        shell.expect("42\r\n").await;
        shell.send("exit\n").await;
        assert_eq!(shell.ended().await.reason, good_order());
        let ended = separate(&lab, "sh -c 'echo 1; echo 2 >&2; exit 7'").await;
        let ended = ended.ended().await;
        assert_eq!((&*ended.output, &*ended.error), ("1\n", "2\n"));
        assert_eq!(ended.exit_code, Some(7));
    }
}

#[tokio::test]
async fn without_a_data_key_there_is_no_session() {
    let lab = lab(|config| {
        let mut key = KmsKey::new("1234");
        key.state = KeyState::Disabled;
        config.kms_keys.push(key);
        config.kms_key = Some("1234".to_owned());
    })
    .await;
    let session = sdk(&lab).start_session().target("i-0abc").send();
    let tunnel = Tunnel::open(&lab, session.await.unwrap()).await;
    let reason = "DisabledException".to_owned();
    let closed = tunnel.closed.await.unwrap();
    assert_eq!(closed, CloseReason::NoDataKey { reason });
    while !matches!(lab.sessions()[0].state, SessionState::Terminated(_)) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_agent_that_may_not_decrypt_says_so() {
    let lab = lab(|config| {
        config.kms_key = Some("1234".to_owned());
        config.chaos = "deny=Decrypt".parse().unwrap();
    })
    .await;
    let session = sdk(&lab).start_session().target("i-0abc").send();
    let tunnel = Tunnel::open(&lab, session.await.unwrap()).await;
    let CloseReason::Peer { output, .. } = tunnel.closed.await.unwrap() else {
        panic!("not ended by the agent");
    };
    assert!(output.contains("Fetching data key failed: "), "{output}");
    assert!(output.contains("AccessDeniedException"), "{output}");
}
