//! The message gateway: clients' WebSockets on one side, the link to the agent on the other.

mod agent_link;
mod connection;
pub(super) mod frame;
mod not_serving;
mod relay;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use self::agent_link::AgentLink;
use self::connection::Connection;
use super::agent::{self, Assignment, Decrypter};
use super::auth::{self, Service, Verifier};
use super::chaos::{Chaos, Condition, GatewayFault};
use super::conditions::Conditions;
use super::document::Content;
use super::server::{Answer, plain};
use super::session::{Inbox, Session};
use super::{Machine, Shared};

/// A client's WebSocket.
pub(super) type Socket = WebSocketStream<Connection>;

/// What a data channel's path begins with; the session id follows.
pub(super) const PATH: &str = "/v1/data-channel/";

/// Starts a session's two tasks: its agent, and the gateway's relay between agent and clients.
pub(super) fn start(
    shared: &Shared,
    machine: &Machine,
    session: Arc<Session>,
    inbox: Inbox,
    content: Content,
) {
    let (config, chaos) = (&shared.config, shared.conditions.chaos());
    let stream = shared.registry.insert(session.clone());
    let assignment = Assignment {
        session_id: session.id.clone(),
        agent_version: machine.agent_version,
        content,
        services: machine.services.clone(),
        pace: config.pace,
        decrypter: config.kms_key.clone().map(|key| Decrypter {
            keyring: shared.keyring.clone(),
            key,
            session_id: session.id.clone(),
            target_id: machine.target.id.clone(),
            is_denied: chaos.deny.contains("Decrypt"),
        }),
        tracker: shared.tracker.clone(),
        conditions: shared.conditions.clone(),
        seed: chaos.seed ^ stream,
    };
    let (links, attached) = mpsc::unbounded_channel();
    let agent = shared.tracker.spawn(agent::run(assignment, attached));
    let agent = AgentLink::new(shared.conditions.clone(), stream, links, agent);
    let tracker = shared.tracker.clone();
    let relay = relay::run(session, agent, inbox, config.idle_timeout, tracker);
    shared.tracker.spawn(relay);
}

/// Answers the request to open a data channel.
pub(super) async fn upgrade(
    shared: Arc<Shared>,
    mut request: Request<Incoming>,
    session_id: &str,
) -> Answer {
    let chaos = shared.conditions.chaos();
    match chaos.gateway {
        Some(GatewayFault::Mute) => std::future::pending().await,
        Some(GatewayFault::RefuseUpgrade) => return refused(),
        Some(GatewayFault::Garbage | GatewayFault::Silent) | None => {}
    }
    if shared.conditions.holds(Condition::RefuseUpgrades) {
        return refused();
    }
    if shared.conditions.holds(Condition::FailUpgrades) {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "upgrades fail\n");
    }
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let verifier = Verifier::default();
    let verified = verifier.verify(Service::SsmMessages, &parts, b"", shared.conditions.now());
    let verified = verified.and_then(|()| auth::check_expiry(&parts, &shared.conditions));
    if let Err(error) = verified {
        tracing::debug!(%error, "upgrade refused");
        return plain(StatusCode::FORBIDDEN, error.code());
    }
    let Some(session) = shared.registry.find(session_id).filter(|s| !s.is_ended()) else {
        return plain(StatusCode::NOT_FOUND, "no such session\n");
    };
    if !cell(&parts).is_some_and(|cell| session.accepts_cell(cell)) {
        return plain(StatusCode::BAD_REQUEST, "the cell is gone\n");
    }
    let Some(accept_key) = accept_key(&parts.method, &parts.headers) else {
        return plain(StatusCode::BAD_REQUEST, "not a WebSocket request\n");
    };
    let serving = serve(on_upgrade, session, chaos, shared.conditions.clone());
    let shutdown = shared.shutdown.clone();
    shared
        .tracker
        .spawn(shutdown.run_until_cancelled_owned(serving));
    switching_protocols(&accept_key)
}

/// The cell number of a stream URL, as it was given out.
fn cell(request: &Parts) -> Option<&str> {
    let mut pairs = request.uri.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("cell-number="))
}

fn refused() -> Answer {
    plain(StatusCode::FORBIDDEN, "upgrades are refused\n")
}

/// The value of `Sec-WebSocket-Accept`, if the request is for a WebSocket.
fn accept_key(method: &Method, headers: &HeaderMap) -> Option<String> {
    let has_token = |name: header::HeaderName, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    let is_upgrade = *method == Method::GET
        && has_token(header::CONNECTION, "upgrade")
        && has_token(header::UPGRADE, "websocket")
        && has_token(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    is_upgrade.then(|| derive_accept_key(key.as_bytes()))
}

fn switching_protocols(accept_key: &str) -> Answer {
    let built = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept_key)
        .body(Full::new(Bytes::new()));
    built.unwrap_or_else(|_| plain(StatusCode::BAD_REQUEST, "not a WebSocket request\n"))
}

/// Takes over an upgraded connection, up to the point where the session's relay has it.
async fn serve(
    on_upgrade: OnUpgrade,
    session: Arc<Session>,
    chaos: Arc<Chaos>,
    conditions: Arc<Conditions>,
) {
    let Ok(upgraded) = on_upgrade.await else {
        return;
    };
    // The data path is the TCP socket itself: hyper has done its part.
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        tracing::error!("an upgraded connection is not a TCP stream");
        return;
    };
    let stream = Connection::new(parts.io.into_inner(), conditions.clone());
    let read = parts.read_buf.to_vec();
    let config = websocket_config();
    // Only a socket that starts without bytes keeps its read buffer's length while messages it has
    // read are still under way; the other kind falls back to reading header and payload one by one.
    let socket = match read.is_empty() {
        true => Socket::from_raw_socket(stream, Role::Server, Some(config)).await,
        false => Socket::from_partially_read(stream, read, Role::Server, Some(config)).await,
    };
    match chaos.gateway {
        Some(GatewayFault::Garbage) => not_serving::send_garbage(socket, chaos.seed).await,
        Some(GatewayFault::Silent) => not_serving::stay_silent(socket).await,
        Some(GatewayFault::Mute | GatewayFault::RefuseUpgrade) | None => {
            admit(socket, &session, &conditions).await;
        }
    }
}

/// Reads the first frame and hands the WebSocket to the session, if the token in it is right.
async fn admit(mut socket: Socket, session: &Session, conditions: &Conditions) {
    let Ok(first) = tokio::time::timeout(FIRST_FRAME_TIMEOUT, socket.next()).await else {
        return;
    };
    let is_admitted = match first {
        Some(Ok(_)) if conditions.holds(Condition::RefuseTokens) => false,
        Some(Ok(Message::Text(text))) => {
            token(text.as_bytes()).is_some_and(|token| session.accepts_token(&token))
        }
        Some(Ok(_)) => false,
        Some(Err(_)) | None => return,
    };
    if is_admitted {
        session.attach(socket).await;
        return;
    }
    let reason = format!(
        "Channel {}: request to open data channel does not contain token.",
        session.id
    );
    close(socket, CloseCode::Unsupported, reason).await;
}

/// The token of an OpenDataChannelInput.
fn token(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct OpenDataChannelInput {
        token_value: String,
    }
    let input: OpenDataChannelInput = serde_json::from_slice(body).ok()?;
    Some(input.token_value)
}

/// Closes a WebSocket and waits, shortly, for the client to have seen why.
async fn close(mut socket: Socket, code: CloseCode, reason: String) {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    let closing = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            // Closing with unread data in the socket would reset the connection and may cost the
            // client what it has not read yet.
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
}

fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(64 * 1024)
        .max_write_buffer_size(4 * MAX_MESSAGE_LEN)
        .max_message_size(Some(MAX_MESSAGE_LEN))
        .max_frame_size(Some(MAX_MESSAGE_LEN))
}

/// A WebSocket message; clients send little more than a kibibyte.
const MAX_MESSAGE_LEN: usize = 1024 * 1024;

/// How long a client may take to send its token.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
