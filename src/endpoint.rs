//! One end of a data channel, shared by its driver and the tasks of its streams.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ssmfwd_protocol::error::OpenError;
use ssmfwd_protocol::streams::StreamEvent;
use ssmfwd_protocol::{Endpoint, StreamId};
use tokio::sync::Notify;

use crate::stream::{End, Stream};

/// A shared [`Endpoint`]. Cloning it gives another handle to the same one.
#[derive(Debug)]
pub struct Shared<E>(Arc<Mutex<State<E>>>);

/// What the handles share. The lock is held for the length of a poll and never across an await.
#[derive(Debug)]
pub(crate) struct State<E> {
    pub(crate) endpoint: E,
    /// One for each stream that has a handle.
    streams: HashMap<StreamId, Slot>,
    /// Streams the peer has opened and nobody has accepted.
    incoming: VecDeque<StreamId>,
    /// The driver, while it waits.
    driver: Option<Waker>,
    acceptor: Option<Waker>,
    /// Notified when a stream can be opened, or none can be any more.
    available: Arc<Notify>,
    /// Whoever waits for the peer to have what was written.
    settlers: Vec<Waker>,
    /// What is written from now on could keep the session from ending.
    pub(crate) refuses_writes: bool,
    /// Something that a stream has received was read.
    pub(crate) has_received: bool,
    /// The session is over: streams are lost and none can be opened.
    is_ended: bool,
    /// Streams that were open then.
    pub(crate) lost_count: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    pub(crate) end: Option<End>,
}

impl<E> Clone for Shared<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Endpoint> Shared<E> {
    /// Shares an endpoint.
    pub fn new(endpoint: E) -> Self {
        Self(Arc::new(Mutex::new(State {
            endpoint,
            streams: HashMap::new(),
            incoming: VecDeque::new(),
            driver: None,
            acceptor: None,
            available: Arc::default(),
            settlers: Vec::new(),
            refuses_writes: false,
            has_received: false,
            is_ended: false,
            lost_count: 0,
        })))
    }

    /// Calls `input` on the endpoint, and has the driver take out what follows from it.
    pub fn with<T>(&self, input: impl FnOnce(&mut E) -> T) -> T {
        let mut state = self.lock();
        let output = input(&mut state.endpoint);
        state.wake_driver();
        output
    }

    /// Opens a stream; waits while the agent carries another one and can carry only one.
    ///
    /// # Errors
    ///
    /// If the session is over, has not begun, or has no more streams.
    pub async fn open(&self) -> Result<Stream<E>, OpenError> {
        let available = Arc::clone(&self.lock().available);
        loop {
            // Before the attempt, or what happens in between would be missed.
            let notified = available.notified();
            let opened = self.lock().open();
            match opened {
                Err(OpenError::Busy) => notified.await,
                opened => return Ok(Stream::new(self.clone(), opened?)),
            }
        }
    }

    /// Opens the stream of a session that is over, if something has come for it: a server that says something and hangs up may
    /// be done before anybody has opened its connection.
    pub fn open_remains(&self) -> Option<Stream<E>> {
        let id = self.lock().open_remains()?;
        Some(Stream::new(self.clone(), id))
    }

    /// Returns the next stream the peer opens; `None` once the session is over.
    pub async fn accept(&self) -> Option<Stream<E>> {
        let id = std::future::poll_fn(|cx| self.lock().poll_accept(cx)).await?;
        Some(Stream::new(self.clone(), id))
    }

    /// Lets nothing more be written to streams.
    pub(crate) fn refuse_writes(&self) {
        let mut state = self.lock();
        state.refuses_writes = true;
        for slot in state.streams.values_mut() {
            wake(&mut slot.writer);
        }
    }

    /// Ends all streams: the session is over.
    pub fn end(&self) {
        let mut state = self.lock();
        state.is_ended = true;
        state.lost_count = state
            .streams
            .values()
            .filter(|slot| slot.end.is_none())
            .count();
        for slot in state.streams.values_mut() {
            slot.finish(End::Lost);
        }
        state.available.notify_waiters();
        wake(&mut state.acceptor);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Endpoint> State<E> {
    /// Tells streams what has happened to them.
    pub(crate) fn dispatch_stream_events(&mut self) {
        for settler in self.settlers.drain(..) {
            settler.wake();
        }
        while let Some(event) = self
            .endpoint
            .streams()
            .and_then(|streams| streams.poll_event())
        {
            match event {
                StreamEvent::Opened(id) => {
                    self.streams.insert(id, Slot::default());
                    self.incoming.push_back(id);
                    wake(&mut self.acceptor);
                }
                StreamEvent::Readable(id) => self.slot(id, |slot| wake(&mut slot.reader)),
                StreamEvent::Writable(id) => self.slot(id, |slot| wake(&mut slot.writer)),
                StreamEvent::Finished(id) => self.slot(id, |slot| slot.finish(End::Finished)),
                StreamEvent::Cut(id) => self.slot(id, |slot| slot.finish(End::Cut)),
                StreamEvent::Refused(id) => self.slot(id, |slot| slot.finish(End::Refused)),
                StreamEvent::Stalled(id) => tracing::debug!(?id, "stream stalled"),
                StreamEvent::Available => self.available.notify_waiters(),
                unknown => tracing::warn!(?unknown, "stream event passed over"),
            }
        }
    }

    pub(crate) fn set_driver(&mut self, waker: &Waker) {
        if !self
            .driver
            .as_ref()
            .is_some_and(|driver| driver.will_wake(waker))
        {
            self.driver = Some(waker.clone());
        }
    }

    pub(crate) fn wake_driver(&mut self) {
        wake(&mut self.driver);
    }

    /// Has a task look again when something has happened to the session.
    pub(crate) fn add_settler(&mut self, waker: &Waker) {
        if !self.settlers.iter().any(|settler| settler.will_wake(waker)) {
            self.settlers.push(waker.clone());
        }
    }

    pub(crate) fn slot_mut(&mut self, id: StreamId) -> Option<&mut Slot> {
        self.streams.get_mut(&id)
    }

    pub(crate) fn remove_slot(&mut self, id: StreamId) {
        self.streams.remove(&id);
    }

    fn slot(&mut self, id: StreamId, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.streams.get_mut(&id) {
            change(slot);
        }
    }

    fn open(&mut self) -> Result<StreamId, OpenError> {
        if self.is_ended {
            return Err(OpenError::Ended);
        }
        let id = self.endpoint.streams().ok_or(OpenError::Ended)?.open()?;
        self.streams.insert(id, Slot::default());
        self.wake_driver();
        Ok(id)
    }

    fn open_remains(&mut self) -> Option<StreamId> {
        let is_ended = self.is_ended;
        let streams = self.endpoint.streams()?;
        if !is_ended || !streams.has_unopened() {
            return None;
        }
        let id = streams.open().ok()?;
        let mut slot = Slot::default();
        slot.finish(End::Lost);
        self.streams.insert(id, slot);
        Some(id)
    }

    fn poll_accept(&mut self, cx: &Context<'_>) -> Poll<Option<StreamId>> {
        if let Some(id) = self.incoming.pop_front() {
            return Poll::Ready(Some(id));
        }
        if self.is_ended {
            return Poll::Ready(None);
        }
        self.acceptor = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Slot {
    fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}
