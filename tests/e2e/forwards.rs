//! Where a forward listens, what it leads to, and what the service is told.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener as BlockingListener};
use std::os::unix::fs::PermissionsExt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::support::{Client, Fixture, TARGET, bounded, connect, own_address, serve};
use ssmfwd::lab::{Document, SessionType};

async fn exchange(mut socket: impl AsyncReadExt + AsyncWriteExt + Unpin, text: &str) {
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; text.len()];
    let reading = socket.read_exact(&mut answer);
    bounded("the echo", reading).await.unwrap();
    assert_eq!(answer, text.as_bytes());
}

#[tokio::test]
async fn many_forwards_share_one_process_and_each_has_its_session() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&["7:0"; 8]);
    let mut ports = Vec::new();
    for _ in 0..8 {
        ports.push(client.connected().await);
    }
    for port in &ports {
        exchange(connect(*port).await, &format!("through {port}")).await;
    }
    assert_eq!(fixture.lab.sessions().len(), 8);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 8);
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn the_port_that_was_chosen_is_printed() {
    let fixture = Fixture::new().await;
    let mut client = Client::spawn(fixture.command(&[TARGET, "80:0"]));
    let line = client.stderr_line(" is now ").await;
    let start = format!("80 of {TARGET} is now http://localhost:");
    let port = line.strip_prefix(&start).unwrap().trim_end();
    connect(port.parse().unwrap()).await;
    client.stop().await;
}

#[tokio::test]
async fn localhost_is_both_families() {
    let fixture = Fixture::new().await;
    let (client, port) = fixture.forward(7).await;
    exchange(connect(port).await, "over IPv4").await;
    // Without IPv6 on this machine there is nothing to listen on.
    if BlockingListener::bind("[::1]:0").is_ok() {
        let socket = TcpStream::connect(("::1", port)).await.unwrap();
        exchange(socket, "over IPv6").await;
    }
    client.stop().await;
}

#[tokio::test]
async fn an_address_off_loopback_is_served_and_warned_of() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&["7:0.0.0.0:0"]);
    let warning = client.event("warning").await;
    let text = warning["message"].as_str().unwrap();
    assert!(
        text.contains("0.0.0.0:0 is not a loopback address"),
        "{text}"
    );
    let connected = client.event("connected").await;
    let address = connected["address"].as_str().unwrap();
    assert!(address.starts_with("0.0.0.0:"), "{address}");
    let port = connected["port"].as_u64().unwrap().try_into().unwrap();
    exchange(connect(port).await, "through any address").await;
    client.stop().await;
}

#[tokio::test]
async fn a_unix_socket_is_private_and_removed_at_the_end() {
    let fixture = Fixture::new().await;
    let path = fixture.directory().join("echo.sock");
    let mut client = fixture.spawn(&[&format!("7:{}", path.display())]);
    let connected = client.event("connected").await;
    assert_eq!(connected["address"], path.to_str().unwrap());
    assert_eq!(connected.get("port"), None);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    exchange(UnixStream::connect(&path).await.unwrap(), "locally").await;
    client.stop().await;
    assert!(!path.exists());
    let left = std::fs::read_dir(fixture.directory()).unwrap();
    assert_eq!(left.count(), 0, "something is left in the directory");
}

#[tokio::test]
async fn a_remote_host_is_reached_through_the_target() {
    let Some(host) = own_address() else {
        // The agent refuses loopback, and this machine has no other address.
        return;
    };
    let fixture = Fixture::new().await;
    let listener = TcpListener::bind(SocketAddr::new(host, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = fixture.spawn(&[&format!("{host}:{port}:0")]);
    let connected = client.event("connected").await;
    assert_eq!(connected["remote_host"], host.to_string());
    let local = connected["port"].as_u64().unwrap().try_into().unwrap();
    let mut near = connect(local).await;
    let (mut far, _) = bounded("the far end", listener.accept()).await.unwrap();
    near.write_all(b"x").await.unwrap();
    let byte = bounded("a byte", far.read_u8()).await.unwrap();
    assert_eq!(byte, b'x');
    let [session] = fixture.lab.sessions().try_into().unwrap();
    assert_eq!(
        session.document,
        "AWS-StartPortForwardingSessionToRemoteHost"
    );
    assert_eq!(session.parameters["host"], [host.to_string()]);
    client.stop().await;
}

#[tokio::test]
async fn a_forbidden_host_is_refused_in_the_agents_words_with_what_to_do() {
    let fixture = Fixture::new().await;
    let exit = fixture.run(&[TARGET, "169.254.169.254:80:0"]).await;
    exit.expect(
        6,
        &[
            "Forwarding to IP address 169.254.169.254 is forbidden",
            "hint: ",
            "without a host, the port is the target's own",
        ],
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_loopback_host_is_the_target_itself() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&["127.0.0.1:7:0"]);
    let local = client.connected().await;
    exchange(connect(local).await, "to the target").await;
    let [session] = fixture.lab.sessions().try_into().unwrap();
    assert_eq!(session.document, "AWS-StartPortForwardingSession");
    assert!(!session.parameters.contains_key("host"));
    client.stop().await;
}

#[tokio::test]
async fn a_document_of_ones_own_gets_its_parameters_and_the_reason_is_recorded() {
    let documents = vec![Document::new("My-Tunnel", SessionType::Port)];
    let fixture = Fixture::with(|config| config.documents = documents).await;
    let port = serve(|mut socket| async move {
        let (mut reader, mut writer) = socket.split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    });
    let port = port.await.to_string();
    let mut client = fixture.spawn(&[
        "--document=My-Tunnel",
        "--parameter=stage=blue,green",
        &format!("--parameter=portNumber={port}"),
        "--reason=ticket 4711",
        "80:0",
    ]);
    let local = client.connected().await;
    exchange(connect(local).await, "through a document").await;
    let [session] = fixture.lab.sessions().try_into().unwrap();
    assert_eq!(session.document, "My-Tunnel");
    assert_eq!(session.reason.as_deref(), Some("ticket 4711"));
    let expected = [
        ("localPortNumber", "0"),
        ("portNumber", &port),
        ("stage", "blue,green"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
    assert_eq!(session.parameters, BTreeMap::from(expected));
    client.stop().await;
}
