//! What programs rely on: events, readiness, the environment of a command, and exit codes.

use std::net::TcpListener;

use serde_json::{Value, json};
use ssmfwd::lab::Fault;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::{Client, Fixture, TARGET, bounded, connect, read_to_end, serve};

/// A server that reads five bytes, answers with three and closes.
async fn five_for_three() -> u16 {
    serve(|mut socket| async move {
        socket.read_exact(&mut [0; 5]).await.unwrap();
        socket.write_all(b"abc").await.unwrap();
    })
    .await
}

async fn converse(local: u16) -> TcpStream {
    let mut socket = connect(local).await;
    socket.write_all(b"12345").await.unwrap();
    let (answer, ended) = read_to_end(&mut socket).await;
    ended.unwrap();
    assert_eq!(answer, b"abc");
    socket
}

#[tokio::test]
async fn every_event_of_a_run_has_its_fields() {
    let fixture = Fixture::new().await;
    let remote = five_for_three().await;
    let (mut client, local) = fixture.forward(remote).await;
    let socket = converse(local).await;
    let peer = socket.local_addr().unwrap().to_string();
    drop(socket);
    client.event("connection_closed").await;
    let session_id = fixture.lab.sessions()[0].id.clone();
    let exit = client.stop().await;
    let forward = format!("{remote}:0");
    let mapping = |mut event: Value| {
        let fields = event.as_object_mut().unwrap();
        fields.insert("target".into(), TARGET.into());
        fields.insert("forward".into(), forward.clone().into());
        fields.insert("remote_port".into(), remote.into());
        fields.insert("address".into(), format!("localhost:{local}").into());
        fields.insert("port".into(), local.into());
        event
    };
    let expected = [
        mapping(json!({"event": "listening"})),
        mapping(
            json!({"event": "connected", "target_id": "i-0abc", "session_id": session_id, "agent_version": "3.3.987.0"}),
        ),
        json!({"event": "connection_opened", "forward": forward, "connection": 1, "peer": peer}),
        json!({"event": "connection_closed", "forward": forward, "connection": 1, "sent": 5,
               "received": 3, "outcome": "closed"}),
        json!({"event": "closed", "session_id": session_id, "reason": "terminated"}),
    ];
    assert_eq!(exit.events(), expected);
    assert_eq!(exit.stderr, "");
}

#[tokio::test]
async fn an_error_is_an_event_too() {
    let fixture = Fixture::new().await;
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let exit = fixture.spawn(&[format!("80:{port}")]).exit().await;
    assert_eq!(exit.code(), Some(5));
    let [error] = exit.events().try_into().unwrap();
    assert_eq!(
        (&error["event"], &error["exit_code"]),
        (&json!("error"), &json!(5))
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains(&port.to_string())
    );
    assert!(error["hint"].is_string());
}

#[tokio::test]
async fn readiness_is_announced_once_the_forwards_work() {
    let fixture = Fixture::new().await;
    let mut command = fixture.isolate(Command::new("sh"));
    // Descriptor 3 becomes what is read here as standard output.
    command
        .args(["-c", r#"exec "$@" 3>&1 >/dev/null"#, "sh"])
        .arg(env!("CARGO_BIN_EXE_ssmfwd"))
        .args(["--ready-fd=3", TARGET, "7:0"])
        .envs(fixture.lab.environment());
    let mut client = Client::spawn(command);
    client.stdout_line("READY").await;
    assert_eq!(fixture.lab.sessions().len(), 1);
    let exit = client.stop().await;
    assert_eq!(exit.stdout, "READY\n");
}

/// Runs a shell script as the command of a forward to the echo service.
async fn run_command(script: &str) -> crate::support::Exit {
    let fixture = Fixture::new().await;
    let exit = fixture
        .run(&[TARGET, "7:0", "--", "sh", "-c", script])
        .await;
    fixture.no_session_left().await;
    exit
}

#[tokio::test]
async fn a_command_finds_the_port_and_its_exit_code_is_passed_on() {
    let exit = run_command("echo $SSMFWD_HOST:$SSMFWD_PORT:$SSMFWD_PORT_1").await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    let parts: Vec<&str> = exit.stdout.trim_end().split(':').collect();
    let [host, port, port_1] = parts.try_into().unwrap();
    assert_eq!((host, port), ("localhost", port_1));
    assert_ne!(port.parse::<u16>().unwrap(), 0);

    assert_eq!(run_command("exit 7").await.code(), Some(7));
    assert_eq!(run_command("kill -KILL $$").await.code(), Some(128 + 9));
}

#[tokio::test]
async fn a_command_that_outlives_its_forwards_is_stopped_and_their_failure_is_the_exit_code() {
    let fixture = Fixture::new().await;
    let script = "trap 'echo stopped; exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let arguments = ["--no-reconnect", TARGET, "7:0", "--", "sh", "-c", script];
    let mut client = Client::spawn(fixture.command(&arguments));
    client.stdout_line("ready").await;
    fixture.lab.inject(Fault::Terminate);
    let exit = client.exit().await;
    let texts = [
        "warning: sh is stopped, because its forwards have failed",
        "error: session ",
    ];
    exit.expect(6, &texts);
    assert!(exit.stdout.ends_with("stopped\n"), "{}", exit.stdout);
}

#[tokio::test]
async fn a_command_that_does_not_exist_leaves_no_session() {
    let fixture = Fixture::new().await;
    let exit = fixture.run(&[TARGET, "7:0", "--", "no-such-program"]).await;
    exit.expect(1, &["cannot run no-such-program"]);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn quiet_says_nothing() {
    let fixture = Fixture::new().await;
    let remote = five_for_three().await;
    // A fixed port would be somebody else's on another machine: a socket has none to be printed.
    let path = fixture.directory().join("quiet.sock");
    let forward = format!("{remote}:{}", path.display());
    let script = "test -S \"$SSMFWD_SOCKET\"";
    let exit = fixture
        .run(&["-q", TARGET, &forward, "--", "sh", "-c", script])
        .await;
    exit.expect(0, &[]);
    assert_eq!((exit.stdout.as_str(), exit.stderr.as_str()), ("", ""));
}

#[tokio::test]
async fn verbose_tells_of_connections() {
    let fixture = Fixture::new().await;
    let remote = five_for_three().await;
    let mut client = Client::spawn(fixture.command(&["-v", TARGET, &format!("{remote}:0")]));
    let line = client
        .stderr_line(&format!("{remote}:0: listening on localhost:"))
        .await;
    let (_, local) = line.trim_end().rsplit_once(':').unwrap();
    drop(bounded("conversation", converse(local.parse().unwrap())).await);
    client
        .stderr_line(&format!("connection 1 of {remote}:0 opened by 127.0.0.1:"))
        .await;
    let closed = client.stderr_line("connection 1 of").await;
    assert_eq!(
        closed,
        format!("connection 1 of {remote}:0 closed: 5 bytes sent, 3 bytes received\n")
    );
    let exit = client.stop().await;
    assert_eq!(exit.stdout, "");
    assert!(exit.stderr.contains("ended: terminated"), "{}", exit.stderr);
}

#[tokio::test]
async fn the_end_of_a_session_is_told_without_repeating_which() {
    let fixture = Fixture::new().await;
    let arguments = ["-v", "--no-reconnect", TARGET, "7:0"];
    let mut client = Client::spawn(fixture.command(&arguments));
    client.stderr_line(" is now ").await;
    let id = fixture.lab.sessions()[0].id.clone();
    fixture.lab.inject(Fault::Terminate);
    let exit = client.exit().await;
    exit.expect(6, &[&format!("\nsession {id} was ended by ")]);
    let doubled = format!("session {id} ended: session {id}");
    assert!(!exit.stderr.contains(&doubled), "{}", exit.stderr);
}

#[tokio::test]
async fn options_may_stand_before_the_subcommand() {
    let fixture = Fixture::new().await;
    let exit = fixture
        .run(&[
            "-v",
            "--region",
            "us-east-1",
            "exec",
            TARGET,
            "--",
            "echo",
            "hi",
        ])
        .await;
    exit.expect(0, &["ended: its program has ended\n"]);
    assert_eq!(exit.stdout, "hi\n");
    let exit = fixture.run(&["--json", "targets"]).await;
    assert_eq!(exit.events()[0]["id"], TARGET, "{}", exit.stderr);
}

#[tokio::test]
async fn what_a_command_has_written_arrives_before_its_forwards_end() {
    const LEN: usize = 3_000_000;
    let (counted, mut counts) = tokio::sync::mpsc::unbounded_channel();
    let remote = serve(move |mut socket| {
        let counted = counted.clone();
        async move {
            let (received, _) = read_to_end(&mut socket).await;
            counted.send(received.len()).unwrap();
        }
    })
    .await;
    let fixture = Fixture::new().await;
    let script = format!("head -c {LEN} /dev/zero >/dev/tcp/localhost/$SSMFWD_PORT");
    let forward = format!("{remote}:0");
    let exit = fixture
        .run(&[TARGET, &forward, "--", "bash", "-c", &script])
        .await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    let count = bounded("end of the upload", counts.recv()).await;
    assert_eq!(count, Some(LEN));
    fixture.no_session_left().await;
}

#[tokio::test]
async fn nobody_reading_the_events_stops_no_connection() {
    let fixture = Fixture::new().await;
    let mut command = fixture.command(&["--json", TARGET, "7:0"]);
    command
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true);
    let mut client = command.spawn().unwrap();
    let mut events = BufReader::new(client.stdout.take().unwrap());
    let local = loop {
        let mut line = String::new();
        bounded("an event", events.read_line(&mut line))
            .await
            .unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == "connected" {
            break u16::try_from(event["port"].as_u64().unwrap()).unwrap();
        }
    };
    // Two events each of more than a hundred bytes: the pipe holds far less.
    for _ in 0..600 {
        let mut socket = connect(local).await;
        socket.write_all(b"x").await.unwrap();
        bounded("an echo", socket.read_exact(&mut [0]))
            .await
            .unwrap();
    }
}
