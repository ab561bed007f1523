//! The way to an endpoint: TCP, proxy, TLS, and something that answers.

use std::io;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::clock::Skew;
use super::{Check, Finding};
use crate::aws::{Aws, ServiceAddress};
use crate::failure::{Exit, Failure};
use crate::net::address::is_loopback;
use crate::net::connection::Connection;
use crate::net::tls;

/// Longest wait for the answer to a request.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Longest head of an answer, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;

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

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

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
