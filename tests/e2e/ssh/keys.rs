//! Logins with a key that EC2 Instance Connect lets in, and no other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use futures_util::future::join_all;
use ssmfwd::lab::Target;
use tempfile::TempDir;

use super::server::{Server, succeed};
use crate::support::{Client, Fixture, TARGET, eventually, unused_port};

/// A node that is no EC2 instance.
const NODE: &str = "mi-0abc";

/// A lab that hands pushed keys to a server, and that server.
struct Keys {
    fixture: Fixture,
    server: Server,
    _authorized: TempDir,
}

impl Keys {
    async fn start() -> Self {
        let authorized = TempDir::new().unwrap();
        let directory = authorized.path().to_owned();
        let fixture = Fixture::with(|config| {
            config.targets.push(Target::new(NODE));
            config.authorized_keys_dir = Some(directory);
        });
        let fixture = fixture.await;
        let pushed = authorized.path().join(TARGET).join("%u");
        let server = Server::start_for(&fixture, Some(&pushed)).await;
        Self {
            fixture,
            server,
            _authorized: authorized,
        }
    }

    async fn ssh(&self, words: &[&str]) -> String {
        let exit = self.server.ssh(&self.fixture, words).await;
        exit.expect(0, &[]);
        exit.stdout
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn no_key_is_needed_in_advance() {
    let keys = Keys::start().await;
    let refused = keys.server.ssh(&keys.fixture, &["true"]).await;
    assert_eq!(refused.code(), Some(255));
    keys.server
        .install_stanza(&keys.fixture, &["--push-key"])
        .await;
    for _ in 0..2 {
        assert_eq!(keys.ssh(&["echo hello"]).await, "hello\n");
    }
    let directory = keys.fixture.directory().join(".ssh/ssmfwd");
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("id_ed25519")), 0o600);
    keys.fixture.no_session_left().await;
}

#[tokio::test]
async fn logins_at_once_share_the_key_that_the_first_one_makes() {
    let keys = Keys::start().await;
    keys.server
        .install_stanza(&keys.fixture, &["--push-key"])
        .await;
    let logins = (0..8).map(async |number| {
        let text = number.to_string();
        assert_eq!(keys.ssh(&["echo", &text]).await, format!("{number}\n"));
    });
    join_all(logins).await;
    keys.fixture.no_session_left().await;
}

#[tokio::test]
async fn a_key_of_the_users_own_is_pushed() {
    let keys = Keys::start().await;
    let path = keys.server.path("my key");
    // Known to nobody yet.
    super::server::make_key(&path);
    let option = format!("--push-key={}", path.display());
    keys.server.install_stanza(&keys.fixture, &[&option]).await;
    assert_eq!(keys.ssh(&["echo hello"]).await, "hello\n");
    assert!(!keys.fixture.directory().join(".ssh").exists());
    keys.fixture.no_session_left().await;
}

#[tokio::test]
async fn nodes_outside_ec2_keep_their_own_keys() {
    let keys = Keys::start().await;
    keys.server
        .install_stanza(&keys.fixture, &["--push-key"])
        .await;
    let mut command = keys.server.command(&keys.fixture, "ssh");
    command.arg("-i").arg(keys.server.path("user"));
    command.args([NODE, "echo hello"]);
    assert_eq!(succeed(command).await.stdout, "hello\n");
    keys.fixture.no_session_left().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_pushed_ends_the_connection() {
    let keys = Keys::start().await;
    keys.server
        .install_stanza(&keys.fixture, &["--push-key"])
        .await;
    let (_socket, port) = unused_port();
    let mut command = keys.server.command(&keys.fixture, "ssh");
    let endpoint = format!("http://127.0.0.1:{port}");
    command.env("AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT", endpoint);
    command.args([TARGET, "true"]);
    let exit = Client::spawn(command).exit().await;
    exit.expect(
        255,
        &["ssmfwd: ec2-instance-connect:SendSSHPublicKey failed: 127.0.0.1:"],
    );
    assert!(exit.stderr.starts_with("ssmfwd: "), "{}", exit.stderr);
    keys.fixture.no_session_left().await;
}

#[tokio::test]
async fn the_user_follows_from_the_platform() {
    let keys = Keys::start().await;
    let mut command = keys.fixture.command(&["proxy", "--push-key", TARGET, "7"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut proxy = command.spawn().unwrap();
    eventually("pushed key", || {
        keys.fixture.lab.pushed_keys(TARGET, "ec2-user").len() == 1
    })
    .await;
    drop((proxy.stdin.take(), proxy.stdout.take()));
    assert!(proxy.wait().await.unwrap().success());
    keys.fixture.no_session_left().await;
}
