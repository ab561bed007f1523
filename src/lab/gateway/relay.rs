//! A session's task at the gateway: relays whole messages between the agent and the clients that
//! come and go, until somebody ends the session.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::{CLOSE_TIMEOUT, Socket, frame};
use crate::lab::link::GatewayEnd;
use crate::lab::lock;
use crate::lab::session::{EndedBy, Session};

/// Serves a session from its start to its end.
///
/// While no client is there, the agent is told to pause and what it sends stays in the link. Its
/// end is noticed when a client can be told: a client that comes late still learns the reason.
pub(super) async fn run(
    session: Arc<Session>,
    mut link: GatewayEnd,
    mut sockets: mpsc::Receiver<Socket>,
    agent: JoinHandle<String>,
    idle_timeout: Duration,
) {
    let idle = IdleTimer::new(idle_timeout);
    let mut client = None;
    let ended_by = loop {
        let left = match &mut client {
            None => wait(&session, &mut sockets, &idle).await,
            Some(socket) => attend(&session, &mut link, &mut sockets, socket, &idle).await,
        };
        match left {
            Left::Replaced(socket) => {
                client = Some(socket);
                idle.restart();
                publish(&link, frame::start_publication());
                session.set_connected(true);
            }
            Left::Gone => {
                client = None;
                publish(&link, frame::pause_publication());
                session.set_connected(false);
            }
            Left::Ended(by) => break by,
        }
    };
    session.end(ended_by);
    let output = match ended_by {
        EndedBy::Agent => agent.await.unwrap_or_default(),
        EndedBy::IdleTimeout => {
            agent.abort();
            IDLE_TIMEOUT_OUTPUT.to_owned()
        }
        EndedBy::Caller | EndedBy::Shutdown => {
            agent.abort();
            String::new()
        }
    };
    if let Some(socket) = client {
        say_farewell(socket, &session, &output).await;
    }
}

/// Why the relay stopped waiting or relaying.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time for each session"
)]
enum Left {
    /// A client has come; if there was one, it is forgotten.
    Replaced(Socket),
    /// The client has gone.
    Gone,
    Ended(EndedBy),
}

async fn wait(session: &Session, sockets: &mut mpsc::Receiver<Socket>, idle: &IdleTimer) -> Left {
    tokio::select! {
        by = session.terminated() => Left::Ended(by),
        Some(socket) = sockets.recv() => Left::Replaced(socket),
        () = idle.expired() => Left::Ended(EndedBy::IdleTimeout),
    }
}

async fn attend(
    session: &Session,
    link: &mut GatewayEnd,
    sockets: &mut mpsc::Receiver<Socket>,
    socket: &mut Socket,
    idle: &IdleTimer,
) -> Left {
    tokio::select! {
        by = session.terminated() => Left::Ended(by),
        Some(socket) = sockets.recv() => Left::Replaced(socket),
        () = idle.expired() => Left::Ended(EndedBy::IdleTimeout),
        left = relay(link, socket, idle) => left,
    }
}

/// Relays messages until the client or the agent is gone.
///
/// The directions do not wait for each other: either may be held back by its receiver.
async fn relay(link: &mut GatewayEnd, socket: &mut Socket, idle: &IdleTimer) -> Left {
    let GatewayEnd { sender, receiver } = link;
    let (mut to_client, mut from_client) = socket.split();
    let upward = async {
        while let Some(Ok(message)) = from_client.next().await {
            match &message {
                Message::Binary(wire) => {
                    if frame::is_input(wire) {
                        idle.restart();
                    }
                }
                Message::Text(_) => {}
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            }
            // Without an agent the message goes nowhere; the other direction notices its end.
            let _ = sender.send(message).await;
        }
        Left::Gone
    };
    let downward = async {
        if to_client
            .send(frame::start_publication().into())
            .await
            .is_err()
        {
            return Left::Gone;
        }
        let mut batch = Vec::with_capacity(BATCH_LEN);
        while receiver.recv_many(&mut batch, BATCH_LEN).await > 0 {
            for message in batch.drain(..) {
                let is_for_gateway =
                    matches!(&message, Message::Binary(wire) if frame::is_session_state(wire));
                if !is_for_gateway && to_client.feed(message).await.is_err() {
                    return Left::Gone;
                }
            }
            if to_client.flush().await.is_err() {
                return Left::Gone;
            }
        }
        Left::Ended(EndedBy::Agent)
    };
    tokio::select! {
        left = upward => left,
        left = downward => left,
    }
}

/// Tells the agent to go on or to pause. A full link does not wait for that: the agent goes on with
/// the next message it gets, and pauses when the link is full the other way.
fn publish(link: &GatewayEnd, wire: bytes::Bytes) {
    let _ = link.sender.try_send(wire.into());
}

/// Tells the client that the session is over, and why, and leaves the closing to it.
async fn say_farewell(mut socket: Socket, session: &Session, output: &str) {
    let wire = frame::channel_closed(session, output);
    let leaving = async {
        if socket.send(wire.into()).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, leaving).await;
}

/// Measures how long the client has sent no stream data.
struct IdleTimer {
    timeout: Duration,
    restarted: Mutex<Instant>,
}

impl IdleTimer {
    fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            restarted: Mutex::new(Instant::now()),
        }
    }

    fn restart(&self) {
        *lock(&self.restarted) = Instant::now();
    }

    async fn expired(&self) {
        loop {
            let deadline = *lock(&self.restarted) + self.timeout;
            if deadline <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }
}

const IDLE_TIMEOUT_OUTPUT: &str =
    "Your session timed out due to inactivity and has been terminated.";

/// Messages that go to the client in one write.
const BATCH_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn input_puts_the_idle_timeout_off() {
        let start = Instant::now();
        let idle = IdleTimer::new(Duration::from_secs(60));
        let typing = async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            idle.restart();
        };
        tokio::join!(idle.expired(), typing);
        let elapsed = start.elapsed().as_secs();
        assert_eq!(elapsed, 110);
    }
}
