//! The AWS CLI with the binary installed as its plugin, and the plugin by itself.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use ssmfwd::aws::{Aws, Options, StartSession, StartedSession, Target};
use tokio::process::Command;

use crate::support::{Client, Fixture, TARGET};

/// The name under which the binary is the plugin.
pub(super) const PLUGIN: &str = "session-manager-plugin";
pub(crate) const PORT_DOCUMENT: &str = "AWS-StartPortForwardingSession";
pub(super) const SSH_DOCUMENT: &str = "AWS-StartSSHSession";
pub(super) const REMOTE_HOST_DOCUMENT: &str = "AWS-StartPortForwardingSessionToRemoteHost";

/// Where the tests find the AWS CLI: here, or else on the path.
const AWS_CLI: &str = "SSMFWD_TEST_AWS_CLI";

/// The program that is the AWS CLI.
pub(super) fn aws_cli() -> OsString {
    std::env::var_os(AWS_CLI).unwrap_or_else(|| "aws".into())
}

/// The search path on which the AWS CLI finds the binary as its plugin.
pub(super) fn path_with_plugin(fixture: &Fixture) -> OsString {
    let mut path = OsString::from(plugin_directory(fixture));
    if let Some(inherited) = std::env::var_os("PATH") {
        path.push(":");
        path.push(inherited);
    }
    path
}

/// The AWS CLI, pointed at the fixture's lab.
pub(super) fn aws<S: AsRef<OsStr>>(fixture: &Fixture, arguments: &[S]) -> Command {
    // Whoever runs these tests may have started them with signals ignored.
    let mut command = fixture.isolate(Command::new("env"));
    command
        .args([
            "--default-signal=HUP,INT,QUIT,TSTP".as_ref(),
            aws_cli().as_os_str(),
        ])
        // Releases before 2.13 do not know AWS_ENDPOINT_URL_SSM.
        .args(["--endpoint-url", &fixture.lab.endpoint_url()])
        .args(arguments)
        .envs(fixture.lab.environment())
        .env("PATH", path_with_plugin(fixture))
        .env("AWS_PAGER", "");
    command
}

/// `aws ssm start-session` with a document and its parameters, written as in `portNumber=80`.
pub(crate) fn start_session(fixture: &Fixture, document: &str, parameters: &str) -> Command {
    let arguments = [
        "ssm",
        "start-session",
        "--target",
        TARGET,
        "--document-name",
        document,
    ];
    let mut command = aws(fixture, &arguments);
    command.args(["--parameters", parameters]);
    command
}

/// `aws ssm start-session` without a document.
pub(super) fn start_shell(fixture: &Fixture) -> Command {
    aws(fixture, &["ssm", "start-session", "--target", TARGET])
}

/// Starts a program in a process group of its own, as a shell does.
#[track_caller]
pub(super) fn spawn_group(mut command: Command) -> Client {
    command.process_group(0);
    Client::spawn(command)
}

/// Sends a signal to the AWS CLI of [`spawn_group`] and its plugin alike, as the terminal does for Ctrl-C.
#[track_caller]
pub(super) fn signal_group(client: &Client, signal: Signal) {
    let pid = Pid::from_raw(client.pid().try_into().unwrap()).unwrap();
    kill_process_group(pid, signal).unwrap();
}

/// Makes the binary a program called as the plugin, and returns where that is.
pub(super) fn plugin_directory(fixture: &Fixture) -> PathBuf {
    let directory = fixture.directory().join("bin");
    if std::fs::create_dir(&directory).is_ok() {
        symlink(env!("CARGO_BIN_EXE_ssmfwd"), directory.join(PLUGIN)).unwrap();
    }
    directory
}

/// The plugin without the AWS CLI, in the lab's environment.
pub(super) fn plugin<S: AsRef<OsStr>>(fixture: &Fixture, arguments: &[S]) -> Command {
    let mut command = fixture.isolate(Command::new("env"));
    command
        .arg("--default-signal=HUP")
        .arg(plugin_directory(fixture).join(PLUGIN))
        .args(arguments)
        .envs(fixture.lab.environment());
    command
}

/// Starts a session as any AWS SDK would.
pub(super) async fn started(
    fixture: &Fixture,
    document: &str,
    parameters: &[(&str, &str)],
) -> StartedSession {
    let options = Options {
        region: Some(fixture.lab.region().to_owned()),
        endpoint_url: Some(fixture.lab.endpoint_url()),
        credentials: Some(fixture.lab.credentials()),
        ..Options::default()
    };
    let parameters = parameters.iter().map(|(name, value)| {
        let values = vec![(*value).to_owned()];
        ((*name).to_owned(), values)
    });
    let request = StartSession {
        target: Target::id(TARGET),
        document: Some(document.to_owned()),
        parameters: parameters.collect(),
        reason: None,
    };
    let aws = Aws::load(&options).await.unwrap();
    aws.start_session(TARGET, &request).await.unwrap()
}

/// The response to StartSession, as the AWS CLI hands it over.
pub(super) fn response(session: &StartedSession) -> String {
    let response = json!({
        "SessionId": session.session_id,
        "TokenValue": session.token.expose(),
        "StreamUrl": session.stream_url.expose(),
    });
    response.to_string()
}

/// The plugin's six arguments for a session, with the response itself as the first one.
pub(super) fn arguments(fixture: &Fixture, response: String) -> Vec<String> {
    vec![
        response,
        fixture.lab.region().to_owned(),
        "StartSession".to_owned(),
        String::new(),
        json!({ "Target": TARGET }).to_string(),
        fixture.lab.endpoint_url(),
    ]
}
