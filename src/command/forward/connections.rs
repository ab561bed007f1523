//! Accepts local connections and gives each one a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::{Exit, Failure};
use crate::local::finishing::{FINISH_TIMEOUT, Finishing, Unread};
use crate::local::half_close::HalfClose;
use crate::local::pump::{Outcome, Transferred, pump};
use crate::local::{Listener, LocalStream};
use crate::output::{Event, Printer};
use crate::session::UNNOTICED;
use crate::spec::Forward;
use crate::tunnel::{Gate, Passage, Refusal};

use super::delivery::Delivery;

/// One forward, ready to carry connections.
pub(super) struct Forwarding {
    pub(super) forward: Forward,
    pub(super) target: String,
    pub(super) gate: Gate,
}

/// The connections of all forwards. Dropping it stops accepting.
pub(super) struct Connections {
    printer: Printer,
    hold: Duration,
    /// Connections accepted so far, over all forwards.
    count: Arc<AtomicU64>,
    accepting: JoinSet<Option<Failure>>,
    carrying: TaskTracker,
    finishing: Finishing,
    delivery: Delivery,
}

impl Connections {
    /// `hold` is how long a local end of data is held back.
    pub(super) fn new(printer: Printer, hold: Duration, delivery: Delivery) -> Self {
        Self {
            printer,
            hold,
            count: Arc::default(),
            accepting: JoinSet::new(),
            carrying: TaskTracker::new(),
            finishing: Finishing::default(),
            delivery,
        }
    }

    /// Starts to accept connections of a forward.
    pub(super) fn accept_from(&mut self, listener: Listener, forwarding: Forwarding) {
        let hold = self.hold;
        let (printer, count) = (self.printer, Arc::clone(&self.count));
        let (carrying, finishing) = (self.carrying.clone(), self.finishing.clone());
        let forwarding = Arc::new(forwarding);
        self.accepting.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    // Connections made before the end are still accepted.
                    biased;
                    accepted = listener.accept() => accepted,
                    () = finishing.begun() => return None,
                    // The listener is closed: who connects is refused.
                    () = forwarding.gate.failed() => return None,
                };
                let (local, peer) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        let address = listener.address();
                        let message = format!("cannot accept connections on {address}: {error}");
                        return Some(Failure::new(Exit::Address, message));
                    }
                };
                let connection = count.fetch_add(1, Ordering::Relaxed) + 1;
                printer.event(&Event::ConnectionOpened {
                    forward: forwarding.forward.to_string(),
                    connection,
                    peer,
                });
                let (forwarding, unread) = (Arc::clone(&forwarding), finishing.unread());
                carrying.spawn(async move {
                    let ended = carry(&forwarding, local, hold, unread).await;
                    printer.event(&closed(&forwarding, connection, ended));
                });
            }
        });
    }

    /// Waits until a forward can accept no more.
    pub(super) async fn failed(&mut self) -> Failure {
        while let Some(ended) = self.accepting.join_next().await {
            match ended {
                Ok(Some(failure)) => return failure,
                Ok(None) => {}
                Err(error) => {
                    let message = format!("a listener was dropped by a fault in ssmfwd: {error}");
                    return Failure::new(Exit::Failure, message);
                }
            }
        }
        std::future::pending().await
    }

    /// Stops accepting, and waits until what has been written to connections is taken by their sessions, for as long as
    /// there is headway; and a while for connections that others hold open. Not once `shutdown` is cancelled.
    pub(super) async fn finish(&mut self, shutdown: &CancellationToken) {
        self.delivery.begin();
        self.finishing.begin();
        let taken = async {
            while self.accepting.join_next().await.is_some() {}
            self.finishing.caught_up().await
        };
        let slow = async {
            sleep(UNNOTICED).await;
            self.delivery.announce(&self.printer);
            std::future::pending().await
        };
        let is_taken = tokio::select! {
            is_taken = taken => is_taken,
            () = shutdown.cancelled() => false,
            is_taken = slow => is_taken,
        };
        if !is_taken {
            self.delivery.fail();
        }
        self.carrying.close();
        tokio::select! {
            ended = timeout(FINISH_TIMEOUT, self.carrying.wait()) => {
                if ended.is_err() {
                    self.finishing.end();
                    self.carrying.wait().await;
                    self.printer.warning("connections that do not end were reset");
                }
            }
            () = shutdown.cancelled() => {}
        }
    }

    /// The forwards have failed, and their connections with them: nothing is waited for any more.
    pub(super) fn give_up(&self) {
        self.delivery.give_up();
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // What goes on writing would keep the sessions from ending.
        self.finishing.end();
    }
}

/// Carries one connection to its end.
async fn carry(
    forwarding: &Forwarding,
    local: LocalStream,
    hold: Duration,
    mut unread: Unread,
) -> Result<Transferred, Refusal> {
    let Passage { stream, lease } = tokio::select! {
        // What can be delivered is, however short the connection.
        biased;
        passage = forwarding.gate.open() => passage?,
        () = local.abandoned() => {
            local.close();
            unread.done();
            return Ok(Transferred {
                sent: 0,
                received: 0,
                outcome: Outcome::Closed,
            });
        }
        () = too_late(&unread) => return Ok(Transferred {
            sent: 0,
            received: 0,
            outcome: Outcome::Lost,
        }),
    };
    let half_close = HalfClose::new(hold, lease.is_multiplexed());
    let transferred = pump(local, stream, half_close, unread).await;
    if transferred.outcome == Outcome::Refused {
        lease.report_refusal();
    }
    Ok(transferred)
}

/// Waits until a session is not worth waiting for any more.
async fn too_late(unread: &Unread) {
    unread.is_wanted().await;
    sleep(FINISH_TIMEOUT).await;
}

fn closed(forwarding: &Forwarding, connection: u64, ended: Result<Transferred, Refusal>) -> Event {
    let Forwarding {
        forward, target, ..
    } = forwarding;
    let (transferred, unopened) = match ended {
        Ok(transferred) => (transferred, None),
        Err(error) => {
            let unopened = Transferred {
                sent: 0,
                received: 0,
                outcome: Outcome::Lost,
            };
            (unopened, Some(error.to_string()))
        }
    };
    let reason = match (transferred.outcome, unopened) {
        (_, Some(error)) => Some(error),
        (Outcome::Closed, None) => None,
        (Outcome::HeldTooLong, None) => Some(
            "the local side was done or gone, and nothing more came to it, see --half-close"
                .to_owned(),
        ),
        (Outcome::Reset, None) => Some("one side did not take what the other wrote".to_owned()),
        (Outcome::Lost, None) => Some("the session ended".to_owned()),
        (Outcome::Refused, None) => Some(match &forward.host {
            Some(host) if !forward.is_to_target() => {
                format!("{target} cannot connect to {host}:{}", forward.remote_port)
            }
            _ => format!(
                "nothing accepts connections on port {} of {target}",
                forward.remote_port
            ),
        }),
    };
    Event::ConnectionClosed {
        forward: forward.to_string(),
        connection,
        sent: transferred.sent,
        received: transferred.received,
        outcome: transferred.outcome,
        reason,
    }
}
