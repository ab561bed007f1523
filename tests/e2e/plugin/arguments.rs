//! The plugin's command line, without the AWS CLI.

use ssmfwd_protocol::version::CLIENT_VERSION;

use super::cli::{PORT_DOCUMENT, arguments, plugin, response, started};
use crate::support::{Client, Exit, Fixture, TARGET};

async fn run(fixture: &Fixture, arguments: &[&str]) -> Exit {
    Client::spawn(plugin(fixture, arguments)).exit().await
}

#[track_caller]
fn expect(exit: &Exit, code: i32, stdout: &str) {
    assert_eq!(exit.code(), Some(code), "{}", exit.stderr);
    assert_eq!(exit.stdout, stdout);
    assert_eq!(exit.stderr, "");
}

#[tokio::test]
async fn whoever_looks_for_the_plugin_finds_it() {
    let fixture = Fixture::new().await;
    let installed = "\nThe Session Manager plugin was installed successfully. \
                     Use the AWS CLI to start a session.\n\n";
    let unknown = |name: &str| {
        format!(
            "\nUnknown operation {name}. \n\
             Use session-manager-plugin --version to check the version.\n\n"
        )
    };
    let version = format!("{CLIENT_VERSION}\n");
    let cases: [(&[&str], &str); 5] = [
        (&[], installed),
        (&["--version"], &version),
        (&["--help"], &unknown("--help")),
        (&["-V"], &unknown("-V")),
        (&["{}", "us-east-1"], &unknown("{}")),
    ];
    for (arguments, stdout) in cases {
        expect(&run(&fixture, arguments).await, 0, stdout);
    }
}

#[tokio::test]
async fn the_subcommand_is_the_plugin_too() {
    let fixture = Fixture::new().await;
    let version = fixture.run(&["plugin", "--version"]).await;
    expect(&version, 0, &format!("{CLIENT_VERSION}\n"));
    let invalid = fixture
        .run(&["plugin", "{}", "us-east-1", "StopSession"])
        .await;
    expect(&invalid, 2, "Invalid Operation");
}

#[tokio::test]
async fn what_cannot_be_understood_is_a_failure() {
    let fixture = Fixture::new().await;
    let cases: [(&[&str], &str); 5] = [
        (&["{}", "us-east-1", "StopSession"], "Invalid Operation"),
        (
            &["{", "us-east-1", "StartSession"],
            "Cannot perform start session: the session response is not a JSON object\n",
        ),
        (
            &[r#"{"SessionId":"s"}"#, "us-east-1", "StartSession"],
            "Cannot perform start session: the session response has no TokenValue\n",
        ),
        (
            &[
                r#"{"SessionId":"s","TokenValue":"t","StreamUrl":"u"}"#,
                "us-east-1",
                "StartSession",
                "",
                "{}",
            ],
            "Cannot perform start session: the session request is not a JSON object with a Target\n",
        ),
        (
            &[
                "AWS_SSM_START_SESSION_RESPONSE",
                "us-east-1",
                "StartSession",
            ],
            "Cannot perform start session: \
             the environment variable AWS_SSM_START_SESSION_RESPONSE is not set\n",
        ),
    ];
    for (arguments, stdout) in cases {
        expect(&run(&fixture, arguments).await, 2, stdout);
    }
}

/// Old releases of the AWS CLI and `aws ecs execute-command` put the token into the arguments, newer ones into the
/// environment, under a name of which only the beginning is fixed.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_token_stays_neither_in_the_arguments_nor_in_the_environment() {
    for (variable, padding_len) in [
        (None, 0),
        (None, 30_000),
        (Some("AWS_SSM_START_SESSION_RESPONSE"), 0),
        (Some("AWS_SSM_START_SESSION_RESPONSE_2"), 30_000),
    ] {
        let fixture = Fixture::new().await;
        let session = started(&fixture, PORT_DOCUMENT, &[("portNumber", "7")]).await;
        let response = response(&session) + &" ".repeat(padding_len);
        let mut command = match variable {
            None => plugin(&fixture, &arguments(&fixture, response)),
            Some(name) => {
                let mut command = plugin(&fixture, &arguments(&fixture, name.to_owned()));
                command.env(name, response);
                command
            }
        };
        command.env("KEPT", "yes");
        let mut client = Client::spawn(command);
        client.stdout_line("Waiting for connections...").await;
        let process = |file| std::fs::read(format!("/proc/{}/{file}", client.pid())).unwrap();
        for file in ["cmdline", "environ"] {
            let text = String::from_utf8(process(file)).unwrap();
            assert!(
                !text.contains(session.token.expose()),
                "{variable:?}: {file}"
            );
            assert!(!text.contains("cell-number"), "{variable:?}: {file}");
        }
        assert!(
            String::from_utf8(process("environ"))
                .unwrap()
                .contains("KEPT=yes")
        );
        assert!(
            String::from_utf8(process("cmdline"))
                .unwrap()
                .contains(TARGET)
        );
        client.stop().await;
        fixture.no_session_left().await;
    }
}

/// Callers name `default` by habit, and the session is started already.
#[tokio::test]
async fn a_profile_that_does_not_exist_is_left_out() {
    let fixture = Fixture::new().await;
    let session = started(&fixture, PORT_DOCUMENT, &[("portNumber", "7")]).await;
    let mut arguments = arguments(&fixture, response(&session));
    arguments[3] = "default".to_owned();
    let mut client = Client::spawn(plugin(&fixture, &arguments));
    client.stdout_line("Waiting for connections...").await;
    let exit = client.stop().await;
    assert!(
        exit.stderr.contains("does not exist, and is left out"),
        "{}",
        exit.stderr
    );
    fixture.no_session_left().await;
}

/// The first releases that knew the plugin passed three arguments.
#[tokio::test]
async fn three_arguments_are_enough() {
    let fixture = Fixture::new().await;
    let session = started(&fixture, PORT_DOCUMENT, &[("portNumber", "7")]).await;
    let arguments = &arguments(&fixture, response(&session))[..3];
    let mut client = Client::spawn(plugin(&fixture, arguments));
    client.stdout_line("Waiting for connections...").await;
    client.stop().await;
    fixture.no_session_left().await;
}

/// `aws ecs execute-command` spells the response in its own way, and passes the endpoint of Amazon ECS.
#[tokio::test]
async fn a_session_of_ecs_is_ended_at_the_endpoint_of_systems_manager() {
    let fixture = Fixture::new().await;
    let session = started(&fixture, PORT_DOCUMENT, &[("portNumber", "7")]).await;
    let response = serde_json::json!({
        "sessionId": session.session_id,
        "streamUrl": session.stream_url.expose(),
        "tokenValue": session.token.expose(),
    });
    let mut arguments = arguments(&fixture, response.to_string());
    arguments[5] = "https://ecs.us-east-1.amazonaws.com".to_owned();
    // The lab is found by the environment, AWS_ENDPOINT_URL_SSM.
    let mut client = Client::spawn(plugin(&fixture, &arguments));
    client.stdout_line("Waiting for connections...").await;
    let exit = client.stop().await;
    assert_eq!(exit.stderr, "");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn without_credentials_the_connection_is_tried_unsigned() {
    let skipping = [("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE", "true")];
    for (variables, is_warned) in [(&skipping[..], false), (&[], true)] {
        let fixture = Fixture::new().await;
        let session = started(&fixture, PORT_DOCUMENT, &[("portNumber", "7")]).await;
        let mut command = plugin(&fixture, &arguments(&fixture, response(&session)));
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .envs(variables.iter().copied());
        let exit = Client::spawn(command).exit().await;
        // The lab wants a signature, as the service announces to.
        assert_eq!(exit.code(), Some(3), "{}", exit.stdout);
        let refused = "refused the WebSocket upgrade: HTTP 403";
        assert!(exit.stdout.contains(refused), "{}", exit.stdout);
        assert_eq!(
            exit.stderr.contains("the connection is not signed"),
            is_warned,
            "{}",
            exit.stderr
        );
    }
}
