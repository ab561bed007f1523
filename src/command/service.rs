//! What commands that start sessions have in common: who serves them, and how they begin and end.

use std::process::ExitCode;
use std::sync::Arc;

use futures_util::future::join_all;
use ssmfwd_protocol::SessionKind;
use tokio_util::sync::CancellationToken;

use super::outages::observer;
use crate::aws::{Aws, Options, Selector, StartSession, Target};
use crate::failure::Failure;
#[cfg(feature = "lab")]
use crate::lab::Lab;
use crate::output::{Event, Printer};
use crate::session::{self, Session, StartError};
use crate::settings::ServiceSettings;

use super::selection::settle;

/// AWS as the user selected it, or a lab in its place. End it with [`Service::shutdown`].
pub(super) struct Service {
    options: Options,
    #[cfg(feature = "lab")]
    lab: Option<Lab>,
}

impl Service {
    /// Starts the lab if one is wanted, in which `target` names something and the custom `documents` exist.
    ///
    /// # Errors
    ///
    /// When an option of the lab is wrong, or it cannot be started.
    #[cfg(feature = "lab")]
    pub(super) async fn start(
        settings: &ServiceSettings,
        target: Option<&Selector>,
        documents: Vec<(String, SessionKind)>,
    ) -> Result<Self, Failure> {
        let lab = match &settings.lab {
            Some(lab) => Some(super::lab::embedded(lab, target, documents).await?),
            None => None,
        };
        let options = match &lab {
            Some(lab) => super::lab::options(lab),
            None => settings.aws.clone().into(),
        };
        Ok(Self { options, lab })
    }

    /// Without labs, there is nothing to start.
    #[cfg(not(feature = "lab"))]
    #[expect(clippy::unused_async, reason = "as with labs")]
    pub(super) async fn start(
        settings: &ServiceSettings,
        _target: Option<&Selector>,
        _documents: Vec<(String, SessionKind)>,
    ) -> Result<Self, Failure> {
        let options = settings.aws.clone().into();
        Ok(Self { options })
    }

    /// Starts the lab if one is wanted, in which the target of `request` exists, and its document as one of `kind`.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub(super) async fn start_for(
        request: &StartSession,
        kind: SessionKind,
        settings: &ServiceSettings,
    ) -> Result<Self, Failure> {
        let document = request.document.clone();
        let documents = document.map(|name| (name, kind)).into_iter().collect();
        Self::start(settings, Some(request.target.selector()), documents).await
    }

    /// What the user selected.
    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Loads the configuration of AWS.
    ///
    /// # Errors
    ///
    /// As [`Aws::load`], or that `shutdown` was cancelled meanwhile.
    pub(super) async fn aws(&self, shutdown: &CancellationToken) -> Result<Arc<Aws>, StartError> {
        tokio::select! {
            aws = Aws::load(&self.options) => Ok(Arc::new(aws.map_err(StartError::Failed)?)),
            () = shutdown.cancelled() => Err(StartError::Interrupted { may_have_begun: false }),
        }
    }

    /// Loads the configuration of AWS and finds `target`, after asking the user for it if need be.
    ///
    /// # Errors
    ///
    /// As [`Service::aws`] and [`settle`].
    pub(super) async fn aws_with(
        &self,
        target: &Target,
        printer: &Printer,
        shutdown: &CancellationToken,
    ) -> Result<Arc<Aws>, StartError> {
        let aws = self.aws(shutdown).await?;
        settle(&aws, target, printer, shutdown).await?;
        Ok(aws)
    }

    /// Starts the one session of a command, as [`begin`] does once its target is found.
    ///
    /// # Errors
    ///
    /// As [`Service::aws_with`] and [`begin`].
    pub(super) async fn session(
        &self,
        request: StartSession,
        options: session::Options,
        printer: &Printer,
        shutdown: &CancellationToken,
    ) -> Result<Session, StartError> {
        let aws = self.aws_with(&request.target, printer, shutdown).await?;
        begin(aws, request, options, printer, shutdown).await
    }

    /// Ends the lab, if there is one.
    #[cfg(feature = "lab")]
    pub(super) async fn shutdown(self) {
        if let Some(lab) = self.lab {
            lab.shutdown().await;
        }
    }

    /// Without labs, there is nothing to end.
    #[cfg(not(feature = "lab"))]
    #[expect(clippy::unused_async, reason = "as with labs")]
    pub(super) async fn shutdown(self) {}
}

/// Starts the one session of a command, and has `printer` say what becomes of its connection.
///
/// # Errors
///
/// As [`Session::start`].
pub(super) async fn begin(
    aws: Arc<Aws>,
    request: StartSession,
    options: session::Options,
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<Session, StartError> {
    let options = session::Options {
        observer: observer(*printer),
        ..options
    };
    Session::start(aws, request, options, shutdown).await
}

/// What a command makes of a session that was not started: `interrupted` if the user did not want it any more.
pub(super) fn not_started(
    error: StartError,
    printer: &Printer,
    interrupted: Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    match error {
        StartError::Failed(failure) => Err(failure),
        StartError::Interrupted { may_have_begun } => {
            if may_have_begun {
                printer.warning(MAY_HAVE_BEGUN);
            }
            interrupted
        }
    }
}

/// What is said of a start that was interrupted before StartSession was answered.
pub(super) const MAY_HAVE_BEGUN: &str = "StartSession was not answered in time: a session may have \
                                         begun, and ends with its idle timeout";

/// Repeats what the account's administrator has to say to whoever starts a session.
pub(super) fn greet(session: &Session, printer: &Printer) {
    let message = &session.established().customer_message;
    if !message.is_empty() {
        printer.event(&Event::Notice {
            message: message.clone(),
        });
    }
}

/// Ends the session of a command whose program has ended it already, if `outcome` is good.
pub(super) async fn close_after<T>(
    session: Session,
    outcome: &Result<T, Failure>,
    printer: &Printer,
) {
    match (session.end(), outcome) {
        (Some(_), Ok(_)) => close_as(session, "its program has ended", printer).await,
        _ => close([session], printer).await,
    }
}

/// Ends sessions, all at once.
pub(super) async fn close(sessions: impl IntoIterator<Item = Session>, printer: &Printer) {
    let closing = sessions.into_iter().map(async |session: Session| {
        let reason = session.end().unwrap_or("terminated").to_owned();
        close_as(session, &reason, printer).await;
    });
    join_all(closing).await;
}

async fn close_as(session: Session, reason: &str, printer: &Printer) {
    let session_id = session.id().to_owned();
    let closed = session.close().await;
    say_closed(&session_id, reason, closed, printer);
}

/// Says that a session is over and why, or that nobody could end it.
pub(super) fn say_closed(
    session_id: &str,
    reason: &str,
    closed: Result<(), Failure>,
    printer: &Printer,
) {
    match closed {
        Ok(()) => printer.event(&Event::Closed {
            session_id: session_id.to_owned(),
            reason: reason.to_owned(),
        }),
        Err(failure) => printer.warning(format!("session {session_id} may go on: {failure}")),
    }
}
