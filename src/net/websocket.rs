//! The WebSocket of a data channel.

use std::time::Duration;

use aws_credential_types::Credentials;
use http::{Request, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tracing::debug;

use super::connection::Connection;
use crate::aws::{Aws, StreamUrl, sign_upgrade};
use crate::failure::{Exit, Failure, SEE_DOCTOR};

/// The WebSocket of a data channel, after the upgrade.
pub type Socket = WebSocketStream<Connection>;

/// Dials `url` and upgrades, signed with credentials resolved now unless the URL carries a
/// signature.
///
/// # Errors
///
/// [`Exit::Credentials`] if there are no credentials or the gateway does not accept them,
/// [`Exit::Failure`] for everything else, each step being told from the others.
pub async fn open(aws: &Aws, url: &StreamUrl) -> Result<Socket, Failure> {
    // First, because the lookup may take longer than a gateway keeps an idle connection.
    let credentials = match aws.is_signing() && !url.is_presigned() {
        true => Some(aws.credentials().await?),
        false => None,
    };
    let socket = dial(aws, url, credentials).await;
    let socket = socket.map_err(|failure| match aws.gateway_origin() {
        // A presigned URL is not led anywhere else.
        Some(origin) if !url.is_presigned() => Failure {
            message: format!(
                "{}; ssmmessages has that address from {origin}",
                failure.message
            ),
            ..failure
        },
        _ => failure,
    })?;
    debug!(%url, "the data channel's WebSocket is open");
    Ok(socket)
}

/// Connects and upgrades; signed, if there are credentials for it.
async fn dial(
    aws: &Aws,
    url: &StreamUrl,
    credentials: Option<Credentials>,
) -> Result<Socket, Failure> {
    let connector = aws.connector();
    let connection = connector
        .connect(url.host(), url.port(), url.is_tls())
        .await?;
    let mut request = upgrade_request(url)?;
    if let Some(credentials) = credentials {
        let headers = sign_upgrade(url, &credentials, aws.region(), connector.clock().now())?;
        request.headers_mut().extend(headers);
    }
    upgrade(connection, request, url.host()).await
}

/// Longest wait for the answer to the upgrade request. The gateway takes well under a second; a
/// proxy that has accepted the connection for a dead backend stays silent for ever.
const UPGRADE_DEADLINE: Duration = Duration::from_secs(15);

/// Largest message that is accepted, in bytes. The agent sends at most 1.2 KB; the rest is room
/// for what the service may do one day.
const MAX_MESSAGE_LEN: usize = 1024 * 1024;

/// Bytes read at a time: a full TLS record. The library clears as much before every read, which would
/// cost short messages more than their transport if it were longer.
const READ_BUFFER_LEN: usize = 16 * 1024;

/// Bytes gathered before they are written without being asked to, which is as much as one system
/// call moves well.
const WRITE_BUFFER_LEN: usize = 64 * 1024;

fn upgrade_request(url: &StreamUrl) -> Result<Request<()>, Failure> {
    Request::get(url.uri())
        .header(header::HOST, url.authority())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .body(())
        .map_err(|_| Failure::new(Exit::Failure, "the WebSocket upgrade cannot be written"))
}

async fn upgrade<S>(
    stream: S,
    request: Request<()>,
    host: &str,
) -> Result<WebSocketStream<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_LEN))
        .max_frame_size(Some(MAX_MESSAGE_LEN))
        .read_buffer_size(READ_BUFFER_LEN)
        .write_buffer_size(WRITE_BUFFER_LEN)
        .max_write_buffer_size(WRITE_BUFFER_LEN + MAX_MESSAGE_LEN);
    let upgrade = client_async_with_config(request, stream, Some(config));
    match timeout(UPGRADE_DEADLINE, upgrade).await {
        Ok(Ok((socket, _response))) => Ok(socket),
        Ok(Err(error)) => Err(explain(error, host)),
        Err(_) => Err(Failure::new(
            Exit::Failure,
            format!(
                "{host} did not answer the WebSocket upgrade within {} s",
                UPGRADE_DEADLINE.as_secs()
            ),
        )
        .with_hint(format!(
            "a proxy or firewall in between may not let WebSockets through; {SEE_DOCTOR}"
        ))),
    }
}

fn explain(error: Error, host: &str) -> Failure {
    if let Error::Http(response) = &error {
        return explain_status(response, host);
    }
    let is_garbage = matches!(
        error,
        Error::AttackAttempt
            | Error::Protocol(ProtocolError::HttparseError(_) | ProtocolError::WrongHttpVersion)
    );
    let why = if is_garbage {
        "answered the WebSocket upgrade with something that is not HTTP".to_owned()
    } else if let Error::Io(error) = error {
        format!("broke off the WebSocket upgrade: {error}")
    } else if let Error::Protocol(ProtocolError::HandshakeIncomplete) = error {
        "closed the connection in the WebSocket upgrade".to_owned()
    } else {
        // The library's texts name the header that is wrong, not its value.
        format!("answered the WebSocket upgrade wrongly: {error}")
    };
    Failure::new(Exit::Failure, format!("{host} {why}")).with_hint(format!(
        "a proxy or firewall in between may not let WebSockets through; {SEE_DOCTOR}"
    ))
}

fn explain_status<T>(response: &Response<T>, host: &str) -> Failure {
    let status = response.status();
    let kind = response
        .headers()
        .get("x-amzn-errortype")
        .and_then(|value| value.to_str().ok())
        // The name may be followed by the URL of its model.
        .and_then(|value| value.split([':', ',']).next())
        .filter(|name| name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric()))
        .map(|name| format!(" ({name})"))
        .unwrap_or_default();
    let message = format!(
        "{host} refused the WebSocket upgrade: HTTP {}{kind}",
        status.as_u16()
    );
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Failure::new(Exit::Credentials, message)
                .with_hint(
                    "allow ssmmessages:OpenDataChannel on the session for the caller in its IAM \
                     policies, and check that this machine's clock is right",
                )
                .permanent()
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => Failure::new(Exit::Failure, message)
            .with_hint("the session has ended, or its stream URL has expired: start a new one"),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Failure::new(Exit::Failure, message)
            .with_hint("a proxy in between demands authentication"),
        StatusCode::TOO_MANY_REQUESTS => Failure::new(Exit::Failure, message)
            .with_hint("the account's rate limit is used up: wait a little and try again"),
        _ if status.is_server_error() => Failure::new(Exit::Failure, message)
            .with_hint("the service, or a proxy in between, is in trouble: try again"),
        _ => Failure::new(Exit::Failure, message)
            .with_hint("a proxy in between may have answered instead of Session Manager"),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
    use url::Url;

    use super::*;
    use crate::aws::Options;

    const QUERY: &str = "role=publish_subscribe&cell-number=AA+b/c==";

    /// Makes an answer out of an upgrade request.
    type Answer = fn(&str) -> String;

    /// A gateway that reads one upgrade request, answers it with what `answer` makes of it, and
    /// hangs up. Its task returns the request.
    async fn gateway(answer: Answer) -> (u16, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                request.extend(byte);
            }
            let request = String::from_utf8(request).unwrap();
            stream.write_all(answer(&request).as_bytes()).await.unwrap();
            request
        });
        (port, task)
    }

    async fn open_at(port: u16, query: &str) -> Result<Socket, Failure> {
        let endpoint = format!("http://127.0.0.1:{port}");
        let options = Options {
            region: Some("us-east-1".into()),
            endpoint_url: Some(endpoint.clone()),
            credentials: Some(Credentials::new(
                "AKID",
                "SECRET",
                Some("TOKEN".into()),
                None,
                "test",
            )),
            ..Options::default()
        };
        let aws = Aws::load(&options).await.unwrap();
        let raw = format!("ws://127.0.0.1:{port}/v1/data-channel/u@e.com-0abc?{query}");
        let endpoint = Url::parse(&endpoint).unwrap();
        let url = StreamUrl::parse(&raw, "us-east-1", Some(&endpoint)).unwrap();
        open(&aws, &url).await
    }

    fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
        request
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn accept(request: &str) -> String {
        let key = derive_accept_key(header(request, "sec-websocket-key").unwrap().as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {key}\r\n\r\n"
        )
    }

    fn any_request() -> Request<()> {
        let endpoint = Url::parse("https://a").unwrap();
        upgrade_request(&StreamUrl::parse("wss://a/b", "us-east-1", Some(&endpoint)).unwrap())
            .unwrap()
    }

    #[tokio::test]
    async fn request_is_signed_and_keeps_the_urls_bytes() {
        let (port, task) = gateway(|_| "HTTP/1.1 403 Forbidden\r\n\r\n".into()).await;
        open_at(port, QUERY).await.unwrap_err();
        let request = task.await.unwrap();
        let line = request.lines().next().unwrap();
        assert_eq!(
            line,
            format!("GET /v1/data-channel/u@e.com-0abc?{QUERY} HTTP/1.1")
        );
        assert_eq!(
            header(&request, "host"),
            Some(format!("127.0.0.1:{port}").as_str())
        );
        let authorization = header(&request, "authorization").unwrap();
        assert!(
            authorization.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"),
            "{authorization}"
        );
        assert_eq!(header(&request, "x-amz-security-token"), Some("TOKEN"));
        for absent in [
            "origin",
            "sec-websocket-extensions",
            "sec-websocket-protocol",
        ] {
            assert_eq!(header(&request, absent), None, "{absent}");
        }
    }

    #[tokio::test]
    async fn presigned_urls_are_not_signed_again() {
        let (port, task) = gateway(|_| "HTTP/1.1 403 Forbidden\r\n\r\n".into()).await;
        open_at(port, "X-Amz-Signature=00").await.unwrap_err();
        assert_eq!(header(&task.await.unwrap(), "authorization"), None);
    }

    #[tokio::test]
    async fn an_accepted_upgrade_gives_a_socket() {
        let (port, _task) = gateway(accept).await;
        let mut socket = open_at(port, QUERY).await.unwrap();
        assert!(matches!(socket.get_ref(), Connection::Plain(stream) if stream.nodelay().unwrap()));
        // The gateway hangs up without a close frame.
        assert!(socket.next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn messages_above_the_limit_are_not_read() {
        let (client, mut server) = tokio::io::duplex(4096);
        let peer = tokio::spawn(async move {
            let mut head = vec![0; 4096];
            let len = server.read(&mut head).await.unwrap();
            let answer = accept(std::str::from_utf8(&head[..len]).unwrap());
            server.write_all(answer.as_bytes()).await.unwrap();
            // A text message that is fine, then the head of a binary one that is one byte too long.
            server.write_all(b"\x81\x02hi\x82\x7f").await.unwrap();
            server
                .write_all(&(MAX_MESSAGE_LEN as u64 + 1).to_be_bytes())
                .await
                .unwrap();
            server
        });
        let request = any_request();
        let mut socket = upgrade(client, request, "a").await.unwrap();
        let _server = peer.await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hi"));
        assert!(matches!(
            socket.next().await.unwrap(),
            Err(Error::Capacity(_))
        ));
    }

    #[tokio::test]
    async fn a_denied_upgrade_names_the_permission() {
        let (port, _task) = gateway(|_| {
            "HTTP/1.1 403 Forbidden\r\nx-amzn-ErrorType: AccessDeniedException:http://x\r\n\r\n"
                .into()
        })
        .await;
        let failure = open_at(port, QUERY).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Credentials);
        assert!(
            failure
                .message
                .ends_with("HTTP 403 (AccessDeniedException)"),
            "{failure}"
        );
        assert!(
            failure
                .hint
                .unwrap()
                .contains("ssmmessages:OpenDataChannel")
        );
    }

    #[tokio::test]
    async fn other_answers_are_told_apart() {
        let cases: [(Answer, &str); 5] = [
            (
                |_| "HTTP/1.1 503 Busy\r\n\r\n".into(),
                "refused the WebSocket upgrade: HTTP 503",
            ),
            (
                |_| "HTTP/1.1 200 OK\r\n\r\nhello".into(),
                "refused the WebSocket upgrade: HTTP 200",
            ),
            (
                |_| "SSH-2.0-OpenSSH_9\r\n\r\n".into(),
                "something that is not HTTP",
            ),
            (|_| String::new(), "closed the connection"),
            (
                |request| accept(request).replace("Accept: ", "Accept: x"),
                "answered the WebSocket upgrade wrongly",
            ),
        ];
        for (answer, expected) in cases {
            let (port, _task) = gateway(answer).await;
            let failure = open_at(port, QUERY).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Failure);
            assert!(failure.message.contains(expected), "{failure}");
            assert!(!failure.message.contains("cell-number"), "{failure}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_gateway_is_given_up_on() {
        let (client, _server) = tokio::io::duplex(4096);
        let request = any_request();
        let failure = upgrade(client, request, "a").await.unwrap_err();
        assert_eq!(
            failure.message,
            "a did not answer the WebSocket upgrade within 15 s"
        );
    }
}
