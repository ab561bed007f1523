//! The proxy by itself, between pipes.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use ssmfwd::lab::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::support::{Digest, Fixture, TARGET, bounded, eventually, receive_to_end, send, serve};

fn spawn(fixture: &Fixture, arguments: &[&str]) -> Child {
    let mut command: Command = fixture.command(&["proxy", TARGET]);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

/// Waits for the end, which must be silent and leave nothing.
async fn expect_end(fixture: &Fixture, child: Child, code: i32) {
    let output = bounded("end of the proxy", child.wait_with_output())
        .await
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr, "");
    fixture.no_session_left().await;
}

/// A lab of its own is as good as any.
#[tokio::test]
async fn an_embedded_lab_is_reached() {
    let fixture = Fixture::new().await;
    for options in [
        &["i-0abc"][..],
        &["web", "--document", "Mine"],
        &["db", "--node", "i-0def,Name=db"],
    ] {
        let mut command = fixture.bare_command();
        command
            .args(["proxy", "--lab", "--half-close=1"])
            .args(options)
            .arg("7")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        let stdout = child.stdout.as_mut().unwrap();
        let reading = stdout.read_exact(&mut answer);
        bounded("the echo", reading).await.unwrap();
        assert_eq!(&answer, b"hello", "{options:?}");
    }
}

/// The documents whose agents carry raw bytes and a multiplexer's frames.
const DOCUMENTS: [&str; 2] = ["AWS-StartSSHSession", "AWS-StartPortForwardingSession"];

#[tokio::test]
async fn a_download_ends_with_the_server() {
    const LEN: u64 = 20_000_000;
    let port = serve(async |mut socket| {
        send(&mut socket, 5, LEN).await.unwrap();
    });
    let port = port.await.to_string();
    for document in DOCUMENTS {
        let fixture = Fixture::new().await;
        let mut child = spawn(&fixture, &[&port, "--document", document]);
        // Open to the end: only the server says when that is.
        let _stdin = child.stdin.take();
        let mut stdout = child.stdout.take().unwrap();
        let receiving = receive_to_end(&mut stdout);
        let received = bounded("end of the download", receiving).await.unwrap();
        let sent = send(&mut tokio::io::sink(), 5, LEN).await.unwrap();
        assert_eq!(received, sent, "{document}");
        expect_end(&fixture, child, 0).await;
    }
}

#[tokio::test]
async fn the_answer_comes_after_the_end_of_the_question() {
    // The server has no other way to know the end of the question than its length.
    let port = serve(async |mut socket| {
        let digest: Digest = crate::support::receive(&mut socket, 3_000_000)
            .await
            .unwrap();
        socket
            .write_all(digest.len.to_string().as_bytes())
            .await
            .unwrap();
    });
    let port = port.await.to_string();
    for document in DOCUMENTS {
        let fixture = Fixture::new().await;
        let mut child = spawn(&fixture, &[&port, "--document", document]);
        let mut stdin = child.stdin.take().unwrap();
        send(&mut stdin, 6, 3_000_000).await.unwrap();
        drop(stdin);
        let mut answer = String::new();
        let mut stdout = child.stdout.take().unwrap();
        let reading = stdout.read_to_string(&mut answer);
        bounded("answer", reading).await.unwrap();
        assert_eq!(answer, "3000000", "{document}");
        expect_end(&fixture, child, 0).await;
    }
}

#[tokio::test]
async fn silence_after_the_end_of_the_question_is_a_failure() {
    let fixture = Fixture::new().await;
    // Port 9 of the lab's targets takes everything and says nothing.
    let mut child = spawn(&fixture, &["9", "--half-close", "1"]);
    drop(child.stdin.take());
    let waiting = child.wait_with_output();
    let output = bounded("end of the proxy", waiting).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("nothing came from port 9"), "{stderr}");
    assert!(stderr.contains("--half-close"), "{stderr}");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_reader_who_has_seen_enough_ends_the_session() {
    for document in DOCUMENTS {
        let fixture = Fixture::new().await;
        let mut child = spawn(&fixture, &["19", "--document", document]);
        let _stdin = child.stdin.take();
        let mut stdout = child.stdout.take().unwrap();
        let mut some = [0; 1000];
        let reading = stdout.read_exact(&mut some);
        bounded("some bytes", reading).await.unwrap();
        drop(stdout);
        expect_end(&fixture, child, 0).await;
    }
}

#[tokio::test]
async fn a_reader_who_leaves_while_nothing_comes_ends_the_session() {
    let fixture = Fixture::new().await;
    let mut child = spawn(&fixture, &["7"]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdin.write_all(b"x").await.unwrap();
    let mut echoed = [0; 1];
    let echo = stdout.read_exact(&mut echoed);
    bounded("echo", echo).await.unwrap();
    drop(stdout);
    expect_end(&fixture, child, 0).await;
    drop(stdin);
}

#[tokio::test]
async fn a_download_with_a_gap_is_a_failure() {
    let fixture = Fixture::new().await;
    let (drop_some, dropping) = tokio::sync::oneshot::channel();
    let dropping = std::sync::Mutex::new(Some(dropping));
    let port = serve(move |mut socket| {
        let dropping = dropping.lock().unwrap().take().unwrap();
        async move {
            dropping.await.unwrap();
            // The agent repeats ten messages a second, for two seconds.
            send(&mut socket, 7, 200_000).await.unwrap();
        }
    });
    let port = port.await.to_string();
    let mut child = spawn(&fixture, &[&port]);
    let _stdin = child.stdin.take();
    fixture.connected_session().await;
    fixture.lab.update_chaos("drop=50%").unwrap();
    drop_some.send(()).unwrap();
    let waiting = child.wait_with_output();
    let output = bounded("end of the proxy", waiting).await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.len() < 200_000);
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(
        stderr.contains("data from the target is missing"),
        "{stderr}"
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn the_end_of_a_multiplexed_session_is_not_that_of_its_connection() {
    let fixture = Fixture::new().await;
    let document = "AWS-StartPortForwardingSession";
    let mut child = spawn(&fixture, &["19", "--document", document]);
    let _stdin = child.stdin.take();
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 1000];
    let reading = stdout.read_exact(&mut some);
    bounded("some bytes", reading).await.unwrap();
    fixture.lab.inject(Fault::Terminate);
    let draining = receive_to_end(&mut stdout);
    bounded("end of the download", draining).await.unwrap();
    let waiting = child.wait_with_output();
    let output = bounded("end of the proxy", waiting).await.unwrap();
    assert_eq!(output.status.code(), Some(6));
    fixture.no_session_left().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_download_that_cannot_be_stored_is_a_failure() {
    let fixture = Fixture::new().await;
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut command: Command = fixture.command(&["proxy", TARGET, "19"]);
    command
        .stdin(Stdio::piped())
        .stdout(full.unwrap())
        .stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn().unwrap();
    let waiting = child.wait_with_output();
    let output = bounded("end of the proxy", waiting).await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("cannot write to standard output"),
        "{stderr}"
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_upload_that_cannot_be_read_is_a_failure() {
    let fixture = Fixture::new().await;
    // A directory can be opened and not read.
    let directory = std::fs::File::open(fixture.directory()).unwrap();
    let mut command: Command = fixture.command(&["proxy", TARGET, "9"]);
    command.stdin(directory).stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn().unwrap();
    let waiting = child.wait_with_output();
    let output = bounded("end of the proxy", waiting).await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot read standard input"), "{stderr}");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn descriptors_that_others_have_made_non_blocking_do() {
    const LEN: u64 = 3_000_000;
    let (answered, mut answer) = tokio::sync::mpsc::channel(1);
    let port = serve(move |mut socket| {
        let answered = answered.clone();
        async move {
            let question = crate::support::receive(&mut socket, LEN).await.unwrap();
            let sent = send(&mut socket, 9, LEN).await.unwrap();
            answered.send((question, sent)).await.unwrap();
        }
    });
    let port = port.await.to_string();
    let fixture = Fixture::new().await;
    // Both ends of each pair are non-blocking.
    let (stdin, input) = UnixStream::pair().unwrap();
    let (stdout, mut output) = UnixStream::pair().unwrap();
    let inherited = |end: UnixStream| Stdio::from(OwnedFd::from(end.into_std().unwrap()));
    let mut command: Command = fixture.command(&["proxy", TARGET, &port]);
    command
        .stdin(inherited(stdin))
        .stdout(inherited(stdout))
        .stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn().unwrap();
    drop(command);
    // Nothing can be read at first.
    fixture.connected_session().await;
    let (reader, mut writer) = input.into_split();
    let asked = send(&mut writer, 8, LEN).await.unwrap();
    // Nothing is taken until there is more than fits.
    let (question, sent) = bounded("the answer", answer.recv()).await.unwrap();
    assert_eq!(question, asked);
    let receiving = receive_to_end(&mut output);
    let received = bounded("end of the download", receiving).await.unwrap();
    assert_eq!(received, sent);
    drop((reader, writer));
    let waiting = child.wait_with_output();
    let ended = bounded("end of the proxy", waiting).await.unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), stderr.as_str()), (Some(0), ""));
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_signal_ends_a_proxy_whose_reader_does_not_read() {
    use rustix::process::{Pid, Signal, kill_process};

    let fixture = Fixture::new().await;
    let child = spawn(&fixture, &["19"]);
    let is_started = || !fixture.lab.sessions().is_empty();
    eventually("start of a session", is_started).await;
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    expect_end(&fixture, child, 0).await;
}
