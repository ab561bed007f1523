//! Two ends of a data channel, in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use ssmfwd_protocol::Channel;
use ssmfwd_protocol::agent::{Agent, AgentEvent, Session, SessionType};
use ssmfwd_protocol::channel::{CloseReason, Event};
use ssmfwd_protocol::config::Config;
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Disconnect, drive};
use crate::endpoint::Shared;

pub(crate) type Socket = WebSocketStream<DuplexStream>;

/// Two ends of a WebSocket, the client's first, with `len` bytes of room each way.
pub(crate) async fn sockets(len: usize) -> (Socket, Socket) {
    let (near, far) = tokio::io::duplex(len);
    tokio::join!(
        Socket::from_raw_socket(near, Role::Client, None),
        Socket::from_raw_socket(far, Role::Server, None),
    )
}

/// A client that has just been connected.
pub(crate) fn channel() -> Shared<Channel> {
    let now = Instant::now().into_std();
    let mut channel = Channel::new(Config::default(), 1, now, UNIX);
    channel.handle_connected(now, "token");
    Shared::new(channel)
}

/// An agent of this version that has just been connected.
pub(crate) fn agent(version: &str) -> Shared<Agent> {
    let session = Session {
        id: "s-1".to_owned(),
        agent_version: version.parse().unwrap(),
        session_type: SessionType::Port {
            properties: BTreeMap::from([("type".to_owned(), "LocalPortForwarding".to_owned())]),
        },
        encryption: None,
    };
    let now = Instant::now().into_std();
    let mut agent = Agent::new(session, 2, now, UNIX);
    agent.handle_connected(now);
    Shared::new(agent)
}

/// The wall clock of these tests.
const UNIX: Duration = Duration::from_secs(1_700_000_000);

/// A client and an agent that drive each other.
pub(crate) struct Pair {
    pub(crate) channel: Shared<Channel>,
    pub(crate) agent: Shared<Agent>,
    pub(crate) client_end: JoinHandle<Result<CloseReason, Disconnect>>,
    pub(crate) agent_end: JoinHandle<Result<AgentEvent, Disconnect>>,
}

impl Pair {
    /// Starts both ends and waits for the handshake.
    pub(crate) async fn start() -> Self {
        let (near, far) = sockets(64 * 1024).await;
        let (channel, agent) = (channel(), agent("3.3.987.0"));
        let (establish, established) = oneshot::channel();
        let mut establish = Some(establish);
        let driven = channel.clone();
        let client_end = tokio::spawn(async move {
            let ended = drive(&driven, near, |event| match event {
                Event::Established(_) => {
                    establish.take().unwrap().send(()).unwrap();
                    ControlFlow::Continue(())
                }
                Event::Closed(reason) => ControlFlow::Break(reason),
                _ => ControlFlow::Continue(()),
            });
            let ended = ended.await;
            driven.end();
            ended
        });
        let driven = agent.clone();
        let agent_end = tokio::spawn(async move {
            let ended = drive(&driven, far, |event| match event {
                AgentEvent::Started { .. } => ControlFlow::Continue(()),
                event => ControlFlow::Break(event),
            });
            ended.await
        });
        established.await.unwrap();
        Self {
            channel,
            agent,
            client_end,
            agent_end,
        }
    }
}
