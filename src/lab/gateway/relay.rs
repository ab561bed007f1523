//! A session's task at the gateway: relays whole messages between the agent and the clients that
//! come and go, until somebody ends the session.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::task::TaskTracker;

use super::agent_link::AgentLink;
use super::{CLOSE_TIMEOUT, Socket, close, frame};
use crate::lab::link::GatewayEnd;
use crate::lab::lock;
use crate::lab::session::{EndedBy, Inbox, Order, Session};

/// Serves a session from its start to its end.
///
/// While no client is there, the agent is told to pause and what it sends stays in the link. Its
/// end is noticed when a client can be told: a client that comes late still learns the reason.
pub(super) async fn run(
    session: Arc<Session>,
    mut agent: AgentLink,
    mut inbox: Inbox,
    idle_timeout: Duration,
    tracker: TaskTracker,
) {
    let idle = IdleTimer::new(idle_timeout);
    let mut client = None;
    let ended_by = loop {
        let left = tokio::select! {
            by = session.terminated() => Left::Ended(by),
            Some(order) = inbox.orders.recv() => Left::Ordered(order),
            Some(socket) = inbox.sockets.recv() => Left::Replaced(socket),
            () = idle.expired() => Left::Ended(EndedBy::IdleTimeout),
            left = relay(agent.end(), client.as_mut(), &idle) => left,
        };
        match left {
            Left::Replaced(socket) => {
                client = Some(socket);
                idle.restart();
                agent.notify(frame::start_publication());
                session.set_connected();
                continue;
            }
            Left::Gone => client = None,
            Left::Ordered(Order::Cut) => {
                agent.replace(AGENT_AWAY);
                if let Some(socket) = client.take() {
                    tracker.spawn(close(socket, CloseCode::Normal, "Bye".to_owned()));
                }
            }
            Left::Ordered(Order::Reset) => {
                if let Some(socket) = client.take() {
                    socket.get_ref().reset_on_drop();
                }
            }
            Left::Ordered(Order::LoseAgent(away)) => {
                agent.replace(away);
                continue;
            }
            Left::Ordered(Order::End(by)) => {
                agent.kill();
                break by;
            }
            Left::Ended(by) => break by,
        }
        agent.notify(frame::pause_publication());
        session.set_disconnected();
    };
    session.end(ended_by);
    let output = match ended_by {
        EndedBy::Agent => agent.output().await,
        EndedBy::IdleTimeout => {
            agent.kill();
            IDLE_TIMEOUT_OUTPUT.to_owned()
        }
        EndedBy::Caller | EndedBy::Shutdown => {
            agent.kill();
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
    Ordered(Order),
    Ended(EndedBy),
}

/// Relays messages until the client or the agent is gone; for ever while there is no client.
///
/// The directions do not wait for each other: either may be held back by its receiver.
async fn relay(link: &mut GatewayEnd, client: Option<&mut Socket>, idle: &IdleTimer) -> Left {
    let Some(socket) = client else {
        return std::future::pending().await;
    };
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

/// How long an agent needs to come back after its connection was closed: it waits for 100 to 199 ms
/// (PROTOCOL 10.2).
const AGENT_AWAY: Duration = Duration::from_millis(150);

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
