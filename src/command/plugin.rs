//! The `session-manager-plugin` command line: carries a session that the AWS CLI, or whoever stands in for it, has
//! started.

mod arguments;
mod bridge;
mod handover;
mod parent;
mod port;
mod report;
mod text;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ssmfwd_protocol::channel::Established;
use ssmfwd_protocol::session::SessionKind;
use tokio_util::sync::CancellationToken;

use crate::aws::{Aws, Options};
use crate::failure::{Exit, Failure};
use crate::output::Printer;
use crate::session::{self, Session, StartError};
use crate::signals;

use arguments::{Arguments, Invocation, Request, Response, session_endpoint};
use report::Report;
use text::Text;

/// The name under which the program is the plugin, without `.exe`.
const NAME: &str = "session-manager-plugin";

/// How long the end of a local sender's data is held back, as the main job does by default.
const HALF_CLOSE: Duration = Duration::from_secs(10);

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
            let shutdown = signals::cancelled_by_signals_and_suspension()?;
            return Ok(carry(start, report, &shutdown).await);
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
async fn carry(start: Start, report: Report, shutdown: &CancellationToken) -> ExitCode {
    report.begin(
        &start.response.session_id,
        start.request.document.as_deref(),
    );
    let mut session = match start.attach(&report, shutdown).await {
        Ok(session) => session,
        Err(StartError::Failed(failure)) => return report.fail(&failure),
        Err(StartError::Interrupted { .. }) => {
            report.say(Text::Signalled);
            report.say(Text::Exiting(report.session_id()));
            return ExitCode::SUCCESS;
        }
    };
    let message = &session.established().customer_message;
    if !message.is_empty() {
        report.say(Text::CustomerMessage(message));
    }
    let end = serve(&mut session, &report, shutdown).await;
    finish(session, end, &report).await
}

/// Does what the session is for.
async fn serve(
    session: &mut Session,
    report: &Report,
    shutdown: &CancellationToken,
) -> Result<End, Failure> {
    let Established {
        kind, properties, ..
    } = session.established();
    let listens = properties
        .get("type")
        .is_some_and(|kind| kind == "LocalPortForwarding");
    match *kind {
        SessionKind::Port { is_multiplexed } if listens => {
            port::serve(session, is_multiplexed, report, shutdown).await
        }
        SessionKind::Port { .. } => bridge::serve(session, report, shutdown).await,
        kind => {
            let message = format!("sessions of this kind are not carried: {kind:?}");
            Err(Failure::new(Exit::Failure, message))
        }
    }
}

/// How a session came to its end.
enum End {
    /// By itself, as service or agent wanted it.
    Ended(Failure),
    /// Somebody asked for it.
    Interrupted,
    /// It has done what it was for.
    Done,
}

/// Sees to it that the session is over, and says how it ended.
async fn finish(session: Session, end: Result<End, Failure>, report: &Report) -> ExitCode {
    match end {
        Ok(End::Ended(failure)) => match session.output() {
            // Whoever ended it has nothing left to be told.
            Some(output) => report.close(output, &failure),
            None => {
                close(session, report).await;
                report.fail(&failure)
            }
        },
        Ok(End::Interrupted) => {
            report.say(Text::Signalled);
            close(session, report).await;
            report.say(Text::Exiting(report.session_id()));
            ExitCode::SUCCESS
        }
        Ok(End::Done) => {
            close(session, report).await;
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let exit = report.fail(&failure);
            close(session, report).await;
            exit
        }
    }
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
                credentials: None,
            },
            response,
            request,
        })
    }

    /// Opens the session's data channel.
    async fn attach(
        self,
        report: &Report,
        shutdown: &CancellationToken,
    ) -> Result<Session, StartError> {
        let aws = Aws::load(&self.options).await.map_err(StartError::Failed)?;
        let Response {
            session_id,
            token,
            stream_url,
            ..
        } = self.response;
        let adopted = aws.adopt_session(session_id, token, &stream_url).await;
        let started = adopted.map_err(StartError::Failed)?;
        let aws = match started.stream_url.is_presigned() {
            true => aws,
            false => with_credentials_if_any(aws, report, shutdown).await,
        };
        let options = session::Options {
            // Without credentials nobody could ask for another connection.
            can_resume: aws.is_signing(),
            ..session::Options::default()
        };
        Session::open(Arc::new(aws), started, "", options, shutdown).await
    }
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
