//! The way to an endpoint: TCP, proxy, TLS, and something that answers.

use std::io;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::clock::Skew;
use super::grouping::{Found, grouped};
use super::{Check, Finding};
use crate::aws::{Aws, Service, ServiceAddress};
use crate::failure::{Exit, Failure};
use crate::net::address::is_loopback;
use crate::net::connection::Connection;
use crate::net::tls;

/// Longest wait for the answer to a request.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Longest head of an answer, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;

/// Connects to each endpoint as every call does, and asks it for the time, all at once. The second half is there if the API
/// answered, which is the first of them, and its own half if that told the time.
pub async fn connections(
    aws: &Aws,
    endpoints: &[ServiceAddress],
) -> (Vec<Finding>, Option<Option<Skew>>) {
    let visits = endpoints.iter().map(|endpoint| visit(aws, endpoint));
    let (mut found, mut connected) = (Vec::new(), None);
    for (endpoint, visited) in endpoints.iter().zip(join_all(visits).await) {
        let finding = match visited {
            Ok((finding, skew)) => {
                if endpoint.service == Service::Ssm {
                    connected = Some(skew);
                }
                finding
            }
            Err(failure) => Finding::fail(Check::Connection, &failure),
        };
        found.push(Found {
            subject: endpoint.service.name(),
            host: &endpoint.host,
            finding,
        });
    }
    (grouped(found), connected)
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
    let skew = Skew::told_by(&head, before, SystemTime::now());
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
    use io::ErrorKind;

    let (what, fix) = match error.kind() {
        ErrorKind::TimedOut => (
            format!("says nothing within {} s", ANSWER_DEADLINE.as_secs()),
            "something in between lets connections through and no requests, as a firewall or a proxy without a way out does: \
             look at what is between this machine and the service",
        ),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => (
            "resets it at the first request".to_owned(),
            "a firewall or an intrusion prevention in between ends connections whose requests it does not like: have it let \
             HTTPS to the service through",
        ),
        ErrorKind::UnexpectedEof => (
            "closes it without an answer".to_owned(),
            "that is what a load balancer without a backend does, and a port that expects TLS: check the endpoint URL",
        ),
        ErrorKind::InvalidData => (
            "answers with something that is not HTTP".to_owned(),
            "something else than the service is there: check the endpoint URL",
        ),
        _ => (
            format!("breaks it: {error}"),
            "look at what is between this machine and the service: proxy, firewall, VPN",
        ),
    };
    Failure::new(
        Exit::Failure,
        format!("{host} accepts the connection, and then {what}"),
    )
    .with_hint(fix)
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn every_way_not_to_answer_has_its_own_fix() {
        let kinds = [
            io::ErrorKind::TimedOut,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::InvalidData,
            io::ErrorKind::Other,
        ];
        let failures = kinds.map(|kind| no_answer(&kind.into(), "ssm.example"));
        for (at, failure) in failures.iter().enumerate() {
            let others = failures.iter().skip(at + 1);
            assert!(others.into_iter().all(|other| other.hint != failure.hint));
        }
        assert!(failures[1].message.contains("resets it"), "{}", failures[1]);
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
}
