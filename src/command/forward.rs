//! The main job: remote ports on local addresses, until something ends it.

mod child;
mod connections;
mod delivery;
mod digest;
mod narration;

use std::process::ExitCode;
use std::sync::Arc;

use ssmfwd_protocol::SessionKind;
use ssmfwd_protocol::config::Config;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aws::{Aws, StartSession};
use crate::failure::{Exit, Failure};
use crate::local::{self, Listener};
use crate::output::{Event, Mapping, Printer};
use crate::session::{self, Observer, Session, StartError};
use crate::settings::{ForwardSettings, Settings};
use crate::signals;
use crate::tunnel::{Broken, Plan, Tunnel};

use super::selection::settle;
use super::service::{Service, close, not_started};
use child::Child;
use connections::{Connections, Forwarding};
use delivery::Delivery;
use digest::Digest;
use narration::Narration;

/// Runs the forwards until the user stops them, none of them can work any more, or the command is done.
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
    let documents = settings
        .forwards
        .iter()
        .map(|forward| (forward.document.clone(), PORT));
    let service = Service::start(
        &settings.service,
        Some(settings.target.selector()),
        documents.collect(),
    )
    .await?;
    let outcome = forward(settings, listeners, &service, &printer, &shutdown).await;
    service.shutdown().await;
    outcome
}

fn bind(settings: &Settings, printer: &Printer) -> Result<Vec<Listener>, Failure> {
    let mut listeners = Vec::with_capacity(settings.forwards.len());
    for forward in &settings.forwards {
        listeners.push(Listener::bind(&forward.spec.local)?);
    }
    // Announced together: until the last one is bound, none is of use.
    for (forward, listener) in settings.forwards.iter().zip(&listeners) {
        let mapping = Mapping::new(settings.target.name(), &forward.spec, listener.address());
        let lazy = settings.is_lazy;
        printer.event(&Event::Listening { mapping, lazy });
    }
    Ok(listeners)
}

/// Starts the sessions, unless they are to wait for connections, and serves the listeners.
async fn forward(
    settings: Settings,
    listeners: Vec<Listener>,
    service: &Service,
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<ExitCode, Failure> {
    let digest = Digest::new(*printer);
    let narrations: Vec<_> = settings
        .forwards
        .iter()
        .zip(&listeners)
        .map(|(forward, listener)| {
            let mapping = Mapping::new(settings.target.name(), &forward.spec, listener.address());
            Narration::new(*printer, digest.clone(), mapping)
        })
        .collect();
    let delivery = Delivery::new(shutdown.child_token());
    let started = async {
        let aws = service.aws(shutdown).await?;
        match settle(&aws, &settings.target, printer, shutdown).await {
            Err(StartError::Failed(failure)) if settings.is_lazy && may_pass(&failure) => {
                printer.warning(format!(
                    "`{}` will be looked up with the first connection: {}",
                    settings.target, failure.message
                ));
            }
            settled => settled?,
        }
        let plans: Vec<_> = settings
            .forwards
            .iter()
            .zip(&narrations)
            .map(|(forward, narration)| {
                let observer = delivery.observe(narration.observer(), *printer);
                plan(&settings, forward, observer, delivery.hurry())
            })
            .collect();
        let sessions = match settings.is_lazy {
            true => plans.iter().map(|_| None).collect(),
            false => start(&aws, &plans, printer, shutdown).await?,
        };
        Ok((aws, plans, sessions))
    };
    match started.await {
        Ok((aws, plans, sessions)) => {
            let tunnels = plans.into_iter().zip(narrations).zip(sessions).collect();
            let connections = Connections::new(*printer, settings.half_close, delivery.clone());
            let run = serve(
                &aws,
                settings,
                listeners,
                tunnels,
                connections,
                printer,
                shutdown,
            );
            run.await.and_then(|exit| delivery.judge(exit))
        }
        Err(error) => {
            let interrupted = match settings.command {
                None => Ok(ExitCode::SUCCESS),
                Some(_) => Err(Failure::new(
                    Exit::Interrupted,
                    "interrupted before the command was started",
                )),
            };
            not_started(error, printer, interrupted)
        }
    }
}

/// Whether a lookup that has failed may be left to the first connection: whoever starts no session yet may have
/// credentials and a network later. That a name means nothing is no such matter.
fn may_pass(failure: &Failure) -> bool {
    !failure.is_permanent && failure.exit != Exit::Target
}

/// What every forward's document starts.
const PORT: SessionKind = SessionKind::Port {
    is_multiplexed: true,
};

/// What the tunnel of a forward is told to do.
fn plan(
    settings: &Settings,
    forward: &ForwardSettings,
    observer: Observer,
    hurry: CancellationToken,
) -> Plan {
    let config = Config {
        payload_len: settings.payload_len,
        keep_alive: settings.keep_alive,
        ..Config::default()
    };
    Plan {
        request: StartSession {
            target: settings.target.clone(),
            document: Some(forward.document.clone()),
            parameters: forward.parameters.clone(),
            reason: settings.reason.clone(),
        },
        options: session::Options {
            config,
            liveness: settings.liveness,
            can_resume: settings.reconnects,
            observer,
            hurry,
            ..session::Options::default()
        },
        restarts: settings.reconnects,
        can_host_move: forward.spec.is_to_host_by_name(),
    }
}

/// Starts one session for each plan, all at once. If one fails, the others are ended.
async fn start(
    aws: &Arc<Aws>,
    plans: &[Plan],
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<Vec<Option<Session>>, StartError> {
    // Cancelled by the first failure too, so that no other start is waited for.
    let abandoned = shutdown.child_token();
    let mut starting = JoinSet::new();
    for (index, plan) in plans.iter().cloned().enumerate() {
        let (aws, abandoned) = (Arc::clone(aws), abandoned.clone());
        starting.spawn(async move {
            let started = plan.start(aws, &abandoned).await;
            (index, started)
        });
    }
    let mut sessions = Vec::with_capacity(plans.len());
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
    Ok(sessions
        .into_iter()
        .map(|(_, session)| Some(session))
        .collect())
}

/// Accepts connections until there is a reason to stop, and ends every session then.
async fn serve(
    aws: &Arc<Aws>,
    settings: Settings,
    listeners: Vec<Listener>,
    tunnels: Vec<((Plan, Narration), Option<Session>)>,
    mut connections: Connections,
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<ExitCode, Failure> {
    let addresses: Vec<_> = listeners
        .iter()
        .map(|listener| listener.address().clone())
        .collect();
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    for ((forward, listener), ((plan, narration), session)) in
        settings.forwards.iter().zip(listeners).zip(tunnels)
    {
        if let Some(session) = &session {
            narration.announce(session);
        }
        let (tunnel, gate) = Tunnel::new(Arc::clone(aws), plan, narration, stop.clone());
        let forwarding = Forwarding {
            forward: forward.spec.clone(),
            target: settings.target.name().to_owned(),
            gate,
        };
        connections.accept_from(listener, forwarding);
        let name = forward.spec.to_string();
        running.spawn(async move {
            let outcome = tunnel.run(session).await;
            outcome.map_err(|broken| (name, broken))
        });
    }
    let outcome = attend(
        settings,
        &addresses,
        &mut running,
        connections,
        printer,
        shutdown,
    )
    .await;
    stop.cancel();
    while running.join_next().await.is_some() {}
    outcome
}

/// Runs the command, if there is one, until it or anything else ends the forwards.
async fn attend(
    settings: Settings,
    addresses: &[local::Address],
    tunnels: &mut JoinSet<Result<(), (String, Broken)>>,
    mut connections: Connections,
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<ExitCode, Failure> {
    if let Err(failure) = settings.readiness.announce() {
        printer.warning(failure.message);
    }
    let mut child = match &settings.command {
        Some(command) => Some(Child::spawn(command, &local::environment(addresses))?),
        None => None,
    };

    let outcome = tokio::select! {
        // A failure is told even if the command has ended because of it.
        biased;
        failure = all_failed(tunnels, settings.reconnects, printer) => Err(failure),
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
    if outcome.is_err() {
        connections.give_up();
    }
    match (outcome, &mut child) {
        (Err(failure), Some(child)) => outlive(child, failure, printer).await,
        (outcome, _) => outcome,
    }
}

/// Ends a command whose forwards have failed, since it can do no good any more. How it ends then is a consequence of the
/// failure; one that has ended by itself has its own exit code.
async fn outlive(
    child: &mut Child,
    failure: Failure,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    if let Some(exit) = child.ended() {
        printer.failure(&failure);
        return Ok(exit);
    }
    printer.warning(format!(
        "{} is stopped, because its forwards have failed",
        child.program()
    ));
    let _: Result<ExitCode, Failure> = child.stop().await;
    Err(failure)
}

/// Waits until no forward can work any more; without reconnecting, or at the very start, until one
/// cannot.
async fn all_failed(
    tunnels: &mut JoinSet<Result<(), (String, Broken)>>,
    reconnects: bool,
    printer: &Printer,
) -> Failure {
    loop {
        let (
            forward,
            Broken {
                failure,
                is_at_start,
            },
        ) = match tunnels.join_next().await {
            Some(Ok(Ok(()))) => continue,
            Some(Ok(Err(broken))) => broken,
            Some(Err(error)) => {
                let message = format!("a tunnel was dropped by a fault in ssmfwd: {error}");
                return Failure::new(Exit::Failure, message);
            }
            None => return std::future::pending().await,
        };
        if tunnels.is_empty() || is_at_start || !reconnects {
            return failure;
        }
        printer.failure(&Failure {
            message: format!("{forward} is over, others go on: {}", failure.message),
            ..failure
        });
    }
}
