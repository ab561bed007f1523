//! Whether what a command has written before its end was delivered.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::output::{Event, Printer};
use crate::session::{Notice, Observer};

/// How long the delivery may take without being worth mentioning.
const UNNOTICED: Duration = Duration::from_secs(2);

/// What is known of the delivery, by whoever has a part in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Delivery(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The command has ended, and everything it has written is to be delivered.
    due: CancellationToken,
    has_failed: AtomicBool,
}

impl Delivery {
    /// From now on, everything counts.
    pub(super) fn begin(&self) {
        self.0.due.cancel();
    }

    /// Something was not delivered, or nobody knows whether it was.
    pub(super) fn fail(&self) {
        if self.0.due.is_cancelled() {
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
    }

    /// Takes note of what sessions have not delivered, and has `observer` told the rest. Who asks for the end of
    /// everything does not ask what was under way.
    pub(super) fn observe(&self, observer: Observer) -> Observer {
        let delivery = self.clone();
        Observer::new(move |session_id, notice| {
            if let Notice::Undelivered { .. } = notice {
                if !delivery.0.due.is_cancelled() {
                    return;
                }
                delivery.fail();
            }
            observer.notify(session_id, notice);
        })
    }

    /// Says once what is waited for, if that takes a while.
    pub(super) async fn announce(&self, program: String, printer: &Printer) -> Infallible {
        self.0.due.cancelled().await;
        sleep(UNNOTICED).await;
        printer.event(&Event::Delivering { program });
        std::future::pending().await
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
