//! Listening for local connections.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::{Address, LocalStream};
use crate::failure::{Exit, Failure};
use crate::spec::Local;

#[cfg(unix)]
use super::unix::UnixSocket;

#[cfg(test)]
mod tests;

/// A local address that is being listened on, until the value is dropped.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    /// One socket, or two for `localhost`: 127.0.0.1 and ::1.
    sockets: Vec<Socket>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixSocket),
}

impl Listener {
    /// Starts to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Exit::Address`] when the address is taken, not this machine's, or not permitted; a process that holds it is
    /// named where the system tells.
    pub fn bind(local: &Local) -> Result<Self, Failure> {
        match local {
            Local::Loopback(0) => bind_free_localhost(),
            Local::Loopback(port) => {
                bind_localhost(*port).map_err(|refusal| refusal.explain("localhost"))
            }
            Local::Tcp(address) => bind_address(*address),
            #[cfg(unix)]
            Local::Unix(path) => Ok(Self {
                address: Address::Unix(path.clone()),
                sockets: vec![Socket::Unix(UnixSocket::bind(path)?)],
            }),
            #[cfg(not(unix))]
            Local::Unix(path) => Err(Failure::new(
                Exit::Address,
                format!(
                    "cannot listen on {}: this system has no Unix sockets",
                    path.display()
                ),
            )
            .with_hint("choose a local port instead, as in 5432:15432")),
        }
    }

    /// Where connections are accepted, with the port that was chosen if none was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for a connection and says who made it, as an address or a process.
    ///
    /// Connections that end before they are accepted are skipped, and a lack of file descriptors or memory is waited
    /// out. Losing the future loses no connection.
    ///
    /// # Errors
    ///
    /// When the listening socket itself is broken.
    pub async fn accept(&self) -> io::Result<(LocalStream, String)> {
        loop {
            let accepted = std::future::poll_fn(|cx| self.poll_accept(cx)).await;
            match accepted {
                Ok(connection) => return Ok(connection),
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) if is_shortage(&error) => {
                    tracing::warn!(address = %self.address, %error, "cannot accept a connection yet");
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(LocalStream, String)>> {
        for socket in &self.sockets {
            if let Poll::Ready(accepted) = socket.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

impl Socket {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(LocalStream, String)>> {
        match self {
            Self::Tcp(socket) => socket.poll_accept(cx).map(|accepted| {
                let (stream, peer) = accepted?;
                // Some systems refuse the option once the other side is gone.
                let gone = |error| io::Error::new(ErrorKind::ConnectionAborted, error);
                stream.set_nodelay(true).map_err(gone)?;
                let stream = LocalStream::Tcp(stream);
                stream.reset_on_drop();
                Ok((stream, peer.to_string()))
            }),
            #[cfg(unix)]
            Self::Unix(socket) => socket
                .poll_accept(cx)
                .map_ok(|(stream, peer)| (LocalStream::Unix(stream), peer)),
        }
    }
}

/// How long accepting pauses when the process has run out of descriptors or memory.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// Tells whether an accept failed because of the connection, which says nothing about the next one.
///
/// Linux reports here what the network had to say about the connection, and a firewall's refusal.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::PermissionDenied
    )
}

/// Tells whether an accept failed for want of something that comes back: EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_shortage(error: &io::Error) -> bool {
    /// ENFILE and EMFILE of every Unix, ENOBUFS of Linux and of BSD, and WSAEMFILE and WSAENOBUFS of Windows: none of
    /// them has an `ErrorKind`.
    const SHORTAGES: [i32; 6] = [23, 24, 105, 55, 10024, 10055];
    let is_known = |code| SHORTAGES.contains(&code);
    error.kind() == ErrorKind::OutOfMemory || error.raw_os_error().is_some_and(is_known)
}

/// A TCP address that could not be listened on.
struct Refusal {
    address: SocketAddr,
    error: io::Error,
}

impl Refusal {
    /// Says it to the user, who knows the address as `host`.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are dozens of kinds, and more to come"
    )]
    fn explain(self, host: impl std::fmt::Display) -> Failure {
        let port = self.address.port();
        let (reason, hint) = match self.error.kind() {
            ErrorKind::AddrInUse => (
                format!("it is in use by {}", holder(self.address)),
                "choose another local port, as in 80:9091, or 0 for any free one",
            ),
            ErrorKind::PermissionDenied => (
                "this user may not use that port".to_owned(),
                "choose a local port of 1024 or above, as in 80:8080",
            ),
            ErrorKind::AddrNotAvailable => (
                "it is not an address of this machine".to_owned(),
                "choose an address of this machine, or leave it out for localhost",
            ),
            _ => (self.error.to_string(), "choose another local address"),
        };
        let message = format!("cannot listen on port {port} of {host}: {reason}");
        Failure::new(Exit::Address, message).with_hint(hint)
    }
}

#[cfg(target_os = "linux")]
fn holder(address: SocketAddr) -> String {
    super::owner::of_port(address).unwrap_or_else(|| "another process".to_owned())
}

#[cfg(not(target_os = "linux"))]
fn holder(_address: SocketAddr) -> &'static str {
    "another process"
}

fn bind_address(address: SocketAddr) -> Result<Listener, Failure> {
    let bound = listen(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
    match bound {
        Ok((address, socket)) => Ok(Listener {
            address: Address::Tcp(address),
            sockets: vec![Socket::Tcp(socket)],
        }),
        Err(error) => Err(Refusal { address, error }.explain(address.ip())),
    }
}

/// How many ports are tried when each one the system offers for 127.0.0.1 is taken on ::1.
const FREE_PORT_ATTEMPTS: usize = 64;

fn bind_free_localhost() -> Result<Listener, Failure> {
    let mut refused = None;
    for _ in 0..FREE_PORT_ATTEMPTS {
        match bind_localhost(0) {
            Ok(listener) => return Ok(listener),
            Err(refusal) if refusal.error.kind() == ErrorKind::AddrInUse => refused = Some(refusal),
            Err(refusal) => return Err(refusal.explain("localhost")),
        }
    }
    let reason = match refused {
        Some(refusal) => refusal.error.to_string(),
        None => "none was tried".to_owned(),
    };
    Err(Failure::new(
        Exit::Address,
        format!("no port is free on 127.0.0.1 and ::1 alike: {reason}"),
    )
    .with_hint("choose the local port, as in 80:9090"))
}

/// Listens on `port` of 127.0.0.1 and, unless the machine has no IPv6, on the same port of ::1.
fn bind_localhost(port: u16) -> Result<Listener, Refusal> {
    let refusal = |address| move |error| Refusal { address, error };
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let first = listen(v4).map_err(refusal(v4))?;
    let port = first.local_addr().map_err(refusal(v4))?.port();
    let mut sockets = vec![Socket::Tcp(first)];

    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    match listen(v6) {
        Ok(second) => sockets.push(Socket::Tcp(second)),
        Err(error) if is_without_ipv6(&error) => {}
        Err(error) => return Err(refusal(v6)(error)),
    }
    Ok(Listener {
        address: Address::Localhost(port),
        sockets,
    })
}

/// Connections the system queues until they are accepted; it may allow fewer.
const BACKLOG: u32 = 1024;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Connections of a previous run that linger in TIME_WAIT do not keep a port; on Windows the option means more.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Tells whether listening on ::1 failed because there is no such address.
fn is_without_ipv6(error: &io::Error) -> bool {
    /// Of Linux, BSD and Windows; it has no `ErrorKind`.
    const EAFNOSUPPORT: [i32; 3] = [97, 47, 10047];
    let is_known = |code| EAFNOSUPPORT.contains(&code);
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error().is_some_and(is_known)
}
