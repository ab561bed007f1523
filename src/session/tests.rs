use std::collections::BTreeMap;
use std::future::poll_fn;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::aws;
use crate::lab::SessionState;
use crate::lab::testing::{aws, lab};
use crate::net::websocket::Socket;
use crate::stream::End;

type Notices = mpsc::UnboundedReceiver<Notice>;

const TARGET: &str = "i-0abc";

/// Starts a session to a port and collects what is said of its connection.
async fn start(aws: &Arc<Aws>, port: u16, options: Options) -> (Session, Notices) {
    start_with(aws, "AWS-StartPortForwardingSession", port, options).await
}

async fn start_with(
    aws: &Arc<Aws>,
    document: &str,
    port: u16,
    options: Options,
) -> (Session, Notices) {
    let (tx, rx) = mpsc::unbounded_channel();
    let observer = Observer::new(move |_, notice| {
        // A test that has seen enough listens no more.
        let _: Result<(), _> = tx.send(notice);
    });
    let request = StartSession {
        target: aws::Target::id(TARGET),
        document: Some(document.to_owned()),
        parameters: BTreeMap::from([("portNumber".to_owned(), vec![port.to_string()])]),
        reason: None,
    };
    let options = Options {
        observer,
        ..options
    };
    let shutdown = CancellationToken::new();
    let session = Session::start(Arc::clone(aws), request, options, &shutdown).await;
    (session.unwrap(), rx)
}

/// Takes a session's connection away by opening another one, as the gateway serves the last comer.
async fn steal(aws: &Aws, session: &Session) -> Socket {
    let resumption = aws.resume_session(session.id()).await.unwrap();
    let mut socket = websocket::open(aws, &resumption.stream_url).await.unwrap();
    let hello = serde_json::json!({"TokenValue": resumption.token.expose()});
    socket.send(Message::text(hello.to_string())).await.unwrap();
    socket
}

/// Sends bytes to the echo service and expects them back, while `disturb` happens.
///
/// Few: the agent repairs what was under way to the client at ten messages a second.
async fn echo_across(stream: &Stream<Channel>, seed: u64, disturb: impl Future<Output = ()>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let sent: Bytes = std::iter::repeat_with(|| rng.u8(..)).take(20_000).collect();
    let mut waiting = sent.clone();
    let writing = poll_fn(|cx| stream.poll_write(cx, &mut waiting));
    let reading = async {
        let mut received = Vec::new();
        while received.len() < sent.len() {
            received.extend(poll_fn(|cx| stream.poll_read(cx)).await.unwrap());
        }
        received
    };
    let (written, received, ()) = tokio::join!(writing, reading, disturb);
    written.unwrap();
    assert!(received == sent, "the bytes differ");
}

/// As some servers refuse clients.
#[tokio::test]
async fn what_a_server_says_before_it_hangs_up_is_there_when_its_connection_is_opened() {
    let lab = lab(|_| {}).await;
    let aws = aws(&lab).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut connection, _) = server.accept().await.unwrap();
        connection.write_all(b"too many clients\n").await.unwrap();
    });
    let (mut session, _) = start_with(&aws, "AWS-StartSSHSession", port, Options::default()).await;
    session.ended().await;
    let error = session.opener().open().await.unwrap_err();
    assert_eq!(error, OpenError::Ended);
    let stream = session.opener().open_remains().unwrap();
    let read = async || poll_fn(|cx| stream.poll_read(cx)).await;
    assert_eq!(read().await.unwrap(), &b"too many clients\n"[..]);
    assert_eq!(read().await, Err(End::Lost));
    assert!(session.opener().open_remains().is_none());
}

#[tokio::test]
async fn a_stream_survives_the_loss_of_its_connection_again_and_again() {
    let lab = lab(|_| {}).await;
    let aws = aws(&lab).await;
    let (session, mut notices) = start(&aws, 7, Options::default()).await;
    let stream = session.opener().open().await.unwrap();
    for round in 0..5 {
        let disturb = async {
            let _thief = steal(&aws, &session).await;
            let lost = notices.recv().await.unwrap();
            assert!(matches!(lost, Notice::Lost { .. }), "{lost:?}");
            let resumed = notices.recv().await.unwrap();
            let is_unplanned = matches!(
                resumed,
                Notice::Resumed {
                    is_planned: false,
                    ..
                }
            );
            assert!(is_unplanned, "{resumed:?}");
        };
        echo_across(&stream, round, disturb).await;
    }
    session.close().await.unwrap();
    let state = lab.sessions()[0].state;
    assert!(matches!(state, SessionState::Terminated(_)), "{state:?}");
}

#[tokio::test]
async fn streams_end_with_the_task_that_carries_their_session() {
    let lab = lab(|_| {}).await;
    let aws = aws(&lab).await;
    let (session, _notices) = start(&aws, 7, Options::default()).await;
    let stream = session.opener().open().await.unwrap();
    drop(session);
    let reading = poll_fn(|cx| stream.poll_read(cx));
    let read = timeout(Duration::from_secs(10), reading).await;
    assert!(matches!(read, Ok(Err(_))), "{read:?}");
}

#[tokio::test]
async fn a_connection_is_replaced_in_time_without_a_word() {
    let lab = lab(|_| {}).await;
    let aws = aws(&lab).await;
    let options = Options {
        renew_after: Duration::from_millis(100),
        ..Options::default()
    };
    let (session, mut notices) = start(&aws, 7, options).await;
    let stream = session.opener().open().await.unwrap();
    for round in 0..3 {
        let notice = notices.recv().await.unwrap();
        let is_planned = matches!(
            notice,
            Notice::Resumed {
                is_planned: true,
                ..
            }
        );
        assert!(is_planned, "{notice:?}");
        echo_across(&stream, round, async {}).await;
    }
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_loss_ends_a_session_that_is_not_to_be_resumed() {
    let lab = lab(|_| {}).await;
    let aws = aws(&lab).await;
    let options = Options {
        can_resume: false,
        ..Options::default()
    };
    let (mut session, _notices) = start(&aws, 7, options).await;
    let mut thief = steal(&aws, &session).await;
    let failure = session.ended().await;
    assert!(failure.message.contains("was lost"), "{failure}");
    assert_eq!(session.cause(), Some(Cause::Fault));
    session.close().await.unwrap();
    while thief.next().await.is_some_and(|frame| frame.is_ok()) {}
}

#[tokio::test]
async fn closing_while_the_connection_is_lost_terminates_the_session() {
    let lab = lab(|_| {}).await;
    let aws = aws(&lab).await;
    let (session, mut notices) = start(&aws, 7, Options::default()).await;
    let _thief = steal(&aws, &session).await;
    notices.recv().await.unwrap();
    session.close().await.unwrap();
    assert!(matches!(
        lab.sessions()[0].state,
        SessionState::Terminated(_)
    ));
}
