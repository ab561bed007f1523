//! Whether what a command has written before its end was delivered.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::output::{Event, Printer};
use crate::session::{Notice, Observer};

/// What is known of the delivery, by whoever has a part in it.
#[derive(Debug, Clone)]
pub(super) struct Delivery(Arc<State>);

#[derive(Debug)]
struct State {
    /// Cancelled when nothing is to be waited for any more.
    hurry: CancellationToken,
    /// The command has ended, and everything it has written is to be delivered.
    is_due: AtomicBool,
    is_announced: AtomicBool,
    has_failed: AtomicBool,
}

impl Delivery {
    /// Nothing is waited for once `hurry` is cancelled.
    pub(super) fn new(hurry: CancellationToken) -> Self {
        Self(Arc::new(State {
            hurry,
            is_due: AtomicBool::new(false),
            is_announced: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        }))
    }

    /// For whoever waits.
    pub(super) fn hurry(&self) -> CancellationToken {
        self.0.hurry.clone()
    }

    /// There is nobody left for whom anything should be delivered.
    pub(super) fn give_up(&self) {
        self.0.hurry.cancel();
    }

    /// From now on, everything counts.
    pub(super) fn begin(&self) {
        self.0.is_due.store(true, Ordering::Relaxed);
    }

    /// Something was not delivered, or nobody knows whether it was.
    pub(super) fn fail(&self) {
        if self.0.is_due.load(Ordering::Relaxed) {
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
    }

    /// Takes note of what sessions have not delivered, and has `observer` told the rest. Who asks for the end of
    /// everything does not ask what was under way.
    pub(super) fn observe(&self, observer: Observer, printer: Printer) -> Observer {
        let delivery = self.clone();
        Observer::new(move |session_id, notice| {
            let is_due = delivery.0.is_due.load(Ordering::Relaxed);
            match notice {
                Notice::Delivering | Notice::Undelivered { .. } if !is_due => return,
                Notice::Delivering => return delivery.announce(&printer),
                Notice::Undelivered { .. } => delivery.fail(),
                _ => {}
            }
            observer.notify(session_id, notice);
        })
    }

    /// Says, once, that it takes a while.
    pub(super) fn announce(&self, printer: &Printer) {
        if !self.0.is_announced.swap(true, Ordering::Relaxed) {
            printer.event(&Event::Delivering);
        }
    }

    /// What becomes of the command's exit code.
    pub(super) fn judge(&self, exit: ExitCode) -> Result<ExitCode, Failure> {
        if exit != ExitCode::SUCCESS || !self.0.has_failed.load(Ordering::Relaxed) {
            return Ok(exit);
        }
        let message = "the command has ended, and not everything it has written was delivered";
        Err(Failure::new(Exit::Failure, message)
            .with_hint("what it has sent may be incomplete at the other end: run it again"))
    }
}
