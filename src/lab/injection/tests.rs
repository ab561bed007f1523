//! Each fault, as a client sees it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use aws_sdk_ssm::error::SdkError;
use futures_util::SinkExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::lab::testing::{Raw, Tunnel, lab, lab_with, open, sdk, start_session, upgrade_request};
use crate::lab::{Condition, EndedBy, Fault, Lab, SessionState};

mod service;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(3600);

/// Short enough not to delay the tests, long enough to be seen to hold.
const SHORT: Duration = Duration::from_millis(300);

async fn wait_for(lab: &Lab, state: SessionState) {
    while lab.sessions()[0].state != state {
        tokio::task::yield_now().await;
    }
}

async fn is_pending<F: Future>(future: F) -> bool {
    tokio::time::timeout(Duration::from_millis(50), future)
        .await
        .is_err()
}

async fn upgrade_status(lab: &Lab, url: &str) -> u16 {
    match open(upgrade_request(url, lab.credentials())).await {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other:?}"),
    }
}

async fn connect_error(address: &str) -> Option<ErrorKind> {
    let connected = TcpStream::connect(address).await;
    connected.err().map(|error| error.kind())
}

fn close_code(last: Option<Result<Message, Error>>) -> (u16, String) {
    let Some(Ok(Message::Close(Some(frame)))) = last else {
        panic!("{last:?}");
    };
    (frame.code.into(), frame.reason.to_string())
}

#[tokio::test]
async fn a_cut_closes_with_bye_and_the_session_can_be_resumed() {
    let lab = lab(|_| {}).await;
    let mut raw = Raw::start(&lab).await;
    lab.inject(Fault::Cut);
    assert_eq!(close_code(raw.last().await), (1000, "Bye".to_owned()));
    wait_for(&lab, SessionState::Disconnected).await;
    raw.resume(&lab).await;
    raw.next().await.unwrap().unwrap();
    wait_for(&lab, SessionState::Connected).await;
    assert_eq!(lab.sessions()[0].connection_count, 2);
}

#[tokio::test]
async fn cuts_come_again_and_lose_nothing() {
    let lab = lab(|_| {}).await;
    let tunnel = Tunnel::start(&lab, 7).await;
    lab.update_chaos("cut/500ms").unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        tunnel.echo(20_000).await;
    }
    lab.set_chaos(Default::default());
    tunnel.echo(100_000).await;
    assert_eq!(lab.sessions().len(), 1);
    assert!(tunnel.resumed_count() > 1, "{}", tunnel.resumed_count());
}

#[tokio::test]
async fn a_reset_is_one() {
    let lab = lab(|_| {}).await;
    let mut raw = Raw::start(&lab).await;
    lab.inject(Fault::Reset);
    match raw.last().await {
        Some(Err(Error::Io(error))) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
    wait_for(&lab, SessionState::Disconnected).await;
}

#[tokio::test]
async fn nothing_passes_a_black_hole_and_everything_goes_on_after_it() {
    let lab = lab(|_| {}).await;
    let mut raw = Raw::start(&lab).await;
    lab.inject(Fault::Holds(Condition::BlackHole, LONG));
    raw.socket.send(Message::Ping("x".into())).await.unwrap();
    let answered =
        async { while raw.next().await.unwrap().unwrap() != Message::Pong("x".into()) {} };
    assert!(is_pending(answered).await);
    let client = sdk(&lab);
    let calling = client.resume_session().session_id(&raw.id).send();
    let mut calling = Box::pin(calling);
    assert!(is_pending(&mut calling).await);
    let upgrade = open(upgrade_request(&raw.url, lab.credentials()));
    let mut upgrade = Box::pin(upgrade);
    assert!(is_pending(&mut upgrade).await);

    lab.inject(Fault::Holds(Condition::BlackHole, Duration::ZERO));
    while raw.next().await.unwrap().unwrap() != Message::Pong("x".into()) {}
    calling.await.unwrap();
    upgrade.await.unwrap();
}

#[tokio::test]
async fn a_black_hole_ends_by_itself() {
    let lab = lab(|_| {}).await;
    let tunnel = Tunnel::start(&lab, 7).await;
    let start = Instant::now();
    lab.inject(Fault::Holds(Condition::BlackHole, SHORT));
    tunnel.echo(10_000).await;
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_connection_that_ends_in_a_black_hole_is_closed_after_it() {
    let lab = lab(|_| {}).await;
    let mut raw = Raw::start(&lab).await;
    lab.inject(Fault::Holds(Condition::BlackHole, LONG));
    lab.inject(Fault::Reset);
    wait_for(&lab, SessionState::Disconnected).await;
    assert!(is_pending(raw.last()).await);
    lab.inject(Fault::Holds(Condition::BlackHole, Duration::ZERO));
    assert!(raw.last().await.is_some());
}

#[tokio::test]
async fn refused_connections_are_refused_and_those_that_exist_stay() {
    let lab = lab(|_| {}).await;
    let tunnel = Tunnel::start(&lab, 7).await;
    let address = lab.endpoint_url().replace("http://", "");
    lab.inject(Fault::Holds(Condition::RefuseConnections, LONG));
    // The order is seen soon after; what has come in between is reset.
    while connect_error(&address).await != Some(ErrorKind::ConnectionRefused) {
        tokio::task::yield_now().await;
    }
    tunnel.echo(10_000).await;
    lab.inject(Fault::Holds(Condition::RefuseConnections, Duration::ZERO));
    while connect_error(&address).await.is_some() {
        tokio::task::yield_now().await;
    }
    let error = sdk(&lab).resume_session().session_id("none").send().await;
    assert!(matches!(error, Err(SdkError::ServiceError(_))), "{error:?}");
}

#[tokio::test]
async fn upgrades_are_refused_for_a_time() {
    let lab = lab(|_| {}).await;
    let session = start_session(&lab, 7).await;
    let url = session.stream_url().unwrap();
    for (condition, status) in [
        (Condition::RefuseUpgrades, 403),
        (Condition::FailUpgrades, 500),
    ] {
        lab.inject(Fault::Holds(condition, LONG));
        assert_eq!(upgrade_status(&lab, url).await, status);
        lab.inject(Fault::Holds(condition, Duration::ZERO));
        assert_eq!(upgrade_status(&lab, url).await, 101);
    }
}

#[tokio::test]
async fn calls_fail_for_a_time() {
    let lab = lab(|_| {}).await;
    lab.inject(Fault::Holds(Condition::FailCalls, LONG));
    let error = sdk(&lab).describe_sessions().state("Active".into());
    let error = error.send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 500);
    lab.inject(Fault::Holds(Condition::FailCalls, Duration::ZERO));
    start_session(&lab, 7).await;
}

#[tokio::test]
async fn killed_agents_end_their_sessions_and_let_go_of_their_destinations() {
    let lab = lab(|_| {}).await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let tunnel = Tunnel::start(&lab, listener.local_addr().unwrap().port()).await;
    let _stream = tunnel.channel.open().await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    lab.inject(Fault::KillAgents);
    socket.readable().await.unwrap();
    assert!(!matches!(socket.try_read(&mut [0]), Ok(1..)));
    tunnel.closed.await.unwrap();
    assert_eq!(
        lab.sessions()[0].state,
        SessionState::Terminated(EndedBy::Agent)
    );
}

#[tokio::test]
async fn agents_that_come_back_have_lost_nothing() {
    let lab = lab(|_| {}).await;
    let tunnel = Tunnel::start(&lab, 7).await;
    let start = Instant::now();
    lab.inject(Fault::LoseAgents(SHORT));
    tunnel.echo(10_000).await;
    assert!(start.elapsed() >= SHORT);
    assert_eq!(lab.sessions().len(), 1);
}

#[tokio::test]
async fn sessions_end_as_by_whoever_is_named() {
    let lab = lab(|_| {}).await;
    let idle = "Your session timed out due to inactivity and has been terminated.";
    for (by, output) in [(EndedBy::IdleTimeout, idle), (EndedBy::Caller, "")] {
        let raw = Raw::start(&lab).await;
        assert!(lab.end_session(&raw.id, by));
        assert_eq!(closing_output(raw).await, output);
        let sessions = lab.sessions();
        assert_eq!(sessions.last().unwrap().state, SessionState::Terminated(by));
        assert!(!lab.end_session(&sessions.last().unwrap().id, by));
    }
    let raw = Raw::start(&lab).await;
    lab.inject(Fault::Terminate);
    assert_eq!(closing_output(raw).await, "");
}

/// Reads up to `channel_closed` and returns its output.
async fn closing_output(mut raw: Raw) -> String {
    loop {
        let Message::Binary(wire) = raw.next().await.unwrap().unwrap() else {
            continue;
        };
        let message = ssmfwd_protocol::message::Message::decode(wire).unwrap();
        let body: Option<serde_json::Value> = serde_json::from_slice(&message.payload).ok();
        if let Some(output) = body.as_ref().and_then(|body| body["Output"].as_str()) {
            return output.to_owned();
        }
    }
}

#[tokio::test]
async fn chaos_is_updated_and_replaced() {
    let lab = lab_with("delay=5ms,cut/3600s").await;
    lab.update_chaos("drop=5%,black-hole=1s@600s,terminate")
        .unwrap();
    let expected = "delay=5ms,drop=5%,cut/3600s,black-hole=1s@600s";
    assert_eq!(lab.chaos().to_string(), expected);
    lab.update_chaos("delay=7ms,oops").unwrap_err();
    assert_eq!(lab.chaos().to_string(), expected);
    lab.set_chaos("reset@600s".parse().unwrap());
    assert_eq!(lab.chaos().to_string(), "reset@600s");
}

#[tokio::test]
async fn a_fault_that_is_over_is_forgotten() {
    let lab = lab_with("fail-upgrades=3600s@100ms").await;
    assert_eq!(lab.chaos().faults.len(), 1);
    while !lab.chaos().faults.is_empty() {
        tokio::task::yield_now().await;
    }
    let session = start_session(&lab, 7).await;
    assert_eq!(
        upgrade_status(&lab, session.stream_url().unwrap()).await,
        500
    );
    lab.set_chaos(Default::default());
    assert_eq!(
        upgrade_status(&lab, session.stream_url().unwrap()).await,
        101
    );
}

#[tokio::test]
async fn the_lab_stops_at_once_whatever_goes_wrong() {
    for chaos in [
        "black-hole=3600s",
        "refuse-connections=3600s",
        "lose-agents=3600s",
        "cut@3600s",
    ] {
        let lab = lab(|_| {}).await;
        let raw = Raw::start(&lab).await;
        lab.update_chaos(chaos).unwrap();
        let stopped = tokio::time::timeout(Duration::from_secs(20), lab.shutdown()).await;
        assert!(stopped.is_ok(), "{chaos}");
        drop(raw);
    }
}
