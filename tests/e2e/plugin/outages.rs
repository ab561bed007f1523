//! Connections to the service that are lost and replaced under the plugin.

use std::process::Stdio;

use rustix::process::Signal;
use ssmfwd::lab::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::cli::{PORT_DOCUMENT, SSH_DOCUMENT, signal_group, spawn_group, start_session};
use super::ports::{opened_port, session_id, transcript};
use crate::support::{Fixture, Random, bounded, connect, receive_to_end, send, serve};

#[tokio::test]
async fn a_port_session_survives_cuts_and_says_so_on_standard_error_alone() {
    const LEN: u64 = 3 << 20;
    // At the real agent's pace, since it repairs what was under way at ten messages a second.
    let fixture = Fixture::with(|config| config.pace = true).await;
    let remote = serve(async |mut socket| {
        send(&mut socket, 1, LEN).await.unwrap();
    });
    let parameters = format!("portNumber={}", remote.await);
    let mut client = spawn_group(start_session(&fixture, PORT_DOCUMENT, &parameters));
    let port = opened_port(&mut client).await;
    let mut socket = connect(port).await;
    let receiving = tokio::spawn(async move { receive_to_end(&mut socket).await });
    for fault in [Fault::Cut, Fault::Reset, Fault::Cut] {
        fixture.lab.inject(fault);
        client.stderr_line(": reconnecting, ").await;
        client.stderr_line(" s, nothing was lost").await;
    }
    let received = bounded("the download", receiving).await.unwrap();
    let expected = send(&mut tokio::io::sink(), 1, LEN).await.unwrap();
    assert_eq!(received.unwrap(), expected);
    signal_group(&client, Signal::INT);
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(0));
    assert_eq!(exit.stderr.lines().count(), 6, "{}", exit.stderr);
    assert_eq!(exit.stdout, transcript(&session_id(&fixture), port));
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_byte_stream_survives_a_cut_untouched() {
    let fixture = Fixture::new().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let parameters = format!("portNumber={}", listener.local_addr().unwrap().port());
    let mut command = start_session(&fixture, SSH_DOCUMENT, &parameters);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (mut far, _) = bounded("the far end", listener.accept()).await.unwrap();
    let bytes = Random::new(6).bytes(200_000);
    let (first, rest) = bytes.split_at(100_000);
    stdin.write_all(first).await.unwrap();
    let mut received = vec![0; first.len()];
    bounded("the first half", far.read_exact(&mut received))
        .await
        .unwrap();
    let reconnecting = fixture.cut_and_wait(Fault::Cut);
    stdin.write_all(rest).await.unwrap();
    reconnecting.await;
    let mut second = vec![0; rest.len()];
    bounded("the second half", far.read_exact(&mut second))
        .await
        .unwrap();
    assert!([received, second].concat() == bytes);
    far.write_all(&bytes).await.unwrap();
    drop(far);
    let output = bounded("end of the process", child.wait_with_output())
        .await
        .unwrap();
    let id = session_id(&fixture);
    let line = format!("\nStarting session with SessionId: {id}\n");
    assert!(output.stdout.strip_prefix(line.as_bytes()) == Some(&bytes[..]));
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
    drop(stdin);
    fixture.no_session_left().await;
}
