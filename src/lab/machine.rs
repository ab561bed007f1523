//! The machines of a lab: which there are, and which of them are connected.

use std::io;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use ssmfwd_protocol::version::Version;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::service::PortTable;
use super::{Target, lock};

/// A target with what the lab makes of it, as it is at one moment.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) target: Target,
    pub(super) agent_version: Version,
    /// Empty for a target that is offline from the start.
    pub(super) services: PortTable,
    outage: Option<Outage>,
}

/// A time in which a machine is not connected.
#[derive(Debug, Clone, Copy)]
struct Outage {
    since: SystemTime,
    end: Instant,
}

impl Machine {
    /// Starts the services of a target.
    ///
    /// # Errors
    ///
    /// When its agent's version is none, or no loopback port can be had.
    pub(super) async fn start(
        target: Target,
        tracker: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> io::Result<Self> {
        let agent_version = target.agent_version.parse().map_err(|error| {
            let message = format!("agent version '{}': {error}", target.agent_version);
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?;
        let services = match target.online {
            true => PortTable::start(&target.id, tracker, shutdown).await?,
            false => PortTable::default(),
        };
        Ok(Self {
            target,
            agent_version,
            services,
            outage: None,
        })
    }

    /// When its agent gave its last sign of life; one that is offline from the start never has.
    pub(super) fn last_heard(&self) -> Option<SystemTime> {
        match self.target.online {
            true => Some(SystemTime::now()),
            false => self.outage.map(|outage| outage.since),
        }
    }
}

/// The machines there are, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Machines {
    all: Mutex<Vec<Machine>>,
}

impl Machines {
    pub(super) fn new(all: Vec<Machine>) -> Self {
        Self {
            all: Mutex::new(all),
        }
    }

    /// Every machine as it is now: during an outage it is not online.
    pub(super) fn all(&self) -> Vec<Machine> {
        let now = Instant::now();
        let mut all = lock(&self.all).clone();
        for machine in &mut all {
            machine.outage = machine.outage.filter(|outage| outage.end > now);
            machine.target.online &= machine.outage.is_none();
        }
        all
    }

    /// The outages there are, each by the machine's id and with the time that is left of it.
    pub(super) fn outages(&self) -> Vec<(String, Duration)> {
        let left = |outage: Outage| outage.end.saturating_duration_since(Instant::now());
        let machines = self.all().into_iter();
        machines
            .filter_map(|machine| Some((machine.target.id, left(machine.outage?))))
            .collect()
    }

    /// Takes a machine, or all of them, off the net for `length` from now on.
    pub(super) fn disconnect(&self, id: Option<&str>, length: Duration) {
        let outage = Outage {
            since: SystemTime::now(),
            end: Instant::now() + length,
        };
        for machine in lock(&self.all).iter_mut() {
            if id.is_none_or(|id| id == machine.target.id) {
                machine.outage = Some(outage);
            }
        }
    }

    /// Ends all outages.
    pub(super) fn reconnect_all(&self) {
        for machine in lock(&self.all).iter_mut() {
            machine.outage = None;
        }
    }

    /// Puts a machine in the place of another, or at the end when there is none of this id.
    pub(super) fn replace(&self, id: &str, by: Machine) {
        let mut all = lock(&self.all);
        match all.iter_mut().find(|machine| machine.target.id == id) {
            Some(machine) => *machine = by,
            None => all.push(by),
        }
    }
}
