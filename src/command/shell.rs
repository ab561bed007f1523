//! `ssmfwd shell`, and `ssmfwd exec --tty`: the terminal belongs to the far side.

mod keyboard;
mod redraw;
mod screen;

use std::io;
use std::process::ExitCode;

use ssmfwd_protocol::config::{Beginning, Config};
use ssmfwd_protocol::{SessionKind, Size};
use tokio_util::sync::CancellationToken;

use super::service::{self, Service, close_after, greet, not_started};
use crate::aws::{PREFERENCES_DOCUMENT, StartSession};
use crate::failure::{Exit, Failure};
use crate::output::{self, Printer, Verbosity};
use crate::session::{self, Console, Session, StartError};
use crate::settings::ConsoleSettings;
use crate::signals;
use crate::standard_streams::StandardSink;
use crate::stream::End;
use crate::terminal::changes::{Change, Changes};
use crate::terminal::escape::EscapeChar;
use crate::terminal::type_ahead::TypeAhead;
use crate::terminal::{self, RawMode};

use keyboard::Keyboard;
use redraw::clear_after_outages;
use screen::Screen;

/// Runs a shell until it or the user ends the session.
///
/// # Errors
///
/// When there is no session, or it ends before its program does.
pub async fn run(settings: ConsoleSettings, printer: Printer) -> Result<ExitCode, Failure> {
    run_program(settings, printer, Program::Shell).await
}

/// What runs in the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// A shell, which whoever uses it may leave at any time.
    Shell,
    /// A command, which was to reach its end.
    Command,
}

impl Program {
    /// The outcome if a signal stops it.
    pub(super) fn interrupted(self, message: &str) -> Result<ExitCode, Failure> {
        match self {
            Self::Shell => Ok(ExitCode::SUCCESS),
            Self::Command => Err(Failure::new(Exit::Interrupted, message)),
        }
    }
}

/// Runs a shell, or an interactive command.
///
/// # Errors
///
/// As [`run`].
pub(super) async fn run_program(
    settings: ConsoleSettings,
    printer: Printer,
    program: Program,
) -> Result<ExitCode, Failure> {
    let shutdown = signals::cancelled_by_signals()?;
    let service =
        Service::start_for(&settings.request, SessionKind::Shell, &settings.service).await?;
    let target = settings.request.target.clone();
    let size = terminal_size();
    let options = session::Options {
        config: Config {
            payload_len: settings.payload_len,
            terminal_size: size,
            beginning: match settings.request.document.as_deref() {
                // The account's default document starts a shell, which has a prompt.
                None | Some(PREFERENCES_DOCUMENT) => Beginning::Prompt,
                Some(_) => Beginning::Silence,
            },
            ..Config::default()
        },
        can_resume: settings.reconnects,
        ..session::Options::default()
    };
    let mut type_ahead = TypeAhead::default();
    let starting = start(
        &service,
        settings.request,
        options,
        &mut type_ahead,
        &printer,
        &shutdown,
    );
    let outcome = match starting.await {
        Ok(mut session) => {
            greet(&session, &printer);
            let used = use_terminal(
                &mut session,
                size,
                settings.escape_char,
                type_ahead,
                &printer,
                &shutdown,
            );
            let outcome = used.await;
            if matches!(outcome, Ok(Used::Escaped)) && printer.verbosity() > Verbosity::Quiet {
                // The far side's line is open.
                printer.aside(format_args!("\nconnection to {target} closed\n"));
            }
            close_after(session, &outcome, &printer).await;
            match outcome {
                Ok(Used::Done(exit)) => Ok(exit),
                Ok(Used::Escaped) => Ok(ExitCode::SUCCESS),
                Ok(Used::Interrupted) => program.interrupted(STOPPED),
                Err(failure) => Err(failure),
            }
        }
        // Its session begins with what it prints.
        Err(error) => {
            let message = "interrupted before the command had printed anything; if it ran already, it was ended";
            not_started(error, &printer, program.interrupted(message))
        }
    };
    service.shutdown().await;
    outcome
}

/// Starts the session. What is typed from when nobody is asked anything any more is for the far side.
async fn start(
    service: &Service,
    request: StartSession,
    options: session::Options,
    type_ahead: &mut TypeAhead,
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<Session, StartError> {
    let aws = service.aws_with(&request.target, printer, shutdown).await?;
    tokio::select! {
        found = aws.credentials() => drop(found.map_err(StartError::Failed)?),
        () = shutdown.cancelled() => return Err(StartError::Interrupted {
            may_have_begun: false,
        }),
    }
    type_ahead.keep();
    service::begin(aws, request, options, printer, shutdown).await
}

/// What is said of a command that a signal has stopped.
pub(super) const STOPPED: &str = "stopped before the command had ended";

/// How the use of a terminal ended, unless it failed.
pub(super) enum Used {
    /// The far side is done, or nobody reads standard output.
    Done(ExitCode),
    /// The user has typed an escape.
    Escaped,
    /// A signal came.
    Interrupted,
}

/// Connects the terminal, or what stands in for one, with the session. `size` is what the far side knows already.
pub(super) async fn use_terminal(
    session: &mut Session,
    size: Size,
    escape_char: EscapeChar,
    type_ahead: TypeAhead,
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<Used, Failure> {
    if session.established().kind == SessionKind::Command {
        let message = "the document runs a command without a terminal";
        return Err(Failure::new(Exit::Usage, message).with_hint("use ssmfwd exec for it"));
    }
    let Some(console) = session.console().await else {
        let message = "the document does not start a shell or a command";
        return Err(Failure::new(Exit::Usage, message)
            .with_hint("choose one whose sessionType is Standard_Stream or InteractiveCommands"));
    };
    // As it was, for whoever gets it back.
    drop(type_ahead);
    let raw = RawMode::enter()?;
    if terminal_size() != size {
        console.resize(terminal_size());
    }
    let mut screen = Screen::new()?;
    let escape_char = match raw {
        Some(_) => escape_char,
        // What is not typed by a person may contain anything.
        None => EscapeChar::NONE,
    };
    let mut keyboard = Keyboard::new(escape_char, printer)?;
    let ended = tokio::select! {
        shown = screen.show(&console) => Ended::Shown(shown),
        () = keyboard.type_into(&console, raw.as_ref()) => Ended::Escaped,
        failure = follow_terminal(&console, raw.as_ref()) => Ended::Failed(failure),
        never = clear_after_outages(&console, session.connection()) => match never {},
        () = shutdown.cancelled() => Ended::BySignal,
    };
    screen.restore().await;
    // What is typed from here on is for whoever has the terminal next.
    drop(keyboard);
    drop(raw);
    match ended {
        Ended::Escaped => Ok(Used::Escaped),
        Ended::BySignal => Ok(Used::Interrupted),
        Ended::Failed(failure) => Err(failure),
        Ended::Shown(Err(error)) => {
            output::sink_failed(StandardSink::Output, &error).map(Used::Done)
        }
        Ended::Shown(Ok(end)) => match (end, session.ended().await) {
            // The program on the far side is done.
            (End::Finished, _) => Ok(Used::Done(ExitCode::SUCCESS)),
            (_, failure) => Err(failure),
        },
    }
}

/// Why the terminal does not belong to the far side any more.
enum Ended {
    Escaped,
    BySignal,
    /// Nothing more comes, or can be shown.
    Shown(io::Result<End>),
    Failed(Failure),
}

/// The size of the terminal, or what the official client claims where there is none.
pub(super) fn terminal_size() -> Size {
    let (cols, rows) = terminal::size().unwrap_or((300, 100));
    Size { cols, rows }
}

/// Passes changes of the terminal's size on, and sees to it that the terminal is raw whenever the program is not stopped.
/// Returns only if it cannot.
async fn follow_terminal(console: &Console, raw: Option<&RawMode>) -> Failure {
    let mut changes = match Changes::new(raw.is_some()) {
        Ok(changes) => changes,
        Err(error) => {
            let message = format!("cannot handle signals: {error}");
            return Failure::new(Exit::Failure, message);
        }
    };
    loop {
        match (changes.next().await, raw) {
            // Without a shell that could continue it, a program takes no notice.
            (Change::Stop, Some(raw)) => {
                raw.suspend();
            }
            // Whoever had the terminal meanwhile may have left it otherwise.
            (Change::Continue, Some(raw)) => raw.renew(),
            _ => {}
        }
        console.resize(terminal_size());
    }
}
