//! How long a destination has said nothing although it could have.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ssmfwd_protocol::Channel;
use tokio::time::{Sleep, sleep};

use crate::stream::Stream;

/// The silence of a stream to which everything was written, up to a limit.
///
/// It begins when the far side has all of that, and again whenever the session's connection was replaced: what the
/// destination has said meanwhile takes its time.
pub(super) struct Silence {
    limit: Duration,
    mark: Option<i64>,
    /// The connection it lasts on, and when it is too long.
    lasting: Option<(u64, Pin<Box<Sleep>>)>,
}

impl Silence {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            mark: None,
            lasting: None,
        }
    }

    /// Something has come.
    pub(super) fn restart(&mut self) {
        self.lasting = None;
    }

    /// Waits until it has lasted to its limit.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stream: &Stream<Channel>) -> Poll<()> {
        loop {
            let Some((connection, deadline)) = &mut self.lasting else {
                let connection = ready!(stream.poll_settled(cx, &mut self.mark));
                self.lasting = Some((connection, Box::pin(sleep(self.limit))));
                continue;
            };
            ready!(deadline.as_mut().poll(cx));
            if stream.poll_settled(cx, &mut self.mark) == Poll::Ready(*connection) {
                return Poll::Ready(());
            }
            self.restart();
        }
    }
}
