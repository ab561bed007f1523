//! Sessions the account wants encrypted.

use rustix::process::Signal;
use ssmfwd::lab::{KeyState, KmsKey};

use crate::support::{Client, Exit, Fixture, Random, TARGET, Terminal};

/// An alias, the key's ARN in the lab's region, and one in another region.
const KEYS: [&str; 3] = [
    "alias/sessions",
    "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "arn:aws:kms:eu-west-3:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
];

async fn encrypted(key: &str, state: KeyState) -> Fixture {
    Fixture::with(|config| {
        config.kms_key = Some(key.to_owned());
        config.kms_keys = vec![KmsKey {
            state,
            ..KmsKey::new(key)
        }];
    })
    .await
}

async fn exec(fixture: &Fixture, script: &str) -> Exit {
    let words = ["exec", TARGET, "--", "sh", "-c", script];
    Client::spawn(fixture.command(&words)).exit().await
}

#[tokio::test]
async fn a_command_runs_encrypted_wherever_the_key_is() {
    for key in KEYS {
        let fixture = encrypted(key, KeyState::Enabled).await;
        let exit = exec(&fixture, "echo out; echo err >&2; exit 7").await;
        assert_eq!(exit.code(), Some(7), "{key}: {}", exit.stderr);
        assert_eq!(exit.stdout, "out\n");
        // Two threads write them.
        let mut lines: Vec<&str> = exit.stderr.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["This session is encrypted using AWS KMS.", "err"]);
        fixture.no_session_left().await;
    }
}

#[tokio::test]
async fn a_shell_runs_encrypted() {
    let fixture = encrypted(KEYS[0], KeyState::Enabled).await;
    let mut terminal = Terminal::spawn(fixture.command(&["shell", TARGET]));
    terminal.shows("encrypted using AWS KMS").await;
    terminal.begin().await;
    let bytes = Random::new(5).bytes(1 << 20);
    let path = fixture.directory().join("output");
    std::fs::write(&path, &bytes).unwrap();
    let command = format!(
        "stty -opost; echo be''gin; cat {}; echo e''nd; stty sane\r",
        path.display()
    );
    terminal.input(command).await;
    terminal.shows("begin\n").await;
    assert!(terminal.shows("end\n").await == bytes);
    assert_eq!(terminal.run("stty size").await, "24 80\r\n");
    terminal.signal(Signal::TERM);
    terminal.exits(0).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_named_with_what_to_do() {
    let table = [
        (
            KeyState::Denied,
            3,
            ["kms:GenerateDataKey was denied", "the key's own policy"],
        ),
        (KeyState::Disabled, 1, ["the key is disabled", "enable it"]),
        (
            KeyState::CredentialsExpired,
            3,
            [
                "credentials have expired",
                "hint: they come from environment variables",
            ],
        ),
    ];
    for (state, code, texts) in table {
        let fixture = encrypted(KEYS[0], state).await;
        let exit = exec(&fixture, "echo never").await;
        exit.expect(code, &texts);
        exit.expect(code, &["KMS key alias/sessions"]);
        assert_eq!(exit.stdout, "");
        fixture.no_session_left().await;
    }
}

#[tokio::test]
async fn the_embedded_lab_encrypts_too() {
    let fixture = Fixture::new().await;
    let mut command = fixture.bare_command();
    command.args([
        "exec",
        "--lab",
        "--kms-key",
        "alias/mine",
        TARGET,
        "--",
        "echo",
        "out",
    ]);
    let exit = Client::spawn(command).exit().await;
    exit.expect(0, &["encrypted using AWS KMS"]);
    assert_eq!(exit.stdout, "out\n");
}

/// Whoever sits between may change a bit, and even have the digest fit.
#[tokio::test]
async fn a_changed_bit_of_the_output_ends_the_session() {
    let fixture = encrypted(KEYS[0], KeyState::Enabled).await;
    let go = fixture.directory().join("go");
    let script = format!(
        "echo ready; until [ -e {} ]; do sleep 0.05; done; echo changed; sleep 1000",
        go.display()
    );
    let words = ["exec", TARGET, "--", "sh", "-c", &script];
    let mut client = Client::spawn(fixture.command(&words));
    client.stdout_line("ready").await;
    fixture.lab.update_chaos("alter=100%").unwrap();
    std::fs::write(go, "").unwrap();
    let exit = client.exit().await;
    exit.expect(
        6,
        &[
            "was ended, because it is not safe",
            "altered on its way",
            "hint: start it again",
        ],
    );
    assert_eq!(exit.stdout, "ready\n");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_changed_bit_of_the_input_ends_the_session() {
    let fixture = encrypted(KEYS[0], KeyState::Enabled).await;
    let mut terminal = Terminal::spawn(fixture.command(&["shell", TARGET]));
    terminal.begin().await;
    fixture.lab.update_chaos("alter=100%").unwrap();
    terminal.input("x").await;
    let shown = terminal.exits(6).await;
    assert!(shown.contains("altered on its way"), "{shown:?}");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_changed_bit_of_the_handshake_is_a_failure_to_start() {
    for seed in 0..8 {
        let fixture = Fixture::with(|config| {
            config.kms_key = Some(KEYS[0].to_owned());
            config.chaos = format!("alter=100%,seed={seed}").parse().unwrap();
        })
        .await;
        let exit = exec(&fixture, "echo never").await;
        assert!(matches!(exit.code(), Some(1 | 3 | 6)), "{}", exit.stderr);
        exit.expect(exit.code().unwrap(), &["error: "]);
        assert_eq!(exit.stdout, "");
        fixture.no_session_left().await;
    }
}
