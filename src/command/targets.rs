//! `ssmfwd targets`: what there is to connect to.

use std::process::ExitCode;

use crate::aws::{Aws, Node, Target};
use crate::cli::TargetsArgs;
use crate::failure::{Exit, Failure};
use crate::known_targets::KnownTargets;
use crate::output::{Event, Format, Printer, nodes};
use crate::session::StartError;
use crate::settings::ServiceSettings;
use crate::signals;
use crate::terminal;

use super::service::{Service, not_started};

/// Lists targets on standard output.
///
/// # Errors
///
/// When they cannot be asked for, or a selector names none.
pub async fn run(args: TargetsArgs, printer: Printer) -> Result<ExitCode, Failure> {
    let shutdown = signals::cancelled_by_signals()?;
    let named = args.selector.as_deref();
    let named = named
        .map(|name| args.config.target(name, false))
        .transpose()?;
    let settings = ServiceSettings {
        aws: args.aws,
        #[cfg(feature = "lab")]
        lab: args.lab.lab.then_some(args.lab),
    };
    let service =
        Service::start(&settings, named.as_ref().map(Target::selector), Vec::new()).await?;
    let listed = async {
        let aws = service.aws(&shutdown).await?;
        let looking = async {
            match &named {
                None => aws.nodes().await,
                Some(target) => aws.nodes_named(target).await,
            }
        };
        let nodes = tokio::select! {
            nodes = looking => nodes.map_err(StartError::Failed)?,
            () = shutdown.cancelled() => return Err(StartError::Interrupted { may_have_begun: false }),
        };
        remember(&aws, &nodes, named.is_none());
        Ok((aws, nodes))
    };
    let outcome = match listed.await {
        Ok((aws, nodes)) => report(&aws, &nodes, &printer).map(|()| ExitCode::SUCCESS),
        Err(error) => {
            let interrupted = Err(Failure::new(Exit::Interrupted, "interrupted"));
            not_started(error, &printer, interrupted)
        }
    };
    service.shutdown().await;
    outcome
}

/// Keeps the names for completion.
fn remember(aws: &Aws, nodes: &[Node], is_all: bool) {
    let known = KnownTargets::of(aws);
    match is_all {
        true => known.replace(KnownTargets::names(nodes)),
        false => known.add(KnownTargets::names(nodes)),
    }
}

fn report(aws: &Aws, nodes: &[Node], printer: &Printer) -> Result<(), Failure> {
    if printer.format() == Format::Json {
        let mut lines = Vec::new();
        for node in nodes {
            // Nodes are made of text and flags, which always have a JSON form.
            lines.extend(serde_json::to_vec(node).unwrap_or_default());
            lines.push(b'\n');
        }
        return printer.product(&lines);
    }
    if nodes.is_empty() {
        let message = match aws.account() {
            Some(_) => format!(
                "no managed nodes in this account in {}: check --region and --profile; an instance \
                 needs the agent, a role with AmazonSSMManagedInstanceCore, and a way to reach \
                 Systems Manager",
                aws.region()
            ),
            None => "the lab has no nodes: describe some, as in --node i-0abc,Name=web".to_owned(),
        };
        printer.event(&Event::Notice { message });
        return Ok(());
    }
    let width = terminal::output_width().unwrap_or(usize::MAX);
    let table: String = nodes::fitted(nodes, width)
        .into_iter()
        .map(|line| line + "\n")
        .collect();
    printer.product(table.as_bytes())
}
