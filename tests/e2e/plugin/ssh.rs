//! `ssh` with the AWS CLI as its proxy, as the documentation of Session Manager has it.

use std::fs;

use super::cli::{aws_cli, path_with_plugin};
use crate::ssh::server::{Server, succeed};
use crate::support::{Client, Fixture, Random, TARGET};
use tokio::process::Command;

/// A server, and clients that come to it through the AWS CLI.
async fn server(fixture: &Fixture) -> Server {
    let server = Server::start(fixture).await;
    server.configure_client(&format!(
        "    IdentityFile {}\n    IdentitiesOnly yes\n    \
         ProxyCommand sh -c \"'{}' --endpoint-url {} ssm start-session --target %h \
         --document-name AWS-StartSSHSession --parameters 'portNumber=%p'\"\n",
        server.path("user").display(),
        aws_cli().display(),
        fixture.lab.endpoint_url(),
    ));
    server
}

fn command(server: &Server, fixture: &Fixture, program: &str) -> Command {
    let mut command = server.command(fixture, program);
    command.env("PATH", path_with_plugin(fixture));
    command
}

#[tokio::test]
async fn a_remote_command_has_its_outputs_and_its_exit_code() {
    let fixture = Fixture::new().await;
    let server = server(&fixture).await;
    for code in [0, 7] {
        let mut ssh = command(&server, &fixture, "ssh");
        ssh.args([TARGET, &format!("echo out; echo err >&2; exit {code}")]);
        let exit = Client::spawn(ssh).exit().await;
        assert_eq!(exit.code(), Some(code), "{}", exit.stderr);
        assert_eq!((&*exit.stdout, &*exit.stderr), ("out\n", "err\n"));
    }
    fixture.no_session_left().await;
}

#[tokio::test]
async fn files_arrive_unchanged_both_ways() {
    let fixture = Fixture::new().await;
    let server = server(&fixture).await;
    let [file, there, back] = ["file", "there", "back"].map(|name| server.path(name));
    fs::write(&file, Random::new(4).bytes(10_000_000)).unwrap();
    let remote = format!("{TARGET}:{}", there.display());
    for (source, destination) in [
        (file.display().to_string(), remote.clone()),
        (remote, back.display().to_string()),
    ] {
        let mut scp = command(&server, &fixture, "scp");
        scp.args(["-q", &source, &destination]);
        succeed(scp).await;
    }
    let sent = fs::read(&file).unwrap();
    assert!(fs::read(&there).unwrap() == sent && fs::read(&back).unwrap() == sent);
    fixture.no_session_left().await;
}
