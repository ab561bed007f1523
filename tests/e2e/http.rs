//! What people run through a tunnel: curl against web servers, and servers with ideas about closing.

use std::convert::Infallible;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Notify;

use crate::support::{
    Client, Digest, Fixture, Random, TARGET, bounded, connect, expect_reset, read_to_end, receive,
    receive_to_end, send, serve,
};

/// Runs curl and returns what it printed. Tests that need it fail where it is not installed.
async fn curl(arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*"])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match bounded("end of curl", command.output()).await {
        Ok(output) => output,
        Err(error) => panic!("curl is needed for this test and cannot be run: {error}"),
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {stderr}");
    output.stdout
}

/// A web server: `/chunked` answers in chunks, anything else with what was posted.
async fn web_server(connections: Arc<AtomicUsize>) -> u16 {
    serve(move |socket| {
        connections.fetch_add(1, Ordering::SeqCst);
        async move {
            let service = service_fn(respond);
            let serving = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            serving.await.unwrap();
        }
    })
    .await
}

type Body = BoxBody<Bytes, Infallible>;

async fn respond(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    if request.uri().path() == "/chunked" {
        let chunks = chunks().into_iter().map(|chunk| Ok(Frame::data(chunk)));
        let body = StreamBody::new(futures_util::stream::iter(chunks));
        return Ok(Response::new(body.boxed()));
    }
    let posted = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(posted).boxed()))
}

fn chunks() -> Vec<Bytes> {
    let mut random = Random::new(8);
    let lens = [1, 10_000, 3, 300_000, 65_536];
    lens.map(|len| Bytes::from(random.bytes(len))).to_vec()
}

#[tokio::test]
async fn curl_shows_the_labs_page_on_both_families() {
    let fixture = Fixture::new().await;
    let (client, port) = fixture.forward(80).await;
    let mut hosts = vec!["localhost", "127.0.0.1"];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        hosts.push("[::1]");
    }
    for host in hosts {
        // Brackets are patterns to curl otherwise.
        let page = curl(&["--globoff", &format!("http://{host}:{port}/")]).await;
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(TARGET), "{page}");
    }
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn several_requests_share_a_connection() {
    let fixture = Fixture::new().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let (client, port) = fixture
        .forward(web_server(Arc::clone(&connections)).await)
        .await;
    let url = format!("http://127.0.0.1:{port}/");
    let answer = curl(&["--data", "twice", &url, &url]).await;
    assert_eq!(answer, b"twicetwice");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    client.stop().await;
}

#[tokio::test]
async fn a_connection_that_the_server_would_have_kept_is_told_of_as_closed() {
    let fixture = Fixture::new().await;
    let remote = web_server(Arc::default()).await;
    let arguments = ["-v", "--half-close=1", TARGET, &format!("{remote}:0")];
    let mut client = Client::spawn(fixture.command(&arguments));
    let line = client.stderr_line(" is now localhost:").await;
    let (_, port) = line.trim_end().rsplit_once(':').unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(curl(&["--data", "once", &url]).await, b"once");
    let prefix = format!("connection 1 of {remote}:0 closed: ");
    let closed = client.stderr_line(&prefix).await;
    assert!(
        closed.contains("bytes received; the local side was done"),
        "{closed}"
    );
    client.stop().await;
}

#[tokio::test]
async fn a_post_of_megabytes_comes_back_whole() {
    let fixture = Fixture::new().await;
    let (client, port) = fixture.forward(web_server(Arc::default()).await).await;
    let posted = Random::new(4).bytes(5 << 20);
    let path = fixture.directory().join("posted");
    std::fs::write(&path, &posted).unwrap();
    let data = format!("@{}", path.display());
    let url = format!("http://127.0.0.1:{port}/");
    let answer = curl(&["--data-binary", &data, &url]).await;
    assert!(answer == posted, "{} bytes came back", answer.len());
    client.stop().await;
}

#[tokio::test]
async fn a_chunked_response_comes_whole() {
    let fixture = Fixture::new().await;
    let (client, port) = fixture.forward(web_server(Arc::default()).await).await;
    let answer = curl(&[&format!("http://127.0.0.1:{port}/chunked")]).await;
    assert!(answer == chunks().concat(), "{} bytes came", answer.len());
    client.stop().await;
}

#[tokio::test]
async fn http_goes_through_a_unix_socket() {
    let fixture = Fixture::new().await;
    let remote = web_server(Arc::default()).await;
    let path = fixture.directory().join("web.sock");
    let path = path.to_str().unwrap();
    let mut client = fixture.spawn(&[format!("{remote}:{path}")]);
    client.event("connected").await;
    let answer = curl(&["--unix-socket", path, "--data", "hello", "http://web/"]).await;
    assert_eq!(answer, b"hello");
    client.stop().await;
}

/// A client that has said everything still gets the whole answer, although an agent that is told of
/// the end would cut it.
#[tokio::test]
async fn an_answer_arrives_after_the_client_has_shut_its_side_down() {
    const ANSWER_LEN: u64 = 16 << 20;
    let fixture = Fixture::new().await;
    let is_shut_down = Arc::new(Notify::new());
    let gate = Arc::clone(&is_shut_down);
    let port = serve(move |mut socket| {
        let gate = Arc::clone(&gate);
        async move {
            let mut question = [0; 8];
            socket.read_exact(&mut question).await.unwrap();
            gate.notified().await;
            send(&mut socket, 6, ANSWER_LEN).await.unwrap();
        }
    });
    let (client, local) = fixture.forward(port.await).await;
    let mut socket = connect(local).await;
    socket.write_all(b"question").await.unwrap();
    socket.shutdown().await.unwrap();
    is_shut_down.notify_one();
    let received = bounded("the whole answer", receive_to_end(&mut socket));
    let received = received.await.unwrap();
    assert_eq!(received, expected(6, ANSWER_LEN).await);
    client.stop().await;
}

#[tokio::test]
async fn the_end_of_the_local_data_is_not_held_back_for_ever() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&["--half-close=1", "7:0"]);
    let local = client.connected().await;
    let (mut reader, mut writer) = connect(local).await.into_split();
    let sending = async {
        let sent = send(&mut writer, 5, 1 << 20).await.unwrap();
        writer.shutdown().await.unwrap();
        sent
    };
    let both = async { tokio::join!(sending, receive(&mut reader, 1 << 20)) };
    let (sent, received) = bounded("the echo", both).await;
    assert_eq!(received.unwrap(), sent);
    let closed = client.event("connection_closed").await;
    assert_eq!(closed["outcome"], "held_too_long");
    client.stop().await;
}

#[tokio::test]
async fn a_server_that_closes_first_is_heard_to_its_last_byte() {
    let fixture = Fixture::new().await;
    let port = serve(|mut socket| async move {
        send(&mut socket, 7, 3_000_001).await.unwrap();
    });
    let (client, local) = fixture.forward(port.await).await;
    for _ in 0..10 {
        let mut socket = connect(local).await;
        let received = bounded("the whole text", receive_to_end(&mut socket));
        assert_eq!(received.await.unwrap(), expected(7, 3_000_001).await);
    }
    client.stop().await;
}

/// The digest of what [`send`] sends.
async fn expected(seed: u64, len: u64) -> Digest {
    send(&mut tokio::io::sink(), seed, len).await.unwrap()
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_the_end_is_held_back_is_not_ended_in_good_order() {
    let fixture = Fixture::new().await;
    let remote = serve(|mut socket| async move {
        socket.write_all(b"half of the answer").await.unwrap();
        // The rest would come after the client's end of data, and that is not passed on in time.
        let _ended = read_to_end(&mut socket).await;
    })
    .await;
    let mut client = fixture.spawn(&["--half-close", "1", &format!("{remote}:0")]);
    let mut socket = connect(client.connected().await).await;
    socket.shutdown().await.unwrap();
    expect_reset(&mut socket).await;
    let closed = client.event("connection_closed").await;
    assert_eq!(closed["outcome"], "held_too_long");
}
