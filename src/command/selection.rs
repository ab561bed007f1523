//! Finding the target before the first session starts, and asking the user if need be.

use tokio_util::sync::CancellationToken;

use super::picker;
use crate::aws::{Aws, Choice, Target, target};
use crate::failure::{Exit, Failure};
use crate::known_targets::KnownTargets;
use crate::output::{Format, Printer, Verbosity};
use crate::session::StartError;
use crate::terminal;

/// Finds out what the target stands for. On a terminal the user is asked if that is not clear.
///
/// # Errors
///
/// As [`Aws::resolve`], or that `shutdown` was cancelled meanwhile.
pub(super) async fn settle(
    aws: &Aws,
    target: &Target,
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<(), StartError> {
    if target.current().is_some() {
        return Ok(());
    }
    let interrupted = || StartError::Interrupted {
        may_have_begun: false,
    };
    let choice = tokio::select! {
        choice = aws.choose(target) => choice.map_err(StartError::Failed)?,
        () = shutdown.cancelled() => return Err(interrupted()),
    };
    let nodes = match choice {
        Choice::One(id) => {
            KnownTargets::of(aws).add_found(target, &id);
            return Ok(());
        }
        Choice::Several(nodes) => nodes,
    };
    KnownTargets::of(aws).add(KnownTargets::names(&nodes));
    let is_quiet = printer.format() != Format::Human || printer.verbosity() == Verbosity::Quiet;
    if is_quiet || !terminal::can_ask() {
        return Err(StartError::Failed(target::ambiguous(target, nodes)));
    }
    let picked = tokio::select! {
        picked = picker::pick(target, &nodes, printer) => picked.map_err(StartError::Failed)?,
        () = shutdown.cancelled() => {
            // The line of the question is open.
            printer.aside("\n");
            return Err(interrupted());
        }
    };
    match picked {
        Some(node) => {
            target.fix(&node.id);
            Ok(())
        }
        None => Err(StartError::Failed(nothing_chosen(target))),
    }
}

/// The user has seen the list, and ended the input instead of an answer.
fn nothing_chosen(target: &Target) -> Failure {
    let message = format!("none of the targets that match `{target}` was chosen");
    Failure::new(Exit::Target, message)
        .with_hint("give its id instead of the name, or --any for one that is online")
}
