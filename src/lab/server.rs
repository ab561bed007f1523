//! The lab's one port: HTTP requests go to the APIs, upgrades to the gateway.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use url::Host;

use super::chaos::Condition;
use super::{Shared, api, control, gateway};

pub(super) type Answer = Response<Full<Bytes>>;

/// Accepts connections for as long as the lab runs.
pub(super) async fn serve(mut listener: TcpListener, shared: Arc<Shared>) {
    let refused = Condition::RefuseConnections;
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.conditions.until(refused, true) => {
                drop(listener);
                listener = refuse_connections(&shared).await;
                continue;
            }
        };
        match accepted {
            Ok((socket, _)) => {
                let serving = serve_connection(socket, shared.clone());
                let shutdown = shared.shutdown.clone();
                shared.tracker.spawn(async move {
                    shutdown.run_until_cancelled(serving).await;
                    drop(permit);
                });
            }
            Err(error) => super::pause_accepting(&error).await,
        }
    }
}

/// Has connections be refused for as long as they are to be, and returns the next listener.
async fn refuse_connections(shared: &Shared) -> TcpListener {
    loop {
        // A port that is bound and does not listen refuses connections, and nobody else gets it.
        match bind(shared.address) {
            Ok(socket) => {
                let refused = Condition::RefuseConnections;
                shared.conditions.until(refused, false).await;
                match socket.listen(BACKLOG) {
                    Ok(listener) => return listener,
                    Err(error) => super::pause_accepting(&error).await,
                }
            }
            Err(error) => super::pause_accepting(&error).await,
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if cfg!(unix) {
        // Connections that exist do not keep the port; on Windows the option means more.
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    Ok(socket)
}

async fn serve_connection(socket: TcpStream, shared: Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move {
            let mut answer = answer(shared.clone(), request).await;
            date(&shared, &mut answer);
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADERS_LEN)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "lab connection ended");
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    if !host_of(&request).is_some_and(|host| is_loopback(&host) || shared.is_called(&host)) {
        return plain(
            StatusCode::FORBIDDEN,
            "the lab answers to loopback names only\n",
        );
    }
    let path = request.uri().path();
    if let Some(path) = path.strip_prefix(control::PATH) {
        let path = path.to_owned();
        return control(&shared, request, &path).await;
    }
    shared.conditions.until(Condition::BlackHole, false).await;
    if let Some(id) = path.strip_prefix(gateway::PATH) {
        let id = id.to_owned();
        return gateway::upgrade(shared, request, &id).await;
    }
    if path != "/" {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    }
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "API requests are POSTs\n");
    }
    let (parts, body) = request.into_parts();
    match read(body).await {
        Ok(body) => api::answer(&shared, &parts, &body),
        Err(refusal) => refusal,
    }
}

/// Tells the services' time, where it is not this machine's, which would be told otherwise.
fn date(shared: &Shared, answer: &mut Answer) {
    if shared.conditions.chaos().clock_ahead.is_zero() {
        return;
    }
    let now = DateTime::from(shared.conditions.now()).fmt(Format::HttpDate);
    if let Some(now) = now.ok().and_then(|now| HeaderValue::try_from(now).ok()) {
        answer.headers_mut().insert(header::DATE, now);
    }
}

async fn control(shared: &Arc<Shared>, request: Request<Incoming>, path: &str) -> Answer {
    // A web page may send requests here, but not without saying so.
    if request.headers().contains_key(header::ORIGIN) {
        return plain(StatusCode::FORBIDDEN, "the lab is not for web pages\n");
    }
    let (parts, body) = request.into_parts();
    match read(body).await {
        Ok(body) => control::answer(shared, &parts.method, path, &body),
        Err(refusal) => refusal,
    }
}

async fn read(body: Incoming) -> Result<Bytes, Answer> {
    match Limited::new(body, MAX_BODY_LEN).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(plain(StatusCode::PAYLOAD_TOO_LARGE, "request too large\n"))
        }
        Err(_) => Err(plain(StatusCode::BAD_REQUEST, "request body cut off\n")),
    }
}

/// The host that the client means to speak to.
fn host_of<B>(request: &Request<B>) -> Option<Host<String>> {
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    let url = url::Url::parse(&format!("http://{host}/")).ok()?;
    url.host().map(|host| host.to_owned())
}

/// Whether a host is loopback: a web page that had its own name point here (DNS rebinding) could otherwise use the lab.
fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// An answer in plain text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain");
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    answer
}

/// Connections that wait for being accepted.
const BACKLOG: u32 = 1024;

/// Connections at a time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 2048;

/// How long a client may take for its request headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Request line and headers together.
const MAX_HEADERS_LEN: usize = 64 * 1024;

/// A request body; what StartSession allows in its parameters is far below.
const MAX_BODY_LEN: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_answered() {
        let is_answered = |host: Option<&str>| {
            let mut request = Request::new(());
            if let Some(host) = host {
                request.headers_mut().insert("host", host.parse().unwrap());
            }
            host_of(&request).is_some_and(|host| is_loopback(&host))
        };
        for host in ["127.0.0.1:80", "127.0.0.1", "localhost:4566", "[::1]:4566"] {
            assert!(is_answered(Some(host)), "{host}");
        }
        for host in [
            "evil.example",
            "10.0.0.1:80",
            "localhost.evil.example",
            "",
            "[",
            "a b",
        ] {
            assert!(!is_answered(Some(host)), "{host}");
        }
        assert!(!is_answered(None));
    }
}
