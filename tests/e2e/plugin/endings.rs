//! However a session ends, nothing of it is left, and the exit code tells.

use std::time::Duration;

use rustix::process::Signal;
use ssmfwd::lab::{Condition, EndedBy, Fault, SessionState};

use super::cli::{
    PORT_DOCUMENT, REMOTE_HOST_DOCUMENT, arguments, aws, plugin, response, signal_group,
    spawn_group, start_session, started,
};
use crate::support::{Client, Fixture, eventually};

/// Every signal ends a listener's session, whatever was inherited: the AWS CLI has the first three ignored.
#[tokio::test]
async fn every_signal_ends_the_session() {
    for signal in [
        Signal::INT,
        Signal::QUIT,
        Signal::TSTP,
        Signal::TERM,
        Signal::HUP,
    ] {
        let fixture = Fixture::new().await;
        let session = started(&fixture, PORT_DOCUMENT, &[("portNumber", "7")]).await;
        let mut client = Client::spawn(plugin(&fixture, &arguments(&fixture, response(&session))));
        client.stdout_line("Waiting for connections...").await;
        client.signal(signal);
        let exit = client.exit().await;
        assert_eq!(exit.code(), Some(0), "{signal:?}: {}", exit.stderr);
        let id = &session.session_id;
        let expected = format!(
            "Waiting for connections...\nTerminate signal received, exiting.\n\
             \n\nExiting session with sessionId: {id}.\n\n"
        );
        assert!(
            exit.stdout.ends_with(&expected),
            "{signal:?}: {}",
            exit.stdout
        );
        fixture.no_session_left().await;
    }
}

#[tokio::test]
async fn a_signal_ends_a_start_that_waits() {
    for fault in ["silent", "mute"] {
        let fixture = Fixture::with_chaos(fault).await;
        let mut client = spawn_group(start_session(&fixture, PORT_DOCUMENT, "portNumber=7"));
        client
            .stdout_line("Starting session with SessionId: ")
            .await;
        signal_group(&client, Signal::INT);
        let exit = client.exit().await;
        assert_eq!(exit.code(), Some(0), "{fault}: {}", exit.stderr);
        fixture.no_session_left().await;
    }
}

#[tokio::test]
async fn a_gateway_that_refuses_is_a_failure_and_not_a_hang() {
    let fixture = Fixture::with_chaos("refuse-upgrade").await;
    let client = spawn_group(start_session(&fixture, PORT_DOCUMENT, "portNumber=7"));
    let exit = client.exit().await;
    exit.expect(255, &["returned non-zero exit status"]);
    assert!(
        exit.stdout.contains("Cannot perform start session: "),
        "{}",
        exit.stdout
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_session_that_the_service_ends_is_an_end_in_good_order() {
    let fixture = Fixture::new().await;
    let mut client = spawn_group(start_session(&fixture, PORT_DOCUMENT, "portNumber=7"));
    client.stdout_line("Waiting for connections...").await;
    let id = fixture.lab.sessions()[0].id.clone();
    let terminate = aws(&fixture, &["ssm", "terminate-session", "--session-id", &id]);
    Client::spawn(terminate).exit().await.expect(0, &[]);
    let exit = client.exit().await;
    exit.expect(0, &[]);
    let expected =
        format!("Waiting for connections...\n\n\nExiting session with sessionId: {id}.\n\n");
    assert!(exit.stdout.ends_with(&expected), "{}", exit.stdout);
}

#[tokio::test]
async fn what_the_agent_says_at_the_end_is_passed_on_and_a_failure() {
    let fixture = Fixture::new().await;
    let parameters = "host=127.0.0.1,portNumber=7";
    let client = spawn_group(start_session(&fixture, REMOTE_HOST_DOCUMENT, parameters));
    let exit = client.exit().await;
    exit.expect(255, &["returned non-zero exit status 6", "hint: "]);
    let id = &fixture.lab.sessions()[0].id;
    let start = format!("\n\nSessionId: {id} : ");
    let (_, rest) = exit.stdout.split_once(&start).unwrap();
    assert!(
        rest.ends_with("Forwarding to IP address 127.0.0.1 is forbidden.\n\n"),
        "{rest}"
    );
}

/// As of a session that is denied on the target.
#[tokio::test]
async fn what_the_agent_says_instead_of_beginning_is_passed_on_too() {
    let fixture = Fixture::with_chaos("drop=100%").await;
    let client = spawn_group(start_session(&fixture, PORT_DOCUMENT, "portNumber=7"));
    let id = fixture.connected_session().await;
    assert!(fixture.lab.end_session(&id, EndedBy::IdleTimeout));
    let exit = client.exit().await;
    exit.expect(255, &["returned non-zero exit status 6", "hint: "]);
    let end = format!(
        "\n\nSessionId: {id} : Your session timed out due to inactivity and has been terminated.\n\n"
    );
    assert!(exit.stdout.ends_with(&end), "{}", exit.stdout);
}

/// An editor or a build that is cancelled kills the AWS CLI and knows nothing of its child.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_session_ends_with_the_cli() {
    for signal in [Signal::TERM, Signal::KILL] {
        let fixture = Fixture::new().await;
        let mut client = spawn_group(start_session(&fixture, PORT_DOCUMENT, "portNumber=7"));
        client.stdout_line("Waiting for connections...").await;
        client.signal(signal);
        // Its output ends when the plugin does.
        let exit = client.exit().await;
        assert_eq!(exit.signal(), Some(signal.as_raw()));
        assert!(
            exit.stdout.contains("Terminate signal received"),
            "{}",
            exit.stdout
        );
        fixture.no_session_left().await;
    }
}

/// The session ends while its connection is lost, as over a night in a bag.
#[tokio::test]
async fn a_session_that_is_gone_has_timed_out() {
    let fixture = Fixture::new().await;
    let mut client = spawn_group(start_session(&fixture, PORT_DOCUMENT, "portNumber=7"));
    client.stdout_line("Waiting for connections...").await;
    let [session] = <[_; 1]>::try_from(fixture.lab.sessions()).unwrap();
    let condition = Condition::FailUpgrades;
    let fault = Fault::Holds(condition, Duration::from_secs(3600));
    fixture.lab.inject(fault);
    fixture.lab.inject(Fault::Cut);
    let is_lost = || fixture.lab.sessions()[0].state != SessionState::Connected;
    eventually("loss of the connection", is_lost).await;
    fixture.lab.inject(Fault::Terminate);
    let exit = client.exit().await;
    exit.expect(255, &["returned non-zero exit status 6", "hint: "]);
    let expected = format!(
        "Waiting for connections...\nSession: {} timed out.\n",
        session.id
    );
    assert!(exit.stdout.ends_with(&expected), "{}", exit.stdout);
}
