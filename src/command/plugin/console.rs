//! Shells and commands: the terminal, or standard input and output, belong to the far side.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::command::exec::{self, Delivered};
use crate::command::shell::{self, Used};
use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::signals::Interrupts;
use crate::stream::End as StreamEnd;
use crate::terminal::escape::EscapeChar;

use super::report::Report;
use super::text::Text;
use super::{End, Terminal};

/// Gives the terminal to a shell, or an interactive command, until it or the user ends the session.
pub(super) async fn shell(
    session: &mut Session,
    terminal: Terminal,
    report: &Report,
    shutdown: &CancellationToken,
) -> Result<End, Failure> {
    output::flush();
    let Terminal {
        size,
        type_ahead,
        program,
    } = terminal;
    let printer = report.printer();
    let escape_char = EscapeChar::TILDE;
    let used = shell::use_terminal(session, size, escape_char, type_ahead, printer, shutdown);
    Ok(End::Done(match used.await? {
        Used::Done(exit) => exit,
        Used::Escaped => ExitCode::SUCCESS,
        Used::Interrupted => program.interrupted(shell::STOPPED)?,
    }))
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
