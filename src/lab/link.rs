//! The in-process link between the gateway and an agent: whole WebSocket messages, both ways.
//!
//! Without faults it is a pair of bounded queues. With faults a task per direction sits between two
//! queues and lets frames through as [`Faults`] decides.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_util::{Sink, Stream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::PollSender;
use tokio_util::task::TaskTracker;

use super::chaos::{Chaos, Faults};

/// Messages queued in one direction before the sender waits.
///
/// Holds 1 MiB of the usual kibibyte messages, so that either side works in batches.
pub(super) const CAPACITY: usize = 1024;

/// The gateway's end. Dropping it ends the agent's stream, and the other way round.
#[derive(Debug)]
pub(super) struct GatewayEnd {
    pub(super) sender: mpsc::Sender<Message>,
    pub(super) receiver: mpsc::Receiver<Message>,
}

/// The agent's end: a message transport, as a WebSocket is.
#[derive(Debug)]
pub(super) struct AgentEnd {
    sender: PollSender<Message>,
    receiver: mpsc::Receiver<Message>,
}

/// Creates a link. `stream` tells the links of one seed apart.
pub(super) fn pair(chaos: &Chaos, stream: u64, tracker: &TaskTracker) -> (GatewayEnd, AgentEnd) {
    let (to_agent, from_gateway) = direction(chaos, stream * 2, tracker);
    let (to_gateway, from_agent) = direction(chaos, stream * 2 + 1, tracker);
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

fn direction(
    chaos: &Chaos,
    stream: u64,
    tracker: &TaskTracker,
) -> (mpsc::Sender<Message>, mpsc::Receiver<Message>) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    if !chaos.affects_frames() {
        return (sender, receiver);
    }
    let (out, delivered) = mpsc::channel(CAPACITY);
    tracker.spawn(disturb(Faults::new(chaos.clone(), stream), receiver, out));
    (sender, delivered)
}

/// Passes messages through `faults` until the sender is gone and everything has arrived, or the
/// receiver is gone.
async fn disturb(
    mut faults: Faults<Message>,
    mut input: mpsc::Receiver<Message>,
    output: mpsc::Sender<Message>,
) {
    let mut is_open = true;
    loop {
        while let Some(message) = faults.poll(tokio::time::Instant::now().into_std()) {
            if output.send(message).await.is_err() {
                return;
            }
        }
        let deadline = faults.next_deadline();
        if !is_open && deadline.is_none() {
            return;
        }
        tokio::select! {
            received = input.recv(), if is_open && !faults.is_full() => match received {
                Some(message) => faults.admit(tokio::time::Instant::now().into_std(), message),
                None => is_open = false,
            },
            () = sleep_until(deadline) => {}
            () = output.closed() => return,
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
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

    fn pair(chaos: &str) -> (GatewayEnd, AgentEnd) {
        super::pair(&chaos.parse().unwrap(), 0, &TaskTracker::new())
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
            assert_eq!(gateway.receiver.recv().await.unwrap(), vec![n + 10].into());
        }
    }

    #[tokio::test]
    async fn a_full_link_holds_the_sender_back() {
        let (mut gateway, mut agent) = pair("");
        for _ in 0..CAPACITY {
            agent.feed(Message::binary("x")).await.unwrap();
        }
        assert!(agent.feed(Message::binary("y")).now_or_never().is_none());
        gateway.receiver.recv().await.unwrap();
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
            assert!(gateway.receiver.recv().await.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_messages_arrive_late_and_survive_their_sender() {
        let (mut gateway, mut agent) = pair("delay=500ms");
        let start = tokio::time::Instant::now();
        agent.send(Message::binary("last")).await.unwrap();
        drop(agent);
        let message = gateway.receiver.recv().await.unwrap();
        assert_eq!(message, Message::binary("last"));
        assert!(start.elapsed() >= Duration::from_millis(500));
        assert!(gateway.receiver.recv().await.is_none());
    }

    #[tokio::test]
    async fn dropped_messages_do_not_arrive() {
        let (mut gateway, mut agent) = pair("drop=100%");
        agent.send(Message::binary("lost")).await.unwrap();
        drop(agent);
        assert!(gateway.receiver.recv().await.is_none());
    }
}
