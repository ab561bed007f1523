use tempfile::{TempDir, tempdir};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn directory() -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("x.sock");
    (directory, path)
}

async fn accept(socket: &UnixSocket) -> (UnixStream, String) {
    std::future::poll_fn(|cx| socket.poll_accept(cx))
        .await
        .unwrap()
}

/// It would be bound under a shorter name, and nobody could connect.
#[tokio::test]
async fn a_path_that_fits_into_no_address_is_refused() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("y".repeat(120));
    let failure = UnixSocket::bind(&path).unwrap_err();
    assert_eq!(failure.exit, Exit::Address);
    assert!(failure.message.contains("too long"), "{failure}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

#[tokio::test]
async fn the_socket_is_private_works_and_leaves_nothing_behind() {
    let (directory, path) = directory();
    let socket = UnixSocket::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);

    let mut client = UnixStream::connect(&path).await.unwrap();
    let (mut stream, peer) = accept(&socket).await;
    assert!(
        peer.ends_with(&format!("process {})", std::process::id())) || peer.starts_with("process"),
        "{peer}"
    );
    client.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");

    drop(socket);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let (_directory, path) = directory();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let socket = UnixSocket::bind(&path).unwrap();
    let _client = UnixStream::connect(&path).await.unwrap();
    accept(&socket).await;
}

#[tokio::test]
async fn a_live_socket_is_left_alone() {
    let (_directory, path) = directory();
    let live = UnixSocket::bind(&path).unwrap();
    let failure = UnixSocket::bind(&path).unwrap_err();
    assert_eq!(failure.exit, Exit::Address);
    assert!(failure.message.contains("it is in use by "), "{failure}");
    assert!(
        failure.message.contains(&std::process::id().to_string()),
        "{failure}"
    );
    drop(accept(&live).await);
    let _client = UnixStream::connect(&path).await.unwrap();
    accept(&live).await;
}

#[tokio::test]
async fn a_regular_file_is_left_alone() {
    let (_directory, path) = directory();
    fs::write(&path, "precious").unwrap();
    let failure = UnixSocket::bind(&path).unwrap_err();
    assert_eq!(failure.exit, Exit::Address);
    assert!(
        failure
            .message
            .ends_with("something that is not a socket is there"),
        "{failure}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_missing_directory_is_explained() {
    let (directory, _) = directory();
    let failure = UnixSocket::bind(&directory.path().join("no/x.sock")).unwrap_err();
    assert!(
        failure.message.ends_with("its directory does not exist"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_path_too_long_is_explained_and_leaves_nothing_behind() {
    let (directory, _) = directory();
    let parent = directory.path().join("x".repeat(120));
    fs::create_dir(&parent).unwrap();
    let failure = UnixSocket::bind(&parent.join("x.sock")).unwrap_err();
    assert!(
        failure
            .message
            .ends_with("its path is too long for a socket"),
        "{failure}"
    );
    assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
}

#[tokio::test]
async fn a_socket_put_in_its_place_survives_the_drop() {
    let (_directory, path) = directory();
    let socket = UnixSocket::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(socket);
    assert!(path.exists());
}
