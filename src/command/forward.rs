//! The main job: remote ports on local addresses, until something ends it.

mod child;
mod connections;

use std::process::ExitCode;
use std::sync::Arc;

use futures_util::future::{join_all, select_all};
use ssmfwd_protocol::config::Config;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aws::{Aws, Options, StartSession};
use crate::failure::{Exit, Failure};
use crate::local::{self, Listener};
use crate::output::{Event, Mapping, Printer};
use crate::session::{self, Session, StartError};
use crate::settings::{ForwardSettings, Settings};
use crate::signals;

use child::Child;
use connections::{Connections, Forwarding};

/// Runs the forwards until the user stops them, a session ends, or the command is done.
///
/// # Errors
///
/// The first thing that went wrong, after everything that had been started is ended.
pub async fn run(settings: Settings, printer: Printer) -> Result<ExitCode, Failure> {
    for warning in &settings.warnings {
        printer.warning(warning);
    }
    let shutdown = signals::cancelled_by_signals()?;
    // Everything local comes first: a busy port must not cost a session.
    let listeners = bind(&settings, &printer)?;
    #[cfg(feature = "lab")]
    let lab = crate::command::lab::embedded(&settings).await?;
    #[cfg(feature = "lab")]
    let options = lab.as_ref().map(crate::command::lab::options);
    #[cfg(feature = "lab")]
    let options = options.unwrap_or_else(|| settings.aws.clone().into());
    #[cfg(not(feature = "lab"))]
    let options = settings.aws.clone().into();

    let outcome = match start(&settings, &options, &printer, &shutdown).await {
        Ok(mut sessions) => {
            let outcome = serve(settings, listeners, &mut sessions, &printer, &shutdown).await;
            close(sessions, &printer).await;
            outcome
        }
        Err(StartError::Failed(failure)) => Err(failure),
        Err(StartError::Interrupted { may_have_begun }) => {
            if may_have_begun {
                printer.warning(
                    "StartSession was not answered in time: a session may have begun, and ends with \
                     its idle timeout",
                );
            }
            match settings.command {
                None => Ok(ExitCode::SUCCESS),
                Some(_) => Err(Failure::new(
                    Exit::Failure,
                    "interrupted before the command was started",
                )),
            }
        }
    };
    #[cfg(feature = "lab")]
    if let Some(lab) = lab {
        lab.shutdown().await;
    }
    outcome
}

fn bind(settings: &Settings, printer: &Printer) -> Result<Vec<Listener>, Failure> {
    let mut listeners = Vec::with_capacity(settings.forwards.len());
    for forward in &settings.forwards {
        listeners.push(Listener::bind(&forward.spec.local)?);
    }
    // Announced together: until the last one is bound, none is of use.
    for (forward, listener) in settings.forwards.iter().zip(&listeners) {
        let mapping = Mapping::new(&settings.target, &forward.spec, listener.address());
        printer.event(&Event::Listening { mapping });
    }
    Ok(listeners)
}

/// Starts one session for each forward, all at once. If one fails, the others are ended.
async fn start(
    settings: &Settings,
    options: &Options,
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<Vec<Session>, StartError> {
    let aws = tokio::select! {
        aws = Aws::load(options) => Arc::new(aws.map_err(StartError::Failed)?),
        () = shutdown.cancelled() => {
            return Err(StartError::Interrupted { may_have_begun: false });
        }
    };
    // Cancelled by the first failure too, so that no other start is waited for.
    let abandoned = shutdown.child_token();
    let mut starting = JoinSet::new();
    for (index, forward) in settings.forwards.iter().enumerate() {
        let (aws, abandoned) = (Arc::clone(&aws), abandoned.clone());
        let request = request(settings, forward);
        let options = session::Options {
            config: Config {
                payload_len: settings.payload_len,
                ..Config::default()
            },
            // Until a session that is gone is followed by another one, its loss must end the process.
            can_resume: false,
            ..session::Options::default()
        };
        starting.spawn(async move { (index, start_port(aws, request, options, &abandoned).await) });
    }
    let mut sessions = Vec::with_capacity(settings.forwards.len());
    let mut first_error = None;
    let mut may_have_begun = false;
    while let Some(started) = starting.join_next().await {
        let error = match started {
            Ok((index, Ok(session))) => {
                sessions.push((index, session));
                continue;
            }
            Ok((_, Err(error))) => error,
            Err(error) => StartError::Failed(Failure::new(
                Exit::Failure,
                format!("a session was dropped by a fault in ssmfwd: {error}"),
            )),
        };
        abandoned.cancel();
        may_have_begun |= matches!(
            error,
            StartError::Interrupted {
                may_have_begun: true
            }
        );
        first_error.get_or_insert(error);
    }
    if let Some(error) = first_error {
        close(sessions.into_iter().map(|(_, session)| session), printer).await;
        return Err(match error {
            StartError::Interrupted { .. } => StartError::Interrupted { may_have_begun },
            failed @ StartError::Failed(_) => failed,
        });
    }
    sessions.sort_by_key(|(index, _)| *index);
    Ok(sessions.into_iter().map(|(_, session)| session).collect())
}

/// Starts a session, and ends it again if its document is not one for connections.
async fn start_port(
    aws: Arc<Aws>,
    request: StartSession,
    options: session::Options,
    abandoned: &CancellationToken,
) -> Result<Session, StartError> {
    let session = Session::start(aws, request, options, abandoned).await?;
    if session.established().kind.is_port() {
        return Ok(session);
    }
    if let Err(failure) = session.close().await {
        tracing::warn!(%failure, "the session was not ended");
    }
    let message = "the document starts a shell or a command, not port forwarding";
    let failure = Failure::new(Exit::Failure, message);
    Err(StartError::Failed(
        failure.with_hint("choose a document whose sessionType is Port"),
    ))
}

/// Ends sessions, all at once.
async fn close(sessions: impl IntoIterator<Item = Session>, printer: &Printer) {
    let closing = sessions.into_iter().map(async |session: Session| {
        let session_id = session.id().to_owned();
        let reason = session.end().unwrap_or("terminated").to_owned();
        match session.close().await {
            Ok(()) => printer.event(&Event::Closed { session_id, reason }),
            Err(failure) => printer.warning(format!("session {session_id} may go on: {failure}")),
        }
    });
    join_all(closing).await;
}

fn request(settings: &Settings, forward: &ForwardSettings) -> StartSession {
    StartSession {
        target: settings.target.clone(),
        document: forward.document.clone(),
        parameters: forward.parameters.clone(),
        reason: settings.reason.clone(),
    }
}

/// Accepts connections until there is a reason to stop.
async fn serve(
    settings: Settings,
    listeners: Vec<Listener>,
    sessions: &mut [Session],
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<ExitCode, Failure> {
    let addresses: Vec<_> = listeners
        .iter()
        .map(|listener| listener.address().clone())
        .collect();
    let mut connections = Connections::new(*printer, settings.half_close);
    for ((forward, listener), session) in
        settings.forwards.iter().zip(listeners).zip(sessions.iter())
    {
        printer.event(&Event::Connected {
            mapping: Mapping::new(&settings.target, &forward.spec, listener.address()),
            session_id: session.id().to_owned(),
            agent_version: session
                .established()
                .agent_version
                .map(|version| version.to_string())
                .unwrap_or_default(),
        });
        let message = &session.established().customer_message;
        if !message.is_empty() {
            printer.event(&Event::Notice {
                message: message.clone(),
            });
        }
        let forwarding = Forwarding {
            forward: forward.spec.clone(),
            target: settings.target.clone(),
            opener: session.opener(),
            is_multiplexed: session.established().kind.is_multiplexed(),
        };
        connections.accept_from(listener, forwarding);
    }
    if let Err(failure) = settings.readiness.announce() {
        printer.warning(failure.message);
    }
    let mut child = match &settings.command {
        Some(command) => Some(Child::spawn(command, &local::environment(&addresses))?),
        None => None,
    };

    let outcome = tokio::select! {
        (failure, ..) = select_all(sessions.iter_mut().map(|session| Box::pin(session.ended()))) => {
            Err(failure)
        }
        failure = connections.failed() => Err(failure),
        exit = child::exited(&mut child) => {
            // What the command has written must arrive before its forwards end.
            connections.finish(shutdown).await;
            exit
        }
        () = shutdown.cancelled() => match &mut child {
            Some(child) => child.stop().await,
            None => Ok(ExitCode::SUCCESS),
        },
    };
    // A command that outlives its forwards can do no good.
    if let (Err(_), Some(child)) = (&outcome, &mut child) {
        let _: Result<ExitCode, Failure> = child.stop().await;
    }
    outcome
}
