use std::time::Instant;

use ssmfwd_protocol::Channel;
use ssmfwd_protocol::channel::CloseReason;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::lab::testing::{Tunnel, lab, lab_with, sdk, start_session};
use crate::lab::{EndedBy, Lab, SessionState};

async fn read_to_end(stream: &Stream<Channel>) -> (Vec<u8>, End) {
    let mut received = Vec::new();
    loop {
        match poll_fn(|cx| stream.poll_read(cx)).await {
            Ok(data) => received.extend_from_slice(&data),
            Err(end) => return (received, end),
        }
    }
}

async fn terminate(lab: &Lab, tunnel: Tunnel) {
    tunnel
        .channel
        .with(|channel| channel.terminate(Instant::now()));
    assert_eq!(tunnel.closed.await.unwrap(), CloseReason::Terminated);
    while lab.sessions()[0].state != SessionState::Terminated(EndedBy::Agent) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn streams_carry_bytes_both_ways_and_the_flag_ends_the_session() {
    let lab = lab(|_| {}).await;
    let tunnel = Tunnel::start(&lab, 7).await;
    tokio::join!(tunnel.echo(1 << 20), tunnel.echo(1), tunnel.echo(100_000));
    terminate(&lab, tunnel).await;
    lab.shutdown().await;
}

#[tokio::test]
async fn a_lossy_link_loses_nothing() {
    let faults = "delay=1ms,jitter=1ms,drop=5%,duplicate=5%,reorder=5%,seed=7";
    let lab = lab_with(faults).await;
    let tunnel = Tunnel::start(&lab, 7).await;
    tokio::join!(tunnel.echo(30_000), tunnel.echo(10_000));
}

#[tokio::test]
async fn an_agent_without_multiplexing_carries_one_connection_after_the_other() {
    let lab = lab(|config| config.targets[0].agent_version = "2.3.756.0".to_owned()).await;
    let tunnel = Tunnel::start(&lab, 7).await;
    tunnel.echo(50_000).await;
    tunnel.echo(10).await;
    terminate(&lab, tunnel).await;
}

#[tokio::test]
async fn a_destination_that_refuses_costs_its_stream_only() {
    let lab = lab(|_| {}).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tunnel = Tunnel::start(&lab, port).await;
    drop(listener);
    let stream = tunnel.channel.open().await.unwrap();
    assert_eq!(read_to_end(&stream).await, (vec![], End::Refused));
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let _stream = tunnel.channel.open().await.unwrap();
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn an_agent_without_multiplexing_ends_with_the_reason_when_it_cannot_connect() {
    let lab = lab(|config| config.targets[0].agent_version = "2.3.756.0".to_owned()).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let tunnel = Tunnel::start(&lab, port).await;
    let stream = tunnel.channel.open().await.unwrap();
    let mut data = Bytes::from_static(b"x");
    poll_fn(|cx| stream.poll_write(cx, &mut data))
        .await
        .unwrap();
    let CloseReason::Peer { output, .. } = tunnel.closed.await.unwrap() else {
        panic!("not ended by the agent");
    };
    assert!(
        output.starts_with("Unable to connect to specified port: "),
        "{output}"
    );
}

#[tokio::test]
async fn what_a_destination_sends_before_it_closes_arrives_whole() {
    let lab = lab(|_| {}).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let tunnel = Tunnel::start(&lab, listener.local_addr().unwrap().port()).await;
    let stream = tunnel.channel.open().await.unwrap();
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(&vec![7; 1 << 19]).await.unwrap();
    };
    let ((), (received, end)) = tokio::join!(serving, read_to_end(&stream));
    assert_eq!((received.len(), end), (1 << 19, End::Finished));
}

#[tokio::test]
async fn a_forbidden_host_ends_the_session_with_the_reason() {
    let lab = lab(|_| {}).await;
    let request = sdk(&lab).start_session().target("i-0abc");
    let request = request.document_name("AWS-StartPortForwardingSessionToRemoteHost");
    let request = request.parameters("host", vec!["127.0.0.1".to_owned()]);
    let tunnel = Tunnel::open(&lab, request.send().await.unwrap()).await;
    let output = "Forwarding to IP address 127.0.0.1 is forbidden.".to_owned();
    assert_eq!(
        tunnel.closed.await.unwrap(),
        CloseReason::Peer {
            output,
            is_whole: true
        }
    );
}

#[tokio::test]
async fn a_session_for_ssh_is_one_connection_that_is_there_from_the_start() {
    let lab = lab(|_| {}).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let request = sdk(&lab).start_session().target("i-0abc");
    let request = request.document_name("AWS-StartSSHSession");
    let request = request.parameters("portNumber", vec![port.to_string()]);
    let tunnel = Tunnel::open(&lab, request.send().await.unwrap()).await;
    // Before the client has sent anything.
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.write_all(b"SSH-2.0-lab\r\n").await.unwrap();
    let stream = tunnel.channel.open().await.unwrap();
    let mut data = Bytes::from_static(b"SSH-2.0-client\r\n");
    poll_fn(|cx| stream.poll_write(cx, &mut data))
        .await
        .unwrap();
    let mut received = [0; 16];
    socket.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"SSH-2.0-client\r\n");
    socket.write_all(&[7; 100_000]).await.unwrap();
    drop(socket);
    let (received, _) = read_to_end(&stream).await;
    assert!(received.starts_with(b"SSH-2.0-lab\r\n\x07"));
    assert_eq!(received.len(), 13 + 100_000);
    let output = String::new();
    assert_eq!(
        tunnel.closed.await.unwrap(),
        CloseReason::Peer {
            output,
            is_whole: true
        }
    );
}

#[tokio::test]
async fn a_session_for_ssh_fails_when_nobody_listens() {
    let lab = lab(|_| {}).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let request = sdk(&lab).start_session().target("i-0abc");
    let request = request.document_name("AWS-StartSSHSession");
    let request = request.parameters("portNumber", vec![port.to_string()]);
    let tunnel = Tunnel::open(&lab, request.send().await.unwrap()).await;
    let CloseReason::Peer { output, .. } = tunnel.closed.await.unwrap() else {
        panic!("not ended by the agent");
    };
    let expected = "Unable to connect to specified port: ";
    assert!(output.starts_with(expected), "{output}");
}

#[tokio::test]
async fn terminating_the_session_closes_the_destinations_connections() {
    let lab = lab(|_| {}).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let session = start_session(&lab, listener.local_addr().unwrap().port()).await;
    let id = session.session_id().unwrap().to_owned();
    let tunnel = Tunnel::open(&lab, session).await;
    let _stream = tunnel.channel.open().await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    sdk(&lab)
        .terminate_session()
        .session_id(id)
        .send()
        .await
        .unwrap();
    socket.readable().await.unwrap();
    assert!(!matches!(socket.try_read(&mut [0]), Ok(1..)));
    let closed = tunnel.closed.await.unwrap();
    assert_eq!(
        closed,
        CloseReason::Peer {
            output: String::new(),
            is_whole: true,
        }
    );
}

#[tokio::test]
async fn a_paced_agent_sends_at_most_a_kibibyte_each_1100_microseconds() {
    let lab = lab(|config| config.pace = true).await;
    let tunnel = Tunnel::start(&lab, 19).await;
    let stream = tunnel.channel.open().await.unwrap();
    let start = Instant::now();
    let mut received_len = 0;
    while received_len < 100 * 1024 {
        let data = poll_fn(|cx| stream.poll_read(cx)).await.unwrap();
        received_len += data.len();
    }
    assert!(start.elapsed().as_millis() >= 100, "{:?}", start.elapsed());
}
