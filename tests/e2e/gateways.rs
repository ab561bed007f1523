//! Gateways that do not do their work, and sessions that others end.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Exit, Fixture, TARGET, bounded, connect, expect_reset};

/// Runs one forward against a gateway with this fault.
async fn run_against(fault: &str) -> Exit {
    let fixture = Fixture::with_chaos(fault).await;
    let exit = fixture.run(&[TARGET, "80:0"]).await;
    assert_eq!(fixture.lab.sessions().len(), 1);
    fixture.no_session_left().await;
    exit
}

#[tokio::test]
async fn garbage_is_not_taken_for_a_session() {
    let exit = run_against("garbage,seed=1").await;
    exit.expect(1, &["does not speak the session protocol", "hint: "]);
}

// These two wait for deadlines of the client, so they wait together.
#[tokio::test]
async fn a_gateway_that_never_answers_is_given_up() {
    let (silent, mute) = tokio::join!(run_against("silent"), run_against("mute"));
    silent.expect(
        1,
        &["the agent did not begin the handshake in time", "hint: "],
    );
    mute.expect(
        1,
        &["did not answer the WebSocket upgrade within 15 s", "hint: "],
    );
}

#[tokio::test]
async fn a_refused_upgrade_names_the_permission() {
    let exit = run_against("refuse-upgrade").await;
    exit.expect(3, &["HTTP 403", "ssmmessages:OpenDataChannel"]);
}

/// Opens an echo connection and has it carry something.
async fn conversation(local: u16) -> TcpStream {
    let mut socket = connect(local).await;
    socket.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    bounded("the echo", socket.read_exact(&mut answer))
        .await
        .unwrap();
    socket
}

#[tokio::test]
async fn a_session_terminated_from_outside_resets_its_connections() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&["--no-reconnect", "7:0"]);
    let local = client.connected().await;
    let mut sockets = [conversation(local).await, conversation(local).await];
    let config = aws_sdk_ssm::Config::builder()
        .behavior_version(aws_sdk_ssm::config::BehaviorVersion::latest())
        .http_client(ssmfwd::net::http::Client::new(Arc::default()))
        .region(aws_sdk_ssm::config::Region::new(fixture.lab.region()))
        .credentials_provider(fixture.lab.credentials())
        .endpoint_url(fixture.lab.endpoint_url())
        .build();
    let terminating = aws_sdk_ssm::Client::from_conf(config)
        .terminate_session()
        .session_id(&fixture.lab.sessions()[0].id)
        .send();
    bounded("answer to TerminateSession", terminating)
        .await
        .unwrap();
    for socket in &mut sockets {
        expect_reset(socket).await;
    }
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(6));
    let error = exit.events().pop().unwrap();
    assert_eq!(error["event"], "error");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("ended by the service or the agent"),
        "{message}"
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_idle_session_that_times_out_says_so() {
    let idle_timeout = Duration::from_millis(300);
    let fixture = Fixture::with(|config| config.idle_timeout = idle_timeout).await;
    let exit = fixture.run(&["--no-reconnect", TARGET, "80:0"]).await;
    exit.expect(6, &["timed out due to inactivity", "idleSessionTimeout"]);
    fixture.no_session_left().await;
}

/// Starts a lab as a process, so that it can be killed, and a client of it.
async fn client_of_a_lab_process(fixture: &Fixture) -> (Client, Client) {
    let mut command = fixture.bare_command();
    command.args(["lab", "--json", TARGET]);
    let mut lab = Client::spawn(command);
    let started = lab.event("lab_started").await;
    let mut command = fixture.bare_command();
    for (name, value) in started["environment"].as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    command.args(["--json", "--no-reconnect", TARGET, "7:0"]);
    (lab, Client::spawn(command))
}

#[tokio::test]
async fn a_connection_to_the_gateway_that_is_cut_resets_the_local_ones() {
    let fixture = Fixture::new().await;
    let (lab, mut client) = client_of_a_lab_process(&fixture).await;
    let local = client.connected().await;
    let mut socket = conversation(local).await;
    lab.signal(Signal::KILL);
    expect_reset(&mut socket).await;
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(6), "{}", exit.stderr);
    let errors: Vec<Value> = exit.events();
    let error = errors
        .iter()
        .find(|event| event["event"] == "error")
        .unwrap();
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("was lost: the connection to the service"),
        "{message}"
    );
    assert_eq!(lab.exit().await.signal(), Some(Signal::KILL.as_raw()));
}
