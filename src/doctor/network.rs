//! The way to the services: names, addresses, TCP, proxies, TLS, and the service's clock.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Check, Finding};
use crate::aws::{Aws, Service, ServiceAddress};
use crate::failure::{Exit, Failure};
use crate::net::address::{is_loopback, is_private};
use crate::net::connection::Connection;
use crate::net::{dial, tls};

/// Longest wait for DNS, and for the answer to a request.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Longest head of an answer, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;

/// How the clocks of this machine and of a service compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// How far they are apart.
    pub difference: Duration,
    /// Whether this machine's is the later one.
    pub is_ahead: bool,
}

/// Looks up the names of all addresses, and compares what comes of them. The second half are the services whose names are not
/// known.
pub async fn dns(aws: &Aws, addresses: &[ServiceAddress]) -> (Finding, Vec<Service>) {
    let looks = addresses.iter().map(|address| look_up(aws, address));
    let (mut places, mut failures) = (Vec::new(), Vec::new());
    for (address, place) in addresses.iter().zip(join_all(looks).await) {
        match place {
            Ok(place) => places.push((address, place)),
            Err(failure) => failures.push((address.service, failure)),
        }
    }
    let finding = match failures.first() {
        Some((_, failure)) => Finding::fail(Check::Dns, failure),
        None => compare(&places),
    };
    let unknown = failures.into_iter().map(|(service, _)| service);
    (finding, unknown.collect())
}

fn compare(places: &[(&ServiceAddress, Place)]) -> Finding {
    let told = places.iter().map(|(address, place)| place.tell(address));
    let mut told: Vec<_> = told.collect();
    told.dedup();
    let message = told.join("; ");
    let is = |wanted: Reach| {
        places
            .iter()
            .any(|(_, place)| place.reach() == Some(wanted))
    };
    if is(Reach::Mixed) || is(Reach::Private) && is(Reach::Public) {
        return Finding::warn(Check::Dns, format!("split: {message}")).fix(
            "private addresses are VPC endpoints, and work from their network alone: use one DNS for all names, and have \
             an endpoint with private DNS for each of ssm and ssmmessages",
        );
    }
    Finding::pass(Check::Dns, message)
}

/// Where a name leads.
enum Place {
    /// The proxy looks it up.
    BehindProxy(String),
    /// It is an address itself.
    Literal,
    Addresses(Vec<IpAddr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Private,
    Public,
    Mixed,
}

impl Place {
    fn reach(&self) -> Option<Reach> {
        let Self::Addresses(addresses) = self else {
            return None;
        };
        let mut private = addresses.iter().map(|address| is_private(*address));
        Some(match (private.clone().any(|is| is), private.all(|is| is)) {
            (_, true) => Reach::Private,
            (true, false) => Reach::Mixed,
            (false, false) => Reach::Public,
        })
    }

    fn tell(&self, address: &ServiceAddress) -> String {
        let host = &address.host;
        match (self, self.reach()) {
            (Self::BehindProxy(proxy), _) => format!("{host} is looked up by the proxy {proxy}"),
            (Self::Literal, _) => format!("{host} is an address"),
            (Self::Addresses(found), reach) => {
                let first = found.first().map(ToString::to_string).unwrap_or_default();
                let more = match found.len() {
                    0 | 1 => String::new(),
                    len => format!(" and {} more", len - 1),
                };
                let reach = match reach {
                    Some(Reach::Private) => "private",
                    Some(Reach::Mixed) => "private and public",
                    Some(Reach::Public) | None => "public",
                };
                format!("{host} is {first}{more} ({reach})")
            }
        }
    }
}

async fn look_up(aws: &Aws, address: &ServiceAddress) -> Result<Place, Failure> {
    let ServiceAddress {
        host, port, is_tls, ..
    } = address;
    if let Some(proxy) = aws.connector().proxy_to(host, *port, *is_tls)? {
        return Ok(Place::BehindProxy(proxy.to_string()));
    }
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Ok(Place::Literal);
    }
    let found = match timeout(ANSWER_DEADLINE, dial::resolve(host, *port)).await {
        Ok(found) => found,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "DNS did not answer",
        )),
    };
    let found = found.map_err(|error| dial::unresolved(&error, host))?;
    Ok(Place::Addresses(found.iter().map(SocketAddr::ip).collect()))
}

/// Connects to a service as every call does, and asks it for the time. The second half is there if it answered, and its own
/// half if it told the time.
pub async fn connection(aws: &Aws, address: &ServiceAddress) -> (Finding, Option<Option<Skew>>) {
    let subject = address.service.name();
    match visit(aws, address).await {
        Ok((finding, skew)) => (finding.of(subject), Some(skew)),
        Err(failure) => (Finding::fail(Check::Connection, &failure).of(subject), None),
    }
}

async fn visit(aws: &Aws, address: &ServiceAddress) -> Result<(Finding, Option<Skew>), Failure> {
    let ServiceAddress {
        host, port, is_tls, ..
    } = address;
    let connector = aws.connector();
    let mut stream = connector.connect(host, *port, *is_tls).await?;
    let proxy = connector.proxy_to(host, *port, *is_tls)?;
    let through = proxy.map(|proxy| format!(" through the proxy {proxy}"));
    let reached = format!("{host}:{port} answers{}", through.unwrap_or_default());
    let signer = match &stream {
        Connection::Tls(stream) => tls::signer(stream),
        Connection::Plain(_) | Connection::Forwarding(_) => None,
    };
    let before = SystemTime::now();
    let head = timeout(ANSWER_DEADLINE, ask(&mut stream, host)).await;
    let head = head.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let head = head.map_err(|error| no_answer(&error, host))?;
    let skew = date_in(&head).map(|server| Skew::between(before, SystemTime::now(), server));
    Ok((describe(reached, signer, host, *is_tls), skew))
}

fn describe(reached: String, signer: Option<String>, host: &str, is_tls: bool) -> Finding {
    let Some(signer) = signer else {
        return match is_tls || is_loopback(host) {
            true => Finding::pass(Check::Connection, reached),
            false => Finding::warn(
                Check::Connection,
                format!("{reached}; the connection is not encrypted"),
            )
            .fix("use an endpoint that begins with https://"),
        };
    };
    let told = format!("{reached}; its certificate is signed by {signer}");
    // The certificates of the public partition are of Amazon Trust Services.
    let is_of_amazon = signer.contains("Amazon");
    if host.ends_with(".amazonaws.com") && !is_of_amazon {
        return Finding::warn(Check::Connection, format!("{told}: TLS is inspected on the way")).fix(
            "that works if the inspection lets WebSockets through; if sessions do not, have *.amazonaws.com exempted from it",
        );
    }
    Finding::pass(Check::Connection, told)
}

/// Sends a request that needs no permission and changes nothing, and reads the head of the answer.
async fn ask(stream: &mut Connection, host: &str) -> io::Result<Vec<u8>> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ssmfwd\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while head.len() < MAX_HEAD_LEN {
        let len = stream.read(&mut buffer).await?;
        head.extend_from_slice(buffer.get(..len).unwrap_or_default());
        let is_http = b"HTTP/"
            .iter()
            .zip(&head)
            .all(|(expected, byte)| expected == byte);
        if len == 0 || !is_http || head.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    match head.starts_with(b"HTTP/") {
        true => Ok(head),
        false if head.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "that is not HTTP",
        )),
    }
}

fn no_answer(error: &io::Error, host: &str) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::TimedOut => "is silent".to_owned(),
        io::ErrorKind::UnexpectedEof => "closes it without an answer".to_owned(),
        io::ErrorKind::InvalidData => "answers with something that is not HTTP".to_owned(),
        _ => format!("breaks it: {error}"),
    };
    Failure::new(Exit::Failure, format!("{host} accepts the connection, and then {why}")).with_hint(
        "something else than the service is there, or something in between lets connections through and no requests: check \
         the endpoint URL, proxy and firewall",
    )
}

/// The time of an answer's `Date` header.
fn date_in(head: &[u8]) -> Option<SystemTime> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).ok()?;
    let date = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("date"))?;
    let date = DateTime::from_str(std::str::from_utf8(date.value).ok()?, Format::HttpDate).ok()?;
    SystemTime::try_from(date).ok()
}

impl Skew {
    /// Compares the time a service told with that of its answer, which arrived between two moments.
    fn between(before: SystemTime, after: SystemTime, server: SystemTime) -> Self {
        let apart = |later: SystemTime, earlier: SystemTime| {
            later.duration_since(earlier).unwrap_or_default()
        };
        // The service tells whole seconds, rounded down.
        let (ahead, behind) = (
            apart(before, server + Duration::from_secs(1)),
            apart(server, after),
        );
        Self {
            difference: ahead.max(behind),
            is_ahead: ahead > behind,
        }
    }
}

/// Signatures are good for five minutes around the service's time (IAM User Guide, "Create a signed AWS API request").
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// A clock that is off by more than this is not set by anybody.
const WORTH_A_WORD: Duration = Duration::from_secs(60);

/// Judges the difference of the clocks.
pub fn clock(skew: Option<Skew>) -> (Finding, Option<()>) {
    let check = Check::Clock;
    let Some(Skew {
        difference,
        is_ahead,
    }) = skew
    else {
        return (
            Finding::skip(check, "not known: the service does not tell the time"),
            Some(()),
        );
    };
    if difference < Duration::from_secs(2) {
        return (Finding::pass(check, "as the service's"), Some(()));
    }
    let direction = match is_ahead {
        true => "ahead of",
        false => "behind",
    };
    let message = format!(
        "this machine's clock is {} s {direction} the service's",
        difference.as_secs()
    );
    if difference <= WORTH_A_WORD {
        return (Finding::pass(check, message), Some(()));
    }
    let fix = "have the clock set over the network (NTP), and check the time zone";
    if difference <= MAX_SKEW {
        let message = format!("{message}: beyond 300 s, no signature is accepted");
        return (Finding::warn(check, message).fix(fix), Some(()));
    }
    let message = format!("{message}: signatures are accepted for 300 s only");
    let failure = Failure::new(Exit::Credentials, message).with_hint(fix);
    (Finding::fail(check, &failure), None)
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn clocks_are_compared() {
        let judge = |server| clock(Some(Skew::between(at(1000), at(1001), at(server)))).0;
        assert_eq!(judge(1000).message, "as the service's");
        assert_eq!(
            judge(1030).message,
            "this machine's clock is 29 s behind the service's"
        );
        assert_eq!(judge(1030).outcome, Outcome::Pass);
        assert_eq!(judge(900).outcome, Outcome::Warn);
        let failed = judge(100);
        assert!(
            failed
                .message
                .starts_with("this machine's clock is 899 s ahead of"),
            "{}",
            failed.message
        );
        assert_eq!(failed.exit, Some(Exit::Credentials));
        assert_eq!(clock(None).0.outcome, Outcome::Skip);
    }

    #[test]
    fn the_time_is_read() {
        let head = b"HTTP/1.1 404 Not Found\r\ndate: Thu, 01 Jan 1970 00:16:40 GMT\r\n\r\n";
        assert_eq!(date_in(head), Some(at(1000)));
        assert_eq!(
            date_in(b"HTTP/1.1 404 Not Found\r\nDate: now\r\n\r\n"),
            None
        );
        assert_eq!(date_in(b"HTTP/1.1 404"), None);
    }

    #[test]
    fn inspection_is_told_from_trust() {
        let judge = |host, signer: &str| {
            describe("x".to_owned(), Some(signer.to_owned()), host, true).outcome
        };
        assert_eq!(
            judge(
                "ssm.us-east-1.amazonaws.com",
                "CN=Amazon RSA 2048 M02, O=Amazon"
            ),
            Outcome::Pass
        );
        assert_eq!(
            judge("ssm.us-east-1.amazonaws.com", "CN=Corp CA"),
            Outcome::Warn
        );
        assert_eq!(judge("ssm.corp.example", "CN=Corp CA"), Outcome::Pass);
    }

    #[test]
    fn places_are_told_apart() {
        let reach = |texts: &[&str]| {
            let addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
            Place::Addresses(addresses).reach().unwrap()
        };
        assert_eq!(reach(&["10.0.0.1", "fd00::1"]), Reach::Private);
        assert_eq!(reach(&["52.0.0.1"]), Reach::Public);
        assert_eq!(reach(&["52.0.0.1", "10.0.0.1"]), Reach::Mixed);
    }
}
