//! `ssmfwd doctor`: checks in the order a session needs them, as many as possible at once.

mod plan;
mod step;

use std::process::ExitCode;
use std::sync::Arc;

use futures_util::stream::StreamExt;
use ssmfwd_protocol::session::SessionKind;
use tokio_util::sync::CancellationToken;

use self::plan::{Sessions, checks, without_configuration};
use super::service::Service;
use crate::aws::Target;
use crate::cli::DoctorArgs;
use crate::doctor::configuration;
use crate::failure::{Exit, Failure};
use crate::output::{Printer, findings::Report};
use crate::settings::DoctorSettings;
use crate::signals;

/// Runs the checks and prints what each has found.
///
/// # Errors
///
/// When the arguments contradict each other, the lab cannot be started, or the user has enough. What the checks find is
/// none.
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
    let outcome = examine(&service, &settings, Report::new(printer), &shutdown).await;
    service.shutdown().await;
    outcome
}

async fn examine(
    service: &Service,
    settings: &DoctorSettings,
    mut report: Report,
    shutdown: &CancellationToken,
) -> Result<ExitCode, Failure> {
    let sessions = Sessions::new(shutdown);
    let examined = async {
        let (finding, aws) = configuration::check(service.options()).await;
        report.add(&finding);
        let aws = aws.map(Arc::new);
        let mut findings = match &aws {
            Some(aws) => checks(aws, settings, &sessions),
            None => without_configuration(settings),
        };
        while let Some(finding) = findings.next().await {
            report.add(&finding);
        }
        report.finish()
    };
    let outcome = tokio::select! {
        exit = examined => Ok(exit),
        () = shutdown.cancelled() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    sessions.end().await;
    outcome
}
