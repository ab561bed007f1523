//! AWS-StartSSHSession: standard input and output as a connection, as `ssh` uses them.

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::cli::{SSH_DOCUMENT, start_session};
use crate::support::{Client, Fixture, bounded, unused_port};

/// The AWS CLI with a destination of the test's own behind its pipes.
struct Bridge {
    child: Child,
    stdout: ChildStdout,
}

impl Bridge {
    /// Also returns standard input, and the destination's connection.
    async fn new(fixture: &Fixture) -> (Self, ChildStdin, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut command = start_session(fixture, SSH_DOCUMENT, &format!("portNumber={port}"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (far, _) = bounded("the far end", listener.accept()).await.unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut bridge = Self { child, stdout };
        let id = &fixture.lab.sessions()[0].id;
        let first = format!("\nStarting session with SessionId: {id}\n");
        assert_eq!(bridge.read(first.len()).await, first.as_bytes());
        (bridge, stdin, far)
    }

    async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let reading = self.stdout.read_exact(&mut bytes);
        bounded("bytes on standard output", reading).await.unwrap();
        bytes
    }

    /// Waits for the end, which must be a good one, with nothing but `expected` left to read.
    async fn expect_good_end(mut self, expected: &[u8]) {
        let mut rest = Vec::new();
        let reading = self.stdout.read_to_end(&mut rest);
        bounded("end of standard output", reading).await.unwrap();
        let mut stderr = String::new();
        let mut errors = self.child.stderr.take().unwrap();
        let reading = errors.read_to_string(&mut stderr);
        bounded("end of standard error", reading).await.unwrap();
        let waiting = self.child.wait();
        let status = bounded("end of the process", waiting).await.unwrap();
        assert_eq!((rest.as_slice(), stderr.as_str()), (expected, ""));
        assert_eq!(status.code(), Some(0));
    }
}

#[tokio::test]
async fn after_the_sessions_line_there_is_nothing_but_data() {
    let fixture = Fixture::new().await;
    let (mut bridge, mut stdin, mut far) = Bridge::new(&fixture).await;
    // A lone line feed is what the official plugin changes.
    for bytes in [&b"\n"[..], b"\r\n\0\xff", b"SSH-2.0-x\r\n"] {
        stdin.write_all(bytes).await.unwrap();
        let mut received = vec![0; bytes.len()];
        let reading = far.read_exact(&mut received);
        bounded("bytes at the far end", reading).await.unwrap();
        assert_eq!(received, bytes);
        far.write_all(bytes).await.unwrap();
        assert_eq!(bridge.read(bytes.len()).await, bytes);
    }
    let bulk: Vec<u8> = (0..1024 * 1024_u32).flat_map(u32::to_le_bytes).collect();
    let (written, received) = tokio::join!(far.write_all(&bulk), bridge.read(bulk.len()));
    written.unwrap();
    assert!(received == bulk, "the bulk is not what was sent");
    drop(far);
    bridge.expect_good_end(b"").await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_answer_after_the_end_of_input_still_arrives() {
    let fixture = Fixture::new().await;
    let (bridge, mut stdin, mut far) = Bridge::new(&fixture).await;
    stdin.write_all(b"request").await.unwrap();
    drop(stdin);
    let mut request = [0; 7];
    let reading = far.read_exact(&mut request);
    bounded("the request", reading).await.unwrap();
    far.write_all(b"answer").await.unwrap();
    drop(far);
    bridge.expect_good_end(b"answer").await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn nobody_reading_ends_the_session_at_once() {
    let fixture = Fixture::new().await;
    let (mut bridge, _stdin, _far) = Bridge::new(&fixture).await;
    drop(bridge.stdout);
    let mut stderr = String::new();
    let mut errors = bridge.child.stderr.take().unwrap();
    let reading = errors.read_to_string(&mut stderr);
    bounded("end of standard error", reading).await.unwrap();
    assert_eq!(stderr, "");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_port_nobody_serves_is_said_where_ssh_shows_it() {
    let fixture = Fixture::new().await;
    let (_guard, port) = unused_port();
    let parameters = format!("portNumber={port}");
    let client = Client::spawn(start_session(&fixture, SSH_DOCUMENT, &parameters));
    let exit = client.exit().await;
    exit.expect(255, &["error: ", "Unable to connect to specified port: "]);
    let id = &fixture.lab.sessions()[0].id;
    assert_eq!(
        exit.stdout,
        format!("\nStarting session with SessionId: {id}\n")
    );
    fixture.no_session_left().await;
}
