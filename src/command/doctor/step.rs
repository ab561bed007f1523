//! A check that runs once, however many others wait for it, and not for ever.

use std::future::Future;
use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture, Shared};
use futures_util::stream::FuturesOrdered;
use tokio::time::timeout;

use crate::doctor::{Check, Finding};
use crate::failure::{Exit, Failure};

/// Longest time for one check: that of credentials may wait for a person.
const CHECK_DEADLINE: Duration = Duration::from_secs(60);

/// What other checks need of a check: what it has found, or else which one has failed first.
pub(super) type Needed<T> = Result<T, Check>;

/// A check that others wait for.
pub(super) type Step<'a, T> = Shared<LocalBoxFuture<'a, (Finding, Needed<T>)>>;

/// Findings in the order of the checks, whichever ends first.
pub(super) type Findings<'a> = FuturesOrdered<LocalBoxFuture<'a, Finding>>;

pub(super) fn step<'a, T: Clone + 'a>(
    examine: impl Future<Output = (Finding, Needed<T>)> + 'a,
) -> Step<'a, T> {
    examine.boxed_local().shared()
}

pub(super) fn finding_of<'a, T: Clone + 'a>(step: &Step<'a, T>) -> LocalBoxFuture<'a, Finding> {
    step.clone().map(|(finding, _)| finding).boxed_local()
}

/// Bounds a check in time.
pub(super) async fn within<T>(
    check: Check,
    examine: impl Future<Output = (Finding, Option<T>)>,
) -> (Finding, Needed<T>) {
    match timeout(CHECK_DEADLINE, examine).await {
        Ok((finding, found)) => (finding, found.ok_or(check)),
        Err(_) => {
            let message = format!(
                "the check has not ended within {} s",
                CHECK_DEADLINE.as_secs()
            );
            (
                Finding::fail(check, &Failure::new(Exit::Failure, message)),
                Err(check),
            )
        }
    }
}

/// Bounds a check that nothing depends on.
pub(super) async fn alone(check: Check, examine: impl Future<Output = Finding>) -> Finding {
    within(check, examine.map(|finding| (finding, Some(()))))
        .await
        .0
}

pub(super) fn skipped<T>(check: Check, cause: Check) -> (Finding, Needed<T>) {
    (Finding::needs(check, cause), Err(cause))
}
