//! The AWS SDK's way to HTTP, over the same connections as data channels.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;
use tower_service::Service;

use super::connection::Connection;
use super::connector::Connector;
use super::proxy::{self, Answer, Proxy};
use crate::aws::find_cause;
use crate::failure::{Exit, Failure};

/// The HTTP client of every client of the SDK, those that look for credentials included.
///
/// The SDK's own client would have proxies, trusted roots and errors of its own.
pub struct Client {
    connector: Arc<Connector>,
    /// One pool of connections for each of the few deadlines that the SDK's parts set.
    pools: Mutex<HashMap<Option<Duration>, Pool>>,
}

type Pool = legacy::Client<Dialer, SdkBody>;

impl Client {
    /// Takes the way to the services; the default one has no proxy, and trusts those the system trusts.
    pub fn new(connector: Arc<Connector>) -> Self {
        Self {
            connector,
            pools: Mutex::default(),
        }
    }

    fn pool(&self, connect_timeout: Option<Duration>) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.entry(connect_timeout).or_insert_with(|| {
            let connector = Arc::clone(&self.connector);
            let dialer = Dialer {
                connector,
                connect_timeout,
            };
            let mut builder = legacy::Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).build(dialer)
        });
        pool.clone()
    }
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Caller {
            connector: Arc::clone(&self.connector),
            pool: self.pool(settings.connect_timeout()),
            read_timeout: settings.read_timeout(),
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Sends requests, and waits for the heads of their answers.
struct Caller {
    connector: Arc<Connector>,
    pool: Pool,
    read_timeout: Option<Duration>,
}

impl HttpConnector for Caller {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        let forwarding = self.forwarding(request.uri());
        if let Some(authorization) = forwarding.as_ref().and_then(Proxy::authorization) {
            let headers = request.headers_mut();
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        report_connection(&mut request);
        let answering = self.pool.request(request);
        let limit = self.read_timeout;
        let (connector, sent) = (Arc::clone(&self.connector), SystemTime::now());
        HttpConnectorFuture::new(async move {
            let answer = match limit {
                Some(limit) => timeout(limit, answering)
                    .await
                    .map_err(|elapsed| ConnectorError::timeout(elapsed.into()))?,
                None => answering.await,
            };
            let answer = answer.map_err(classify)?;
            if let Some(failure) = forwarding.and_then(|proxy| unauthenticated(&proxy, &answer)) {
                return Err(ConnectorError::other(failure.into(), None));
            }
            connector.clock().learn(answer.headers(), sent);
            let answer = answer.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(answer)
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

impl Caller {
    /// The proxy that forwards a request to `uri`, and has to be given user and password with it. In a tunnel, CONNECT has
    /// had them.
    fn forwarding(&self, uri: &Uri) -> Option<Proxy> {
        let to = Destination::of(uri).ok().filter(|to| !to.is_tls)?;
        // What is wrong with a proxy is said when it is connected to.
        let proxy = self.connector.proxy_to(to.host, to.port, false).ok()??;
        Some(proxy.clone())
    }
}

/// Tells whether it is the proxy that has answered, for want of a user.
fn unauthenticated<B>(proxy: &Proxy, answer: &Response<B>) -> Option<Failure> {
    let schemes = answer.headers().get_all(PROXY_AUTHENTICATE).iter();
    let schemes = schemes.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let answer = Answer {
        status: answer.status(),
        schemes: schemes.collect(),
    };
    let is_wanted = answer.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
    is_wanted.then(|| proxy::unauthenticated(proxy, &answer))
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

/// Lets the SDK have the connection closed on which it got no proper answer, before it asks again.
fn report_connection(request: &mut Request<SdkBody>) {
    let used = capture_connection(request);
    if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
        capture.set_connection_retriever(move || metadata(used.clone()));
    }
}

fn metadata(used: CaptureConnection) -> Option<ConnectionMetadata> {
    let is_proxied = used.connection_metadata().as_ref()?.is_proxied();
    let poison = move || {
        if let Some(connection) = used.connection_metadata().as_ref() {
            connection.poison();
        }
    };
    let metadata = ConnectionMetadata::builder().proxied(is_proxied);
    Some(metadata.poison_fn(poison).build())
}

/// Tells the SDK what is worth to be tried again: what broke on the way, not a connection that could not be made, whose steps
/// have been patient already.
fn classify(error: legacy::Error) -> ConnectorError {
    if find_cause::<Failure>(&error).is_some() {
        return ConnectorError::other(error.into(), None).never_connected();
    }
    ConnectorError::io(error.into())
}

/// Makes the connections of a pool.
#[derive(Clone)]
struct Dialer {
    connector: Arc<Connector>,
    connect_timeout: Option<Duration>,
}

type BoxError = Box<dyn Error + Send + Sync>;
type Dialing = Pin<Box<dyn Future<Output = Result<TokioIo<Connection>, BoxError>> + Send>>;

impl Service<Uri> for Dialer {
    type Response = TokioIo<Connection>;
    type Error = BoxError;
    type Future = Dialing;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Dialing {
        let connector = Arc::clone(&self.connector);
        let limit = self.connect_timeout;
        Box::pin(async move {
            let dialing = dial(&connector, &uri);
            let connection = match limit {
                Some(limit) => timeout(limit, dialing)
                    .await
                    .map_err(|_| silence(&uri, limit))??,
                None => dialing.await?,
            };
            Ok(TokioIo::new(connection))
        })
    }
}

async fn dial(connector: &Connector, uri: &Uri) -> Result<Connection, BoxError> {
    let Destination { host, port, is_tls } = Destination::of(uri)?;
    match connector.proxy_to(host, port, is_tls)? {
        // Proxies forward what is not encrypted, and many open tunnels to port 443 alone.
        Some(proxy) if !is_tls => Ok(Connection::Forwarding(Box::new(
            connector.reach(proxy).await?,
        ))),
        _ => Ok(connector.connect(host, port, is_tls).await?),
    }
}

/// Explains that a client of the SDK's own has waited as long as it does for a connection.
fn silence(uri: &Uri, limit: Duration) -> Failure {
    let (host, limit) = (uri.host().unwrap_or_default(), limit.as_secs_f32());
    Failure::new(
        Exit::Failure,
        format!("no connection to {host} within {limit} s"),
    )
    .with_hint("a firewall or a missing route swallows the packets, or a proxy does not answer")
}

/// Where a request goes.
struct Destination<'a> {
    host: &'a str,
    port: u16,
    is_tls: bool,
}

impl<'a> Destination<'a> {
    fn of(uri: &'a Uri) -> Result<Self, &'static str> {
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        Ok(Self {
            host: uri.host().ok_or("the URL has no host")?,
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
        })
    }
}
