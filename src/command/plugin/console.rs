//! Shells and commands: the terminal, or standard input and output, belong to the far side.

use std::process::ExitCode;

use ssmfwd_protocol::Size;
use tokio_util::sync::CancellationToken;

use crate::command::exec::{self, Delivered};
use crate::command::shell::{self, Used};
use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::signals::Interrupts;
use crate::stream::End as StreamEnd;
use crate::terminal::escape::EscapeChar;

use super::End;
use super::report::Report;
use super::text::Text;

/// Gives the terminal to a shell, or an interactive command, until it or the user ends the session.
pub(super) async fn shell(
    session: &mut Session,
    size: Size,
    report: &Report,
    shutdown: &CancellationToken,
) -> Result<End, Failure> {
    output::flush();
    let printer = report.printer();
    let used = shell::use_terminal(session, size, EscapeChar::TILDE, printer, shutdown);
    Ok(match used.await? {
        Used::Done(exit) => End::Done(exit),
        Used::Escaped => End::Done(ExitCode::SUCCESS),
        Used::Interrupted => End::Interrupted,
    })
}

/// Carries the output of a command without a terminal, and Ctrl-C to it.
///
/// Its exit code becomes ours if the agent reports one, which it does of documents that keep both outputs apart.
pub(super) async fn command(
    session: &mut Session,
    report: &Report,
    shutdown: &CancellationToken,
    interrupts: &mut Interrupts,
) -> Result<End, Failure> {
    output::flush();
    let Some(console) = session.console().await else {
        return Err(session.ended().await);
    };
    let (end, is_interrupted) = match exec::deliver(&console, shutdown, interrupts).await? {
        Delivered::Ended {
            end,
            is_interrupted,
        } => (end, is_interrupted),
        Delivered::GivenUp(exit) => return Ok(End::Done(exit)),
    };
    let failure = session.ended().await;
    match (console.exit_code(), end) {
        (Some(code), _) => {
            report.say(Text::ExitCode(code));
            let exit = exec::exit_code(code, is_interrupted, report.printer());
            Ok(End::Done(exit))
        }
        (None, StreamEnd::Finished) => Ok(End::Done(ExitCode::SUCCESS)),
        (None, _) => Err(failure),
    }
}
