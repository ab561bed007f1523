//! Logins, what runs inside them, and what is left of them.

use std::fs;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::{Server, succeed};
use crate::support::{Client, Fixture, TARGET, bounded, connect, eventually, serve, unused_port};

#[tokio::test]
async fn a_command_runs_and_its_exit_code_arrives() {
    let fixture = Fixture::new().await;
    let server = Server::with_stanza(&fixture).await;
    for code in [0, 1, 7, 127, 254] {
        let line = format!("echo out; echo err >&2; exit {code}");
        let exit = server.ssh(&fixture, &[&line]).await;
        assert_eq!(exit.code(), Some(code), "{}", exit.stderr);
        assert_eq!((&*exit.stdout, &*exit.stderr), ("out\n", "err\n"));
    }
    fixture.no_session_left().await;
    let sessions = fixture.lab.sessions();
    assert_eq!(sessions.len(), 5);
    assert_eq!(sessions[0].document, "AWS-StartSSHSession");
    assert_eq!(
        sessions[0].parameters["portNumber"],
        [server.port.to_string()]
    );
}

#[tokio::test]
async fn a_label_leads_to_the_same_target() {
    let fixture = Fixture::new().await;
    let server = Server::with_stanza(&fixture).await;
    server
        .install_stanza(&fixture, &["--label", "prod", "--region", "us-east-1"])
        .await;
    let mut command = server.command(&fixture, "ssh");
    command.args([&format!("{TARGET}.prod"), "echo hello"]);
    assert_eq!(succeed(command).await.stdout, "hello\n");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn one_connection_serves_many_logins() {
    let fixture = Fixture::new().await;
    let server = Server::with_stanza(&fixture).await;
    let control = format!("ControlPath={}", server.path("control").display());
    let mut master = server.command(&fixture, "ssh");
    master.args(["-o", &control, "-M", "-N", TARGET]);
    let master = Client::spawn(master);
    eventually("control socket", || server.path("control").exists()).await;
    for number in 0..3 {
        let mut command = server.command(&fixture, "ssh");
        command.args(["-o", &control, TARGET, &format!("echo {number}")]);
        assert_eq!(succeed(command).await.stdout, format!("{number}\n"));
    }
    assert_eq!(fixture.lab.sessions().len(), 1);
    let mut command = server.command(&fixture, "ssh");
    command.args(["-o", &control, "-O", "exit", TARGET]);
    succeed(command).await;
    master.exit().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_connection_persists_after_its_first_login() {
    let fixture = Fixture::new().await;
    let server = Server::with_stanza(&fixture).await;
    let control = format!("ControlPath={}", server.path("control").display());
    let ssh = |arguments: &[&str]| {
        let mut command = server.command(&fixture, "ssh");
        command.args(["-o", &control]).args(arguments);
        // The proxy keeps it open as long as the connection persists.
        command.stderr(Stdio::null()).stdin(Stdio::null());
        command
    };
    let options = ["-o", "ControlMaster=auto", "-o", "ControlPersist=600"];
    for number in 0..3 {
        let text = number.to_string();
        let login = [&options[..], &[TARGET, "echo", &text]].concat();
        let output = bounded("end of a login", ssh(&login).output());
        assert_eq!(
            output.await.unwrap().stdout,
            format!("{number}\n").as_bytes()
        );
    }
    assert_eq!(fixture.lab.sessions().len(), 1);
    let mut end = ssh(&["-O", "exit", TARGET]);
    let ended = bounded("end of the connection", end.status()).await;
    assert!(ended.unwrap().success());
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_port_is_forwarded_inside() {
    let fixture = Fixture::new().await;
    let server = Server::with_stanza(&fixture).await;
    let echo = serve(async |mut socket| {
        let (mut reader, mut writer) = socket.split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    });
    let echo = echo.await;
    let (socket, local) = unused_port();
    drop(socket);
    let forward = format!("{local}:127.0.0.1:{echo}");
    // That it has logged in shows that the forward listens.
    let options = ["-L", &forward, "-o", "ExitOnForwardFailure=yes"];
    let client = server.login(&fixture, &options).await;
    let mut socket = connect(local).await;
    let sent: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let (mut reader, mut writer) = socket.split();
    let mut received = vec![0; sent.len()];
    let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
    written.and(read).unwrap();
    assert!(received == sent);
    client.signal(rustix::process::Signal::TERM);
    client.exit().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_client_that_is_killed_leaves_no_session() {
    let fixture = Fixture::new().await;
    let server = Server::with_stanza(&fixture).await;
    let client = server.login(&fixture, &[]).await;
    client.signal(rustix::process::Signal::KILL);
    assert_eq!(client.exit().await.signal(), Some(9));
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_client_that_ignores_hangups_leaves_no_session() {
    let fixture = Fixture::new().await;
    let server = Server::with_stanza(&fixture).await;
    // Its child inherits that, and is told of the end by its pipes alone.
    let mut command = fixture.isolate(tokio::process::Command::new("nohup"));
    command
        .envs(fixture.lab.environment())
        .arg("ssh")
        .arg("-F")
        .arg(server.config());
    command.args([TARGET, "echo done"]);
    let exit = succeed(command).await;
    assert_eq!(exit.stdout, "done\n");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn installing_again_changes_nothing() {
    let fixture = Fixture::new().await;
    let server = Server::start(&fixture).await;
    let backup = server.path("config.before-ssmfwd").display().to_string();
    assert!(server.install_stanza(&fixture, &[]).await.contains(&backup));
    let before = fs::read(server.config()).unwrap();
    let said = server.install_stanza(&fixture, &[]).await;
    assert!(said.ends_with(" already\n"), "{said}");
    assert!(fs::read(server.config()).unwrap() == before);
}
