//! Stalls one stream of all that the lab's agents carry: its destination neither reads nor sends.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use super::chaos::Condition;
use super::conditions::Conditions;
use super::lock;

/// The streams there are, and the one that is stalled.
#[derive(Debug, Default)]
pub(super) struct Streams {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    open: BTreeSet<u64>,
    stalled: Option<u64>,
}

impl Streams {
    /// Has the next stall be that of the stream which is the oldest then.
    pub(super) fn choose_again(&self) {
        lock(&self.inner).stalled = None;
    }
}

/// A stream that can be stalled, for as long as it is open.
#[derive(Debug)]
pub(super) struct OpenStream {
    conditions: Arc<Conditions>,
    number: u64,
}

impl OpenStream {
    pub(super) fn new(conditions: &Arc<Conditions>) -> Self {
        let mut inner = lock(&conditions.streams.inner);
        let number = inner.next;
        inner.next += 1;
        inner.open.insert(number);
        Self {
            conditions: conditions.clone(),
            number,
        }
    }

    /// Runs a future that does nothing while this stream is stalled.
    pub(super) async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let stall = Condition::Stall;
        loop {
            let holds = self.conditions.holds(stall);
            if holds && self.is_stalled() {
                self.conditions.until(stall, false).await;
                continue;
            }
            tokio::select! {
                biased;
                () = self.conditions.until(stall, !holds) => {}
                output = &mut future => return output,
            }
        }
    }

    /// Whether it is the stalled one: the oldest that was open when one was looked for.
    fn is_stalled(&self) -> bool {
        let mut inner = lock(&self.conditions.streams.inner);
        let oldest = inner.open.first().copied();
        inner.stalled = inner.stalled.or(oldest);
        inner.stalled == Some(self.number)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        lock(&self.conditions.streams.inner)
            .open
            .remove(&self.number);
    }
}
