//! Several sessions behind one forward, for connections that one session cannot serve as well together.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use ssmfwd::lab::{Condition, EndedBy, Fault, SessionState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::support::{
    Client, Digest, Fixture, bounded, connect, eventually, expect_reset, receive, receive_to_end,
    send, serve,
};

/// An agent that carries one connection at a time.
const OLD_AGENT: &str = "3.0.100.0";

/// More than the buffers on the way hold before a stream counts as stalled.
const BULK_LEN: u64 = 48 << 20;

/// What a client says at `-vv` when a stream stalls.
const STALLED: &str = "stream stalled";

/// Takes uploads after `go` and sends their digests to `uploads`; echoes what is said on other connections.
async fn upload_or_echo(go: Arc<Notify>, uploads: mpsc::UnboundedSender<Digest>) -> u16 {
    let handler = move |mut socket: TcpStream| {
        let (go, uploads) = (Arc::clone(&go), uploads.clone());
        async move {
            match socket.read_u8().await {
                Ok(b'u') => {
                    go.notified().await;
                    uploads
                        .send(receive(&mut socket, BULK_LEN).await.unwrap())
                        .unwrap();
                }
                Ok(b'e') => {
                    let (mut reader, mut writer) = socket.split();
                    // Ends with the client, however that leaves.
                    let _: std::io::Result<u64> = tokio::io::copy(&mut reader, &mut writer).await;
                }
                // A session that nobody has used.
                _ => {}
            }
        }
    };
    serve(handler).await
}

/// Opens a connection to [`upload_or_echo`] that echoes.
async fn echoing(local: u16) -> TcpStream {
    let mut socket = connect(local).await;
    socket.write_all(b"e").await.unwrap();
    echo(&mut socket).await;
    socket
}

async fn echo(socket: &mut TcpStream) {
    socket.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    let reading = socket.read_exact(&mut answer);
    bounded("the echo", reading).await.unwrap();
    assert_eq!(&answer, b"hello");
}

/// Starts a client that says when streams stall.
async fn forward(fixture: &Fixture, port: u16) -> (Client, u16) {
    let mut client = fixture.spawn(&["-vv", &format!("{port}:0")]);
    let local = client.connected().await;
    (client, local)
}

#[tokio::test]
async fn a_curl_that_was_stopped_does_not_hold_up_new_connections() {
    let fixture = Fixture::new().await;
    let (asked, mut requests) = mpsc::unbounded_channel();
    let body = Arc::new(Notify::new());
    let wait = Arc::clone(&body);
    let port = serve(move |mut socket| {
        let (asked, wait) = (asked.clone(), Arc::clone(&wait));
        async move {
            let mut request = vec![0; 4096];
            let len = socket.read(&mut request).await.unwrap();
            let is_bulk = request[..len].starts_with(b"GET /bulk");
            let len = if is_bulk { BULK_LEN } else { 10 };
            if is_bulk {
                asked.send(()).unwrap();
                wait.notified().await;
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            send(&mut socket, 1, len).await.unwrap();
        }
    })
    .await;
    let (mut client, local) = forward(&fixture, port).await;
    let file = fixture.directory().join("bulk");
    let curl = |path: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--output"]);
        curl.arg(&file)
            .arg(format!("http://127.0.0.1:{local}/{path}"));
        Client::spawn(fixture.isolate(curl))
    };
    let stopped = curl("bulk");
    bounded("the request", requests.recv()).await.unwrap();
    stopped.signal(Signal::STOP);
    body.notify_one();
    client.stderr_line(STALLED).await;
    for _ in 0..3 {
        let mut socket = connect(local).await;
        socket
            .write_all(b"GET /small HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        let answer = bounded("a small page", receive_to_end(&mut socket)).await;
        assert!(answer.unwrap().len > 10);
    }
    let started = client.event("session_started").await;
    assert!(
        started["reason"].as_str().unwrap().contains("stalled"),
        "{started}"
    );
    assert_eq!(fixture.lab.sessions().len(), 2);

    stopped.signal(Signal::CONT);
    let exit = stopped.exit().await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    let mut received = tokio::fs::File::open(&file).await.unwrap();
    let received = receive_to_end(&mut received).await.unwrap();
    let sent = send(&mut tokio::io::sink(), 1, BULK_LEN).await.unwrap();
    assert_eq!(received, sent);
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_target_that_takes_nothing_does_not_hold_up_new_connections() {
    let fixture = Fixture::new().await;
    let (go, (uploads, mut uploaded)) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
    let port = upload_or_echo(Arc::clone(&go), uploads).await;
    let (mut client, local) = forward(&fixture, port).await;
    let mut socket = connect(local).await;
    let uploading = tokio::spawn(async move {
        socket.write_all(b"u").await.unwrap();
        let digest = send(&mut socket, 2, BULK_LEN).await.unwrap();
        (digest, socket)
    });
    client.stderr_line(STALLED).await;
    let mut others = [echoing(local).await, echoing(local).await];
    assert_eq!(fixture.lab.sessions().len(), 2);
    go.notify_one();
    let (sent, _socket) = bounded("end of the upload", uploading).await.unwrap();
    let received = bounded("end of the receiver", uploaded.recv())
        .await
        .unwrap();
    assert_eq!(received, sent);
    for other in &mut others {
        echo(other).await;
    }
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_stalled_session_is_used_where_no_other_can_be_had() {
    let fixture = Fixture::new().await;
    let (go, (uploads, _uploaded)) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
    let port = upload_or_echo(Arc::clone(&go), uploads).await;
    let (mut client, local) = forward(&fixture, port).await;
    let mut bulk = connect(local).await;
    bulk.write_all(b"u").await.unwrap();
    // Stalled, and not enough to block the session.
    send(&mut bulk, 2, 2 << 20).await.unwrap();
    client.stderr_line(STALLED).await;
    fixture.lab.update_chaos("deny=StartSession").unwrap();
    echoing(local).await;
    assert_eq!(fixture.lab.sessions().len(), 1);
    client.stop().await;
    fixture.no_session_left().await;
}

/// A forward to an old agent, with connections that have a session each.
async fn in_sessions_of_their_own<const N: usize>(
    fixture: &Fixture,
    options: &[&str],
) -> (Client, u16, [TcpStream; N]) {
    let (uploads, _) = mpsc::unbounded_channel();
    let port = upload_or_echo(Arc::default(), uploads).await;
    let forward = format!("{port}:0");
    let mut client = fixture.spawn(&[options, &[&forward]].concat());
    let local = client.connected().await;
    let mut sockets = Vec::new();
    for _ in 0..N {
        sockets.push(echoing(local).await);
    }
    assert_eq!(fixture.lab.sessions().len(), N);
    (client, local, sockets.try_into().unwrap())
}

#[tokio::test]
async fn the_end_of_one_of_several_sessions_is_that_of_its_connections() {
    let fixture = Fixture::with_agent(OLD_AGENT).await;
    let (mut client, local, [mut first, mut second]) =
        in_sessions_of_their_own(&fixture, &[]).await;
    let id = fixture.lab.sessions()[0].id.clone();
    fixture.lab.end_session(&id, EndedBy::Caller);
    expect_reset(&mut first).await;
    let lost = client.event("session_lost").await;
    assert_eq!(lost["session_id"], id.as_str());
    assert_eq!(lost["connections"], 1);
    echo(&mut second).await;
    echoing(local).await;
    let exit = client.stop().await;
    assert!(!exit.stdout.contains("\"reconnecting\""), "{}", exit.stdout);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn without_reconnecting_the_end_of_one_of_several_sessions_ends_it_all() {
    let fixture = Fixture::with_agent(OLD_AGENT).await;
    let (client, _, sockets) = in_sessions_of_their_own::<2>(&fixture, &["--no-reconnect"]).await;
    let id = fixture.lab.sessions()[0].id.clone();
    fixture.lab.end_session(&id, EndedBy::Caller);
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(6), "{}", exit.stderr);
    for mut socket in sockets {
        expect_reset(&mut socket).await;
    }
    fixture.no_session_left().await;
}

#[tokio::test]
async fn all_sessions_gone_is_one_restart() {
    let fixture = Fixture::with_agent(OLD_AGENT).await;
    let (mut client, local, sockets) = in_sessions_of_their_own::<3>(&fixture, &[]).await;
    fixture.lab.inject(Fault::Terminate);
    for mut socket in sockets {
        expect_reset(&mut socket).await;
    }
    client.event("reconnecting").await;
    echoing(local).await;
    client.event("restarted").await;
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_outage_of_several_sessions_is_told_once_and_costs_nothing() {
    let fixture = Fixture::with_agent(OLD_AGENT).await;
    let (mut client, _, mut sockets) = in_sessions_of_their_own::<2>(&fixture, &[]).await;
    let refusing = |length| {
        let fault = Fault::Holds(Condition::RefuseConnections, length);
        fixture.lab.inject(fault);
    };
    refusing(Duration::from_secs(3600));
    fixture.lab.inject(Fault::Cut);
    client.event("reconnecting").await;
    eventually("loss of both connections", || {
        let sessions = fixture.lab.sessions();
        sessions
            .iter()
            .all(|session| session.state == SessionState::Disconnected)
    })
    .await;
    refusing(Duration::ZERO);
    client.event("resumed").await;
    for socket in &mut sockets {
        echo(socket).await;
    }
    let exit = client.stop().await;
    for name in ["reconnecting", "resumed"] {
        let events = exit.events();
        let told = events.iter().filter(|event| event["event"] == name);
        assert_eq!(told.count(), 1, "{name}: {}", exit.stdout);
    }
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_session_nobody_needs_any_more_is_ended_and_the_last_one_stays() {
    let fixture = Fixture::with_agent(OLD_AGENT).await;
    let (mut client, local, [first, second]) = in_sessions_of_their_own(&fixture, &[]).await;
    drop((first, second));
    let closed = client.event("closed").await;
    let is_running = |state| !matches!(state, SessionState::Terminated(_));
    let sessions = fixture.lab.sessions();
    let running: Vec<_> = sessions.iter().filter(|s| is_running(s.state)).collect();
    assert_eq!(running.len(), 1);
    assert_ne!(closed["session_id"], running[0].id.as_str());
    echoing(local).await;
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_signal_while_another_session_is_started_leaves_none() {
    for signal in [Signal::INT, Signal::TERM] {
        let fixture = Fixture::with_agent(OLD_AGENT).await;
        let (client, local, [mut first]) = in_sessions_of_their_own(&fixture, &[]).await;
        fixture.lab.update_chaos("silent").unwrap();
        let mut second = connect(local).await;
        eventually("start of another session", || {
            fixture.lab.sessions().len() == 2
        })
        .await;
        client.signal(signal);
        let exit = client.exit().await;
        assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
        assert!(!exit.stdout.contains("may go on"), "{}", exit.stdout);
        expect_reset(&mut first).await;
        expect_reset(&mut second).await;
        fixture.no_session_left().await;
    }
}

/// A server that the lab's `db.internal` means from now on.
struct Database(JoinHandle<()>);

impl Database {
    /// Starts one at 127.0.0.`host`: an address of its own, so that nobody else takes it over.
    async fn start(fixture: &Fixture, host: u8) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, host), 0))
            .await
            .unwrap();
        fixture.lab.inject(Fault::MoveHost {
            name: "db.internal".to_owned(),
            address: listener.local_addr().unwrap(),
        });
        Self(tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut reader, mut writer) = socket.split();
                    let _: std::io::Result<u64> = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        }))
    }

    /// Refuses connections from now on, and goes on with those there are.
    async fn stop(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled());
    }
}

#[tokio::test]
async fn a_host_that_has_moved_is_found_in_another_session() {
    let fixture = Fixture::new().await;
    let old = Database::start(&fixture, 2).await;
    let mut client = fixture.spawn(&["db.internal:5432:0"]);
    let local = client.connected().await;
    let mut kept = connect(local).await;
    echo(&mut kept).await;
    old.stop().await;
    let _new = Database::start(&fixture, 3).await;
    expect_reset(&mut connect(local).await).await;
    let closed = client.event("connection_closed").await;
    assert_eq!(closed["outcome"], "refused", "{closed}");
    for _ in 0..3 {
        echo(&mut connect(local).await).await;
    }
    let started = client.event("session_started").await;
    assert!(
        started["reason"].as_str().unwrap().contains("moved"),
        "{started}"
    );
    assert_eq!(fixture.lab.sessions().len(), 2);
    echo(&mut kept).await;
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_host_that_never_answered_is_not_looked_for() {
    let fixture = Fixture::new().await;
    Database::start(&fixture, 4).await.stop().await;
    let mut client = fixture.spawn(&["db.internal:5432:0"]);
    let local = client.connected().await;
    for _ in 0..3 {
        expect_reset(&mut connect(local).await).await;
    }
    client.stop().await;
    assert_eq!(fixture.lab.sessions().len(), 1);
}
