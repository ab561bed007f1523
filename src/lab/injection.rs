//! Has faults begin, when it is their time.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::chaos::{Chaos, Condition, Fault, ParseChaosError, Scheduled};
use super::machine::Machine;
use super::session::{EndedBy, Order, Session};
use super::{Shared, Target, lock};

/// The faults that are still to come; each waits in a task of its own.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    cancel: Mutex<CancellationToken>,
}

impl Shared {
    /// Ends everything that goes wrong, and has `chaos` be what goes wrong from now on. Returns what [`in_force`](Self::in_force)
    /// does not tell: what was done at once.
    pub(super) fn set_chaos(self: &Arc<Self>, mut chaos: Chaos) -> Vec<Fault> {
        let cancel = self.shutdown.child_token();
        std::mem::replace(&mut *lock(&self.schedule.cancel), cancel).cancel();
        self.conditions.release_all();
        self.conditions.hosts.clear();
        self.machines.reconnect_all();
        let faults = std::mem::take(&mut chaos.faults);
        self.conditions.update(|standing| *standing = chaos);
        self.schedule(faults)
    }

    /// Changes what `text` names, and returns what was done at once as [`set_chaos`](Self::set_chaos) does.
    ///
    /// # Errors
    ///
    /// When `text` is not understood; nothing has changed then.
    pub(super) fn update_chaos(
        self: &Arc<Self>,
        text: &str,
    ) -> Result<Vec<Fault>, ParseChaosError> {
        let mut chaos = Chaos::clone(&self.conditions.chaos());
        chaos.faults.clear();
        chaos.update(text)?;
        let faults = std::mem::take(&mut chaos.faults);
        self.conditions.update(|standing| {
            chaos.faults = std::mem::take(&mut standing.faults);
            *standing = chaos;
        });
        Ok(self.schedule(faults))
    }

    /// What goes wrong now and is still to go wrong: the standing chaos and what holds for a time, of which the time is
    /// left that is given, in whole seconds.
    pub(super) fn in_force(&self) -> Chaos {
        let mut chaos = Chaos::clone(&self.conditions.chaos());
        let left = |time: Duration| Duration::from_secs(time.as_secs() + 1);
        let held = self.conditions.held().into_iter();
        let held = held.map(|(condition, time)| Fault::Holds(condition, left(time)));
        let outages = self.machines.outages().into_iter();
        let outages = outages.map(|(id, time)| Fault::Offline {
            target: Some(id),
            length: left(time),
        });
        let hosts = self.conditions.hosts.all().into_iter();
        let hosts = hosts.map(|(name, address)| Fault::MoveHost { name, address });
        let faults = held.chain(outages).chain(hosts);
        chaos.faults.extend(faults.map(Scheduled::from));
        chaos
    }

    fn schedule(self: &Arc<Self>, faults: Vec<Scheduled>) -> Vec<Fault> {
        let mut done = Vec::new();
        for scheduled in faults {
            if scheduled.first().is_zero() && scheduled.every.is_none() {
                self.inject(&scheduled.fault);
                done.push(scheduled.fault);
                continue;
            }
            self.conditions
                .update(|chaos| chaos.faults.push(scheduled.clone()));
            let cancelled = lock(&self.schedule.cancel).clone();
            let happening = happen(self.clone(), scheduled);
            self.tracker
                .spawn(cancelled.run_until_cancelled_owned(happening));
        }
        done.retain(Fault::is_done_at_once);
        done
    }

    /// Has a fault begin now.
    pub(super) fn inject(self: &Arc<Self>, fault: &Fault) {
        tracing::debug!(%fault, "fault begins");
        match fault {
            Fault::Cut => self.order(Order::Cut),
            Fault::Reset => self.order(Order::Reset),
            Fault::KillAgents => self.order(Order::End(EndedBy::Agent)),
            Fault::LoseAgents(length) => self.order(Order::LoseAgent(*length)),
            Fault::Terminate => self.order(Order::End(EndedBy::Caller)),
            Fault::ExpireTokens => self.each_session(Session::expire_token),
            Fault::ExpireCells => self.each_session(Session::expire_cells),
            Fault::Offline { target, length } => self.disconnect(target.as_deref(), *length),
            Fault::ReplaceTarget { old, new } => {
                let replacing = replace(self.clone(), old.clone(), new.clone());
                let shutdown = self.shutdown.clone();
                self.tracker
                    .spawn(shutdown.run_until_cancelled_owned(replacing));
            }
            Fault::MoveHost { name, address } => self.conditions.hosts.set(name, *address),
            Fault::Holds(condition, length) => {
                if *condition == Condition::Stall {
                    self.conditions.streams.choose_again();
                }
                self.conditions.hold(*condition, *length);
            }
        }
    }

    fn order(&self, order: Order) {
        self.each_session(|session| session.order(order));
    }

    fn each_session(&self, act: impl Fn(&Session)) {
        self.registry.all().iter().for_each(|session| act(session));
    }

    fn disconnect(&self, target: Option<&str>, length: Duration) {
        self.machines.disconnect(target, length);
        if !length.is_zero() {
            self.kill_agents(target);
        }
    }

    fn kill_agents(&self, target: Option<&str>) {
        for session in self.registry.all() {
            if target.is_none_or(|target| session.request.target == target) {
                session.order(Order::End(EndedBy::Agent));
            }
        }
    }

    /// Terminates the target `old` and puts `new` in its place.
    ///
    /// # Errors
    ///
    /// When the new one's agent's version is none, or no loopback port can be had.
    pub(super) async fn replace_target(&self, old: &str, new: Target) -> io::Result<()> {
        let machine = Machine::start(new, &self.tracker, &self.shutdown).await?;
        self.machines.replace(old, machine);
        self.kill_agents(Some(old));
        Ok(())
    }
}

async fn replace(shared: Arc<Shared>, old: String, new: String) {
    let target = match shared.machine(&old) {
        Some(machine) => Target {
            id: new,
            ..machine.target
        },
        None => Target::new(new),
    };
    if let Err(error) = shared.replace_target(&old, target).await {
        tracing::warn!(%error, "cannot start a target");
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
