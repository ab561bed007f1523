//! Clients for the lab's own tests: the real SDK, a signed WebSocket, and a whole data channel.

use std::ops::ControlFlow;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sdk_ssm::config::{BehaviorVersion, Region};
use aws_sdk_ssm::operation::start_session::StartSessionOutput;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use futures_util::SinkExt;
use http::Request;
use serde_json::json;
use ssmfwd_protocol::Channel;
use ssmfwd_protocol::channel::{CloseReason, Event};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Chaos, Config, Lab, Target};
use crate::driver::drive;
use crate::endpoint::Shared;

pub(super) type ClientSocket = WebSocketStream<TcpStream>;

/// Starts a lab with the target `i-0abc`.
pub(super) async fn lab(adjust: impl FnOnce(&mut Config)) -> Lab {
    let mut config = Config {
        targets: vec![Target::new("i-0abc")],
        ..Config::default()
    };
    adjust(&mut config);
    Lab::start(config).await.unwrap()
}

pub(super) async fn lab_with(chaos: &str) -> Lab {
    let chaos: Chaos = chaos.parse().unwrap();
    lab(|config| config.chaos = chaos).await
}

/// An SDK client with the lab's credentials.
pub(super) fn sdk(lab: &Lab) -> aws_sdk_ssm::Client {
    sdk_with(lab, lab.credentials())
}

pub(super) fn sdk_with(lab: &Lab, credentials: Credentials) -> aws_sdk_ssm::Client {
    let config = aws_sdk_ssm::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(lab.region()))
        .credentials_provider(credentials)
        .endpoint_url(lab.endpoint_url())
        .build();
    aws_sdk_ssm::Client::from_conf(config)
}

/// Starts a session to a port of `i-0abc`.
pub(super) async fn start_session(lab: &Lab, port: u16) -> StartSessionOutput {
    sdk(lab)
        .start_session()
        .target("i-0abc")
        .document_name("AWS-StartPortForwardingSession")
        .parameters("portNumber", vec![port.to_string()])
        .send()
        .await
        .unwrap()
}

/// The request that opens a data channel, signed as the official client does.
pub(super) fn upgrade_request(url: &str, credentials: Credentials) -> Request<()> {
    let mut request = url.into_client_request().unwrap();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(super::auth::REGION)
        .name("ssmmessages")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .unwrap()
        .into();
    // The signer must see a literal `+` as the space the service takes it for.
    let signed_url = url.replacen("ws://", "http://", 1).replace('+', "%20");
    let headers = std::iter::empty();
    let signable =
        SignableRequest::new("GET", signed_url, headers, SignableBody::Bytes(b"")).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut request);
    request
}

/// Opens a WebSocket to the gateway.
pub(super) async fn open(request: Request<()>) -> Result<ClientSocket, Error> {
    let authority = request.uri().authority().unwrap().to_string();
    let socket = TcpStream::connect(authority).await.unwrap();
    client_async(request, socket)
        .await
        .map(|(socket, _)| socket)
}

/// Opens a signed WebSocket and sends the token.
pub(super) async fn open_channel(lab: &Lab, url: &str, token: &str) -> ClientSocket {
    let mut socket = open(upgrade_request(url, lab.credentials())).await.unwrap();
    let hello = json!({"MessageSchemaVersion": "1.0", "TokenValue": token});
    socket.send(Message::text(hello.to_string())).await.unwrap();
    socket
}

/// A client's data channel, driven by a task of its own.
pub(super) struct Tunnel {
    pub(super) channel: Shared<Channel>,
    pub(super) closed: JoinHandle<CloseReason>,
}

impl Tunnel {
    /// Starts a session to a port of `i-0abc` and waits until streams can be opened.
    pub(super) async fn start(lab: &Lab, port: u16) -> Self {
        Self::open(lab, start_session(lab, port).await).await
    }

    /// Opens the channel of a session.
    pub(super) async fn open(lab: &Lab, session: StartSessionOutput) -> Self {
        let request = upgrade_request(session.stream_url().unwrap(), lab.credentials());
        let socket = open(request).await.unwrap();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut channel = Channel::new(Default::default(), 1, Instant::now(), unix);
        channel.handle_connected(Instant::now(), session.token_value().unwrap());
        let channel = Shared::new(channel);
        let (establish, established) = oneshot::channel();
        let mut establish = Some(establish);
        let driven = channel.clone();
        let closed = tokio::spawn(async move {
            let reason = drive(&driven, socket, |event| match event {
                Event::Established(_) => {
                    establish.take().unwrap().send(()).unwrap();
                    ControlFlow::Continue(())
                }
                Event::Closed(reason) => ControlFlow::Break(reason),
                _ => ControlFlow::Continue(()),
            });
            let reason = reason.await.unwrap();
            driven.end();
            reason
        });
        established.await.unwrap();
        Self { channel, closed }
    }
}
