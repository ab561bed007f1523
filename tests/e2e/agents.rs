//! Agents of three generations: multiplexing, with keep-alive, and one connection at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{
    Fixture, Random, bounded, connect, read_to_end, receive, send, serve, unused_port,
};

const CURRENT: &str = "3.3.987.0";
const WITH_KEEP_ALIVE: &str = "3.1.1000.0";
const ONE_AT_A_TIME: &str = "3.0.100.0";

/// Has the end of a connection passed on at once: the next one waits for it if there is one at a time.
const AT_ONCE: &str = "--half-close=0";

async fn echo(mut socket: TcpStream, seed: u64, len: u64) {
    let (mut reader, mut writer) = socket.split();
    let both = async { tokio::join!(send(&mut writer, seed, len), receive(&mut reader, len)) };
    let (sent, received) = bounded("the echo", both).await;
    assert_eq!(received.unwrap(), sent.unwrap());
}

/// Carries several connections at once and tells which version the agent claims.
async fn carries_connections(version: &str) {
    let fixture = Fixture::with_agent(version).await;
    let mut client = fixture.spawn(&[AT_ONCE, "7:0"]);
    let connected = client.event("connected").await;
    assert_eq!(connected["agent_version"], version);
    let local = connected["port"].as_u64().unwrap().try_into().unwrap();
    let mut connections = JoinSet::new();
    for seed in 0..4 {
        connections.spawn(echo(connect(local).await, seed, 1 << 20));
    }
    while let Some(connection) = connections.join_next().await {
        connection.unwrap();
    }
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_current_agent_carries_many_connections() {
    carries_connections(CURRENT).await;
}

#[tokio::test]
async fn an_agent_that_wants_keep_alive_carries_many_connections() {
    carries_connections(WITH_KEEP_ALIVE).await;
}

#[tokio::test]
async fn an_old_agent_carries_many_connections() {
    carries_connections(ONE_AT_A_TIME).await;
}

/// Sessions a forward has at most.
const MAX_SESSIONS: usize = 8;

/// Has no further session started, so that connections wait for their turn.
fn keep_to_one_session(fixture: &Fixture) {
    fixture.lab.update_chaos("deny=StartSession").unwrap();
}

/// Reads a line and answers with it, while counting the connections that are open.
async fn answer_a_line(mut socket: TcpStream, open: &AtomicUsize, most_open: &AtomicUsize) {
    let now_open = open.fetch_add(1, Ordering::SeqCst) + 1;
    most_open.fetch_max(now_open, Ordering::SeqCst);
    let mut line = Vec::new();
    loop {
        match socket.read_u8().await.unwrap() {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    let _: std::io::Result<()> = socket.write_all(&line).await;
    let mut rest = Vec::new();
    let _: std::io::Result<usize> = socket.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "bytes of another connection: {rest:?}");
    open.fetch_sub(1, Ordering::SeqCst);
}

async fn say(mut socket: TcpStream, line: &str) -> String {
    socket.write_all(line.as_bytes()).await.unwrap();
    socket.write_all(b"\n").await.unwrap();
    let mut answer = vec![0; line.len()];
    let reading = socket.read_exact(&mut answer);
    bounded("the answer to a line", reading).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn who_leaves_without_a_word_does_not_wait_for_an_old_agent() {
    let fixture = Fixture::with_agent(ONE_AT_A_TIME).await;
    let (open, most_open) = (Arc::default(), Arc::default());
    let port = serve(move |socket| {
        let (open, most_open) = (Arc::clone(&open), Arc::clone(&most_open));
        async move { answer_a_line(socket, &open, &most_open).await }
    });
    let mut client = fixture.spawn(&[AT_ONCE, &format!("{}:0", port.await)]);
    let local = client.connected().await;
    keep_to_one_session(&fixture);
    let mut first = connect(local).await;
    first.write_all(b"h").await.unwrap();
    let probe = connect(local).await;
    let opened = client.event("connection_opened").await;
    assert_eq!(opened["connection"], 1);
    drop(probe);
    let closed = client.event("connection_closed").await;
    assert_eq!(closed["connection"], 2, "{closed}");
    assert_eq!(closed["outcome"], "closed", "{closed}");
    assert_eq!(say(first, "ello").await, "hello"[..4]);
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_old_agent_serves_waiting_connections_in_turn() {
    let fixture = Fixture::with_agent(ONE_AT_A_TIME).await;
    let (open, most_open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let most = Arc::clone(&most_open);
    let port = serve(move |socket| {
        let (open, most) = (Arc::clone(&open), Arc::clone(&most));
        async move { answer_a_line(socket, &open, &most).await }
    });
    let mut client = fixture.spawn(&[AT_ONCE, &format!("{}:0", port.await)]);
    let local = client.connected().await;
    keep_to_one_session(&fixture);
    // One after the other, then all at once.
    for number in 0..5 {
        let line = format!("connection {number}");
        assert_eq!(say(connect(local).await, &line).await, line);
    }
    let mut connections = JoinSet::new();
    for number in 0..8 {
        let socket = connect(local).await;
        connections.spawn(async move {
            let line = format!("concurrent connection {number}");
            assert_eq!(say(socket, &line).await, line);
        });
    }
    while let Some(connection) = connections.join_next().await {
        connection.unwrap();
    }
    assert_eq!(most_open.load(Ordering::SeqCst), 1);
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_old_agent_serves_as_many_connections_at_once_as_there_may_be_sessions() {
    let fixture = Fixture::with_agent(ONE_AT_A_TIME).await;
    let (open, mut opened) = watch::channel(0);
    let open = Arc::new(open);
    let port = serve(move |mut socket| {
        let (open, mut opened) = (Arc::clone(&open), open.subscribe());
        async move {
            // An agent connects before anybody wants it to.
            if socket.read_u8().await.is_err() {
                return;
            }
            open.send_modify(|count| *count += 1);
            opened
                .wait_for(|count| *count >= MAX_SESSIONS)
                .await
                .unwrap();
            send(&mut socket, 1, 1 << 20).await.unwrap();
            let _ended = read_to_end(&mut socket).await;
        }
    });
    let mut client = fixture.spawn(&[AT_ONCE, &format!("{}:0", port.await)]);
    let local = client.connected().await;
    let mut downloads = JoinSet::new();
    for _ in 0..MAX_SESSIONS + 2 {
        let mut socket = connect(local).await;
        downloads.spawn(async move {
            socket.write_all(b"x").await.unwrap();
            receive(&mut socket, 1 << 20).await.unwrap()
        });
    }
    let enough = opened.wait_for(|count| *count == MAX_SESSIONS);
    bounded("connections at the same time", enough)
        .await
        .unwrap();
    let sent = send(&mut tokio::io::sink(), 1, 1 << 20).await.unwrap();
    while let Some(received) = bounded("a download", downloads.join_next()).await {
        assert_eq!(received.unwrap(), sent);
    }
    assert_eq!(fixture.lab.sessions().len(), MAX_SESSIONS);
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_old_agent_serves_a_connection_beside_one_that_stays_open() {
    let fixture = Fixture::with_agent(ONE_AT_A_TIME).await;
    let (mut client, local) = fixture.forward(7).await;
    let mut long_lived = connect(local).await;
    for query in [b"query 1", b"query 2", b"query 3"] {
        long_lived.write_all(query).await.unwrap();
        let mut answer = [0; 7];
        let reading = long_lived.read_exact(&mut answer);
        bounded("the answer to a query", reading).await.unwrap();
        assert_eq!(&answer, query);
        assert_eq!(say(connect(local).await, "another").await, "another");
    }
    let started = client.event("session_started").await;
    let reason = started["reason"].as_str().unwrap();
    assert!(reason.contains("one connection at a time"), "{reason}");
    client.stop().await;
    fixture.no_session_left().await;
}

/// Such an agent never reports that the other side is done, so a long hold would keep the next connection waiting.
#[tokio::test]
async fn an_old_agents_next_connection_does_not_wait_for_a_long_half_close() {
    let fixture = Fixture::with_agent(ONE_AT_A_TIME).await;
    let mut client = fixture.spawn(&["--half-close=3600", "7:0"]);
    let local = client.connected().await;
    keep_to_one_session(&fixture);
    let mut done_sending = connect(local).await;
    done_sending.write_all(b"first").await.unwrap();
    let mut echoed = [0; 5];
    let reading = done_sending.read_exact(&mut echoed);
    bounded("the echo", reading).await.unwrap();
    done_sending.shutdown().await.unwrap();
    assert_eq!(say(connect(local).await, "second").await, "second");
    client.stop().await;
}

/// The first connection leaves with megabytes on the way; nothing of them may reach the second.
#[tokio::test]
async fn an_old_agent_keeps_an_abandoned_download_out_of_the_next_connection() {
    let fixture = Fixture::with_agent(ONE_AT_A_TIME).await;
    let port = serve(|mut socket| async move {
        match socket.read_u8().await.unwrap() {
            b'd' => {
                let flood = Random::new(1).bytes(8 << 20);
                // The client leaves before the end.
                let _: std::io::Result<()> = socket.write_all(&flood).await;
            }
            byte => socket.write_all(&[byte; 3]).await.unwrap(),
        }
    });
    let mut client = fixture.spawn(&[AT_ONCE, &format!("{}:0", port.await)]);
    let local = client.connected().await;
    keep_to_one_session(&fixture);
    for byte in [b'1', b'2', b'3'] {
        let mut abandoned = connect(local).await;
        abandoned.write_all(b"d").await.unwrap();
        let some = bounded("some bytes", receive(&mut abandoned, 1 << 16));
        some.await.unwrap();
        drop(abandoned);
        let mut next = connect(local).await;
        next.write_all(&[byte]).await.unwrap();
        // Such an agent does not tell that the server has closed.
        let mut answer = [0; 3];
        let reading = next.read_exact(&mut answer);
        bounded("the answer", reading).await.unwrap();
        assert_eq!(answer, [byte; 3]);
    }
    client.stop().await;
}

#[tokio::test]
async fn an_old_agent_that_cannot_connect_ends_the_session_with_its_reason() {
    let fixture = Fixture::with_agent(ONE_AT_A_TIME).await;
    let (_reserved, port) = unused_port();
    let client = fixture.spawn(&[&format!("{port}:0")]);
    // Such an agent connects when the session starts.
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(6));
    assert!(exit.stdout.contains("Unable to connect to specified port"));
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_old_agent_passes_a_greeting_on() {
    let fixture = Fixture::with_agent(ONE_AT_A_TIME).await;
    let remote = serve(|mut socket| async move {
        socket.write_all(b"220 ready").await.unwrap();
        let _ended = read_to_end(&mut socket).await;
    })
    .await;
    let (_client, local) = fixture.forward(remote).await;
    let mut socket = connect(local).await;
    let mut greeting = [0; 9];
    bounded("greeting", socket.read_exact(&mut greeting))
        .await
        .unwrap();
    assert_eq!(&greeting, b"220 ready");
}
