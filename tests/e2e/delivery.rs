//! What a command has written before its end arrives, or the exit code says that it did not.

use std::time::Duration;

use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::Value;
use ssmfwd::lab::{Condition, Fault};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::support::{
    Client, Digest, Fixture, bounded, connect, eventually, receive_to_end, serve,
};

/// Bytes a command writes: more than a stream holds, and than a new session sends unacknowledged.
const LEN: u64 = 300_000;

/// Serves a port that takes everything; also returns what connections brought.
async fn sink() -> (u16, mpsc::UnboundedReceiver<Digest>) {
    let (report, received) = mpsc::unbounded_channel();
    let port = serve(move |mut socket| {
        let report = report.clone();
        async move {
            // One that is reset brought less than it should have.
            if let Ok(digest) = receive_to_end(&mut socket).await {
                report.send(digest).unwrap();
            }
        }
    });
    (port.await, received)
}

/// Starts a command that writes to the forward of a port, once `go` is there if it is to wait for that, and says its id.
fn spawn(fixture: &Fixture, port: u16, options: &[&str], waits: bool) -> Client {
    let wait = match waits {
        true => "until [ -e go ]; do sleep 0.05; done",
        false => "true",
    };
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/$SSMFWD_PORT; {wait}; head -c {LEN} /dev/zero >&3; echo \"{{\\\"pid\\\":$$}}\""
    );
    let forward = format!("{port}:0");
    let command = [&forward, "--", "bash", "-c", &script];
    let arguments: Vec<&str> = options.iter().copied().chain(command).collect();
    fixture.spawn(&arguments)
}

#[tokio::test]
async fn a_slow_path_does_not_cut_the_last_upload() {
    // Acknowledgements take four seconds.
    let fixture = Fixture::with_chaos("delay=2s").await;
    let (port, mut received) = sink().await;
    let client = spawn(&fixture, port, &[], false);
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(0), "{}{}", exit.stdout, exit.stderr);
    let digest = bounded("the upload", received.recv()).await.unwrap();
    assert_eq!(digest.len, LEN);
    fixture.no_session_left().await;
}

/// Waits until the client knows that its command has ended.
async fn ended(client: &mut Client) {
    let line = client.stdout_line("pid").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    let pid = line["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    eventually("end of the command", || test_kill_process(pid).is_err()).await;
}

/// Loses the connection until it is allowed again.
fn disconnect(fixture: &Fixture) {
    const LONG: Duration = Duration::from_secs(3600);
    let condition = Fault::Holds(Condition::FailUpgrades, LONG);
    fixture.lab.inject(condition);
    fixture.lab.inject(Fault::Cut);
}

#[tokio::test]
async fn the_last_upload_outlives_the_connection() {
    let fixture = Fixture::new().await;
    let (port, mut received) = sink().await;
    let mut client = spawn(&fixture, port, &[], true);
    client.event("connected").await;
    disconnect(&fixture);
    client.event("reconnecting").await;
    std::fs::write(fixture.directory().join("go"), "").unwrap();
    client.event("delivering").await;
    let condition = Fault::Holds(Condition::FailUpgrades, Duration::ZERO);
    fixture.lab.inject(condition);
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(0), "{}{}", exit.stdout, exit.stderr);
    let digest = bounded("the upload", received.recv()).await.unwrap();
    assert_eq!(digest.len, LEN);
    fixture.no_session_left().await;
}

/// A command that leaves an answer unread has its connection reset by its system, behind everything it has written.
#[tokio::test]
async fn what_was_written_is_delivered_although_an_answer_was_not_read() {
    const LEN: u64 = 50_000;
    let fixture = Fixture::new().await;
    let (report, mut received) = mpsc::unbounded_channel();
    let port = serve(move |mut socket| {
        let report = report.clone();
        async move {
            socket.write_all(b"220 ready\r\n").await.unwrap();
            report.send(receive_to_end(&mut socket).await).unwrap();
        }
    });
    // What has not reached the other end yet would be lost with the reset; `/proc/net/tcp` tells how much that is.
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/$SSMFWD_PORT; until read -t 0 -u 3; do sleep 0.05; done; echo '{{}}'; \
         until [ -e go ]; do sleep 0.05; done; head -c {LEN} /dev/zero >&3; printf -v port %04X $SSMFWD_PORT; \
         until grep -q \" 0100007F:$port 01 00000000:\" /proc/net/tcp; do sleep 0.05; done; echo \"{{\\\"pid\\\":$$}}\""
    );
    let forward = format!("{}:0", port.await);
    let mut client = fixture.spawn(&[&forward, "--", "bash", "-c", &script]);
    client.stdout_line("{}").await;
    disconnect(&fixture);
    client.event("reconnecting").await;
    std::fs::write(fixture.directory().join("go"), "").unwrap();
    ended(&mut client).await;
    fixture
        .lab
        .inject(Fault::Holds(Condition::FailUpgrades, Duration::ZERO));
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(0), "{}{}", exit.stdout, exit.stderr);
    let digest = bounded("the upload", received.recv()).await.unwrap();
    assert_eq!(digest.unwrap().len, LEN);
}

#[tokio::test]
async fn somebody_elses_upload_does_not_keep_the_forward() {
    let fixture = Fixture::new().await;
    let (port, _received) = sink().await;
    let forward = format!("{port}:0");
    let wait = "until [ -e go ]; do sleep 0.05; done";
    let mut client = fixture.spawn(&[&forward, "--", "bash", "-c", wait]);
    let mut upload = connect(client.connected().await).await;
    let zeros = [0; 64 * 1024];
    upload.write_all(&zeros).await.unwrap();
    let uploading = tokio::spawn(async move { while upload.write_all(&zeros).await.is_ok() {} });
    std::fs::write(fixture.directory().join("go"), "").unwrap();
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(
        exit.stdout.contains("connections that do not end"),
        "{}",
        exit.stdout
    );
    uploading.await.unwrap();
    fixture.no_session_left().await;
}

#[tokio::test]
async fn what_is_not_delivered_is_said() {
    for signal in [None, Some(Signal::INT), Some(Signal::TERM)] {
        let fixture = Fixture::new().await;
        let (port, _received) = sink().await;
        let mut client = spawn(&fixture, port, &[], true);
        client.event("connected").await;
        disconnect(&fixture);
        client.event("reconnecting").await;
        std::fs::write(fixture.directory().join("go"), "").unwrap();
        ended(&mut client).await;
        if let Some(signal) = signal {
            client.signal(signal);
        }
        let exit = client.exit().await;
        assert_eq!(
            exit.code(),
            Some(1),
            "{signal:?} {}{}",
            exit.stdout,
            exit.stderr
        );
        let text = "not everything it has written was delivered";
        assert!(exit.stdout.contains(text), "{signal:?} {}", exit.stdout);
        fixture.no_session_left().await;
    }
}
