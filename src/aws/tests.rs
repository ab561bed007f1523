//! Calls through the real SDK to an API on loopback.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::failure::{Exit, Failure};
use crate::session::{self, Session, StartError};

/// Answers an operation with an HTTP status and a body.
type Answer = fn(operation: &str) -> (u16, String);

/// In place of a status: the connection is closed instead, or kept without an answer.
const HANG_UP: u16 = 0;
const SILENCE: u16 = 1;

/// What was asked of the API: operation and input.
type Calls = Arc<Mutex<Vec<(String, Value)>>>;

async fn api(answer: Answer) -> (Aws, Calls) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Calls::default();
    let log = calls.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let call = serve(stream, answer, &log).await;
            call.unwrap();
        }
    });
    (aws(port).await, calls)
}

async fn serve(mut stream: TcpStream, answer: Answer, log: &Calls) -> std::io::Result<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await?));
    }
    let head = head.to_ascii_lowercase();
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let mut input = vec![0; field("content-length:").parse().unwrap()];
    stream.read_exact(&mut input).await?;
    let operation = field("x-amz-target:").replace("amazonssm.", "");
    let (status, body) = answer(&operation);
    let input = serde_json::from_slice(&input).unwrap();
    log.lock().unwrap().push((operation, input));
    match status {
        HANG_UP => return Ok(()),
        SILENCE => std::future::pending().await,
        _ => {}
    }
    let head = format!(
        "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

async fn aws(port: u16) -> Aws {
    let options = Options {
        region: Some("us-east-1".into()),
        endpoint_url: Some(format!("http://127.0.0.1:{port}")),
        credentials: Some(Credentials::new("AKID", "S3CR3T", None, None, "test")),
        ..Options::default()
    };
    Aws::load(&options).await.unwrap()
}

fn request() -> StartSession {
    StartSession {
        target: Target::id("i-0abc"),
        document: Some("AWS-StartPortForwardingSession".into()),
        parameters: [("portNumber".into(), vec!["80".into()])].into(),
        reason: None,
    }
}

async fn start(answer: Answer) -> Result<StartedSession, Failure> {
    let (aws, _) = api(answer).await;
    start_with(&aws).await
}

async fn start_with(aws: &Aws) -> Result<StartedSession, Failure> {
    let started = aws.start_session("i-0abc", &request()).await;
    started.map_err(|error| match error {
        NotStarted::Failed(failure) => failure,
        NotStarted::NotConnected => panic!("not connected"),
    })
}

fn error(code: &str, message: &str) -> (u16, String) {
    (400, json!({"__type": code, "message": message}).to_string())
}

fn nodes(list: &Value) -> (u16, String) {
    (200, json!({ "InstanceInformationList": list }).to_string())
}

#[tokio::test]
async fn a_session_is_started() {
    let (aws, calls) = api(|_| {
        let url = "wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/u-1?cell-number=A+/=";
        let body = json!({"SessionId": "u-1", "TokenValue": "T0KEN", "StreamUrl": url});
        (200, body.to_string())
    })
    .await;
    let session = start_with(&aws).await.unwrap();
    assert_eq!(session.session_id, "u-1");
    assert_eq!(session.token.expose(), "T0KEN");
    assert!(session.stream_url.expose().ends_with("?cell-number=A+/="));
    assert!(!format!("{session:?}").contains("T0KEN"));
    let expected = json!({
        "Target": "i-0abc",
        "DocumentName": "AWS-StartPortForwardingSession",
        "Parameters": {"portNumber": ["80"]},
    });
    assert_eq!(
        *calls.lock().unwrap(),
        [("startsession".to_owned(), expected)]
    );
}

/// It may have begun a session already.
#[tokio::test]
async fn a_start_whose_answer_is_lost_is_not_repeated() {
    let (aws, calls) = api(|_| (HANG_UP, String::new())).await;
    let failure = start_with(&aws).await.unwrap_err();
    assert!(failure.message.contains("ssm:StartSession"), "{failure}");
    assert_eq!(calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_start_the_service_throttles_is_repeated() {
    let (aws, calls) = api(|_| error("ThrottlingException", "Rate exceeded")).await;
    let failure = start_with(&aws).await.unwrap_err();
    assert!(failure.message.contains("Rate exceeded"), "{failure}");
    assert!(calls.lock().unwrap().len() > 1);
}

/// The connection is given up meanwhile, which is the SDK's doing and takes the connector's help.
#[tokio::test]
async fn calls_that_the_service_fails_are_repeated() {
    static HAS_FAILED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let (aws, calls) = api(|operation| {
        if HAS_FAILED.lock().unwrap().insert(operation.to_owned()) {
            let (_, body) = error("InternalServerError", "An error occurred");
            return (500, body);
        }
        let url = "wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/u-1";
        let body = json!({"SessionId": "u-1", "TokenValue": "T0KEN", "StreamUrl": url});
        (200, body.to_string())
    })
    .await;
    let session = start_with(&aws).await.unwrap();
    aws.terminate_session(&session.session_id).await.unwrap();
    assert_eq!(calls.lock().unwrap().len(), 4);
}

/// As the service does by default, which lets three calls a second through.
#[tokio::test]
async fn many_sessions_are_started_no_faster_than_the_service_allows() {
    static CALLS: Mutex<Vec<Instant>> = Mutex::new(Vec::new());
    static IS_THROTTLED: AtomicBool = AtomicBool::new(false);
    let (aws, _) = api(|_| {
        let mut calls = CALLS.lock().unwrap();
        calls.retain(|at| at.elapsed() < Duration::from_millis(900));
        calls.push(Instant::now());
        if calls.len() > 6 {
            IS_THROTTLED.store(true, Ordering::Relaxed);
            return error("ThrottlingException", "Rate exceeded");
        }
        let url = "wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/u-1";
        let body = json!({"SessionId": "u-1", "TokenValue": "T0KEN", "StreamUrl": url});
        (200, body.to_string())
    })
    .await;
    let starting = (0..12).map(async |_| {
        aws.turn_to_start().await;
        start_with(&aws).await
    });
    for started in futures_util::future::join_all(starting).await {
        started.unwrap();
    }
    assert!(!IS_THROTTLED.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_lookup_in_ecs_is_repeated_when_it_is_throttled() {
    static IS_THROTTLED: AtomicBool = AtomicBool::new(true);
    let (aws, calls) = api(|operation| {
        if IS_THROTTLED.swap(false, Ordering::Relaxed) {
            return error("ThrottlingException", "Rate exceeded");
        }
        assert!(operation.ends_with(".listtasks"), "{operation}");
        (200, json!({"taskArns": []}).to_string())
    })
    .await;
    let found = aws.find(&"ecs:prod/web".parse().unwrap()).await;
    assert_eq!(found.unwrap().nodes, []);
    assert_eq!(calls.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_list_that_leads_back_to_itself_has_an_end() {
    let (aws, calls) = api(|_| {
        let page = json!({"taskArns": [], "nextToken": "again"});
        (200, page.to_string())
    })
    .await;
    let found = aws.find(&"ecs:prod/web".parse().unwrap()).await;
    assert_eq!(found.unwrap().nodes, []);
    assert_eq!(calls.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_session_with_a_foreign_stream_url_is_terminated() {
    let (aws, calls) = api(|_| {
        let url = "wss://example.com/v1/data-channel/u-1";
        let body = json!({"SessionId": "u-1", "TokenValue": "T0KEN", "StreamUrl": url});
        (200, body.to_string())
    })
    .await;
    let failure = start_with(&aws).await.unwrap_err();
    assert!(failure.message.contains("`example.com`"), "{failure}");
    let terminated = ("terminatesession".to_owned(), json!({"SessionId": "u-1"}));
    assert_eq!(calls.lock().unwrap().last(), Some(&terminated));
}

#[tokio::test]
async fn a_denial_keeps_the_services_words() {
    let words = "User: u is not authorized to perform: ssm:StartSession on resource: i-0abc";
    let failure = start(|_| {
        error(
            "AccessDeniedException",
            "User: u is not authorized to perform: ssm:StartSession on resource: i-0abc",
        )
    })
    .await
    .unwrap_err();
    assert_eq!(failure.exit, Exit::Credentials);
    assert!(failure.message.contains(words), "{failure}");
}

#[tokio::test]
async fn a_target_that_is_not_connected_is_explained() {
    let cases: [(Answer, &str); 4] = [
        (|_| nodes(&json!([])), "is not known to Systems Manager"),
        (
            |_| {
                nodes(&json!([
                    {"InstanceId": "i-0abc", "PingStatus": "ConnectionLost", "LastPingDateTime": 1767323045}
                ]))
            },
            "(ConnectionLost, last heard of at 2026-01-02T03:04:05Z)",
        ),
        (
            |_| nodes(&json!([{"InstanceId": "i-0abc", "PingStatus": "Online"}])),
            "is online, but its agent takes no sessions",
        ),
        (
            |_| error("AccessDeniedException", "no"),
            "i-0abc is not connected to Systems Manager in us-east-1",
        ),
    ];
    for (describe, expected) in cases {
        let (aws, _) = api(describe).await;
        let failure = aws.explain_unreachable("i-0abc").await;
        assert_eq!(failure.exit, Exit::Target);
        assert!(failure.message.contains(expected), "{failure}");
    }
}

#[tokio::test]
async fn not_connected_leads_to_the_inventory() {
    let (aws, calls) = api(|operation| match operation {
        "startsession" => error("TargetNotConnected", "i-0abc is not connected."),
        _ => nodes(&json!([])),
    })
    .await;
    let never = CancellationToken::new();
    let started = Session::start(
        Arc::new(aws),
        request(),
        session::Options::default(),
        &never,
    )
    .await;
    let Err(StartError::Failed(failure)) = started else {
        panic!("{started:?}");
    };
    assert_eq!(failure.exit, Exit::Target);
    let expected = json!({"Filters": [{"Key": "InstanceIds", "Values": ["i-0abc"]}]});
    let asked = calls.lock().unwrap().pop();
    assert_eq!(
        asked,
        Some(("describeinstanceinformation".to_owned(), expected))
    );
}

/// An interruption while no more than an explanation is waited for.
#[tokio::test]
async fn a_target_that_is_not_connected_leaves_no_session_in_doubt() {
    let (aws, calls) = api(|operation| match operation {
        "startsession" => error("TargetNotConnected", "i-0abc is not connected."),
        _ => (SILENCE, String::new()),
    })
    .await;
    let shutdown = CancellationToken::new();
    let starting = Session::start(
        Arc::new(aws),
        request(),
        session::Options::default(),
        &shutdown,
    );
    let interrupting = async {
        while calls.lock().unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        shutdown.cancel();
    };
    let (started, ()) = tokio::join!(starting, interrupting);
    let is_certain = matches!(
        started,
        Err(StartError::Interrupted {
            may_have_begun: false
        })
    );
    assert!(is_certain, "{started:?}");
}

#[tokio::test]
async fn answers_from_something_else_are_named() {
    for (answer, status) in [
        (
            (|_| (200, "<html>Sign in</html>".to_owned())) as Answer,
            "200",
        ),
        (|_| (404, "<html>Not here</html>".to_owned()), "404"),
    ] {
        let failure = start(answer).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Failure);
        let expected = format!("127.0.0.1 answered ssm:StartSession with HTTP status {status}");
        assert!(failure.message.starts_with(&expected), "{failure}");
    }
}

#[tokio::test]
async fn a_session_that_is_gone_counts_as_terminated() {
    let (aws, _) = api(|_| error("DoesNotExistException", "gone")).await;
    assert_eq!(aws.terminate_session("u-1").await, Ok(()));
}

async fn resume(answer: Answer) -> Result<Resumption, ResumeError> {
    let (aws, _) = api(answer).await;
    aws.resume_session("u-1").await
}

#[tokio::test]
async fn a_resumed_session_gets_another_token_and_url() {
    let resumption = resume(|_| {
        let url = "wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/u-1?cell-number=B";
        let body = json!({"SessionId": "u-1", "TokenValue": "T2", "StreamUrl": url});
        (200, body.to_string())
    });
    let resumption = resumption.await.unwrap();
    assert_eq!(resumption.token.expose(), "T2");
    assert!(resumption.stream_url.expose().ends_with("=B"));
}

#[tokio::test]
async fn a_session_that_is_over_is_told_from_one_that_cannot_be_resumed() {
    let without_token = |_: &str| (200, json!({"SessionId": "u-1"}).to_string());
    assert_eq!(resume(without_token).await.unwrap_err(), ResumeError::Gone);
    let unknown = |_: &str| error("DoesNotExistException", "no such session");
    assert_eq!(resume(unknown).await.unwrap_err(), ResumeError::Gone);
    let denied = resume(|_| error("AccessDeniedException", "no")).await;
    let Err(ResumeError::Refused(failure)) = denied else {
        panic!("{denied:?}");
    };
    assert!(failure.message.contains("ssm:ResumeSession was denied"));
    let elsewhere = resume(|_| {
        let url = "wss://example.com/v1/data-channel/u-1";
        let body = json!({"SessionId": "u-1", "TokenValue": "T2", "StreamUrl": url});
        (200, body.to_string())
    });
    let elsewhere = elsewhere.await;
    assert!(
        matches!(&elsewhere, Err(ResumeError::Refused(failure)) if failure.message.contains("example.com")),
        "{elsewhere:?}"
    );
}

#[tokio::test]
async fn what_is_worth_another_attempt_is_told_by_whose_turn_it_is() {
    let expired = resume(|_| error("ExpiredTokenException", "expired")).await;
    assert!(
        matches!(expired, Err(ResumeError::Credentials(_))),
        "{expired:?}"
    );
    let trouble = resume(|_| error("SomethingNew", "trouble")).await;
    assert!(
        matches!(trouble, Err(ResumeError::Transient(_))),
        "{trouble:?}"
    );
}

#[tokio::test]
async fn a_target_that_reboots_is_not_connected() {
    let (aws, _) = api(|_| (200, json!({"Status": "connected"}).to_string())).await;
    assert_eq!(aws.is_connected("i-0abc").await, Ok(true));
    let (aws, _) = api(|_| (200, json!({"Status": "notconnected"}).to_string())).await;
    assert_eq!(aws.is_connected("i-0abc").await, Ok(false));
}

// In the next two, time is paused so that the SDK's retries and deadlines cost nothing.

#[tokio::test(start_paused = true)]
async fn an_endpoint_nobody_listens_on_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = start_with(&aws(port).await).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Failure);
    assert!(
        failure
            .message
            .contains(&format!("failed: 127.0.0.1:{port}")),
        "{failure}"
    );
    assert!(failure.message.contains("refused"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_is_given_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let start = tokio::time::Instant::now();
    let failure = start_with(&aws(port).await).await.unwrap_err();
    assert_eq!(
        failure.message,
        "127.0.0.1 did not answer ssm:StartSession in time"
    );
    assert!(start.elapsed().as_secs() <= 30, "{:?}", start.elapsed());
}
