//! Shells, commands and `ssh` whose connection to the service is lost and replaced: nothing is lost, and what is said of it
//! is calm.

mod consoles;
mod ssh;

use std::time::Duration;

use ssmfwd::lab::{Condition, Fault};

use crate::support::Fixture;

/// Ends each connection in another way than the one before.
const FAULTS: [Fault; 3] = [Fault::Cut, Fault::Reset, Fault::Cut];

/// What is said first of a connection that [`Fault::Cut`] has ended.
fn lost(fixture: &Fixture) -> String {
    format!(
        "{}reconnecting, the service closed the connection (code 1000, \"Bye\")",
        subject(fixture)
    )
}

/// What is said when there is another one, before and after how long that took.
fn back(fixture: &Fixture) -> [String; 2] {
    let first = format!("{}connected again after ", subject(fixture));
    [first, " s, nothing was lost".to_owned()]
}

fn subject(fixture: &Fixture) -> String {
    format!("session {}: ", fixture.lab.sessions()[0].id)
}

/// Loses the connection until [`reconnect`].
fn disconnect(fixture: &Fixture) {
    const LONG: Duration = Duration::from_secs(3600);
    let condition = Fault::Holds(Condition::FailUpgrades, LONG);
    fixture.lab.inject(condition);
    fixture.lab.inject(Fault::Cut);
}

fn reconnect(fixture: &Fixture) {
    let condition = Fault::Holds(Condition::FailUpgrades, Duration::ZERO);
    fixture.lab.inject(condition);
}
