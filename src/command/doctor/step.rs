//! A check that runs once, however many others wait for it, and not for ever.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture, Shared};
use tokio::time::timeout;

use crate::doctor::{Check, Finding};
use crate::failure::{Exit, Failure};

/// Longest time for one check: that of credentials may wait for a person.
const CHECK_DEADLINE: Duration = Duration::from_secs(60);

/// What a check has found: one thing, or one for each cause where it looks at several endpoints.
pub(super) type Findings = Vec<Finding>;

/// What other checks need of a check: what it has found, or else which one has failed first.
pub(super) type Needed<T> = Result<T, Check>;

/// A check that others wait for.
pub(super) type Step<'a, T> = Shared<LocalBoxFuture<'a, (Findings, Needed<T>)>>;

pub(super) fn step<'a, T: Clone + 'a>(
    examine: impl Future<Output = (Findings, Needed<T>)> + 'a,
) -> Step<'a, T> {
    examine.boxed_local().shared()
}

pub(super) fn skipped<T>(check: Check, cause: Check) -> (Findings, Needed<T>) {
    (Finding::needs(check, cause).into(), Err(cause))
}

/// The checks that are at work. Those that wait for others are not.
#[derive(Clone, Default)]
pub(super) struct Running(Rc<RefCell<Vec<String>>>);

impl Running {
    /// Runs a check that looks at `object`, bounded in time.
    pub(super) async fn within<F: Into<Findings>, T>(
        &self,
        check: Check,
        object: &str,
        examine: impl Future<Output = (F, Option<T>)>,
    ) -> (Findings, Needed<T>) {
        let name = match object.is_empty() {
            true => check.name().to_owned(),
            false => format!("{} ({object})", check.name()),
        };
        let _entry = Entry::new(self, name);
        match timeout(CHECK_DEADLINE, examine).await {
            Ok((findings, found)) => (findings.into(), found.ok_or(check)),
            Err(_) => {
                let message = format!(
                    "the check has not ended within {} s",
                    CHECK_DEADLINE.as_secs()
                );
                let failure = Failure::new(Exit::Failure, message);
                (Finding::fail(check, &failure).into(), Err(check))
            }
        }
    }

    /// The same for a check that nothing depends on.
    pub(super) async fn alone(
        &self,
        check: Check,
        object: &str,
        examine: impl Future<Output = Finding>,
    ) -> Findings {
        let examine = examine.map(|finding| (finding, Some(())));
        self.within(check, object, examine).await.0
    }

    /// What they are called, the oldest first.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

/// The line of a check that is at work.
struct Entry {
    running: Running,
    name: String,
}

impl Entry {
    fn new(running: &Running, name: String) -> Self {
        running.0.borrow_mut().push(name.clone());
        Self {
            running: running.clone(),
            name,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut names = self.running.0.borrow_mut();
        if let Some(at) = names.iter().position(|name| *name == self.name) {
            names.remove(at);
        }
    }
}
