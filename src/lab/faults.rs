//! Has faults begin, when it is their time.

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::chaos::{Chaos, Fault, ParseChaosError, Scheduled};
use super::session::{EndedBy, Order};
use super::{Shared, lock};

/// The faults that are still to come; each waits in a task of its own.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    cancel: Mutex<CancellationToken>,
}

impl Shared {
    /// Ends everything that goes wrong, and has `chaos` be what goes wrong from now on.
    pub(super) fn set_chaos(self: &Arc<Self>, mut chaos: Chaos) {
        let cancel = self.shutdown.child_token();
        std::mem::replace(&mut *lock(&self.schedule.cancel), cancel).cancel();
        self.conditions.release_all();
        let faults = std::mem::take(&mut chaos.faults);
        self.conditions.update(|standing| *standing = chaos);
        self.schedule(faults);
    }

    /// Changes what `text` names.
    ///
    /// # Errors
    ///
    /// When `text` is not understood; nothing has changed then.
    pub(super) fn update_chaos(self: &Arc<Self>, text: &str) -> Result<(), ParseChaosError> {
        let mut chaos = Chaos::clone(&self.conditions.chaos());
        chaos.faults.clear();
        chaos.update(text)?;
        let faults = std::mem::take(&mut chaos.faults);
        self.conditions.update(|standing| {
            chaos.faults = std::mem::take(&mut standing.faults);
            *standing = chaos;
        });
        self.schedule(faults);
        Ok(())
    }

    fn schedule(self: &Arc<Self>, faults: Vec<Scheduled>) {
        for scheduled in faults {
            if scheduled.first().is_zero() && scheduled.every.is_none() {
                self.inject(&scheduled.fault);
                continue;
            }
            self.conditions
                .update(|chaos| chaos.faults.push(scheduled.clone()));
            let cancelled = lock(&self.schedule.cancel).clone();
            let happening = happen(self.clone(), scheduled);
            self.tracker
                .spawn(cancelled.run_until_cancelled_owned(happening));
        }
    }

    /// Has a fault begin now.
    pub(super) fn inject(&self, fault: &Fault) {
        tracing::debug!(%fault, "fault begins");
        match fault {
            Fault::Cut => self.order(Order::Cut),
            Fault::Reset => self.order(Order::Reset),
            Fault::KillAgents => self.order(Order::End(EndedBy::Agent)),
            Fault::LoseAgents(length) => self.order(Order::LoseAgent(*length)),
            Fault::Terminate => self.order(Order::End(EndedBy::Caller)),
            Fault::Holds(condition, length) => self.conditions.hold(*condition, *length),
        }
    }

    fn order(&self, order: Order) {
        for session in self.registry.all() {
            session.order(order);
        }
    }
}

/// Has a fault begin whenever it is its time, and forgets it after the last.
async fn happen(shared: Arc<Shared>, scheduled: Scheduled) {
    tokio::time::sleep(scheduled.first()).await;
    shared.inject(&scheduled.fault);
    while let Some(every) = scheduled.every {
        tokio::time::sleep(every).await;
        shared.inject(&scheduled.fault);
    }
    shared.conditions.update(|chaos| {
        let position = chaos.faults.iter().position(|fault| *fault == scheduled);
        position.map(|position| chaos.faults.remove(position));
    });
}

#[cfg(test)]
mod tests;
