//! A session's task at the gateway: relays whole messages between the agent and the clients that
//! come and go, until somebody ends the session.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::task::TaskTracker;

use super::agent_link::AgentLink;
use super::{CLOSE_TIMEOUT, Socket, close, frame};
use crate::lab::chaos::{Chaos, Condition};
use crate::lab::conditions::Conditions;
use crate::lab::link::{GatewayEnd, Receiver};
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
    let conditions = agent.conditions().clone();
    let started = Instant::now();
    let outlived = conditions.passed(|chaos| Some(started + chaos.max_duration?));
    let mut outlived = pin!(outlived);
    let idle = IdleTimer::new(idle_timeout, &conditions);
    let mut client = None;
    let ended_by = loop {
        let left = tokio::select! {
            by = session.terminated() => Left::Ended(by),
            Some(order) = inbox.orders.recv() => Left::Ordered(order),
            Some(socket) = inbox.sockets.recv() => Left::Replaced(socket),
            () = idle.expired() => Left::Ended(EndedBy::IdleTimeout),
            () = &mut outlived => Left::Ended(EndedBy::MaxDuration),
            left = relay(agent.end(), client.as_mut(), &idle, &conditions) => left,
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
        EndedBy::MaxDuration => {
            agent.kill();
            MAX_DURATION_OUTPUT.to_owned()
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
async fn relay(
    link: &mut GatewayEnd,
    client: Option<&mut Socket>,
    idle: &IdleTimer<'_>,
    conditions: &Conditions,
) -> Left {
    let Some(socket) = client else {
        return std::future::pending().await;
    };
    let GatewayEnd { sender, receiver } = link;
    let (to_client, from_client) = socket.split();
    tokio::select! {
        left = upward(from_client, sender, idle, conditions) => left,
        left = downward(receiver, to_client, sender, conditions) => left,
    }
}

async fn upward(
    mut from_client: SplitStream<&mut Socket>,
    to_agent: &mpsc::Sender<Message>,
    idle: &IdleTimer<'_>,
    conditions: &Conditions,
) -> Left {
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
        let _ = to_agent.send(message).await;
        if conditions.holds(Condition::Pause) {
            // The message has the agent go on.
            let _ = to_agent.try_send(frame::pause_publication().into());
        }
    }
    Left::Gone
}

async fn downward(
    from_agent: &mut Receiver,
    mut to_client: SplitSink<&mut Socket, Message>,
    to_agent: &mpsc::Sender<Message>,
    conditions: &Conditions,
) -> Left {
    let start = frame::start_publication();
    if to_client.send(start.into()).await.is_err() {
        return Left::Gone;
    }
    let mut batch = Vec::with_capacity(BATCH_LEN);
    let mut is_paused = false;
    loop {
        tokio::select! {
            () = conditions.until(Condition::Pause, !is_paused) => {
                is_paused = !is_paused;
                let wire = match is_paused {
                    true => frame::pause_publication(),
                    false => frame::start_publication(),
                };
                let _ = to_agent.try_send(wire.clone().into());
                batch.push(wire.into());
            }
            count = from_agent.recv_many(&mut batch, BATCH_LEN) => if count == 0 {
                return Left::Ended(EndedBy::Agent);
            },
        }
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
struct IdleTimer<'a> {
    timeout: Duration,
    restarted: Mutex<Instant>,
    conditions: &'a Conditions,
}

impl<'a> IdleTimer<'a> {
    fn new(timeout: Duration, conditions: &'a Conditions) -> Self {
        Self {
            timeout,
            restarted: Mutex::new(Instant::now()),
            conditions,
        }
    }

    fn restart(&self) {
        *lock(&self.restarted) = Instant::now();
    }

    async fn expired(&self) {
        let deadline = |chaos: &Chaos| {
            let timeout = chaos.idle_timeout.unwrap_or(self.timeout);
            Some(*lock(&self.restarted) + timeout)
        };
        loop {
            self.conditions.passed(deadline).await;
            let chaos = self.conditions.chaos();
            if deadline(&chaos).is_some_and(|deadline| deadline <= Instant::now()) {
                return;
            }
        }
    }
}

/// The service's own words are not known.
const MAX_DURATION_OUTPUT: &str =
    "Your session reached its maximum duration and has been terminated.";

const IDLE_TIMEOUT_OUTPUT: &str =
    "Your session timed out due to inactivity and has been terminated.";

/// How long an agent needs to come back after its connection was closed: it waits for 100 to 199 ms
/// (agent `datachannel.go`).
const AGENT_AWAY: Duration = Duration::from_millis(150);

/// Messages that go to the client in one write.
const BATCH_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn input_puts_the_idle_timeout_off() {
        let start = Instant::now();
        let conditions = Conditions::new(Chaos::default());
        let idle = IdleTimer::new(Duration::from_secs(60), &conditions);
        let typing = async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            idle.restart();
        };
        tokio::join!(idle.expired(), typing);
        let elapsed = start.elapsed().as_secs();
        assert_eq!(elapsed, 110);
    }
}
