use ssmfwd_protocol::message::MessageType;
use tokio_tungstenite::tungstenite::Error;

use super::*;
use crate::lab::Lab;
use crate::lab::session::{EndedBy, SessionState};
use crate::lab::testing::{
    ClientSocket, lab, lab_with, open, open_channel, sdk, start_session, upgrade_request,
};

async fn next_message(socket: &mut ClientSocket) -> ssmfwd_protocol::message::Message {
    match socket.next().await.unwrap().unwrap() {
        Message::Binary(wire) => decode(wire),
        other => panic!("{other:?}"),
    }
}

fn decode(wire: Bytes) -> ssmfwd_protocol::message::Message {
    ssmfwd_protocol::message::Message::decode(wire).unwrap()
}

/// Reads up to `channel_closed` and returns its output.
async fn closing_output(socket: &mut ClientSocket) -> String {
    loop {
        if let Some(output) = output(&next_message(socket).await) {
            return output;
        }
    }
}

/// The output of a `channel_closed`.
fn output(message: &ssmfwd_protocol::message::Message) -> Option<String> {
    if message.header.message_type != MessageType::ChannelClosed {
        return None;
    }
    let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    Some(body["Output"].as_str().unwrap().to_owned())
}

async fn wait_for(lab: &Lab, state: SessionState) {
    while lab.sessions()[0].state != state {
        tokio::task::yield_now().await;
    }
}

fn refused_with(result: Result<ClientSocket, Error>) -> u16 {
    match result.unwrap_err() {
        Error::Http(response) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_is_told_to_start_and_hears_the_agent_but_not_its_state() {
    let lab = lab(|_| {}).await;
    let session = start_session(&lab, 80).await;
    let (url, token) = (
        session.stream_url().unwrap(),
        session.token_value().unwrap(),
    );
    let mut socket = open_channel(&lab, url, token).await;
    let first = next_message(&mut socket).await;
    assert_eq!(first.header.message_type, MessageType::StartPublication);
    let second = next_message(&mut socket).await;
    assert_eq!(second.header.message_type, MessageType::OutputStreamData);
    assert_eq!(second.header.sequence, 0);
    assert_eq!(lab.sessions()[0].state, SessionState::Connected);
}

#[tokio::test]
async fn upgrades_are_verified() {
    let lab = lab(|_| {}).await;
    let session = start_session(&lab, 80).await;
    let url = session.stream_url().unwrap();
    let unsigned = tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request;
    assert_eq!(refused_with(open(unsigned(url).unwrap()).await), 403);

    let wrong = aws_credential_types::Credentials::new(
        lab.credentials().access_key_id(),
        "wrong",
        None,
        None,
        "test",
    );
    assert_eq!(refused_with(open(upgrade_request(url, wrong)).await), 403);

    let unknown = url.replace("lab-user-", "lab-user-x");
    let request = upgrade_request(&unknown, lab.credentials());
    assert_eq!(refused_with(open(request).await), 404);

    let mut request = upgrade_request(url, lab.credentials());
    request
        .headers_mut()
        .insert("sec-websocket-version", "8".parse().unwrap());
    assert_eq!(refused_with(open(request).await), 400);
}

#[tokio::test]
async fn a_first_frame_without_the_token_closes_the_channel() {
    let lab = lab(|_| {}).await;
    let session = start_session(&lab, 80).await;
    let url = session.stream_url().unwrap();
    let expected = format!(
        "Channel {}: request to open data channel does not contain token.",
        session.session_id().unwrap()
    );
    for first in [
        Message::text("{}"),
        Message::text("not JSON"),
        Message::text(r#"{"TokenValue":null}"#),
        Message::text(r#"{"TokenValue":"AAEAAwrong"}"#),
        Message::binary(format!(
            r#"{{"TokenValue":"{}"}}"#,
            session.token_value().unwrap()
        )),
    ] {
        let request = upgrade_request(url, lab.credentials());
        let mut socket = open(request).await.unwrap();
        socket.send(first.clone()).await.unwrap();
        let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else {
            panic!("{first:?}");
        };
        assert_eq!(
            (u16::from(frame.code), frame.reason.as_str()),
            (1003, expected.as_str())
        );
    }
    assert_eq!(lab.sessions()[0].state, SessionState::Connecting);
}

#[tokio::test]
async fn terminating_tells_the_client_and_ends_the_session() {
    let lab = lab(|_| {}).await;
    let session = start_session(&lab, 80).await;
    let (url, token) = (
        session.stream_url().unwrap(),
        session.token_value().unwrap(),
    );
    let mut socket = open_channel(&lab, url, token).await;
    next_message(&mut socket).await;
    let id = session.session_id().unwrap();
    sdk(&lab)
        .terminate_session()
        .session_id(id)
        .send()
        .await
        .unwrap();
    assert_eq!(closing_output(&mut socket).await, "");
    assert_eq!(
        lab.sessions()[0].state,
        SessionState::Terminated(EndedBy::Caller)
    );
    let request = upgrade_request(url, lab.credentials());
    assert_eq!(refused_with(open(request).await), 404);
}

#[tokio::test]
async fn a_client_that_left_resumes_with_a_new_token_only() {
    let lab = lab(|_| {}).await;
    let session = start_session(&lab, 80).await;
    let (url, token) = (
        session.stream_url().unwrap(),
        session.token_value().unwrap(),
    );
    let mut socket = open_channel(&lab, url, token).await;
    next_message(&mut socket).await;
    drop(socket);
    wait_for(&lab, SessionState::Disconnected).await;

    let id = session.session_id().unwrap();
    let resumed = sdk(&lab)
        .resume_session()
        .session_id(id)
        .send()
        .await
        .unwrap();
    let mut stale = open_channel(&lab, url, token).await;
    assert!(matches!(
        stale.next().await,
        Some(Ok(Message::Close(Some(_))))
    ));

    let (url, token) = (
        resumed.stream_url().unwrap(),
        resumed.token_value().unwrap(),
    );
    let mut socket = open_channel(&lab, url, token).await;
    let first = next_message(&mut socket).await;
    assert_eq!(first.header.message_type, MessageType::StartPublication);
    // What the first client has not acknowledged comes again.
    let again = next_message(&mut socket).await;
    assert_eq!(again.header.message_type, MessageType::OutputStreamData);
    assert_eq!(lab.sessions()[0].state, SessionState::Connected);
}

#[tokio::test]
async fn a_second_client_takes_the_place_of_the_first() {
    let lab = lab(|_| {}).await;
    let session = start_session(&lab, 80).await;
    let (url, token) = (
        session.stream_url().unwrap(),
        session.token_value().unwrap(),
    );
    let mut first = open_channel(&lab, url, token).await;
    next_message(&mut first).await;
    let mut second = open_channel(&lab, url, token).await;
    next_message(&mut second).await;
    while let Some(Ok(_)) = first.next().await {}
    assert_eq!(lab.sessions()[0].state, SessionState::Connected);
}

#[tokio::test]
async fn a_session_without_input_ends_after_the_idle_timeout() {
    let lab = lab(|config| config.idle_timeout = Duration::from_millis(50)).await;
    let session = start_session(&lab, 80).await;
    let (url, token) = (
        session.stream_url().unwrap(),
        session.token_value().unwrap(),
    );
    let socket = open_channel(&lab, url, token).await;
    let (mut sink, mut stream) = socket.split();
    // Neither pings nor acknowledgements are input.
    let acknowledge = [&[0, 0, 0, 0x74], "acknowledge         ".as_bytes()].concat();
    let chatting = async {
        loop {
            sink.send(Message::Ping("x".into())).await.unwrap();
            sink.send(Message::binary(acknowledge.clone()))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let listening = async {
        loop {
            if let Message::Binary(wire) = stream.next().await.unwrap().unwrap()
                && let Some(output) = output(&decode(wire))
            {
                break output;
            }
        }
    };
    let output = tokio::select! {
        output = listening => output,
        () = chatting => unreachable!(),
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("still not idle"),
    };
    assert_eq!(
        output,
        "Your session timed out due to inactivity and has been terminated."
    );
    let state = lab.sessions()[0].state;
    assert_eq!(state, SessionState::Terminated(EndedBy::IdleTimeout));
}

#[tokio::test]
async fn stopping_the_lab_ends_its_sessions() {
    let lab = lab(|_| {}).await;
    let session = start_session(&lab, 80).await;
    let (url, token) = (
        session.stream_url().unwrap(),
        session.token_value().unwrap(),
    );
    let mut socket = open_channel(&lab, url, token).await;
    next_message(&mut socket).await;
    let reading = async {
        let output = closing_output(&mut socket).await;
        drop(socket);
        output
    };
    let (output, ()) = tokio::join!(reading, lab.shutdown());
    assert_eq!(output, "");
}

#[tokio::test]
async fn garbage_is_random_frames_instead_of_the_session() {
    let lab = lab_with("garbage,seed=1").await;
    let session = start_session(&lab, 80).await;
    let (url, token) = (
        session.stream_url().unwrap(),
        session.token_value().unwrap(),
    );
    let mut socket = open_channel(&lab, url, token).await;
    let (mut texts, mut binaries) = (0, 0);
    while texts + binaries < 20 {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(_) => texts += 1,
            Message::Binary(wire) => {
                assert!(ssmfwd_protocol::message::Message::decode(wire).is_err());
                binaries += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(texts > 3 && binaries > 3);
}

#[tokio::test]
async fn a_silent_gateway_says_nothing_but_pong() {
    let lab = lab_with("silent").await;
    let session = start_session(&lab, 80).await;
    let (url, token) = (
        session.stream_url().unwrap(),
        session.token_value().unwrap(),
    );
    let mut socket = open_channel(&lab, url, token).await;
    socket.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::Pong("x".into())
    );
}

#[tokio::test]
async fn a_mute_gateway_does_not_answer_the_upgrade() {
    let lab = lab_with("mute").await;
    let session = start_session(&lab, 80).await;
    let request = upgrade_request(session.stream_url().unwrap(), lab.credentials());
    let answer = tokio::time::timeout(Duration::from_millis(100), open(request)).await;
    assert!(answer.is_err());
    lab.shutdown().await;
}

#[tokio::test]
async fn a_refused_upgrade_is_a_403() {
    let lab = lab_with("refuse-upgrade").await;
    let session = start_session(&lab, 80).await;
    let request = upgrade_request(session.stream_url().unwrap(), lab.credentials());
    assert_eq!(refused_with(open(request).await), 403);
}

#[tokio::test]
async fn stopping_the_lab_does_not_wait_for_messages_under_way() {
    let lab = lab_with("delay=60s").await;
    start_session(&lab, 80).await;
    let stopped = tokio::time::timeout(Duration::from_secs(20), lab.shutdown()).await;
    assert!(stopped.is_ok());
}
