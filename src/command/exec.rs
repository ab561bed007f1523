//! `ssmfwd exec`: a remote command with its output, its error output and its exit code.

use std::io::{self, ErrorKind};
use std::pin::pin;
use std::process::ExitCode;

use bytes::Bytes;
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::version::Version;
use ssmfwd_protocol::{SessionKind, Signal};
use tokio_util::sync::CancellationToken;

use super::service::{Service, close_after, greet, not_started};
use super::shell::{self, Program, STOPPED};
use crate::aws::StartSession;
use crate::failure::{Exit, Failure};
use crate::local::stdio::Output;
use crate::output::{self, Printer};
use crate::session::{self, Console, Session, StartError};
use crate::settings::{ConsoleSettings, ExecSettings};
use crate::signals::{self, Interrupts};
use crate::standard_streams::StandardSink;
use crate::stream::End;

/// The exit code after Ctrl-C, as in shells: 128 and SIGINT's number.
const INTERRUPTED: u8 = 130;
/// The exit code for one that cannot be told, as in OpenSSH.
const UNKNOWN: u8 = 255;

/// Runs a command to its end; its exit code is the result.
///
/// # Errors
///
/// When the command is not started, or its exit code is not known.
pub async fn run(settings: ExecSettings, printer: Printer) -> Result<ExitCode, Failure> {
    let settings = match settings {
        ExecSettings::Terminal(settings) => {
            return shell::run_program(settings, printer, Program::Command).await;
        }
        ExecSettings::Plain(settings) => settings,
    };
    let (shutdown, mut interrupts) = signals::cancelled_but_by_interrupts()?;
    let service =
        Service::start_for(&settings.request, SessionKind::Command, &settings.service).await?;
    let line_hint = line_hint(&settings.request);
    let outcome = match start(&service, settings, &printer, &shutdown, &mut interrupts).await {
        Ok(mut session) => {
            greet(&session, &printer);
            let outcome = carry(&mut session, &printer, &shutdown, &mut interrupts).await;
            close_after(session, &outcome, &printer).await;
            if let (Ok(NOT_STARTED), Some(hint)) = (&outcome, line_hint) {
                printer.aside(format_args!("hint: {hint}\n"));
            }
            outcome
        }
        Err(error) => {
            let message = "interrupted before the command was started";
            let interrupted = Failure::new(Exit::Interrupted, message);
            not_started(error, &printer, Err(interrupted))
        }
    };
    service.shutdown().await;
    outcome
}

/// The exit code that agents report of a program they could not start, among others.
const NOT_STARTED: ExitCode = ExitCode::FAILURE;

/// What to do if the command is a line for a shell, in one word: hardly any program is called so.
fn line_hint(request: &StartSession) -> Option<String> {
    let [line] = request.parameters.get("command")?.as_slice() else {
        return None;
    };
    let [word] = <[String; 1]>::try_from(shlex::split(line)?).ok()?;
    // A path may have spaces.
    let is_line = word.contains(char::is_whitespace) && !word.starts_with(['/', '.', '\\']);
    is_line.then(|| {
        format!("{line} is taken for the name of a program; for a line of a shell: sh -c {line}")
    })
}

/// Starts the session; until it runs, an interrupt ends it as other signals do.
async fn start(
    service: &Service,
    settings: ConsoleSettings,
    printer: &Printer,
    shutdown: &CancellationToken,
    interrupts: &mut Interrupts,
) -> Result<Session, StartError> {
    let options = session::Options {
        config: Config {
            payload_len: settings.payload_len,
            ..Config::default()
        },
        can_resume: settings.reconnects,
        ..session::Options::default()
    };
    let abandoned = shutdown.child_token();
    let mut starting = pin!(service.session(settings.request, options, printer, &abandoned));
    tokio::select! {
        started = &mut starting => return started,
        () = interrupts.next() => abandoned.cancel(),
    }
    starting.await
}

/// Carries the command's output until it has ended and its exit code is known.
async fn carry(
    session: &mut Session,
    printer: &Printer,
    shutdown: &CancellationToken,
    interrupts: &mut Interrupts,
) -> Result<ExitCode, Failure> {
    if session.established().kind == SessionKind::Shell {
        let message = "the document gives its command a terminal";
        return Err(Failure::new(Exit::Usage, message).with_hint("add --tty"));
    }
    let Some(console) = session.console().await else {
        let message = "the document does not run a command";
        return Err(Failure::new(Exit::Usage, message)
            .with_hint("choose one whose sessionType is NonInteractiveCommands"));
    };
    let (end, is_interrupted) = match deliver(&console, shutdown, interrupts).await? {
        Delivered::Ended {
            end,
            is_interrupted,
        } => (end, is_interrupted),
        Delivered::GivenUp(exit) => return Ok(exit),
    };
    let failure = session.ended().await;
    match (console.exit_code(), end) {
        (Some(code), _) => Ok(exit_code(code, is_interrupted, printer)),
        (None, End::Finished) => Err(unreported(session.established().agent_version)),
        (None, _) => Err(failure),
    }
}

/// Why no more output of a command is delivered.
pub(super) enum Delivered {
    /// None comes any more.
    Ended {
        end: End,
        /// Ctrl-C was passed on before.
        is_interrupted: bool,
    },
    /// Ctrl-C was pressed twice, or nobody reads the output.
    GivenUp(ExitCode),
}

/// Delivers a command's outputs to their end, and passes the first Ctrl-C on.
///
/// # Errors
///
/// When standard output cannot be written, or another signal asks for the end.
pub(super) async fn deliver(
    console: &Console,
    shutdown: &CancellationToken,
    interrupts: &mut Interrupts,
) -> Result<Delivered, Failure> {
    let mut copying = pin!(copy_outputs(console));
    let mut is_interrupted = false;
    let copied = loop {
        tokio::select! {
            copied = &mut copying => break copied,
            () = interrupts.next() => {
                if is_interrupted {
                    return Ok(Delivered::GivenUp(ExitCode::from(INTERRUPTED)));
                }
                is_interrupted = true;
                let mut interrupt = Bytes::copy_from_slice(&[Signal::Interrupt.byte()]);
                // A session that is over ends the delivery.
                let _: Result<(), End> = console.write(&mut interrupt).await;
            }
            () = shutdown.cancelled() => {
                return Err(Failure::new(Exit::Interrupted, STOPPED));
            }
        }
    };
    match copied {
        Ok(end) => Ok(Delivered::Ended {
            end,
            is_interrupted,
        }),
        Err((sink, error)) => output::sink_failed(sink, &error).map(Delivered::GivenUp),
    }
}

/// Writes both outputs of the command, each as fast as it is taken, and returns how they ended.
///
/// # Errors
///
/// When standard output or standard error cannot be written.
async fn copy_outputs(console: &Console) -> Result<End, Unwritable> {
    let output = async {
        let unwritable = |error| (StandardSink::Output, error);
        let mut stdout = Output::open(StandardSink::Output).map_err(unwritable)?;
        loop {
            match console.read_output().await {
                Ok(bytes) => stdout.write(bytes).await.map_err(unwritable)?,
                Err(end) => return Ok(end),
            }
        }
    };
    let error = async {
        let unwritable = |error| (StandardSink::Error, error);
        let mut stderr = Output::open(StandardSink::Error).map_err(unwritable)?;
        while let Ok(bytes) = console.read_error().await {
            match stderr.write(bytes).await {
                // Messages nobody reads are no reason to end the command.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                written => written.map_err(unwritable)?,
            }
        }
        Ok(())
    };
    let (end, ()) = tokio::try_join!(output, error)?;
    Ok(end)
}

/// What could not be written to, and why.
type Unwritable = (StandardSink, io::Error);

/// The agent's exit code as one of a process of this machine.
pub(super) fn exit_code(code: i32, is_interrupted: bool, printer: &Printer) -> ExitCode {
    match u8::try_from(code) {
        Ok(code) => ExitCode::from(code),
        // What the agent reports of a process that a signal has killed.
        Err(_) if code == -1 && is_interrupted => ExitCode::from(INTERRUPTED),
        Err(_) if code == -1 => {
            printer.warning("the command was killed by a signal; the agent does not tell which");
            ExitCode::from(UNKNOWN)
        }
        Err(_) => {
            printer.warning(format!(
                "the command's exit code is {code}, which this system cannot pass on: {UNKNOWN} it is"
            ));
            ExitCode::from(UNKNOWN)
        }
    }
}

/// The command has ended, and nobody says how.
fn unreported(agent_version: Option<Version>) -> Failure {
    if agent_version.is_some_and(Version::agent_reports_exit_code) {
        let message = "the session has ended without the exit code of the command";
        return Failure::new(Exit::SessionEnded, message).with_hint(
            "somebody may have terminated it, or the agent has; a document of your own has to pass separateOutputStream",
        );
    }
    let agent = match agent_version {
        Some(version) => format!("agent {version}"),
        None => "the agent".to_owned(),
    };
    let message = format!("the command has ended, and {agent} did not report its exit code");
    Failure::new(Exit::Failure, message).with_hint(
        "agents report it since 3.1.1511.0, of documents with separateOutputStream: update the SSM agent on the target",
    )
}
