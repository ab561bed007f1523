//! Faults of the API, of sessions, of targets and of what they reach.

use std::future::poll_fn;
use std::net::SocketAddr;

use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::types::{ConnectionStatus, InstanceInformationStringFilter};
use bytes::Bytes;
use ssmfwd_protocol::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::lab::testing::{echo, open_channel, sdk_with};
use crate::lab::{Chaos, Target};

fn during(condition: Condition) -> Fault {
    Fault::Holds(condition, LONG)
}

fn end_of(condition: Condition) -> Fault {
    Fault::Holds(condition, Duration::ZERO)
}

#[tokio::test]
async fn expired_tokens_are_worthless_and_resuming_brings_another() {
    let lab = lab(|_| {}).await;
    let mut raw = Raw::start(&lab).await;
    let resumed = sdk(&lab).resume_session().session_id(&raw.id).send();
    let resumed = resumed.await.unwrap();
    lab.inject(Fault::ExpireTokens);
    raw.socket = open_channel(&lab, &raw.url, resumed.token_value().unwrap()).await;
    assert_eq!(close_code(raw.last().await).0, 1003);
    raw.resume(&lab).await;
    raw.next().await.unwrap().unwrap();

    lab.inject(during(Condition::RefuseTokens));
    raw.resume(&lab).await;
    assert_eq!(close_code(raw.last().await).0, 1003);
    lab.inject(end_of(Condition::RefuseTokens));
    raw.resume(&lab).await;
    assert!(!matches!(
        raw.next().await.unwrap().unwrap(),
        Message::Close(_)
    ));
}

#[tokio::test]
async fn an_expired_cell_takes_its_url_with_it_and_resuming_brings_another() {
    let lab = lab(|_| {}).await;
    let mut raw = Raw::start(&lab).await;
    let first = raw.url.clone();
    raw.resume(&lab).await;
    assert_eq!(upgrade_status(&lab, &first).await, 101);
    lab.inject(Fault::ExpireCells);
    assert_eq!(upgrade_status(&lab, &first).await, 400);
    assert_eq!(upgrade_status(&lab, &raw.url).await, 400);
    raw.resume(&lab).await;
    assert_eq!(upgrade_status(&lab, &raw.url).await, 101);
    assert_eq!(upgrade_status(&lab, &first).await, 400);
    let mangled = raw.url.replace('+', "%2B");
    assert_eq!(upgrade_status(&lab, &mangled).await, 400);
}

#[tokio::test]
async fn expired_credentials_open_nothing_until_their_time_is_over() {
    let lab = lab(|_| {}).await;
    let raw = Raw::start(&lab).await;
    lab.inject(during(Condition::ExpireCredentials));
    assert_eq!(upgrade_status(&lab, &raw.url).await, 403);
    let refused = sdk(&lab).resume_session().session_id(&raw.id).send().await;
    let error = refused.unwrap_err();
    assert_eq!(error.code(), Some("ExpiredTokenException"));
    let message = "The security token included in the request is expired";
    assert_eq!(error.message(), Some(message));
    lab.inject(end_of(Condition::ExpireCredentials));
    assert_eq!(upgrade_status(&lab, &raw.url).await, 101);
}

#[tokio::test]
async fn renewed_credentials_make_the_earlier_ones_expired() {
    let lab = lab(|_| {}).await;
    let earlier = lab.credentials();
    for _ in 0..2 {
        let renewed = lab.renew_credentials();
        let token = renewed.session_token().map(str::to_owned);
        let environment = lab.environment();
        assert!(environment.contains(&("AWS_SESSION_TOKEN", token.unwrap())));
        let call = |credentials| sdk_with(&lab, credentials).describe_instance_information();
        let refused = call(earlier.clone()).send().await.unwrap_err();
        assert_eq!(refused.code(), Some("ExpiredTokenException"));
        call(renewed).send().await.unwrap();
    }
}

#[tokio::test]
async fn swallowed_acknowledgements_come_when_they_are_let_through() {
    let lab = lab(|_| {}).await;
    let tunnel = Tunnel::start(&lab, 7).await;
    let all_acknowledged = async || {
        while tunnel.channel.with(|channel| channel.buffered_len()) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tunnel.echo(10_000).await;
    all_acknowledged().await;
    lab.inject(during(Condition::SwallowAcks));
    tunnel.echo(10_000).await;
    assert!(is_pending(all_acknowledged()).await);
    lab.inject(end_of(Condition::SwallowAcks));
    all_acknowledged().await;
}

#[tokio::test]
async fn a_pause_is_announced_and_stops_the_agent_until_it_is_over() {
    let lab = lab(|_| {}).await;
    let mut raw = Raw::start(&lab).await;
    lab.inject(during(Condition::Pause));
    raw.next_of("pause_publication").await;
    // Not acknowledged, the handshake request would come again and again.
    assert!(is_pending(raw.next_of("output_stream_data")).await);
    lab.inject(end_of(Condition::Pause));
    raw.next_of("start_publication").await;
    raw.next_of("output_stream_data").await;

    let tunnel = Tunnel::start(&lab, 7).await;
    tunnel.echo(10_000).await;
    lab.inject(during(Condition::Pause));
    let mut echoing = Box::pin(tunnel.echo(10_000));
    assert!(is_pending(&mut echoing).await);
    lab.inject(end_of(Condition::Pause));
    echoing.await;
}

#[tokio::test]
async fn timeouts_can_be_set_while_a_session_runs() {
    let lab = lab(|_| {}).await;
    for (chaos, by, output) in [
        ("idle-timeout=1ms", EndedBy::IdleTimeout, "inactivity"),
        ("max-duration=1ms", EndedBy::MaxDuration, "maximum duration"),
    ] {
        let raw = Raw::start(&lab).await;
        lab.update_chaos(chaos).unwrap();
        let text = closing_output(raw).await;
        assert!(text.contains(output), "{text}");
        let state = lab.sessions().last().unwrap().state;
        assert_eq!(state, SessionState::Terminated(by));
        lab.set_chaos(Chaos::default());
    }
}

async fn is_connected(lab: &Lab, target: &str) -> bool {
    let status = sdk(lab).get_connection_status().target(target).send().await;
    status.unwrap().status() == Some(&ConnectionStatus::Connected)
}

#[tokio::test]
async fn a_target_that_is_offline_loses_its_sessions_and_comes_back() {
    let lab = lab(|config| config.targets.push(Target::new("i-0other"))).await;
    let raw = Raw::start(&lab).await;
    lab.update_chaos("offline=i-0abc:3600s").unwrap();
    assert_eq!(closing_output(raw).await, "");
    assert!(!is_connected(&lab, "i-0abc").await);
    assert!(is_connected(&lab, "i-0other").await);
    let started = sdk(&lab).start_session().target("i-0abc").send().await;
    assert_eq!(started.unwrap_err().code(), Some("TargetNotConnected"));
    lab.update_chaos("offline=3600s").unwrap();
    assert!(!is_connected(&lab, "i-0other").await);
    lab.update_chaos("offline=i-0abc:0s").unwrap();
    assert!(is_connected(&lab, "i-0abc").await);
    lab.set_chaos(Chaos::default());
    assert!(is_connected(&lab, "i-0other").await);
}

#[tokio::test]
async fn a_target_is_replaced_behind_its_tag() {
    let lab = lab(|config| {
        let tags = &mut config.targets[0].tags;
        tags.insert("Name".to_owned(), "web".to_owned());
    })
    .await;
    let find = async |key: &str, value: &str| {
        let filter = InstanceInformationStringFilter::builder();
        let filter = filter.key(key).values(value).build().unwrap();
        let found = sdk(&lab).describe_instance_information().filters(filter);
        let found = found.send().await.unwrap();
        let ids = found.instance_information_list().iter();
        ids.map(|i| i.instance_id().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(find("tag:Name", "web").await, ["i-0abc"]);
    assert_eq!(find("tag-key", "Name").await, ["i-0abc"]);
    assert!(find("tag:Name", "db").await.is_empty());
    assert!(find("tag:Role", "web").await.is_empty());

    let raw = Raw::start(&lab).await;
    lab.inject(Fault::ReplaceTarget {
        old: "i-0abc".to_owned(),
        new: "i-0def".to_owned(),
    });
    assert_eq!(closing_output(raw).await, "");
    assert_eq!(find("tag:Name", "web").await, ["i-0def"]);
    assert!(!is_connected(&lab, "i-0abc").await);
    assert!(is_connected(&lab, "i-0def").await);
}

/// Has a listener answer each connection with `name`, and returns its address.
async fn named_server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            socket.write_all(name.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
            let _ = socket.read(&mut [0]).await;
        }
    });
    address
}

async fn read_first(tunnel: &Tunnel) -> Bytes {
    let stream = tunnel.channel.open().await.unwrap();
    poll_fn(|cx| stream.poll_read(cx)).await.unwrap()
}

#[tokio::test]
async fn a_host_that_has_moved_is_found_by_the_next_session() {
    let lab = lab(|_| {}).await;
    let move_host = async |name| {
        lab.inject(Fault::MoveHost {
            name: "db.internal".to_owned(),
            address: named_server(name).await,
        });
    };
    let start = async || {
        let request = sdk(&lab).start_session().target("i-0abc");
        let request = request.document_name("AWS-StartPortForwardingSessionToRemoteHost");
        let request = request.parameters("host", vec!["db.internal".to_owned()]);
        Tunnel::open(&lab, request.send().await.unwrap()).await
    };
    move_host("first").await;
    let tunnel = start().await;
    assert_eq!(read_first(&tunnel).await, "first");
    move_host("second").await;
    assert_eq!(read_first(&tunnel).await, "first");
    assert_eq!(read_first(&start().await).await, "second");
}

#[tokio::test]
async fn the_oldest_stream_stalls_and_no_other() {
    let lab = lab(|_| {}).await;
    let tunnel = Tunnel::start(&lab, 7).await;
    let oldest = tunnel.channel.open().await.unwrap();
    echo(&oldest, 10).await;
    let other = tunnel.channel.open().await.unwrap();
    echo(&other, 10).await;
    lab.inject(during(Condition::Stall));
    let mut stalled = Box::pin(echo(&oldest, 100_000));
    assert!(is_pending(&mut stalled).await);
    let others = async { tokio::join!(echo(&other, 100_000), tunnel.echo(100_000)) };
    tokio::time::timeout(Duration::from_secs(20), others)
        .await
        .unwrap();
    assert!(is_pending(&mut stalled).await);
    lab.inject(end_of(Condition::Stall));
    stalled.await;
}

/// Sends a request to the control API and returns the answer's status line and body.
async fn control(lab: &Lab, request: &str, headers: &str, body: &str) -> (String, String) {
    let address = lab.endpoint_url().replace("http://", "");
    let mut socket = TcpStream::connect(&address).await.unwrap();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.lines().next().unwrap();
    (status.replace("HTTP/1.1 ", ""), body.to_owned())
}

#[tokio::test]
async fn the_control_api_changes_chaos_and_lists_sessions_even_in_a_black_hole() {
    let lab = lab_with("delay=5ms").await;
    let raw = Raw::start(&lab).await;
    let ok = |body: &str| ("200 OK".to_owned(), body.to_owned());
    let post = control(
        &lab,
        "POST /lab/chaos",
        "",
        "drop=1%,black-hole=3600s,cut@9s\n",
    )
    .await;
    let expected = "delay=5ms,drop=1%,cut@9s,black-hole=3600s\n";
    assert_eq!(post, ok(expected));
    assert!(is_pending(sdk(&lab).describe_instance_information().send()).await);
    let put = control(&lab, "PUT /lab/chaos", "", "delay=7ms").await;
    assert_eq!(put, ok("delay=7ms\n"));
    assert_eq!(control(&lab, "GET /lab/chaos", "", "").await, put);
    assert_eq!(lab.chaos().to_string(), "delay=7ms");

    let (status, body) = control(&lab, "POST /lab/chaos", "", "cut,explode").await;
    assert_eq!(status, "400 Bad Request");
    assert!(body.starts_with("unknown fault 'explode'"), "{body}");

    let (_, body) = control(&lab, "GET /lab/sessions", "", "").await;
    let sessions: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(sessions[0]["id"], raw.id);
    assert_eq!(sessions[0]["state"], "connected");
    assert_eq!(sessions[0]["connection_count"], 1);
    assert_eq!(sessions[0]["ended_by"], serde_json::Value::Null);

    let outages = "offline=600s,host=db:127.0.0.2";
    let put = control(&lab, "PUT /lab/chaos", "", outages).await;
    assert_eq!(put, ok("offline=i-0abc:600s,host=db:127.0.0.2\n"));
    let put = control(&lab, "PUT /lab/chaos", "", "").await;
    assert_eq!(put, ok("nothing is in force\n"));
    let post = control(&lab, "POST /lab/chaos", "", "reset").await;
    assert_eq!(post, ok("done: reset\nnothing is in force\n"));
    let put = control(&lab, "PUT /lab/chaos", "", "cut,drop=1%,lose-agents=1s").await;
    assert_eq!(put, ok("done: cut\ndone: lose-agents=1s\ndrop=1%\n"));
    let put = control(&lab, "GET /lab/chaos", "", "").await;
    assert_eq!(put, ok("drop=1%\n"));
}

#[tokio::test]
async fn the_control_api_refuses_what_it_does_not_know_and_web_pages() {
    let lab = lab(|_| {}).await;
    for (request, headers, status) in [
        ("GET /lab/secrets", "", "404 Not Found"),
        ("DELETE /lab/sessions", "", "405 Method Not Allowed"),
        (
            "POST /lab/chaos",
            "Origin: http://evil.example\r\n",
            "403 Forbidden",
        ),
    ] {
        let (answered, _) = control(&lab, request, headers, "cut").await;
        assert_eq!(answered, status, "{request}");
    }
}
