//! `ssmfwd proxy`: standard input and output as a connection to a port of the target.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ssmfwd_protocol::SessionKind;
use ssmfwd_protocol::config::Config;
use tokio_util::sync::CancellationToken;

use super::bridge::{Bridge, Remote};
use super::service::{Service, begin, close, greet};
use crate::aws::{Aws, StartSession, Target, TargetKind};
use crate::cli::{KeyArgs, ProxyArgs};
use crate::failure::{Exit, Failure};
use crate::output::{self, Printer, Verbosity};
use crate::session::{self, Session, StartError};
use crate::settings::{ServiceSettings, override_parameters};
use crate::signals;
use crate::ssh::key::PublicKey;
use crate::ssh::key_file::{self, KeyFile};

/// Carries one connection until either side is done, or nobody reads standard output any more.
///
/// # Errors
///
/// When the connection could not be made, or did not end well.
pub async fn run(args: ProxyArgs, printer: Printer) -> Result<ExitCode, Failure> {
    let shutdown = signals::cancelled_by_signals()?;
    let bridge = Bridge::open(shutdown.clone())?;
    let target = args.selection.target(identifier(&args.target))?;
    if let Some(id) = target.current() {
        check_key(&args.key, &id)?;
    }
    let key = Key::of(&args.key)?;
    let request = request(&args, &target);
    let service = Service::start_for(&request, PORT, &service_settings(&args)).await?;
    let started = start(&service, &args, request, key.as_ref(), &printer, &shutdown);
    let outcome = match started.await {
        Ok(session) => Ok(serve(session, &args, bridge, &printer, &shutdown).await),
        Err(StartError::Failed(failure)) => Err(failure),
        Err(StartError::Interrupted { may_have_begun }) => {
            tracing::debug!(may_have_begun, "interrupted");
            Ok(ExitCode::SUCCESS)
        }
    };
    service.shutdown().await;
    outcome
}

/// What the document starts.
const PORT: SessionKind = SessionKind::Port {
    is_multiplexed: false,
};

fn service_settings(args: &ProxyArgs) -> ServiceSettings {
    ServiceSettings {
        aws: args.aws.clone(),
        #[cfg(feature = "lab")]
        lab: args.lab.lab.then(|| args.lab.clone()),
    }
}

/// The target without the label that only matters to the configuration of `ssh`.
fn identifier(target: &str) -> &str {
    match target.split_once('.') {
        Some((id, _label)) if TargetKind::of(id).is_some() => id,
        _ => target,
    }
}

/// Starts the session and pushes the key, both at once: neither is of use alone.
async fn start(
    service: &Service,
    args: &ProxyArgs,
    request: StartSession,
    key: Option<&Key>,
    printer: &Printer,
    shutdown: &CancellationToken,
) -> Result<Session, StartError> {
    let aws = service.aws_with(&request.target, printer, shutdown).await?;
    let id = aws.resolve(&request.target).await;
    let id = id.map_err(StartError::Failed)?;
    check_key(&args.key, &id).map_err(StartError::Failed)?;
    let abandoned = shutdown.child_token();
    let pushing = async {
        let pushed = match key {
            Some(key) => key.push(&aws, &id, args.user.as_deref()).await,
            None => Ok(()),
        };
        if pushed.is_err() {
            abandoned.cancel();
        }
        pushed
    };
    let options = session::Options {
        config: Config {
            payload_len: args.payload_size.into(),
            ..Config::default()
        },
        can_resume: !args.no_reconnect,
        ..session::Options::default()
    };
    let starting = begin(Arc::clone(&aws), request, options, printer, &abandoned);
    let (started, pushed) = tokio::join!(starting, async {
        tokio::select! {
            pushed = pushing => pushed.map_err(StartError::Failed),
            () = shutdown.cancelled() => Err(StartError::Interrupted {
                may_have_begun: false,
            }),
        }
    });
    match (started, pushed) {
        (Ok(session), Err(error)) => {
            let _: Result<(), Failure> = session.close().await;
            Err(error)
        }
        // What made the push fail is what the user has to know; the session was only given up.
        (Err(StartError::Interrupted { .. }), Err(error)) => Err(error),
        (started, _) => started,
    }
}

fn request(args: &ProxyArgs, target: &Target) -> StartSession {
    let port = ("portNumber".to_owned(), vec![args.port.to_string()]);
    let mut parameters = BTreeMap::from([port]);
    override_parameters(&mut parameters, args.parameters.clone());
    StartSession {
        target: target.clone(),
        document: Some(args.document.clone()),
        parameters,
        reason: args.reason.clone(),
    }
}

/// Carries the connection over a session, and ends that.
async fn serve(
    mut session: Session,
    args: &ProxyArgs,
    mut bridge: Bridge,
    printer: &Printer,
    shutdown: &CancellationToken,
) -> ExitCode {
    if printer.verbosity() >= Verbosity::Verbose {
        greet(&session, printer);
    }
    let remote = Remote {
        name: format!("port {} of {}", args.port, args.target),
        patience: Duration::from_secs(args.half_close.into()),
        patience_option: Some("--half-close"),
    };
    let exit = match bridge.carry(&mut session, &remote, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        // Said before the reader sees the end: `ssh` ends at once then, and leaves the terminal to the shell.
        Err(failure) => {
            printer.failure(&failure);
            output::flush();
            failure.exit.into()
        }
    };
    bridge.close();
    close([session], printer).await;
    exit
}

/// Refuses to push a key where none can be pushed to.
fn check_key(args: &KeyArgs, id: &str) -> Result<(), Failure> {
    if args.push_key.is_none() || TargetKind::of(id) == Some(TargetKind::Instance) {
        return Ok(());
    }
    let message = format!("{id} is no EC2 instance: no key can be pushed to it");
    Err(Failure::new(Exit::Usage, message)
        .with_hint("add a key to its authorized_keys, and leave out --push-key"))
}

/// The key to push, held for as long as the connection lasts.
enum Key {
    Given(PublicKey),
    Made(KeyFile),
}

impl Key {
    fn of(args: &KeyArgs) -> Result<Option<Self>, Failure> {
        let Some(file) = &args.push_key else {
            return Ok(None);
        };
        Ok(Some(match file {
            Some(file) => Self::Given(key_file::read_public(file)?),
            None => Self::Made(KeyFile::acquire(key_file::default_path()?)?),
        }))
    }

    async fn push(&self, aws: &Aws, target: &str, user: Option<&str>) -> Result<(), Failure> {
        let public = match self {
            Self::Given(public) => public,
            Self::Made(file) => file.public(),
        };
        let user = match user {
            Some(user) => user,
            None => aws.default_user(target).await?,
        };
        let public = public.to_string();
        aws.send_ssh_public_key(target, user, &public).await?;
        tracing::debug!(target, user, "key pushed");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_no_part_of_the_target() {
        for (target, id) in [
            ("i-0abc", "i-0abc"),
            ("i-0abc.prod", "i-0abc"),
            ("mi-0abc.prod.eu", "mi-0abc"),
            ("ecs:web_0af1_0af1-1.x", "ecs:web_0af1_0af1-1"),
            ("db.internal", "db.internal"),
        ] {
            assert_eq!(identifier(target), id);
        }
    }
}
