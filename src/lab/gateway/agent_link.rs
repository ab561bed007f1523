//! The gateway's hold on a session's agent: its task, and the link to it, which can be replaced.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::lab::conditions::Conditions;
use crate::lab::link::{self, AgentEnd, GatewayEnd};

/// An agent, as the gateway sees it.
#[derive(Debug)]
pub(super) struct AgentLink {
    end: GatewayEnd,
    links: mpsc::UnboundedSender<(Duration, AgentEnd)>,
    task: JoinHandle<String>,
    conditions: Arc<Conditions>,
    /// Tells the links of one seed apart.
    stream: u64,
}

impl AgentLink {
    /// Gives the agent its first link.
    pub(super) fn new(
        conditions: Arc<Conditions>,
        stream: u64,
        links: mpsc::UnboundedSender<(Duration, AgentEnd)>,
        task: JoinHandle<String>,
    ) -> Self {
        let (end, agent_end) = link::pair(&conditions, stream);
        let _ = links.send((Duration::ZERO, agent_end));
        Self {
            end,
            links,
            task,
            conditions,
            stream,
        }
    }

    /// Takes the link from the agent, with everything under way, and gives it another one after
    /// `away`. What is sent to it meanwhile waits.
    pub(super) fn replace(&mut self, away: Duration) {
        self.stream = self.stream.wrapping_add(LINKS_OF_A_SEED);
        let (end, agent_end) = link::pair(&self.conditions, self.stream);
        self.end = end;
        // An agent that has ended takes no link; its end shows as the end of this one.
        let _ = self.links.send((away, agent_end));
    }

    pub(super) fn conditions(&self) -> &Arc<Conditions> {
        &self.conditions
    }

    pub(super) fn end(&mut self) -> &mut GatewayEnd {
        &mut self.end
    }

    /// Sends the agent a message of the gateway's own. A full link does not wait for that: the agent
    /// goes on with the next message it gets, and pauses when the link is full the other way.
    pub(super) fn notify(&self, wire: bytes::Bytes) {
        let _ = self.end.sender.try_send(Message::Binary(wire));
    }

    /// Kills the agent: whatever it was connected to is closed.
    pub(super) fn kill(&self) {
        self.task.abort();
    }

    /// Waits until the agent has ended, and returns the text it reports; empty if it was killed.
    pub(super) async fn output(self) -> String {
        self.task.await.unwrap_or_default()
    }
}

/// Far beyond the sessions of a lab, so that no two links have the same number.
const LINKS_OF_A_SEED: u64 = 1 << 32;
