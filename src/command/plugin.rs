//! The `session-manager-plugin` command line: carries a session that the AWS CLI, or whoever stands in for it, has
//! started.

mod arguments;
mod bridge;
mod console;
mod handover;
mod parent;
mod port;
mod report;
mod text;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ssmfwd_protocol::channel::Established;
use ssmfwd_protocol::config::{Beginning, Config};
use ssmfwd_protocol::{SessionKind, Size};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::outages::observer;
use super::shell::{self, Program};
use crate::aws::{Aws, Options};
use crate::failure::{Exit, Failure};
use crate::local::half_close::DEFAULT_HOLD;
use crate::output::Printer;
use crate::session::{self, NotOpened, Session};
use crate::signals::{self, Interrupts};
use crate::terminal::type_ahead::TypeAhead;

use arguments::{Arguments, Invocation, Request, Response, session_endpoint};
use report::Report;
use text::Text;

/// The name under which the program is the plugin, without `.exe`.
const NAME: &str = "session-manager-plugin";

/// How long the end of a local sender's data is held back, as the main job does by default.
const HALF_CLOSE: Duration = Duration::from_secs(DEFAULT_HOLD as u64);

/// Set to `true` by callers whose stream URL needs no signature, and who have no credentials.
const SKIP_CREDENTIALS: &str = "SSM_PLUGIN_SKIP_CLIENT_CONFIGURE";

/// Tells whether the program was started as the plugin; `program` is its name on the command line.
pub fn is_named(program: &OsStr) -> bool {
    let stem = Path::new(program).file_stem().unwrap_or_default();
    stem.eq_ignore_ascii_case(NAME)
}

/// Does what the AWS CLI's arguments ask for, which stand at the end of the command line.
///
/// What goes wrong is said in the plugin's words where programs look for them, and is the exit code: 0 is an end in good
/// order, by whichever side.
///
/// # Errors
///
/// When the system refuses what every session needs.
pub async fn run(arguments: Vec<OsString>, printer: Printer) -> Result<ExitCode, Failure> {
    let arguments = arguments
        .iter()
        .map(|text| text.to_string_lossy().into_owned());
    let report = Report::new(printer);
    let exit = match Invocation::parse(arguments.collect()) {
        Invocation::Session(arguments) => {
            let start = match Start::new(arguments) {
                Ok(start) => start,
                Err(failure) => return Ok(report.fail(&failure)),
            };
            parent::end_with_the_cli();
            let (shutdown, interrupts) = signals::cancelled_but_by_interrupts()?;
            return Ok(carry(start, report, &shutdown, interrupts).await);
        }
        Invocation::Presence => {
            report.say(Text::Installed);
            ExitCode::SUCCESS
        }
        Invocation::Version => {
            report.say(Text::Version);
            ExitCode::SUCCESS
        }
        // Who only wants to know whether the plugin is there may ask in many ways.
        Invocation::Unknown(name) => {
            report.say(Text::UnknownOperation(&name));
            ExitCode::SUCCESS
        }
        Invocation::InvalidOperation => {
            report.say(Text::InvalidOperation);
            Exit::Usage.into()
        }
    };
    Ok(exit)
}

/// Carries a session to its end, and says how it went.
async fn carry(
    start: Start,
    report: Report,
    shutdown: &CancellationToken,
    mut interrupts: Interrupts,
) -> ExitCode {
    let mut terminal = Terminal {
        size: shell::terminal_size(),
        type_ahead: TypeAhead::default(),
        program: match start.request.beginning() {
            Beginning::Prompt => Program::Shell,
            Beginning::Silence | Beginning::Handshake => Program::Command,
        },
    };
    report.begin(
        &start.response.session_id,
        start.request.document.as_deref(),
    );
    let attaching = start.attach(&mut terminal, &report, shutdown, &mut interrupts);
    let mut session = match attaching.await {
        Ok(session) => session,
        Err(NotOpened::Failed(failure)) => return report.fail(&failure),
        Err(NotOpened::Over { failure, output }) => return report.over(&output, &failure),
        Err(NotOpened::Interrupted) => {
            report.say(Text::Signalled);
            report.exit();
            return ExitCode::SUCCESS;
        }
    };
    let message = &session.established().customer_message;
    if !message.is_empty() {
        report.say(Text::CustomerMessage(message));
    }
    let end = serve(&mut session, terminal, &report, shutdown, interrupts).await;
    finish(session, end, &report).await
}

/// What a session with a terminal needs of ours.
struct Terminal {
    /// The size the far side is told.
    size: Size,
    type_ahead: TypeAhead,
    /// What probably runs in it.
    program: Program,
}

/// Does what the session is for.
async fn serve(
    session: &mut Session,
    mut terminal: Terminal,
    report: &Report,
    shutdown: &CancellationToken,
    mut interrupts: Interrupts,
) -> Result<End, Failure> {
    let Established {
        kind, properties, ..
    } = session.established();
    let (kind, listens) = (*kind, port::is_to_listen(properties));
    if kind != SessionKind::Shell {
        terminal.type_ahead = TypeAhead::default();
    }
    if kind == SessionKind::Command {
        return console::command(session, report, shutdown, &mut interrupts).await;
    }
    // Ctrl-C ends everything else; a raw terminal has none.
    let stop = shutdown.child_token();
    let stopped = stop.clone();
    let interrupted = AbortOnDropHandle::new(tokio::spawn(async move {
        interrupts.next().await;
        stopped.cancel();
    }));
    let end = match kind {
        SessionKind::Port { is_multiplexed } if listens => {
            port::serve(session, is_multiplexed, report, &stop).await
        }
        SessionKind::Port { .. } => bridge::serve(session, report, &stop).await,
        SessionKind::Shell | SessionKind::Command => {
            console::shell(session, terminal, report, &stop).await
        }
    };
    drop(interrupted);
    end
}

/// How a session came to its end, if not by a failure or the far side.
enum End {
    /// Somebody asked for it.
    Interrupted,
    /// It has done what it was for.
    Done(ExitCode),
}

/// Sees to it that the session is over, and says how it ended.
async fn finish(session: Session, end: Result<End, Failure>, report: &Report) -> ExitCode {
    // Whoever has ended it has nothing left to be told.
    let is_over = session.output().is_some();
    let exit = match (end, session.output()) {
        (Ok(End::Done(exit)), _) => exit,
        (Ok(End::Interrupted), _) => {
            report.say(Text::Signalled);
            ExitCode::SUCCESS
        }
        (Err(failure), Some(output)) => return report.over(output, &failure),
        (Err(failure), None) if session.is_gone() => {
            return report.end(Text::TimedOut(session.id()), &failure);
        }
        (Err(failure), None) => {
            let exit = report.fail(&failure);
            close(session, report).await;
            return exit;
        }
    };
    if !is_over {
        close(session, report).await;
    }
    report.exit();
    exit
}

async fn close(session: Session, report: &Report) {
    if let Err(failure) = session.close().await {
        report.session_may_go_on(&failure);
    }
}

/// What the arguments make of a session.
struct Start {
    response: Response,
    request: Request,
    options: Options,
}

impl Start {
    /// Understands the arguments, and hides what is secret in them.
    ///
    /// To be called before anything is said or opened and any signal handled: it may start the program anew.
    fn new(arguments: Arguments) -> Result<Self, Failure> {
        let malformed = |error: arguments::Malformed| Failure::new(Exit::Usage, error.to_string());
        let json = handover::receive(&arguments.response)?;
        let response = Response::parse(&json).map_err(malformed)?;
        let request = Request::parse(arguments.request.as_deref()).map_err(malformed)?;
        handover::conceal(&arguments.response, &json);
        let not_empty = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Self {
            options: Options {
                endpoint_url: session_endpoint(&arguments.endpoint, &arguments.region, &response),
                profile: not_empty(arguments.profile),
                region: not_empty(arguments.region),
                ..Options::default()
            },
            response,
            request,
        })
    }

    /// Opens the session's data channel. Until that is done, an interrupt ends it as other signals do.
    async fn attach(
        self,
        terminal: &mut Terminal,
        report: &Report,
        shutdown: &CancellationToken,
        interrupts: &mut Interrupts,
    ) -> Result<Session, NotOpened> {
        let abandoned = shutdown.child_token();
        let mut attaching = pin!(self.attach_unless(terminal, report, &abandoned));
        tokio::select! {
            attached = &mut attaching => return attached,
            () = interrupts.next() => abandoned.cancel(),
        }
        attaching.await
    }

    async fn attach_unless(
        self,
        terminal: &mut Terminal,
        report: &Report,
        abandoned: &CancellationToken,
    ) -> Result<Session, NotOpened> {
        let aws = load(self.options, report).await?;
        let Response {
            session_id,
            token,
            stream_url,
            ..
        } = self.response;
        let started = aws.adopt_session(session_id, token, &stream_url).await?;
        let aws = match started.stream_url.is_presigned() {
            true => aws,
            false => with_credentials_if_any(aws, report, abandoned).await,
        };
        if self.request.has_terminal() {
            terminal.type_ahead.keep();
        }
        let options = session::Options {
            config: Config {
                terminal_size: terminal.size,
                beginning: self.request.beginning(),
                ..Config::default()
            },
            // Without credentials nobody could ask for another connection.
            can_resume: aws.is_signing(),
            observer: observer(*report.printer()),
            ..session::Options::default()
        };
        let target = &self.request.target;
        Session::open(Arc::new(aws), started, target, options, abandoned).await
    }
}

/// Understands the configuration, without a profile that does not exist: callers name one by habit, and the session is started
/// already.
async fn load(mut options: Options, report: &Report) -> Result<Aws, Failure> {
    if let Some(name) = &options.profile
        && !Aws::has_profile(name).await?
    {
        report.warn(format!(
            "the AWS profile `{name}` does not exist, and is left out"
        ));
        options.profile = None;
    }
    Aws::load(&options).await
}

/// Has the upgrade signed if that is possible, as the official plugin does: the service has long taken one that is not,
/// and who starts sessions with credentials of their own may have none for the plugin.
async fn with_credentials_if_any(aws: Aws, report: &Report, shutdown: &CancellationToken) -> Aws {
    if std::env::var_os(SKIP_CREDENTIALS).is_some_and(|value| value == "true") {
        return aws.without_credentials();
    }
    let found = tokio::select! {
        found = aws.credentials() => found,
        // What follows ends the session.
        () = shutdown.cancelled() => return aws,
    };
    match found {
        Ok(_) => aws,
        Err(failure) => {
            report.warn(format!(
                "{failure}: the connection is not signed, and cannot be resumed"
            ));
            aws.without_credentials()
        }
    }
}
