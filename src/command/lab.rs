//! `ssmfwd lab`, and the lab within the main job.

use std::process::ExitCode;

use ssmfwd_protocol::SessionKind;
use ssmfwd_protocol::version::Version;

use crate::aws::{Options, Selector};
use crate::cli::{AgentArgs, EmbeddedLabArgs, LabArgs};
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
    let targets = described(&args.targets, &args.agent)?;
    let ids = targets.iter().map(|target| target.id.clone()).collect();
    let lab = start(Config {
        listen: args.listen,
        public_url: args.public_url,
        authorized_keys_dir: args.authorized_keys_dir,
        ..config(targets, &args.agent)?
    })
    .await?;
    report(&printer, &lab, ids)?;
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

/// Starts the lab of `--lab`, with the nodes of `--node` or else one that `target` names, and the documents that are used.
pub(super) async fn embedded(
    args: &EmbeddedLabArgs,
    target: Option<&Selector>,
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
    let targets = match (&args.nodes[..], target) {
        ([], Some(selector)) => vec![Target {
            agent_version: args.agent.agent_version.clone(),
            ..Target::named(selector)
        }],
        (nodes, _) => described(nodes, &args.agent)?,
    };
    start(Config {
        documents: documents.collect(),
        ..config(targets, &args.agent)?
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

/// The targets as they are described on the command line.
fn described(texts: &[String], args: &AgentArgs) -> Result<Vec<Target>, Failure> {
    let parse = |text: &String| {
        // What is said of a target comes after what holds for all.
        let (id, described) = text.split_once(',').unwrap_or((text, "online"));
        let text = format!("{id},agent={},{described}", args.agent_version);
        let target = Target::parse(&text).and_then(|target| match target.agent_version.parse() {
            Ok::<Version, _>(_) => Ok(target),
            Err(error) => Err(format!("agent={}: {error}", target.agent_version)),
        });
        target.map_err(|error| {
            Failure::new(Exit::Usage, error)
                .with_hint("a target of the lab is written as in i-0abc,Name=web,ip=10.0.1.24")
        })
    };
    texts.iter().map(parse).collect()
}

fn config(targets: Vec<Target>, args: &AgentArgs) -> Result<Config, Failure> {
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
        targets,
        pace: args.pace,
        kms_key: args.kms_key.clone(),
        chaos,
        ..Config::default()
    })
}
