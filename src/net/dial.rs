//! TCP connections by name.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use super::address::{is_private, without_brackets};
use crate::failure::{Exit, Failure};

/// Connects to `host`, a DNS name or an address (IPv6 with or without brackets), without Nagle's
/// algorithm: small frames that wait for an acknowledgement cost 40 ms each.
///
/// # Errors
///
/// [`Exit::Failure`] that tells an unknown name from a refusal, from silence, and from anything
/// else the operating system reports.
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + CONNECT_DEADLINE;
    let Ok(found) = timeout_at(deadline, resolve(host, port)).await else {
        let message = format!(
            "DNS did not answer for {host} within {} s",
            CONNECT_DEADLINE.as_secs()
        );
        return Err(Failure::new(Exit::Failure, message).with_hint(NAME_HINT));
    };
    let addresses = found.map_err(|error| unresolved(&error, host))?;
    let connecting = connect_first(interleave(addresses.clone()), TcpStream::connect);
    let connected = match timeout_at(deadline, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let stream = connected.map_err(|error| unconnected(&error, host, port, &addresses))?;
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot turn Nagle's algorithm off");
    }
    if let Err(error) = limit_unsent(&stream) {
        debug!(%error, "cannot keep the system from queueing much");
    }
    Ok(stream)
}

/// Bytes that may wait in the system to be sent; what waits here still can be overtaken.
#[cfg(target_os = "linux")]
const MAX_UNSENT_LEN: u32 = 64 * 1024;

/// Has the system take no more than it can send soon, so that what is urgent waits behind little.
#[cfg(target_os = "linux")]
fn limit_unsent(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT_LEN)
}

/// There is no such limit, or no safe way to set it.
#[cfg(not(target_os = "linux"))]
fn limit_unsent(_stream: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// Looks up the addresses of `host`, the resolver's favourite first.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((without_brackets(host), port)).await?;
    Ok(found.collect())
}

/// Longest wait for a connection, name lookup included. Two retransmissions of a lost SYN (1 s
/// and 3 s after the first) fit in.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Head start of one address over the next (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Alternates the address families, beginning with the resolver's favourite, so that a family
/// without a route costs one attempt's delay and not one for each of its addresses.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for address in addresses {
        if address.is_ipv6() == is_v6_first {
            first.push(address);
        } else {
            second.push(address);
        }
    }
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    let mut second = second.into_iter();
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

/// Connects to whichever address answers first. Each gets a head start over the next one, which
/// a failure cuts short.
async fn connect_first<T, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        let next = waiting.next();
        let is_last = next.is_none();
        attempts.extend(next.map(&connect));
        let delay = async {
            match is_last {
                true => std::future::pending().await,
                false => sleep(ATTEMPT_DELAY).await,
            }
        };
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last_error = error,
                None => return Err(last_error),
            },
            () = delay => {}
        }
    }
}

const NAME_HINT: &str = "check the network and its DNS; if a proxy is the only way out, set HTTPS_PROXY; in a private network, \
                         the names are those of its VPC endpoints";

pub(crate) fn unresolved(error: &io::Error, host: &str) -> Failure {
    Failure::new(Exit::Failure, format!("cannot resolve {host}: {error}")).with_hint(NAME_HINT)
}

/// Explains why there is no connection: each way not to connect has its own cause, and its own fix.
fn unconnected(error: &io::Error, host: &str, port: u16, addresses: &[SocketAddr]) -> Failure {
    use io::ErrorKind;

    let at = place(host, addresses);
    let to = format!("{host}:{port}{at}");
    let is_private =
        !addresses.is_empty() && addresses.iter().all(|address| is_private(address.ip()));
    // A literal address is where the user wants to go.
    let hint_for_private = (is_private && !at.is_empty()).then_some(PRIVATE_HINT);
    let (message, hint) = match error.kind() {
        ErrorKind::ConnectionRefused => (
            format!("{to} refused the connection"),
            "nothing listens there, or a firewall rejects it: check the address",
        ),
        ErrorKind::TimedOut => (
            format!("no connection to {to} within {} s", CONNECT_DEADLINE.as_secs()),
            hint_for_private.unwrap_or(
                "a firewall or a missing route swallows the packets; if a proxy is the way out, set HTTPS_PROXY",
            ),
        ),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => (
            format!("the connection to {to} was reset"),
            "a firewall on the way, or a load balancer without a backend, ends connections as they are made: have it let this \
             address through; if a proxy is the way out, set HTTPS_PROXY",
        ),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => (
            format!("there is no way to {to}: {error}"),
            hint_for_private.unwrap_or(
                "a router, or this machine itself, knows no route: check that the network or the VPN is up, and its routes; an \
                 address that is IPv6 needs a network that has it",
            ),
        ),
        ErrorKind::PermissionDenied => (
            format!("this machine does not allow a connection to {to}: {error}"),
            "a firewall on this machine, or the sandbox it runs in, forbids it",
        ),
        _ => (
            format!("cannot connect to {to}: {error}"),
            "check this machine's network, and its firewall",
        ),
    };
    Failure::new(Exit::Failure, message).with_hint(hint)
}

const PRIVATE_HINT: &str = "that is a private address, such as a VPC endpoint's: it is reached from its network alone. Connect the \
                            VPN, or use a DNS that knows the public address";

/// Which addresses a name stands for, in brackets; nothing for an address.
fn place(host: &str, addresses: &[SocketAddr]) -> String {
    let list: Vec<String> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    match list.as_slice() {
        [] => String::new(),
        [only] if only == without_brackets(host) => String::new(),
        [only] => format!(" ({only})"),
        [first, rest @ ..] => format!(" ({first} and {} more)", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate() {
        let mixed = interleave(addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"]));
        assert_eq!(
            mixed,
            addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"])
        );
    }

    #[tokio::test]
    async fn connects_without_delay_of_small_packets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect("127.0.0.1", listener.local_addr().unwrap().port());
        assert!(stream.await.unwrap().nodelay().unwrap());
    }

    #[tokio::test]
    async fn refusal_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let failure = connect("127.0.0.1", port).await.unwrap_err();
        assert_eq!(
            failure.message,
            format!("127.0.0.1:{port} refused the connection")
        );
    }

    #[test]
    fn a_private_address_is_told_from_others() {
        let silence = io::Error::from(io::ErrorKind::TimedOut);
        let explain = |host, found: &[&str]| unconnected(&silence, host, 443, &addresses(found));
        let private = explain("ssm.example", &["10.0.0.1:443", "10.0.0.2:443"]);
        assert_eq!(
            private.message,
            "no connection to ssm.example:443 (10.0.0.1 and 1 more) within 10 s"
        );
        assert!(private.hint.unwrap().contains("VPC endpoint"));
        let mixed = explain("ssm.example", &["10.0.0.1:443", "52.0.0.1:443"]);
        assert!(mixed.hint.unwrap().contains("HTTPS_PROXY"));
        let literal = explain("[fd00::1]", &["[fd00::1]:443"]);
        assert_eq!(
            literal.message,
            "no connection to [fd00::1]:443 within 10 s"
        );
        assert!(literal.hint.unwrap().contains("HTTPS_PROXY"));
    }

    #[test]
    fn each_way_not_to_connect_has_its_own_fix() {
        let kinds = [
            (io::ErrorKind::ConnectionRefused, "refused the connection"),
            (io::ErrorKind::TimedOut, "within 10 s"),
            (io::ErrorKind::ConnectionReset, "was reset"),
            (io::ErrorKind::HostUnreachable, "no way to"),
            (io::ErrorKind::PermissionDenied, "does not allow"),
            (io::ErrorKind::Other, "cannot connect"),
        ];
        let mut hints = std::collections::BTreeSet::new();
        for (kind, what) in kinds {
            let failure = unconnected(
                &kind.into(),
                "a.example",
                443,
                &addresses(&["52.0.0.1:443"]),
            );
            assert!(failure.message.contains(what), "{failure}");
            assert!(
                failure.message.contains("a.example:443 (52.0.0.1)"),
                "{failure}"
            );
            hints.insert(failure.hint.unwrap());
        }
        assert_eq!(hints.len(), kinds.len(), "{hints:?}");
    }

    #[tokio::test]
    async fn unknown_name_is_named() {
        // No resolver is asked for a name that cannot be one.
        let failure = connect("no such host", 443).await.unwrap_err();
        assert!(
            failure.message.starts_with("cannot resolve no such host"),
            "{failure}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_delays_the_next_one_briefly() {
        let start = Instant::now();
        let found = connect_first(
            addresses(&["10.0.0.1:1", "10.0.0.2:1"]),
            |address| async move {
                match address.ip().to_string().as_str() {
                    "10.0.0.1" => std::future::pending().await,
                    _ => Ok(address),
                }
            },
        );
        assert_eq!(found.await.unwrap(), "10.0.0.2:1".parse().unwrap());
        assert_eq!(start.elapsed(), ATTEMPT_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusing_address_does_not_delay_the_next_one() {
        let start = Instant::now();
        let found = connect_first(
            addresses(&["10.0.0.1:1", "10.0.0.2:1"]),
            |address| async move {
                match address.ip().to_string().as_str() {
                    "10.0.0.1" => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                    _ => Ok(address),
                }
            },
        );
        assert_eq!(found.await.unwrap(), "10.0.0.2:1".parse().unwrap());
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn the_last_error_is_reported() {
        let failed = connect_first::<(), _>(addresses(&["10.0.0.1:1"]), |_| async {
            Err(io::Error::from(io::ErrorKind::HostUnreachable))
        });
        assert_eq!(
            failed.await.unwrap_err().kind(),
            io::ErrorKind::HostUnreachable
        );
    }
}
