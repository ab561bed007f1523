//! `ssmfwd lab`, and the lab within the main job.

use std::process::ExitCode;

use ssmfwd_protocol::session::SessionKind;
use ssmfwd_protocol::version::Version;

use crate::aws::Options;
use crate::cli::{AgentArgs, LabArgs};
use crate::failure::{Exit, Failure};
use crate::lab::{Config, Document, Lab, SessionType, Target};
use crate::output::{Event, Format, Printer};
use crate::signals;

/// Runs a lab until the user stops it.
///
/// # Errors
///
/// When an option is wrong or the address cannot be listened on.
pub async fn run(args: LabArgs, printer: Printer) -> Result<ExitCode, Failure> {
    let shutdown = signals::cancelled_by_signals()?;
    let lab = start(Config {
        listen: args.listen,
        public_url: args.public_url,
        authorized_keys_dir: args.authorized_keys_dir,
        ..config(&args.targets, &args.agent)?
    })
    .await?;
    report(&printer, &lab, args.targets)?;
    shutdown.cancelled().await;
    lab.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Says where the lab is: as an event, or as the shell commands that make AWS tools use it.
fn report(printer: &Printer, lab: &Lab, targets: Vec<String>) -> Result<(), Failure> {
    let environment = lab.environment();
    if printer.format() == Format::Human {
        let exports = environment
            .iter()
            .map(|(name, value)| format!("export {name}={value}\n"));
        printer.product(exports.collect::<String>().as_bytes())?;
    }
    printer.event(&Event::LabStarted {
        endpoint_url: lab.endpoint_url(),
        targets,
        environment: environment.into_iter().collect(),
    });
    Ok(())
}

/// What has a client use the lab.
pub(super) fn options(lab: &Lab) -> Options {
    Options {
        region: Some(lab.region().to_owned()),
        endpoint_url: Some(lab.endpoint_url()),
        credentials: Some(lab.credentials()),
        ..Options::default()
    }
}

/// Starts the lab of `--lab`, with the one target the command names, and the documents it uses.
pub(super) async fn embedded(
    args: &AgentArgs,
    target: &str,
    documents: Vec<(String, SessionKind)>,
) -> Result<Lab, Failure> {
    let documents = documents.into_iter().map(|(name, kind)| {
        let session_type = match kind {
            SessionKind::Port { .. } => SessionType::Port,
            SessionKind::Shell => SessionType::InteractiveCommands,
            SessionKind::Command => SessionType::NonInteractiveCommands,
        };
        Document::new(name, session_type)
    });
    start(Config {
        documents: documents.collect(),
        ..config(&[target.to_owned()], args)?
    })
    .await
}

async fn start(config: Config) -> Result<Lab, Failure> {
    let listen = config.listen;
    Lab::start(config).await.map_err(|error| {
        Failure::new(
            Exit::Address,
            format!("the lab cannot listen on {listen}: {error}"),
        )
    })
}

fn config(targets: &[String], args: &AgentArgs) -> Result<Config, Failure> {
    let chaos = match &args.chaos {
        Some(text) => text
            .parse()
            .map_err(|error| Failure::new(Exit::Usage, format!("--chaos {text}: {error}")))?,
        None => Default::default(),
    };
    if let Err(error) = args.agent_version.parse::<Version>() {
        let message = format!("--agent-version {}: {error}", args.agent_version);
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(Config {
        targets: targets
            .iter()
            .map(|id| Target {
                agent_version: args.agent_version.clone(),
                ..Target::new(id)
            })
            .collect(),
        pace: args.pace,
        kms_key: args.kms_key.clone(),
        chaos,
        ..Config::default()
    })
}
