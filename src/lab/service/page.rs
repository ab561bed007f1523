//! The web page of a lab target.

use std::convert::Infallible;
use std::io;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::lab::clock;

/// Serves one connection of a web browser.
///
/// # Errors
///
/// When the connection breaks or does not carry HTTP.
pub(super) async fn serve(socket: TcpStream, target: String) -> io::Result<()> {
    let service = service_fn(|request: Request<_>| {
        let response = respond(&request, &target, SystemTime::now());
        async { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), service)
        .await
        .map_err(io::Error::other)
}

fn respond<B>(request: &Request<B>, target: &str, now: SystemTime) -> Response<Full<Bytes>> {
    let (status, body) = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed\n".into(),
        )
    } else if request.uri().path() != "/" {
        (StatusCode::NOT_FOUND, "not found\n".into())
    } else {
        (StatusCode::OK, render(target, now))
    };
    let content_type = match status {
        StatusCode::OK => "text/html; charset=utf-8",
        _ => "text/plain",
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        ),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response
}

fn render(target: &str, now: SystemTime) -> String {
    include_str!("page.html")
        .replace("{{target}}", &escape(target))
        .replace("{{time}}", &clock::time_of_day(now))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    async fn fetch(method: Method, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(45_296);
        let response = respond(&request.body(()).unwrap(), "i-<0abc>", now);
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_page_shows_target_and_time_and_nothing_unescaped() {
        let (status, body) = fetch(Method::GET, "/?x=1").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("i-&lt;0abc&gt;"));
        assert!(body.contains("12:34:56"));
        assert!(!body.contains("{{"));
        // Self-contained: nothing is loaded from elsewhere.
        assert!(!body.contains("http://") && !body.contains("https://") && !body.contains("src="));
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        assert_eq!(fetch(Method::GET, "/x").await.0, StatusCode::NOT_FOUND);
        let (status, _) = fetch(Method::POST, "/").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }
}
