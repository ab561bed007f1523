//! The in-process link between the gateway and an agent: whole WebSocket messages, both ways.
//!
//! Each direction is a bounded queue. FrameFaults act where messages are taken out of it, so that they can
//! change while the link exists, and cost nothing without any.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_util::{Sink, Stream};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::PollSender;

use super::chaos::{Alter, Condition, FrameFaults};
use super::conditions::Conditions;
use super::gateway::frame;

/// Messages queued in one direction before the sender waits.
///
/// Holds 1 MiB of the usual kibibyte messages, so that either side works in batches.
pub(super) const CAPACITY: usize = 1024;

/// The gateway's end. Dropping it ends the agent's stream, and the other way round.
#[derive(Debug)]
pub(super) struct GatewayEnd {
    pub(super) sender: mpsc::Sender<Message>,
    pub(super) receiver: Receiver,
}

/// The agent's end: a message transport, as a WebSocket is.
#[derive(Debug)]
pub(super) struct AgentEnd {
    sender: PollSender<Message>,
    receiver: Receiver,
}

/// Creates a link. `stream` tells the links of one seed apart.
pub(super) fn pair(conditions: &Arc<Conditions>, stream: u64) -> (GatewayEnd, AgentEnd) {
    let direction = |stream| {
        let (sender, queue) = mpsc::channel(CAPACITY);
        (sender, Receiver::new(queue, conditions.clone(), stream))
    };
    let (to_agent, from_gateway) = direction(stream * 2);
    let (to_gateway, from_agent) = direction(stream * 2 + 1);
    let gateway = GatewayEnd {
        sender: to_agent,
        receiver: from_agent,
    };
    let agent = AgentEnd {
        sender: PollSender::new(to_gateway),
        receiver: from_gateway,
    };
    (gateway, agent)
}

/// Takes messages out of one direction, as its faults let them through.
#[derive(Debug)]
pub(super) struct Receiver {
    queue: mpsc::Receiver<Message>,
    is_open: bool,
    faults: FrameFaults<Message>,
    /// Goes off when a message under way arrives.
    timer: Option<Pin<Box<Sleep>>>,
    conditions: Arc<Conditions>,
    /// Of the chaos that `faults` follows.
    version: u64,
}

impl Receiver {
    fn new(queue: mpsc::Receiver<Message>, conditions: Arc<Conditions>, stream: u64) -> Self {
        let version = conditions.version();
        Self {
            queue,
            is_open: true,
            faults: FrameFaults::new(&conditions.chaos(), stream),
            timer: None,
            conditions,
            version,
        }
    }

    /// Takes at least one and at most `limit` messages, and returns how many: none when the sender is
    /// gone and everything has arrived.
    pub(super) async fn recv_many(&mut self, batch: &mut Vec<Message>, limit: usize) -> usize {
        poll_fn(|cx| self.poll_recv_many(cx, batch, limit)).await
    }

    fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Vec<Message>,
        limit: usize,
    ) -> Poll<usize> {
        self.follow_chaos();
        if self.is_transparent() {
            return self.queue.poll_recv_many(cx, batch, limit);
        }
        for count in 0..limit {
            match self.poll_recv(cx) {
                Poll::Ready(Some(message)) => batch.push(message),
                Poll::Pending if count == 0 => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => return Poll::Ready(count),
            }
        }
        Poll::Ready(limit)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.follow_chaos();
        if self.is_transparent() {
            return self.queue.poll_recv(cx);
        }
        loop {
            let now = now();
            while self.is_open && !self.faults.is_full() {
                match self.queue.poll_recv(cx) {
                    Poll::Ready(Some(message)) if self.is_swallowed(&message) => {}
                    Poll::Ready(Some(message)) => self.faults.admit(now, message),
                    Poll::Ready(None) => self.is_open = false,
                    Poll::Pending => break,
                }
            }
            if let Some(message) = self.faults.poll(now) {
                return Poll::Ready(Some(message));
            }
            let Some(deadline) = self.faults.next_deadline() else {
                return match self.is_open {
                    true => Poll::Pending,
                    false => Poll::Ready(None),
                };
            };
            ready!(self.poll_timer(cx, deadline));
        }
    }

    fn is_transparent(&self) -> bool {
        self.faults.is_transparent() && !self.conditions.holds(Condition::SwallowAcks)
    }

    fn is_swallowed(&self, message: &Message) -> bool {
        let Message::Binary(wire) = message else {
            return false;
        };
        frame::is_acknowledge(wire) && self.conditions.holds(Condition::SwallowAcks)
    }

    /// Takes over what has changed of the standing chaos. Messages under way keep their times.
    fn follow_chaos(&mut self) {
        let version = self.conditions.version();
        if version != self.version {
            self.version = version;
            self.faults.follow(&self.conditions.chaos());
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let deadline = deadline.into();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

impl Alter for Message {
    fn alter(&mut self, rng: &mut fastrand::Rng) {
        if let Self::Binary(wire) = self {
            frame::alter(wire, rng);
        }
    }
}

/// The runtime's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Stream for AgentEnd {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx).map(|message| message.map(Ok))
    }
}

impl Sink<Message> for AgentEnd {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let reserved = ready!(self.sender.poll_reserve(cx));
        Poll::Ready(reserved.map_err(|_| Error::ConnectionClosed))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let sent = self.sender.send_item(message);
        sent.map_err(|_| Error::ConnectionClosed)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.sender.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{FutureExt, SinkExt, StreamExt};

    use super::*;

    fn conditions(chaos: &str) -> Arc<Conditions> {
        Arc::new(Conditions::new(chaos.parse().unwrap()))
    }

    fn pair(chaos: &str) -> (GatewayEnd, AgentEnd) {
        super::pair(&conditions(chaos), 0)
    }

    async fn recv(gateway: &mut GatewayEnd) -> Option<Message> {
        let mut batch = Vec::new();
        gateway.receiver.recv_many(&mut batch, 1).await;
        batch.pop()
    }

    #[tokio::test]
    async fn messages_pass_both_ways_in_order() {
        let (mut gateway, mut agent) = pair("");
        for n in 0..3_u8 {
            gateway.sender.send(vec![n].into()).await.unwrap();
            agent.send(vec![n + 10].into()).await.unwrap();
        }
        for n in 0..3_u8 {
            assert_eq!(agent.next().await.unwrap().unwrap(), vec![n].into());
            assert_eq!(recv(&mut gateway).await.unwrap(), vec![n + 10].into());
        }
    }

    #[tokio::test]
    async fn a_full_link_holds_the_sender_back() {
        let (mut gateway, mut agent) = pair("");
        for _ in 0..CAPACITY {
            agent.feed(Message::binary("x")).await.unwrap();
        }
        assert!(agent.feed(Message::binary("y")).now_or_never().is_none());
        recv(&mut gateway).await.unwrap();
        agent.feed(Message::binary("y")).await.unwrap();
    }

    #[tokio::test]
    async fn either_end_sees_the_other_go() {
        for chaos in ["", "delay=1ms"] {
            let (gateway, mut agent) = pair(chaos);
            drop(gateway);
            assert!(agent.next().await.is_none());

            let (mut gateway, agent) = pair(chaos);
            drop(agent);
            assert!(recv(&mut gateway).await.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_messages_arrive_late_and_survive_their_sender() {
        let (mut gateway, mut agent) = pair("delay=500ms");
        let start = tokio::time::Instant::now();
        agent.send(Message::binary("last")).await.unwrap();
        drop(agent);
        let message = recv(&mut gateway).await.unwrap();
        assert_eq!(message, Message::binary("last"));
        assert!(start.elapsed() >= Duration::from_millis(500));
        assert!(recv(&mut gateway).await.is_none());
    }

    #[tokio::test]
    async fn dropped_messages_do_not_arrive() {
        let (mut gateway, mut agent) = pair("drop=100%");
        agent.send(Message::binary("lost")).await.unwrap();
        drop(agent);
        assert!(recv(&mut gateway).await.is_none());
    }
    #[tokio::test(start_paused = true)]
    async fn chaos_that_changes_holds_for_the_messages_after() {
        let conditions = conditions("");
        let (mut gateway, mut agent) = super::pair(&conditions, 0);
        let mut exchange = async |message: &'static str| {
            let start = tokio::time::Instant::now();
            agent.send(Message::text(message)).await.unwrap();
            assert_eq!(recv(&mut gateway).await, Some(Message::text(message)));
            start.elapsed()
        };
        assert_eq!(exchange("at once").await, Duration::ZERO);
        conditions.update(|chaos| chaos.delay = Duration::from_secs(3));
        assert!(exchange("late").await >= Duration::from_secs(3));
        conditions.update(|chaos| chaos.delay = Duration::ZERO);
        assert_eq!(exchange("at once again").await, Duration::ZERO);
    }
}
