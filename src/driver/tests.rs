use std::future::poll_fn;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use ssmfwd_protocol::agent::AgentEvent;
use ssmfwd_protocol::channel::{CloseReason, Event};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::testing::{Pair, agent, channel, sockets};
use super::*;
use crate::stream::End;

#[tokio::test(start_paused = true)]
async fn a_client_and_an_agent_drive_each_other() {
    let pair = Pair::start().await;
    let near = pair.channel.open().await.unwrap();
    let mut question = Bytes::from_static(b"question");
    poll_fn(|cx| near.poll_write(cx, &mut question))
        .await
        .unwrap();
    let far = pair.agent.accept().await.unwrap();
    let received = poll_fn(|cx| far.poll_read(cx)).await.unwrap();
    assert_eq!(received, "question");
    let mut answer = Bytes::from_static(b"answer");
    poll_fn(|cx| far.poll_write(cx, &mut answer)).await.unwrap();
    far.finish();
    assert_eq!(poll_fn(|cx| near.poll_read(cx)).await.unwrap(), "answer");
    let end = poll_fn(|cx| near.poll_read(cx)).await;
    assert_eq!(end, Err(End::Finished));

    let now = Instant::now().into_std();
    pair.channel.with(|channel| channel.terminate(now));
    assert_eq!(
        pair.agent_end.await.unwrap().unwrap(),
        AgentEvent::Terminated
    );
    // An agent that has ended hangs up, with or without having acknowledged that.
    match pair.client_end.await.unwrap() {
        Ok(reason) => assert_eq!(reason, CloseReason::Terminated),
        Err(disconnect) => assert!(matches!(disconnect, Disconnect::Broken(_))),
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_without_any_message() {
    let (near, _far) = sockets(1024).await;
    let start = Instant::now();
    let channel = channel();
    let ended = drive(&channel, near, |event| match event {
        Event::Closed(reason) => ControlFlow::Break(reason),
        _ => ControlFlow::Continue(()),
    });
    let reason = ended.await.unwrap();
    assert!(matches!(reason, CloseReason::HandshakeTimedOut { .. }));
    assert_eq!(start.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_the_connection_comes_after_the_last_event() {
    // Everything is in the connection before it is driven: the handshake request and its loss.
    let (near, mut far) = sockets(64 * 1024).await;
    let agent = agent("3.3.987.0");
    while let Some(transmit) = agent.with(|agent| agent.poll_transmit(Instant::now().into_std())) {
        let Transmit::Binary(wire) = transmit else {
            panic!("an agent sends no text");
        };
        far.send(Message::Binary(wire)).await.unwrap();
    }
    // What tells a channel that it is closed, followed by the close of the connection itself.
    let unknown = vec![0; 200];
    for _ in 0..16 {
        far.send(Message::binary(unknown.clone())).await.unwrap();
    }
    let frame = CloseFrame {
        code: 1001.into(),
        reason: "going".into(),
    };
    far.send(Message::Close(Some(frame))).await.unwrap();

    let channel = channel();
    let mut events = Vec::new();
    let ended = drive(&channel, near, |event| {
        events.push(event);
        ControlFlow::<()>::Continue(())
    });
    let disconnect = ended.await.unwrap_err();
    assert!(matches!(disconnect, Disconnect::Closed { code: 1001, .. }));
    assert!(matches!(
        events[..],
        [Event::Closed(CloseReason::Protocol(_))]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_cut_is_told_from_one_that_is_closed() {
    let (near, far) = sockets(1024).await;
    drop(far);
    let channel = channel();
    let ended = drive(&channel, near, |_| ControlFlow::<()>::Continue(()));
    let disconnect = ended.await.unwrap_err();
    assert_eq!(
        disconnect.to_string(),
        "the connection to the service was cut"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_does_not_keep_its_own_messages_from_being_read() {
    // Room for one message of the client and no more; the peer never reads.
    let (near, mut far) = sockets(600).await;
    let channel = channel();
    let driven = channel.clone();
    let driving = tokio::spawn(async move {
        let ended = drive(&driven, near, |event| match event {
            Event::Closed(reason) => ControlFlow::Break(reason),
            _ => ControlFlow::Continue(()),
        });
        ended.await
    });
    let agent = agent("3.3.987.0");
    // The agent repeats what is not acknowledged, which the client must acknowledge every time.
    let mut sent_count = 0;
    while sent_count < 200 {
        let now = Instant::now().into_std();
        agent.with(|agent| agent.handle_timeout(now));
        while let Some(Transmit::Binary(wire)) = agent.with(|agent| agent.poll_transmit(now)) {
            far.send(Message::Binary(wire)).await.unwrap();
            sent_count += 1;
        }
        let deadline = agent.with(|agent| agent.poll_timeout());
        sleep_until(deadline.unwrap().0.into()).await;
        if driving.is_finished() {
            break;
        }
    }
    // Each of them was taken although nothing could be sent; the end is the client's own deadline.
    let reason = driving.await.unwrap().unwrap();
    assert!(matches!(
        reason,
        CloseReason::HandshakeTimedOut {
            is_started: true,
            ..
        }
    ));
    drop(far.next());
}
