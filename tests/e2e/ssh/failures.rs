//! What users of `ssh` read when it does not work.

use super::server::Server;
use crate::support::{Client, Exit, Fixture, TARGET, unused_port};

/// Expects the exit code of `ssh`, and one line of the proxy with these texts among those of `ssh`.
#[track_caller]
fn expect_line(exit: &Exit, texts: &[&str]) {
    exit.expect(255, texts);
    let lines: Vec<&str> = exit.stderr.lines().collect();
    let ours = lines.iter().filter(|line| line.starts_with("ssmfwd: "));
    let ours: Vec<_> = ours.collect();
    assert_eq!(ours.len(), 1, "{}", exit.stderr);
    // `ssh` ends once it has said that the connection is closed: what comes later is for nobody.
    assert!(exit.stderr.starts_with("ssmfwd: "), "{}", exit.stderr);
    assert!(
        texts.iter().all(|text| ours[0].contains(text)),
        "{}",
        ours[0]
    );
    assert_eq!(exit.stdout, "");
}

#[tokio::test]
async fn an_unknown_target_is_named() {
    let fixture = Fixture::new().await;
    let server = Server::start(&fixture).await;
    server.install_stanza(&fixture, &[]).await;
    let mut command = server.command(&fixture, "ssh");
    command.args(["i-0dead", "true"]);
    let exit = Client::spawn(command).exit().await;
    expect_line(
        &exit,
        &[
            "i-0dead is not known to Systems Manager",
            "check the identifier",
        ],
    );
}

#[tokio::test]
async fn a_closed_port_is_named() {
    let fixture = Fixture::new().await;
    let server = Server::start(&fixture).await;
    server.install_stanza(&fixture, &[]).await;
    let (_socket, port) = unused_port();
    let mut command = server.command(&fixture, "ssh");
    command.args(["-p", &port.to_string(), TARGET, "true"]);
    let exit = Client::spawn(command).exit().await;
    expect_line(
        &exit,
        &["Unable to connect to specified port", "of the target"],
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn missing_credentials_are_explained() {
    let fixture = Fixture::new().await;
    let server = Server::start(&fixture).await;
    server.install_stanza(&fixture, &[]).await;
    let mut command = server.command(&fixture, "ssh");
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .args([TARGET, "true"]);
    let exit = Client::spawn(command).exit().await;
    expect_line(&exit, &["no AWS credentials", "aws configure"]);
}

#[tokio::test]
async fn a_server_that_is_killed_ends_the_login() {
    let fixture = Fixture::new().await;
    let server = Server::start(&fixture).await;
    server.install_stanza(&fixture, &[]).await;
    let mut command = server.command(&fixture, "ssh");
    // With a terminal, whose end is the end of what runs in it.
    command.args(["-tt", TARGET, "echo ready; exec sleep 1000"]);
    let mut client = Client::spawn(command);
    client.stdout_line("ready").await;
    server.kill();
    let exit = client.exit().await;
    exit.expect(255, &[]);
    // It is the server that ended it, which `ssh` says by itself.
    assert!(!exit.stderr.contains("ssmfwd"), "{}", exit.stderr);
    fixture.no_session_left().await;
}
