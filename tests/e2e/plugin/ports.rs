//! Port sessions through the AWS CLI.

use std::net::TcpListener;

use rustix::process::Signal;
use ssmfwd::lab::{Document, SessionType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::cli::{PORT_DOCUMENT, REMOTE_HOST_DOCUMENT, signal_group, spawn_group, start_session};
use crate::support::{
    Client, Exit, Fixture, bounded, connect, own_address, read_to_end, unassigned_port, unused_port,
};

const CUSTOM_DOCUMENT: &str = "Team-Forward";

/// Waits for the port in the line that every program waits for.
pub(super) async fn opened_port(client: &mut Client) -> u16 {
    let line = client.stdout_line(" opened for sessionId ").await;
    let port = line
        .strip_prefix("Port ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    port.parse().unwrap()
}

/// Sends some bytes through an echo service and back.
async fn converse(local: u16) {
    let mut socket = connect(local).await;
    echo(&mut socket).await;
}

async fn echo(socket: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    socket.write_all(b"\nhello\n").await.unwrap();
    let mut answer = [0; 7];
    let reading = socket.read_exact(&mut answer);
    bounded("the echo", reading).await.unwrap();
    assert_eq!(&answer, b"\nhello\n");
}

/// Presses Ctrl-C and waits for the end.
async fn interrupt(client: Client) -> Exit {
    signal_group(&client, Signal::INT);
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    assert_eq!(exit.stderr, "");
    exit
}

/// What is said in a session that began, carried connections and was ended with Ctrl-C.
pub(super) fn transcript(session_id: &str, port: u16) -> String {
    format!(
        "\nStarting session with SessionId: {session_id}\n\
         Port {port} opened for sessionId {session_id}.\nWaiting for connections...\n\
         \nConnection accepted for session [{session_id}]\n\
         Terminate signal received, exiting.\n\
         \n\nExiting session with sessionId: {session_id}.\n\n"
    )
}

pub(super) fn session_id(fixture: &Fixture) -> String {
    let [session] = <[_; 1]>::try_from(fixture.lab.sessions()).unwrap();
    session.id
}

#[tokio::test]
async fn a_port_is_forwarded_and_every_line_is_the_official_one() {
    let fixture = Fixture::new().await;
    let mut client = spawn_group(start_session(&fixture, PORT_DOCUMENT, "portNumber=7"));
    let port = opened_port(&mut client).await;
    client.stdout_line("Waiting for connections...").await;
    converse(port).await;
    converse(port).await;
    client
        .stdout_line("Connection accepted for session [")
        .await;
    let exit = interrupt(client).await;
    assert_eq!(exit.stdout, transcript(&session_id(&fixture), port));
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_old_agent_has_one_connection_at_a_time_and_its_own_lines() {
    let fixture = Fixture::with_agent("2.3.756.0").await;
    let mut client = spawn_group(start_session(&fixture, PORT_DOCUMENT, "portNumber=7"));
    let port = opened_port(&mut client).await;
    converse(port).await;
    converse(port).await;
    let exit = interrupt(client).await;
    let id = session_id(&fixture);
    let expected = format!(
        "\nStarting session with SessionId: {id}\n\
         Port {port} opened for sessionId {id}.\n\
         Connection accepted for session {id}.\n\
         Terminate signal received, exiting.\n\
         \n\nExiting session with sessionId: {id}.\n\n"
    );
    assert_eq!(exit.stdout, expected);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_remote_host_is_forwarded_to_the_port_asked_for() {
    let fixture = Fixture::new().await;
    let (held, local) = unused_port();
    drop(held);
    // The agent refuses loopback hosts, so the host is this machine by its own address.
    let Some(host) = own_address() else {
        return;
    };
    let far = tokio::net::TcpListener::bind((host, 0)).await.unwrap();
    let remote = far.local_addr().unwrap().port();
    let parameters = format!("host={host},portNumber={remote},localPortNumber={local}");
    let mut client = spawn_group(start_session(&fixture, REMOTE_HOST_DOCUMENT, &parameters));
    assert_eq!(opened_port(&mut client).await, local);
    // Both addresses of localhost, where the official plugin has one.
    for address in ["127.0.0.1", "::1"] {
        let connecting = TcpStream::connect((address, local));
        let mut socket = bounded("local connection", connecting).await.unwrap();
        let accepting = bounded("the far end", far.accept());
        let (mut far, _) = accepting.await.unwrap();
        far.write_all(b"from behind").await.unwrap();
        drop(far);
        let (received, _) = read_to_end(&mut socket).await;
        assert_eq!(received, b"from behind", "{address}");
    }
    interrupt(client).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_destination_that_refuses_is_told_of() {
    let fixture = Fixture::new().await;
    let (_guard, remote) = unused_port();
    let parameters = format!("portNumber={remote}");
    let mut client = spawn_group(start_session(&fixture, PORT_DOCUMENT, &parameters));
    let port = opened_port(&mut client).await;
    let mut socket = connect(port).await;
    crate::support::expect_reset(&mut socket).await;
    client
        .stdout_line("Connection to destination port failed, check SSM Agent logs.")
        .await;
    let exit = interrupt(client).await;
    let text = "\n\nConnection to destination port failed, check SSM Agent logs.\n";
    assert!(exit.stdout.contains(text), "{}", exit.stdout);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_local_unix_socket_is_listened_on() {
    let fixture = Fixture::with(|config| {
        config.documents = vec![Document::new(CUSTOM_DOCUMENT, SessionType::Port)]
    })
    .await;
    let path = fixture.directory().join("local.sock");
    let path = path.to_str().unwrap();
    let parameters = format!("portNumber=7,localConnectionType=unix,localUnixSocket={path}");
    let mut client = spawn_group(start_session(&fixture, CUSTOM_DOCUMENT, &parameters));
    client.stdout_line("Waiting for connections...").await;
    let mut socket = UnixStream::connect(path).await.unwrap();
    echo(&mut socket).await;
    drop(socket);
    let exit = interrupt(client).await;
    let id = session_id(&fixture);
    let line = format!("\nUnix socket {path} opened for sessionId {id}.\n");
    assert!(exit.stdout.contains(&line), "{}", exit.stdout);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_busy_port_fails_and_leaves_no_session() {
    let fixture = Fixture::new().await;
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let parameters = format!("portNumber=80,localPortNumber={port}");
    let client = spawn_group(start_session(&fixture, PORT_DOCUMENT, &parameters));
    let exit = client.exit().await;
    // The AWS CLI's own code for whatever went wrong.
    exit.expect(255, &["returned non-zero exit status 5", "hint: "]);
    let text = format!("\nCannot perform start session: cannot listen on port {port} of localhost");
    assert!(exit.stdout.contains(&text), "{}", exit.stdout);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_port_that_is_taken_on_ipv6_alone_is_opened_on_ipv4() {
    let fixture = Fixture::new().await;
    let port = unassigned_port();
    let _held = TcpListener::bind(("::1", port)).unwrap();
    let parameters = format!("portNumber=7,localPortNumber={port}");
    let mut client = spawn_group(start_session(&fixture, PORT_DOCUMENT, &parameters));
    assert_eq!(opened_port(&mut client).await, port);
    converse(port).await;
    signal_group(&client, Signal::INT);
    client
        .exit()
        .await
        .expect(0, &["only 127.0.0.1 is listened on"]);
    fixture.no_session_left().await;
}
