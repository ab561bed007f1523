//! What the client's connections are used for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ssmfwd_protocol::StreamId;
use ssmfwd_protocol::streams::{StreamEvent, Streams};

use super::noise;
use super::target::Behaviour;

/// All local connections.
#[derive(Debug, Default)]
pub(crate) struct User {
    pub(crate) transfers: BTreeMap<StreamId, Transfer>,
    /// Reads happen only so often; always, without it.
    pub(crate) read_interval: Option<Duration>,
    next_read: Option<Instant>,
    dirty: BTreeSet<StreamId>,
    /// [`StreamEvent::Available`] seen so far.
    pub(crate) available_count: usize,
    /// Streams that were ended by the peer.
    pub(crate) ended: Vec<StreamId>,
}

/// One local connection.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) behaviour: Behaviour,
    /// Everything to be written.
    pub(crate) upload: Bytes,
    /// What is still to be written.
    rest: Bytes,
    /// Bytes of one write at most.
    pub(crate) write_len: usize,
    pub(crate) received: Vec<u8>,
    /// Does not read.
    pub(crate) is_stalled: bool,
    /// Was reported as stalled.
    pub(crate) was_stalled: bool,
    pub(crate) is_finished: bool,
    pub(crate) is_refused: bool,
    pub(crate) is_aborted: bool,
    /// Closed by this end, with everything it was to bring.
    pub(crate) is_done: bool,
}

impl User {
    pub(crate) fn add(&mut self, id: StreamId, transfer: Transfer) {
        self.transfers.insert(id, transfer);
        self.dirty.insert(id);
    }

    pub(crate) fn on_event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Readable(id) | StreamEvent::Writable(id) => {
                self.dirty.insert(id);
            }
            StreamEvent::Finished(id) | StreamEvent::Cut(id) | StreamEvent::Refused(id) => {
                self.ended.push(id);
                let Some(transfer) = self.transfers.get_mut(&id) else {
                    return;
                };
                let is_first = !transfer.is_finished && !transfer.is_refused;
                assert!(is_first, "{id:?} ended twice");
                transfer.is_refused = event == StreamEvent::Refused(id);
                transfer.is_finished = !transfer.is_refused;
                self.dirty.insert(id);
            }
            StreamEvent::Stalled(id) => {
                let transfer = self.transfers.get_mut(&id).expect("a stream of ours");
                transfer.was_stalled = true;
            }
            StreamEvent::Available => self.available_count += 1,
            StreamEvent::Opened(StreamId::OUTPUT | StreamId::ERROR) => {}
            other => panic!("a client never sees {other:?}"),
        }
    }

    /// Does what the connections can do; call it after events.
    pub(crate) fn work(&mut self, now: Instant, streams: &mut Streams) {
        let may_read = self.next_read.is_none_or(|at| at <= now);
        if !may_read && self.read_interval.is_some() {
            // Whoever has something to do is looked at again when reading is possible.
            for id in &self.dirty {
                if let Some(transfer) = self.transfers.get_mut(id) {
                    transfer.write(*id, streams);
                }
            }
            return;
        }
        for id in std::mem::take(&mut self.dirty) {
            if let Some(transfer) = self.transfers.get_mut(&id) {
                transfer.work(id, streams);
            }
        }
        self.next_read = self.read_interval.map(|interval| now + interval);
    }

    /// Makes one connection stop reading, or read again.
    pub(crate) fn stall(&mut self, id: StreamId, is_stalled: bool) {
        let transfer = self.transfers.get_mut(&id).expect("a stream of ours");
        transfer.is_stalled = is_stalled;
        self.dirty.insert(id);
    }

    /// When [`Self::work`] must be called again.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.next_read.filter(|_| !self.dirty.is_empty())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.transfers
            .values()
            .all(|it| it.is_done || it.is_aborted)
    }
}

impl Transfer {
    pub(crate) fn new(behaviour: Behaviour, upload: Bytes) -> Self {
        Self {
            behaviour,
            rest: upload.clone(),
            upload,
            write_len: usize::MAX,
            received: Vec::new(),
            is_stalled: false,
            was_stalled: false,
            is_finished: false,
            is_refused: false,
            is_aborted: false,
            is_done: false,
        }
    }

    /// Checks that what arrived so far is the beginning of what must arrive.
    pub(crate) fn check(&self, id: StreamId) {
        let expected = match self.behaviour {
            Behaviour::Echo => self.upload.clone(),
            Behaviour::Source(len) | Behaviour::Talk(len) => noise(u32::from(id).into(), len),
            Behaviour::HangUp(_) => noise(u32::from(id).into(), 1),
            Behaviour::Sink | Behaviour::Refuse | Behaviour::Stall => Bytes::new(),
        };
        assert!(
            expected.starts_with(&self.received),
            "{id:?}: {} bytes that were never sent",
            self.received.len()
        );
        let may_be_refused = self.behaviour == Behaviour::Refuse;
        assert!(may_be_refused || !self.is_refused, "{id:?} was refused");
        if self.is_done {
            assert_eq!(self.received.len(), expected.len(), "{id:?}");
        }
    }

    fn work(&mut self, id: StreamId, streams: &mut Streams) {
        if self.is_done || self.is_aborted {
            return;
        }
        self.write(id, streams);
        if self.is_stalled {
            return;
        }
        loop {
            let read = streams.read(id);
            if read.is_empty() {
                break;
            }
            self.received.extend_from_slice(&read);
        }
        let is_complete = match self.behaviour {
            Behaviour::Echo => self.received.len() >= self.upload.len(),
            Behaviour::Source(len) => {
                self.received.len() >= len && (self.is_finished || !streams.is_multiplexed())
            }
            Behaviour::Talk(len) => self.received.len() >= len && self.rest.is_empty(),
            Behaviour::Sink | Behaviour::Stall => self.rest.is_empty(),
            Behaviour::HangUp(_) => self.is_finished,
            Behaviour::Refuse => self.is_refused,
        };
        if is_complete {
            streams.finish(id);
            self.is_done = true;
        }
    }

    fn write(&mut self, id: StreamId, streams: &mut Streams) {
        while !self.rest.is_empty() {
            let mut piece = self.rest.split_to(self.rest.len().min(self.write_len));
            streams.write(id, &mut piece);
            if !piece.is_empty() {
                // The rest of a short write goes back to the front.
                let start = self.upload.len() - self.rest.len() - piece.len();
                self.rest = self.upload.slice(start..);
                return;
            }
        }
    }
}
