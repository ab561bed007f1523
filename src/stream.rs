//! A handle to one stream of a shared endpoint.

use std::task::{Context, Poll};

use bytes::Bytes;
use ssmfwd_protocol::{Channel, Endpoint, StreamId};

use crate::endpoint::Shared;

/// Why nothing more comes from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer has closed it; everything it sent has been read.
    Finished,
    /// The peer has closed it before everything written to it was sent; everything it sent itself has
    /// been read.
    Cut,
    /// The agent could not connect to the destination.
    Refused,
    /// The session is over, with this stream unfinished.
    Lost,
}

/// One stream. Dropping it aborts what [`Stream::finish`] has not ended.
#[derive(Debug)]
pub struct Stream<E: Endpoint> {
    shared: Shared<E>,
    id: StreamId,
    is_finished: bool,
}

impl<E: Endpoint> Stream<E> {
    pub(crate) fn new(shared: Shared<E>, id: StreamId) -> Self {
        Self {
            shared,
            id,
            is_finished: false,
        }
    }

    /// The stream's name within its session.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Reads the next of what has arrived; never empty. After an `Err`, nothing more comes.
    pub fn poll_read(&self, cx: &Context<'_>) -> Poll<Result<Bytes, End>> {
        let mut state = self.shared.lock();
        let was_blocked = state.endpoint.is_receive_blocked();
        let data = state
            .endpoint
            .streams()
            .map(|streams| streams.read(self.id))
            .unwrap_or_default();
        if was_blocked && !state.endpoint.is_receive_blocked() {
            state.wake_driver();
        }
        if !data.is_empty() {
            state.has_received = true;
            return Poll::Ready(Ok(data));
        }
        let Some(slot) = state.slot_mut(self.id) else {
            return Poll::Ready(Err(End::Lost));
        };
        if let Some(end) = slot.end {
            return Poll::Ready(Err(end));
        }
        slot.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Queues all of `data`, waiting for room; what is left in `data` is not queued yet.
    ///
    /// # Errors
    ///
    /// Why the rest will never be delivered.
    pub fn poll_write(&self, cx: &Context<'_>, data: &mut Bytes) -> Poll<Result<(), End>> {
        let mut state = self.shared.lock();
        let end = match state.slot_mut(self.id) {
            Some(slot) => slot.end,
            None => Some(End::Lost),
        };
        if let Some(end) = end {
            return Poll::Ready(Err(end));
        }
        if state.refuses_writes {
            return Poll::Ready(Err(End::Lost));
        }
        if let Some(streams) = state.endpoint.streams()
            && streams.write(self.id, data) > 0
        {
            state.wake_driver();
        }
        if data.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(slot) = state.slot_mut(self.id) {
            slot.writer = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Closes the stream, both ways, once everything written has been sent.
    pub fn finish(mut self) {
        self.is_finished = true;
        self.shared.with(|endpoint| {
            if let Some(streams) = endpoint.streams() {
                streams.finish(self.id);
            }
        });
    }
}

impl Stream<Channel> {
    /// Waits until nothing is under way either way, as far as this end can tell: from then on, silence is the
    /// destination's. Returns which of the session's connections it is that works.
    ///
    /// `mark` as for [`Channel::is_settled`].
    pub fn poll_settled(&self, cx: &Context<'_>, mark: &mut Option<i64>) -> Poll<u64> {
        let mut state = self.shared.lock();
        if state.endpoint.is_settled(self.id, mark) {
            return Poll::Ready(state.endpoint.connection_count());
        }
        state.add_settler(cx.waker());
        Poll::Pending
    }
}

impl<E: Endpoint> Drop for Stream<E> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.remove_slot(self.id);
        if !self.is_finished {
            if let Some(streams) = state.endpoint.streams() {
                streams.abort(self.id);
            }
            state.wake_driver();
        }
    }
}
