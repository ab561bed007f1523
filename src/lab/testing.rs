//! Labs for tests, and clients for the lab's own: the real SDK, a signed WebSocket, and a whole data channel.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_ssm::config::{BehaviorVersion, Region};
use aws_sdk_ssm::operation::start_session::StartSessionOutput;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use serde_json::{Value, json};
use ssmfwd_protocol::channel::{CloseReason, Event};
use ssmfwd_protocol::cipher::DataKey;
use ssmfwd_protocol::{Channel, Endpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Chaos, Config, Lab, Target};
use crate::aws::{self, Aws};
use crate::driver::drive;
use crate::endpoint::Shared;
use crate::net::http::Client;
use crate::stream::Stream;

pub(super) type ClientSocket = WebSocketStream<TcpStream>;

/// Starts a lab with the target `i-0abc`.
pub(crate) async fn lab(adjust: impl FnOnce(&mut Config)) -> Lab {
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

/// AWS as the program has it, in the place of which the lab is.
pub(crate) async fn aws(lab: &Lab) -> Arc<Aws> {
    let options = aws::Options {
        region: Some(lab.region().to_owned()),
        endpoint_url: Some(lab.endpoint_url()),
        credentials: Some(lab.credentials()),
        ..aws::Options::default()
    };
    Arc::new(Aws::load(&options).await.unwrap())
}

/// An SDK client with the lab's credentials.
pub(super) fn sdk(lab: &Lab) -> aws_sdk_ssm::Client {
    sdk_with(lab, lab.credentials())
}

pub(super) fn sdk_with(lab: &Lab, credentials: Credentials) -> aws_sdk_ssm::Client {
    let config = aws_sdk_ssm::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(Client::new(Arc::default()))
        .region(Region::new(lab.region()))
        .credentials_provider(credentials)
        .endpoint_url(lab.endpoint_url())
        .build();
    aws_sdk_ssm::Client::from_conf(config)
}

/// Calls an operation of ECS, for which there is no SDK here; returns the status and the answer.
pub(super) async fn ecs(lab: &Lab, operation: &str, body: Value) -> (u16, Value) {
    let identity = lab.credentials().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(lab.region())
        .name("ecs")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let (body, url) = (body.to_string(), format!("{}/", lab.endpoint_url()));
    let signable = SignableBody::Bytes(body.as_bytes());
    let signable = SignableRequest::new("POST", &url, std::iter::empty(), signable).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let mut text = format!(
        "POST / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\
         x-amz-target: AmazonEC2ContainerServiceV20141113.{operation}\r\n",
        lab.shared.address,
        body.len(),
    );
    for (name, value) in instructions.headers() {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("\r\n{body}"));
    let mut socket = TcpStream::connect(lab.shared.address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap())
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

/// A session with a WebSocket that nothing reads or writes but the test.
pub(super) struct Raw {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) socket: ClientSocket,
}

impl Raw {
    /// Starts a session to the echo port of `i-0abc` and reads the first message.
    pub(super) async fn start(lab: &Lab) -> Self {
        let session = start_session(lab, 7).await;
        let url = session.stream_url().unwrap().to_owned();
        let socket = open_channel(lab, &url, session.token_value().unwrap()).await;
        let id = session.session_id().unwrap().to_owned();
        let mut raw = Self { id, url, socket };
        raw.next().await.unwrap().unwrap();
        raw
    }

    pub(super) async fn next(&mut self) -> Option<Result<Message, Error>> {
        self.socket.next().await
    }

    /// Reads up to a message of this type.
    pub(super) async fn next_of(&mut self, message_type: &str) {
        loop {
            if let Message::Binary(wire) = self.next().await.unwrap().unwrap()
                && wire[4..].starts_with(message_type.as_bytes())
            {
                return;
            }
        }
    }

    /// Reads to the end of the connection and returns what came last.
    pub(super) async fn last(&mut self) -> Option<Result<Message, Error>> {
        let mut last = None;
        while let Some(next) = self.next().await {
            let is_error = next.is_err();
            last = Some(next);
            if is_error {
                break;
            }
        }
        last
    }

    /// Resumes the session with a new token and URL.
    pub(super) async fn resume(&mut self, lab: &Lab) {
        let resumed = sdk(lab).resume_session().session_id(&self.id).send();
        let resumed = resumed.await.unwrap();
        self.url = resumed.stream_url().unwrap().to_owned();
        self.socket = open_channel(lab, &self.url, resumed.token_value().unwrap()).await;
    }
}

/// A client's data channel, driven by a task of its own that resumes it when the connection is lost.
pub(super) struct Tunnel {
    pub(super) channel: Shared<Channel>,
    pub(super) closed: JoinHandle<CloseReason>,
    resumed_count: Arc<AtomicUsize>,
}

impl Tunnel {
    /// Starts a session to a port of `i-0abc` and waits until streams can be opened.
    pub(super) async fn start(lab: &Lab, port: u16) -> Self {
        Self::open(lab, start_session(lab, port).await).await
    }

    /// Opens the channel of a session.
    pub(super) async fn open(lab: &Lab, session: StartSessionOutput) -> Self {
        let request = upgrade_request(session.stream_url().unwrap(), lab.credentials());
        let mut socket = open(request).await.unwrap();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut channel = Channel::new(Default::default(), 1, Instant::now(), unix);
        channel.handle_connected(Instant::now(), session.token_value().unwrap());
        let channel = Shared::new(channel);
        let (establish, established) = oneshot::channel();
        let mut establish = Some(establish);
        let data_keys = DataKeys {
            kms: kms(lab, lab.region()),
            session_id: session.session_id().unwrap().to_owned(),
        };
        let driven = channel.clone();
        let resumed_count = Arc::new(AtomicUsize::new(0));
        let resumed = resumed_count.clone();
        let (sdk, credentials) = (sdk(lab), lab.credentials());
        let id = session.session_id().unwrap().to_owned();
        let closed = tokio::spawn(async move {
            let mut on_event = |event| match event {
                Event::Established(_) => {
                    establish.take().unwrap().send(()).unwrap();
                    ControlFlow::Continue(())
                }
                Event::DataKeyNeeded { key_id, challenge } => {
                    tokio::spawn(data_keys.clone().provide(driven.clone(), key_id, challenge));
                    ControlFlow::Continue(())
                }
                Event::Closed(reason) => ControlFlow::Break(reason),
                _ => ControlFlow::Continue(()),
            };
            let reason = loop {
                match drive(&driven, socket, &mut on_event).await {
                    Ok(reason) => break reason,
                    Err(_) => {
                        socket = resume(&sdk, &credentials, &id, &driven).await;
                        resumed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            };
            driven.end();
            reason
        });
        // A session may end before it has begun; `closed` tells why.
        let _ = established.await;
        Self {
            channel,
            closed,
            resumed_count,
        }
    }

    /// How often the connection was lost and replaced.
    pub(super) fn resumed_count(&self) -> usize {
        self.resumed_count.load(Ordering::Relaxed)
    }

    /// Sends `len` bytes through the echo service and expects them back.
    pub(super) async fn echo(&self, len: usize) {
        let stream = self.channel.open().await.unwrap();
        echo(&stream, len).await;
        stream.finish();
    }
}

/// Sends `len` bytes through a stream to the echo service and expects them back.
pub(super) async fn echo(stream: &Stream<Channel>, len: usize) {
    let sent: Bytes = (0..len).map(|n| n.to_le_bytes()[n % 3]).collect();
    let mut data = sent.clone();
    let mut received = Vec::new();
    let writing = poll_fn(|cx| stream.poll_write(cx, &mut data));
    let reading = async {
        while received.len() < len {
            let data = poll_fn(|cx| stream.poll_read(cx)).await.unwrap();
            received.extend_from_slice(&data);
        }
    };
    let (written, ()) = tokio::join!(writing, reading);
    written.unwrap();
    assert!(received == sent, "{} bytes came back", received.len());
}

async fn resume(
    sdk: &aws_sdk_ssm::Client,
    credentials: &Credentials,
    id: &str,
    channel: &Shared<Channel>,
) -> ClientSocket {
    loop {
        let resumed = sdk.resume_session().session_id(id).send().await.unwrap();
        let request = upgrade_request(resumed.stream_url().unwrap(), credentials.clone());
        if let Ok(socket) = open(request).await {
            let token = resumed.token_value().unwrap();
            channel.with(|channel| channel.handle_connected(Instant::now(), token));
            return socket;
        }
    }
}

/// Has data keys generated for a session of `i-0abc`, as a client does.
#[derive(Clone)]
struct DataKeys {
    kms: aws_sdk_kms::Client,
    session_id: String,
}

impl DataKeys {
    async fn provide(self, channel: Shared<Channel>, key_id: String, challenge: Option<String>) {
        let request = self.kms.generate_data_key().key_id(key_id);
        let request = request
            .number_of_bytes(64)
            .encryption_context("aws:ssm:SessionId", self.session_id)
            .encryption_context("aws:ssm:TargetId", "i-0abc");
        let request = match challenge {
            Some(challenge) => request.encryption_context("aws:ssm:RandomChallenge", challenge),
            None => request,
        };
        let key = match request.send().await {
            Ok(made) => {
                let ciphertext = made.ciphertext_blob.unwrap().into_inner();
                Ok(DataKey::new(ciphertext, made.plaintext.unwrap().as_ref()).unwrap())
            }
            Err(error) => Err(error.code().unwrap_or("no answer").to_owned()),
        };
        channel.with(|channel| channel.handle_data_key(Instant::now(), key));
    }
}

/// A client of the KMS API with the lab's credentials.
pub(super) fn kms(lab: &Lab, region: &str) -> aws_sdk_kms::Client {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(Client::new(Arc::default()))
        .region(Region::new(region.to_owned()))
        .credentials_provider(lab.credentials())
        .endpoint_url(lab.endpoint_url())
        .build();
    aws_sdk_kms::Client::from_conf(config)
}

/// A client's shell or command.
pub(super) struct Console {
    pub(super) tunnel: Tunnel,
    pub(super) output: Stream<Channel>,
    pub(super) error: Stream<Channel>,
}

/// What a shell or command leaves behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) output: String,
    pub(super) error: String,
    pub(super) exit_code: Option<i32>,
    pub(super) reason: CloseReason,
}

impl Console {
    /// Starts a session of `i-0abc` with a document; the document of the default is the empty name.
    pub(super) async fn start(lab: &Lab, document: &str, parameters: &[(&str, &str)]) -> Self {
        let mut request = sdk(lab).start_session().target("i-0abc");
        if !document.is_empty() {
            request = request.document_name(document);
        }
        for (name, value) in parameters {
            request = request.parameters(*name, vec![(*value).to_owned()]);
        }
        let tunnel = Tunnel::open(lab, request.send().await.unwrap()).await;
        let output = tunnel.channel.accept().await.unwrap();
        let error = tunnel.channel.accept().await.unwrap();
        Self {
            tunnel,
            output,
            error,
        }
    }

    /// Types or sends bytes.
    pub(super) async fn send(&self, text: &str) {
        let mut data = Bytes::from(text.to_owned());
        poll_fn(|cx| self.output.poll_write(cx, &mut data))
            .await
            .unwrap();
    }

    /// Reads output up to and including `text`.
    pub(super) async fn expect(&self, text: &str) -> String {
        let mut received = Vec::new();
        while !String::from_utf8_lossy(&received).contains(text) {
            match poll_fn(|cx| self.output.poll_read(cx)).await {
                Ok(data) => received.extend_from_slice(&data),
                Err(end) => panic!("{end:?} after {:?}", String::from_utf8_lossy(&received)),
            }
        }
        String::from_utf8(received).unwrap()
    }

    /// Reads both streams to their ends.
    pub(super) async fn ended(self) -> Ended {
        let read = async |stream: &Stream<Channel>| {
            let mut received = Vec::new();
            while let Ok(data) = poll_fn(|cx| stream.poll_read(cx)).await {
                received.extend_from_slice(&data);
            }
            String::from_utf8(received).unwrap()
        };
        let (output, error) =
            futures_util::future::join(read(&self.output), read(&self.error)).await;
        let channel = &self.tunnel.channel;
        let exit_code = channel.with(|channel| channel.streams().unwrap().exit_code());
        Ended {
            output,
            error,
            exit_code,
            reason: self.tunnel.closed.await.unwrap(),
        }
    }
}

/// The end of a session nothing went wrong in.
pub(super) fn good_order() -> CloseReason {
    CloseReason::Peer {
        output: String::new(),
        is_whole: true,
    }
}
