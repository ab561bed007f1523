//! What the agent's connections lead to.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ssmfwd_protocol::agent::Agent;
use ssmfwd_protocol::streams::StreamEvent;
use ssmfwd_protocol::{Endpoint, StreamId};

use super::noise;

/// What a destination does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Sends everything back.
    Echo,
    /// Reads everything and says nothing.
    Sink,
    /// Sends so many bytes of [`noise`] seeded with its stream id, and closes.
    Source(usize),
    /// Sends as [`Self::Source`] does, reads everything, and stays.
    Talk(usize),
    /// Says one byte of [`noise`], reads at least so many, and closes both ways.
    HangUp(usize),
    /// Cannot be reached.
    Refuse,
    /// Reads nothing.
    Stall,
}

/// All connections of one agent.
#[derive(Debug, Default)]
pub(crate) struct Target {
    /// Behaviour of the streams to come; the others echo.
    pub(crate) plan: BTreeMap<u32, Behaviour>,
    pub(crate) connections: BTreeMap<StreamId, Connection>,
    dirty: BTreeSet<StreamId>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) behaviour: Behaviour,
    /// Everything read from the stream.
    pub(crate) received: Vec<u8>,
    /// Whether the client has closed the stream.
    pub(crate) is_finished: bool,
    outbound: Bytes,
}

impl Target {
    pub(crate) fn on_event(&mut self, event: StreamEvent) {
        let id = match event {
            StreamEvent::Opened(id) => {
                let behaviour = self.plan.get(&u32::from(id)).copied();
                let behaviour = behaviour.unwrap_or(Behaviour::Echo);
                let connection = Connection::new(id, behaviour);
                let before = self.connections.insert(id, connection);
                assert!(before.is_none(), "{id:?} was opened twice");
                id
            }
            StreamEvent::Finished(id) | StreamEvent::Cut(id) => {
                let connection = self.connections.get_mut(&id);
                connection.expect("finished before opened").is_finished = true;
                id
            }
            StreamEvent::Readable(id) | StreamEvent::Writable(id) => id,
            other => panic!("an agent never sees {other:?}"),
        };
        self.dirty.insert(id);
    }

    /// Does what the connections can do; call it after events.
    pub(crate) fn work(&mut self, agent: &mut Agent) {
        for id in std::mem::take(&mut self.dirty) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.work(id, agent);
            }
        }
    }

    /// Lets stalled connections read, and those to come.
    pub(crate) fn release(&mut self) {
        for behaviour in self.plan.values_mut() {
            if *behaviour == Behaviour::Stall {
                *behaviour = Behaviour::Sink;
            }
        }
        for (id, connection) in &mut self.connections {
            if connection.behaviour == Behaviour::Stall {
                connection.behaviour = Behaviour::Sink;
                self.dirty.insert(*id);
            }
        }
    }
}

impl Connection {
    fn new(id: StreamId, behaviour: Behaviour) -> Self {
        let outbound = match behaviour {
            Behaviour::Source(len) | Behaviour::Talk(len) => noise(u32::from(id).into(), len),
            Behaviour::HangUp(_) => noise(u32::from(id).into(), 1),
            _ => Bytes::new(),
        };
        Self {
            behaviour,
            received: Vec::new(),
            is_finished: false,
            outbound,
        }
    }

    fn work(&mut self, id: StreamId, agent: &mut Agent) {
        if self.behaviour == Behaviour::Refuse {
            return agent.refuse(id);
        }
        let Some(streams) = agent.streams() else {
            return;
        };
        loop {
            streams.write(id, &mut self.outbound);
            if !self.outbound.is_empty() || self.behaviour == Behaviour::Stall {
                break;
            }
            let read = streams.read(id);
            if read.is_empty() {
                break;
            }
            self.received.extend_from_slice(&read);
            if self.behaviour == Behaviour::Echo {
                self.outbound = read;
            }
        }
        let is_served = match self.behaviour {
            Behaviour::Source(_) => self.outbound.is_empty(),
            Behaviour::HangUp(len) => self.outbound.is_empty() && self.received.len() >= len,
            _ => false,
        };
        if is_served || (self.is_finished && self.behaviour != Behaviour::Stall) {
            streams.finish(id);
        }
    }
}
