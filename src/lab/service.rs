//! What runs behind a lab target: small services on loopback, known by their usual ports.

mod page;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The target's ports that built-in services answer, and where these really listen.
///
/// The services have ephemeral ports, so that a lab needs no privileges and any number run at once.
#[derive(Debug, Clone, Default)]
pub(super) struct PortTable {
    ports: BTreeMap<u16, SocketAddr>,
}

impl PortTable {
    /// Where the built-in service of `port` listens.
    pub(super) fn find(&self, port: u16) -> Option<SocketAddr> {
        self.ports.get(&port).copied()
    }

    /// Starts every service of a target.
    ///
    /// # Errors
    ///
    /// When no loopback port can be had.
    pub(super) async fn start(
        target: &str,
        tracker: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> io::Result<Self> {
        let mut ports = BTreeMap::new();
        let services = [
            (7, Service::Echo),
            (9, Service::Discard),
            (19, Service::Chargen),
            (80, Service::Page(target.to_owned())),
        ];
        for (port, service) in services {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            ports.insert(port, listener.local_addr()?);
            let serving = accept(listener, service, tracker.clone(), shutdown.clone());
            tracker.spawn(shutdown.clone().run_until_cancelled_owned(serving));
        }
        Ok(Self { ports })
    }
}

#[derive(Debug, Clone)]
enum Service {
    /// Sends back what it receives (RFC 862).
    Echo,
    /// Reads everything and answers nothing (RFC 863).
    Discard,
    /// Sends a pattern of printable characters until the connection closes (RFC 864).
    Chargen,
    /// A web page about the target with this id.
    Page(String),
}

impl Service {
    /// Serves one connection; its errors concern nobody but the client that caused them.
    async fn serve(self, mut socket: TcpStream) {
        let _ = socket.set_nodelay(true);
        let served = match self {
            Self::Echo => echo(&mut socket).await,
            Self::Discard => discard(&mut socket).await,
            Self::Chargen => chargen(&mut socket).await,
            Self::Page(target) => page::serve(socket, target).await,
        };
        if let Err(error) = served {
            tracing::debug!(%error, "lab service connection ended");
        }
    }
}

async fn accept(
    listener: TcpListener,
    service: Service,
    tracker: TaskTracker,
    shutdown: CancellationToken,
) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let serving = service.clone().serve(socket);
                tracker.spawn(shutdown.clone().run_until_cancelled_owned(serving));
            }
            Err(error) => super::pause_accepting(&error).await,
        }
    }
}

async fn echo(socket: &mut TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = socket.split();
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return writer.shutdown().await,
            len => {
                writer
                    .write_all(buffer.get(..len).unwrap_or_default())
                    .await?
            }
        }
    }
}

async fn discard(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_LEN];
    while reader.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn chargen(socket: &mut TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = socket.split();
    let writing = async {
        loop {
            writer.write_all(&PATTERNS).await?;
        }
    };
    tokio::select! {
        ended = discard(&mut reader) => ended,
        failed = writing => failed,
    }
}

/// The pattern of RFC 864: lines of 72 printable characters, each starting one character later.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut pattern = Vec::new();
    for first in 0..PRINTABLE_COUNT {
        let line = (0..72).map(|column| b' ' + (first + column) % PRINTABLE_COUNT);
        pattern.extend(line);
        pattern.extend_from_slice(b"\r\n");
    }
    pattern
});

/// As many patterns as one write moves well.
static PATTERNS: LazyLock<Vec<u8>> = LazyLock::new(|| PATTERN.repeat(9));

/// Printable ASCII characters, from the space to the tilde.
const PRINTABLE_COUNT: u8 = 95;

/// Bytes a service reads at a time.
const BUFFER_LEN: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    async fn connect(port: u16) -> TcpStream {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let table = PortTable::start("i-0abc", &tracker, &shutdown)
            .await
            .unwrap();
        let address = table.find(port).unwrap();
        assert!(address.ip().is_loopback());
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test]
    async fn echo_sends_everything_back_and_closes_after_its_client() {
        let mut socket = connect(7).await;
        let sent: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let (mut reader, mut writer) = socket.split();
        let mut received = Vec::new();
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(write, reader.read_to_end(&mut received));
        read.unwrap();
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn discard_reads_everything_and_says_nothing() {
        let mut socket = connect(9).await;
        socket.write_all(&[7; 1 << 20]).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
    }

    #[tokio::test]
    async fn chargen_repeats_the_pattern_until_the_client_closes() {
        let mut socket = connect(19).await;
        let mut received = vec![0; 3 * PATTERN.len()];
        socket.read_exact(&mut received).await.unwrap();
        assert!(received.starts_with(b" !\"#$%&'()*+,-./0123456789"));
        assert_eq!(&received[72..76], b"\r\n!\"");
        assert_eq!(received, PATTERN.repeat(3));
        socket.shutdown().await.unwrap();
        let mut rest = [0; 4096];
        // Ends with an error or an end of file: what matters is that it ends.
        while matches!(socket.read(&mut rest).await, Ok(len) if len > 0) {}
    }

    #[tokio::test]
    async fn the_page_names_its_target() {
        let mut socket = connect(80).await;
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        socket.write_all(request).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/html; charset=utf-8\r\n"));
        assert!(answer.contains("i-0abc"));
    }

    #[tokio::test]
    async fn shutdown_ends_listeners_and_connections() {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let table = PortTable::start("i-0abc", &tracker, &shutdown)
            .await
            .unwrap();
        let address = table.find(7).unwrap();
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"x").await.unwrap();
        socket.read_exact(&mut [0]).await.unwrap();
        shutdown.cancel();
        tracker.close();
        tracker.wait().await;
        assert!(TcpStream::connect(address).await.is_err());
        assert!(!matches!(socket.read(&mut [0]).await, Ok(1..)));
    }
}
