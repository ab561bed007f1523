//! Nothing secret is printed, however much is asked for.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Client, Exit, Fixture, TARGET, bounded, connect};

const MARKER: &str = "payload-of-the-user-8f3a";

#[track_caller]
fn expect_no_secrets(fixture: &Fixture, exit: &Exit) {
    let credentials = fixture.lab.credentials();
    let secrets = [
        ("the session's token", "AAEAA"),
        ("the query of the stream URL", "cell-number"),
        ("the secret access key", credentials.secret_access_key()),
        ("a signature", "Signature="),
        ("payload", MARKER),
        // As trace logs would show the bytes.
        ("payload", "112, 97, 121, 108, 111, 97, 100"),
    ];
    for (name, secret) in secrets {
        for output in [&exit.stdout, &exit.stderr] {
            let line = output.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{name} is shown");
        }
    }
}

#[tokio::test]
async fn a_transfer_at_full_verbosity_shows_no_secret() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&["-vvv", "7:0"]);
    let local = client.connected().await;
    let mut socket = connect(local).await;
    socket.write_all(MARKER.as_bytes()).await.unwrap();
    let mut answer = [0; MARKER.len()];
    let reading = socket.read_exact(&mut answer);
    bounded("the echo", reading).await.unwrap();
    drop(socket);
    let exit = client.stop().await;
    // The levels are at work, or nothing would be proven.
    assert!(exit.stderr.contains("TRACE"), "{}", exit.stderr);
    assert!(exit.stderr.contains("DEBUG"), "{}", exit.stderr);
    expect_no_secrets(&fixture, &exit);
}

#[tokio::test]
async fn failures_at_full_verbosity_show_no_secret() {
    for fault in [
        "garbage",
        "refuse-upgrade",
        "deny=StartSession",
        "deny=TerminateSession",
    ] {
        let fixture = Fixture::with_chaos(fault).await;
        let arguments = ["-vvv", TARGET, "80:0", "--", "true"];
        let exit = Client::spawn(fixture.command(&arguments)).exit().await;
        expect_no_secrets(&fixture, &exit);
    }
}
