//! CONNECT: a connection through a proxy (RFC 9110, section 9.3.6).

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

use super::Proxy;
use crate::failure::{Exit, Failure};

/// Has `proxy`, at the other end of `stream`, connect to `host`, with brackets if it is an IPv6 address.
///
/// # Errors
///
/// [`Exit::Failure`] if the proxy refuses, answers something else, or nothing in time.
pub(crate) async fn open<S>(
    stream: &mut S,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asking = ask(stream, proxy, host, port);
    let Ok(answer) = timeout(ANSWER_DEADLINE, asking).await else {
        let message = format!(
            "the proxy {proxy} did not answer within {} s",
            ANSWER_DEADLINE.as_secs()
        );
        return Err(Failure::new(Exit::Failure, message).with_hint(format!(
            "it may be no HTTP proxy, or it cannot reach {host}:{port} itself"
        )));
    };
    let answer = answer?;
    if answer.status.is_success() {
        debug!(%proxy, host, port, "the proxy has connected");
        return Ok(());
    }
    Err(refusal(proxy, &answer, host, port))
}

/// Longest wait for a proxy's answer, which connects before it answers.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// Longest head of an answer. Proxies explain a refusal in the body, which is not read.
const MAX_HEAD_LEN: usize = 16 * 1024;

/// Most header fields of an answer.
const MAX_FIELDS: usize = 64;

/// What a proxy says to a request.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The values of `Proxy-Authenticate`, in which schemes are named.
    pub(crate) schemes: Vec<String>,
}

async fn ask<S>(stream: &mut S, proxy: &Proxy, host: &str, port: u16) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: std::io::Error| {
        let message = format!("the connection to the proxy {proxy} broke: {error}");
        Failure::new(Exit::Failure, message)
    };
    let mut request =
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: {AGENT}\r\n")
            .into_bytes();
    if let Some(authorization) = proxy.authorization() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;

    let mut head = Vec::with_capacity(1024);
    while head.len() < MAX_HEAD_LEN {
        if stream.read_buf(&mut head).await.map_err(broken)? == 0 {
            let message = format!("the proxy {proxy} closed the connection instead of answering");
            return Err(Failure::new(Exit::Failure, message).with_hint(NO_PROXY_HINT));
        }
        match parse(&head) {
            Ok(Some((answer, len))) => return no_more(answer, head.len() - len, proxy),
            Ok(None) => {}
            Err(_) => return Err(garbage(proxy)),
        }
    }
    Err(garbage(proxy))
}

const AGENT: &str = concat!("ssmfwd/", env!("CARGO_PKG_VERSION"));

const NO_PROXY_HINT: &str = "it may be no HTTP proxy: check the address";

fn parse(head: &[u8]) -> Result<Option<(Answer, usize)>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(len) = response.parse(head)? else {
        return Ok(None);
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let fields = response.headers.iter();
    let schemes = fields.filter(|field| field.name.eq_ignore_ascii_case("proxy-authenticate"));
    let answer = Answer {
        status: status.ok_or(httparse::Error::Status)?,
        schemes: schemes
            .map(|field| String::from_utf8_lossy(field.value).into_owned())
            .collect(),
    };
    Ok(Some((answer, len)))
}

/// Refuses bytes behind the head of a success: nobody at the far end speaks first.
fn no_more(answer: Answer, excess: usize, proxy: &Proxy) -> Result<Answer, Failure> {
    match answer.status.is_success() && excess > 0 {
        true => Err(garbage(proxy)),
        false => Ok(answer),
    }
}

fn garbage(proxy: &Proxy) -> Failure {
    let message = format!("the proxy {proxy} answered something that is not HTTP");
    Failure::new(Exit::Failure, message).with_hint(NO_PROXY_HINT)
}

/// Explains why a proxy does not lead to `host`.
fn refusal(proxy: &Proxy, answer: &Answer, host: &str, port: u16) -> Failure {
    let fail = |message: String| Failure::new(Exit::Failure, message);
    match answer.status {
        // Tinyproxy answers a wrong password with 401.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED => {
            unauthenticated(proxy, answer)
        }
        StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => {
            fail(format!("the proxy {proxy} forbids connections to {host}:{port} (HTTP {})", answer.status.as_u16()))
                .with_hint(format!("ask whoever runs it to allow CONNECT to {host}:{port}, or exempt the host with NO_PROXY"))
        }
        status if matches!(status.as_u16(), 502..=504) => {
            fail(format!("the proxy {proxy} cannot reach {host}:{port} (HTTP {})", status.as_u16()))
                .with_hint("check the region and the endpoint; a VPC endpoint may have to be exempted with NO_PROXY")
        }
        status => fail(format!("the proxy {proxy} refused the connection to {host}:{port}: HTTP {}", status.as_u16())),
    }
}

/// Explains that a proxy wants another user, or one at all.
pub(crate) fn unauthenticated(proxy: &Proxy, answer: &Answer) -> Failure {
    let schemes = &answer.schemes;
    let status = answer.status.as_u16();
    let is_basic = |scheme: &String| {
        scheme
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("basic")
    };
    let offered = schemes
        .iter()
        .filter_map(|scheme| scheme.split_ascii_whitespace().next());
    let offered: Vec<&str> = offered
        .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        .collect();
    let (message, hint) = if !offered.is_empty() && !schemes.iter().any(is_basic) {
        (
            format!(
                "the proxy {proxy} wants to be authenticated to by {} (HTTP {status})",
                offered.join(" or ")
            ),
            "ssmfwd can do Basic alone; a relay on this machine, such as cntlm or px, can do the rest",
        )
    } else if proxy.authorization().is_some() {
        (
            format!("the proxy {proxy} does not accept the user and password (HTTP {status})"),
            "check them; special characters have to be percent-encoded, such as %40 for @",
        )
    } else {
        (
            format!("the proxy {proxy} wants a user and password (HTTP {status})"),
            "write HTTPS_PROXY=http://USER:PASSWORD@PROXY:PORT",
        )
    };
    let failure = Failure::new(Exit::Failure, message).with_hint(hint);
    match proxy.authorization() {
        // A process keeps the password it has, and many proxies lock the account of whoever repeats a wrong one.
        Some(_) => failure.permanent(),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Proxies;
    use super::*;

    fn proxy(url: &str) -> Proxy {
        let proxies = Proxies::configured(Some(&url.parse().unwrap()), |_| None);
        proxies.to("a.example", 443, true).unwrap().unwrap().clone()
    }

    /// Asks a proxy that answers `answer` and hangs up; returns the request too.
    async fn connect(url: &str, answer: &[u8]) -> (Result<(), Failure>, String) {
        let (mut client, mut server) = tokio::io::duplex(64 * 1024);
        server.write_all(answer).await.unwrap();
        server.shutdown().await.unwrap();
        let opened = open(&mut client, &proxy(url), "gateway.example", 443).await;
        drop(client);
        let mut request = String::new();
        server.read_to_string(&mut request).await.unwrap();
        (opened, request)
    }

    #[tokio::test]
    async fn the_request_names_the_host_and_carries_the_password() {
        let (opened, request) = connect(
            "http://u:p@proxy:3128",
            b"HTTP/1.1 200 Connection established\r\n\r\n",
        )
        .await;
        opened.unwrap();
        assert!(
            request.starts_with(
                "CONNECT gateway.example:443 HTTP/1.1\r\nHost: gateway.example:443\r\n"
            ),
            "{request}"
        );
        assert!(
            request.contains("\r\nProxy-Authorization: Basic dTpw\r\n"),
            "{request}"
        );
        assert!(request.ends_with("\r\n\r\n"), "{request}");
        let (_, request) = connect("http://proxy:3128", b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n").await;
        assert!(!request.contains("Authorization"), "{request}");
    }

    #[tokio::test]
    async fn refusals_say_who_refuses_what() {
        let bare = "http://proxy:3128";
        let table: [(&str, &[u8], &str, &str); 10] = [
            (bare, b"HTTP/1.1 407 A\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", "wants a user and password", "USER:PASSWORD"),
            (bare, b"HTTP/1.1 407 A\r\n\r\n", "wants a user and password", "USER:PASSWORD"),
            ("http://u:S3CRET@proxy:3128", b"HTTP/1.1 407 A\r\n\r\n", "does not accept the user", "percent-encoded"),
            (bare, b"HTTP/1.1 407 A\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n\r\n", "by NTLM or Negotiate", "cntlm"),
            (bare, b"HTTP/1.1 403 Filtered\r\n\r\n<html>", "forbids connections to gateway.example:443", "allow CONNECT"),
            (bare, b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "cannot reach gateway.example:443 (HTTP 502)", "NO_PROXY"),
            (bare, b"HTTP/1.1 302 Found\r\nLocation: http://login\r\n\r\n", "HTTP 302", ""),
            (bare, b"SSH-2.0-OpenSSH_9\r\n", "not HTTP", "no HTTP proxy"),
            (bare, b"", "closed the connection", "no HTTP proxy"),
            (bare, b"HTTP/1.1 200 OK\r\n\r\nmore", "not HTTP", ""),
        ];
        for (url, answer, message, hint) in table {
            let failure = connect(url, answer).await.0.unwrap_err();
            assert_eq!(failure.exit, Exit::Failure);
            assert_eq!(failure.is_permanent, url != bare, "{failure}");
            assert!(
                failure.message.contains("proxy:3128 (--proxy)"),
                "{failure}"
            );
            assert!(failure.message.contains(message), "{failure}");
            assert!(
                failure.hint.clone().unwrap_or_default().contains(hint),
                "{:?}",
                failure.hint
            );
            assert!(!format!("{failure:?}").contains("S3CRET"), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let mut answer = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        answer.resize(2 * MAX_HEAD_LEN, b'x');
        let failure = connect("http://proxy:1", &answer).await.0.unwrap_err();
        assert!(failure.message.contains("not HTTP"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_proxy_is_given_up_on() {
        let (mut client, _server) = tokio::io::duplex(1024);
        let failure = open(&mut client, &proxy("http://proxy:1"), "a", 443)
            .await
            .unwrap_err();
        assert_eq!(
            failure.message,
            "the proxy proxy:1 (--proxy) did not answer within 15 s"
        );
    }
}
