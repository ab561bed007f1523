//! What users of `ssh` read when it does not work.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::{Server, make_key};
use crate::support::{Client, Exit, Fixture, TARGET, eventually, serve, unused_port};

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
    let server = Server::with_stanza(&fixture).await;
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
    let server = Server::with_stanza(&fixture).await;
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
    let server = Server::with_stanza(&fixture).await;
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
    let server = Server::with_stanza(&fixture).await;
    let client = server.login(&fixture, &[]).await;
    server.kill();
    let exit = client.exit().await;
    exit.expect(255, &[]);
    // It is the server that ended it, which `ssh` says by itself.
    assert!(!exit.stderr.contains("ssmfwd"), "{}", exit.stderr);
    fixture.no_session_left().await;
}

/// The session is over before there is anything to carry: what the agent said is what the user has to know.
#[tokio::test]
async fn a_refusal_while_the_key_is_pushed_is_told() {
    let fixture = Arc::new(Fixture::new().await);
    let key = fixture.directory().join("key");
    make_key(&key);
    let during_push = Arc::clone(&fixture);
    // Takes its time for the push.
    let instance_connect = serve(move |mut socket| {
        let fixture = Arc::clone(&during_push);
        async move {
            let mut request = [0; 1024];
            assert_ne!(socket.read(&mut request).await.unwrap(), 0);
            eventually("a session", || !fixture.lab.sessions().is_empty()).await;
            fixture.no_session_left().await;
            let body = r#"{"RequestId":"1","Success":true}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let endpoint = format!("http://127.0.0.1:{}", instance_connect.await);
    let (_socket, port) = unused_port();
    let option = format!("--push-key={}", key.display());
    let mut command =
        fixture.command(&["proxy", TARGET, &port.to_string(), &option, "--user", "me"]);
    command.env("AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT", endpoint);
    let exit = Client::spawn(command).exit().await;
    exit.expect(
        6,
        &["ssmfwd: session ", "Unable to connect to specified port"],
    );
}
