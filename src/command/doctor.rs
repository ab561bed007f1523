//! `ssmfwd doctor`: as many checks as possible at once, each told when it ends.

mod plan;
mod step;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::StreamExt;
use ssmfwd_protocol::SessionKind;
use tokio::time::sleep;

use self::plan::{Checks, Sessions, checks, without_configuration};
use self::step::Running;
use super::service::Service;
use crate::aws::Target;
use crate::cli::DoctorArgs;
use crate::doctor::{Check, Untried, configuration};
use crate::failure::{Exit, Failure};
use crate::output::{Printer, findings::Report};
use crate::settings::DoctorSettings;
use crate::signals;

/// How long nothing is found before it is said what is being waited for.
const SILENCE: Duration = Duration::from_secs(2);

/// Runs the checks and prints what each has found.
///
/// # Errors
///
/// When the arguments contradict each other, the lab cannot be started, nothing can be printed, or the user has enough.
/// What the checks find is none.
pub async fn run(args: DoctorArgs, printer: Printer) -> Result<ExitCode, Failure> {
    let shutdown = signals::cancelled_by_signals()?;
    let settings = DoctorSettings::new(args)?;
    let selector = settings.target.as_ref().map(Target::selector);
    let port = SessionKind::Port {
        is_multiplexed: true,
    };
    let documents = settings
        .forwards
        .iter()
        .map(|forward| (forward.document.clone(), port));
    let service = Service::start(&settings.service, selector, documents.collect()).await?;
    let sessions = Sessions::new(&shutdown);
    let outcome = tokio::select! {
        outcome = examine(&service, &settings, &sessions, Report::new(printer)) => outcome,
        () = shutdown.cancelled() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    sessions.end().await;
    service.shutdown().await;
    outcome
}

async fn examine(
    service: &Service,
    settings: &DoctorSettings,
    sessions: &Sessions,
    mut report: Report,
) -> Result<ExitCode, Failure> {
    let (finding, aws) = configuration::check(service.options()).await;
    report.add(&finding)?;
    let aws = aws.map(Arc::new);
    let running = Running::default();
    let checks = match &aws {
        Some(aws) => checks(aws, settings, sessions, &running),
        None => without_configuration(settings),
    };
    report_all(checks, &running, &mut report).await?;
    report.finish(untried(settings).as_ref())
}

async fn report_all(
    mut checks: Checks<'_>,
    running: &Running,
    report: &mut Report,
) -> Result<(), Failure> {
    loop {
        tokio::select! {
            biased;
            findings = checks.next() => {
                let Some(findings) = findings else {
                    return Ok(());
                };
                for finding in &findings {
                    report.add(finding)?;
                }
            }
            () = sleep(SILENCE) => report.waiting_for(&running.names()),
        }
    }
}

/// What there would be to try, had it been asked for.
fn untried(settings: &DoctorSettings) -> Option<Untried> {
    let (checks, next) = match (&settings.target, settings.forwards.as_slice()) {
        (None, _) => (
            vec![
                Check::Target,
                Check::Agent,
                Check::StartSession,
                Check::Session,
                Check::RemotePort,
            ],
            "name them: ssmfwd doctor TARGET FORWARD",
        ),
        (Some(_), []) => (
            vec![Check::Session, Check::RemotePort],
            "add a FORWARD and --connect",
        ),
        (Some(_), _) if !settings.connects => {
            (vec![Check::Session, Check::RemotePort], "add --connect")
        }
        (Some(_), _) => return None,
    };
    Some(Untried { checks, next })
}
