use std::net::TcpListener as BlockingListener;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

fn bind(text: &str) -> Result<Listener, Failure> {
    Listener::bind(&text.parse().unwrap())
}

fn port(listener: &Listener) -> u16 {
    listener.address().port().unwrap()
}

/// The machine that runs the tests may have no IPv6; what is to be seen differs then.
fn has_ipv6() -> bool {
    BlockingListener::bind("[::1]:0").is_ok()
}

/// A port of localhost that is free, and that the system gives to nobody who asks for any: other tests on the machine stay off
/// it.
fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(20_000..30_000));
    ports.find(|port| bind(&port.to_string()).is_ok()).unwrap()
}

#[tokio::test]
async fn localhost_is_both_loopback_addresses() {
    let listener = bind("0").unwrap();
    let port = port(&listener);
    assert_ne!(port, 0);
    assert_eq!(listener.address(), &Address::Localhost(port));
    let hosts: &[&str] = if has_ipv6() {
        &["127.0.0.1", "::1"]
    } else {
        &["127.0.0.1"]
    };
    for host in hosts {
        let client = TcpStream::connect((*host, port)).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap().to_string());
        let LocalStream::Tcp(stream) = stream else {
            panic!("not TCP")
        };
        assert!(stream.nodelay().unwrap());
    }
}

#[tokio::test]
async fn an_address_written_out_is_the_only_one() {
    let listener = bind(&format!("127.0.0.2:{}", free_port())).unwrap();
    assert!(
        TcpStream::connect(("127.0.0.2", port(&listener)))
            .await
            .is_ok()
    );
    assert!(
        TcpStream::connect(("127.0.0.1", port(&listener)))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_busy_port_is_named_with_its_holder() {
    for host in ["127.0.0.1", "::1"] {
        let port = free_port();
        let Ok(_other) = BlockingListener::bind((host, port)) else {
            continue;
        };
        let failure = bind(&port.to_string()).unwrap_err();
        assert_eq!(failure.exit, Exit::Address);
        let start = format!("cannot listen on port {port} of localhost: it is in use by ");
        assert!(failure.message.starts_with(&start), "{failure}");
        #[cfg(target_os = "linux")]
        assert!(
            failure
                .message
                .ends_with(&format!("(process {})", std::process::id())),
            "{failure}"
        );
        assert!(failure.hint.unwrap().contains("another local port"));
    }
}

#[tokio::test]
async fn a_port_is_free_again_after_a_drop() {
    let port = free_port();
    let listener = bind(&port.to_string()).unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    stream.close();
    drop(listener);
    // The server closed first: its side of the connection is in TIME_WAIT, or about to be.
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    drop(client);
    bind(&port.to_string()).unwrap();
}

#[tokio::test]
async fn an_address_of_another_machine_is_refused() {
    let failure = bind("192.0.2.1:0").unwrap_err();
    assert_eq!(failure.exit, Exit::Address);
    assert!(
        failure
            .message
            .ends_with("it is not an address of this machine"),
        "{failure}"
    );
}

#[test]
fn a_privileged_port_is_explained() {
    let refusal = Refusal {
        address: "127.0.0.1:80".parse().unwrap(),
        error: ErrorKind::PermissionDenied.into(),
    };
    let failure = refusal.explain("localhost");
    assert_eq!(
        failure.message,
        "cannot listen on port 80 of localhost: this user may not use that port"
    );
    assert!(failure.hint.unwrap().contains("1024"));
}

#[test]
fn errors_of_accept_are_told_apart() {
    for code in [23, 24] {
        assert!(is_shortage(&io::Error::from_raw_os_error(code)), "{code}");
    }
    assert!(is_shortage(&ErrorKind::OutOfMemory.into()));
    let aborted = io::Error::from(ErrorKind::ConnectionAborted);
    assert!(is_of_the_connection(&aborted) && !is_shortage(&aborted));
    let broken = io::Error::from_raw_os_error(9);
    assert!(!is_of_the_connection(&broken) && !is_shortage(&broken));
}

#[tokio::test]
async fn a_reset_is_seen_as_an_error() {
    let listener = bind("0").unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port(&listener)))
        .await
        .unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"partial").await.unwrap();
    client.read_exact(&mut [0; 7]).await.unwrap();
    stream.reset_on_drop();
    drop(stream);
    let error = client.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn vectored_writes_arrive_in_order() {
    let listener = bind("0").unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port(&listener)))
        .await
        .unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    assert!(stream.is_write_vectored());
    let slices = [io::IoSlice::new(b"ab"), io::IoSlice::new(b"cd")];
    assert_eq!(stream.write_vectored(&slices).await.unwrap(), 4);
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "abcd");
}
