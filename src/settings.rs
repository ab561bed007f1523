//! What the program needs, made from what was typed and checked as a whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use crate::aws::{self, Target};
#[cfg(feature = "lab")]
use crate::cli::EmbeddedLabArgs;
use crate::cli::{AwsArgs, ConnectionArgs, ForwardArgs};
use crate::failure::{Exit, Failure};
use crate::net::liveness::Liveness;
use crate::readiness::Readiness;
use crate::spec::{Forward, Local};

mod console;
mod doctor;
#[cfg(test)]
mod tests;

pub use console::{ConsoleSettings, ExecSettings};
pub use doctor::DoctorSettings;

/// The main job, ready to be run.
#[derive(Debug)]
pub struct Settings {
    /// What to go through.
    pub target: Target,
    /// The forwards, in the order they were typed; at least one.
    pub forwards: Vec<ForwardSettings>,
    /// Why the sessions are started, for the audit log.
    pub reason: Option<String>,
    /// How long the end of a local sender's data is held back.
    pub half_close: Duration,
    /// The most payload one message upwards carries, in bytes: 256 to 32768.
    pub payload_len: usize,
    /// Whether idle sessions are kept from timing out.
    pub keep_alive: bool,
    /// When a connection to the service counts as dead.
    pub liveness: Liveness,
    /// Whether sessions wait for the first connection to be started.
    pub is_lazy: bool,
    /// Whether what is lost is replaced.
    pub reconnects: bool,
    /// Account and service.
    pub service: ServiceSettings,
    /// Who is told that every forward works.
    pub readiness: Readiness,
    /// What to run once every forward works.
    pub command: Option<Command>,
    /// What the user should know before it starts, one line each.
    pub warnings: Vec<String>,
}

/// One forward and the session that is to serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardSettings {
    /// The forward as typed.
    pub spec: Forward,
    /// The Session Manager document.
    pub document: String,
    /// The document's parameters, each a list.
    pub parameters: BTreeMap<String, Vec<String>>,
}

/// Who serves the sessions.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Account and service.
    pub aws: AwsArgs,
    /// The embedded lab to use instead of AWS.
    #[cfg(feature = "lab")]
    pub lab: Option<EmbeddedLabArgs>,
}

impl From<AwsArgs> for aws::Options {
    fn from(args: AwsArgs) -> Self {
        Self {
            profile: args.profile,
            region: args.region,
            endpoint_url: args.endpoint_url,
            endpoints: args.network.endpoints,
            proxy: args.network.proxy,
            ca_bundle: args.network.ca_bundle,
            credentials: None,
        }
    }
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub program: OsString,
    pub arguments: Vec<OsString>,
}

impl Settings {
    /// Checks `args` and opens the descriptor of `--ready-fd`.
    ///
    /// Call it before anything else opens files: a descriptor that was not handed down must not seem open.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] when the arguments contradict each other.
    pub fn new(args: ForwardArgs) -> Result<Self, Failure> {
        let session = args.session;
        let forwards = serve(args.forwards, session.document, session.parameters)?;
        let mut command = args.command.into_iter();
        Ok(Self {
            target: args.selection.target(&args.target)?,
            warnings: forwards.iter().filter_map(warning).collect(),
            forwards,
            reason: session.start.reason,
            half_close: Duration::from_secs(session.half_close.into()),
            payload_len: session.start.payload_size.into(),
            keep_alive: args.connection.keep_alive,
            liveness: liveness(args.connection)?,
            is_lazy: args.lazy,
            reconnects: !args.no_reconnect,
            service: ServiceSettings {
                aws: args.aws,
                #[cfg(feature = "lab")]
                lab: args.lab.lab.then_some(args.lab),
            },
            readiness: Readiness::open(args.ready_fd)?,
            command: command.next().map(|program| Command {
                program,
                arguments: command.collect(),
            }),
        })
    }
}

/// Finds the document for each forward.
fn serve(
    forwards: Vec<Forward>,
    document: Option<String>,
    parameters: Vec<(String, String)>,
) -> Result<Vec<ForwardSettings>, Failure> {
    refuse_conflicts(&forwards)?;
    match document {
        Some(document) => Ok(vec![custom(document, parameters, forwards)?]),
        None => Ok(forwards.into_iter().map(standard).collect()),
    }
}

fn liveness(args: ConnectionArgs) -> Result<Liveness, Failure> {
    if args.dead_after <= args.ping_interval {
        let message = format!(
            "--dead-after {} leaves no time for an answer to the ping of --ping-interval {}",
            args.dead_after, args.ping_interval
        );
        return Err(Failure::new(Exit::Usage, message)
            .with_hint("let --dead-after be longer, best more than twice --ping-interval"));
    }
    Ok(Liveness {
        ping_interval: Duration::from_secs(args.ping_interval.into()),
        dead_after: Duration::from_secs(args.dead_after.into()),
    })
}

fn refuse_conflicts(forwards: &[Forward]) -> Result<(), Failure> {
    for (index, second) in forwards.iter().enumerate() {
        let first = forwards[..index]
            .iter()
            .find(|first| first.local.conflicts_with(&second.local));
        if let Some(first) = first {
            let message = format!("{first} and {second} listen on the same local address");
            return Err(Failure::new(Exit::Usage, message).with_hint(
                "give one of them another local port, as in 80:9091, or 0 for any free one",
            ));
        }
    }
    Ok(())
}

/// A forward served by the document AWS has for it.
fn standard(spec: Forward) -> ForwardSettings {
    let host = spec.host.as_ref().filter(|host| !host.is_loopback());
    let host = host.map(|host| host.to_parameter());
    ForwardSettings {
        document: spec.document().to_owned(),
        parameters: parameters(&spec, host),
        spec,
    }
}

/// The one forward of a custom document, whose parameters `typed` overrides.
fn custom(
    document: String,
    typed: Vec<(String, String)>,
    forwards: Vec<Forward>,
) -> Result<ForwardSettings, Failure> {
    let [spec] = <[Forward; 1]>::try_from(forwards).map_err(|forwards| {
        let message = format!(
            "--document serves one FORWARD, and {} are given",
            forwards.len()
        );
        Failure::new(Exit::Usage, message).with_hint("run ssmfwd once for each forward")
    })?;
    // The document may mean anything by its host, so a loopback one is passed on too.
    let host = spec.host.as_ref().map(|host| host.to_parameter());
    let mut parameters = parameters(&spec, host);
    override_parameters(&mut parameters, typed);
    Ok(ForwardSettings {
        spec,
        document,
        parameters,
    })
}

/// Has the parameters the user typed replace those there are. A name with an empty value has none.
pub fn override_parameters(
    parameters: &mut BTreeMap<String, Vec<String>>,
    typed: Vec<(String, String)>,
) {
    for (key, _) in &typed {
        parameters.remove(key);
    }
    for (key, value) in typed {
        if !value.is_empty() {
            parameters.entry(key).or_default().push(value);
        }
    }
}

fn parameters(spec: &Forward, host: Option<String>) -> BTreeMap<String, Vec<String>> {
    // For the record only: the agent does not use it. "0" is the document's own default.
    let local_port = spec.local.port().unwrap_or(0);
    let ports = [
        ("portNumber", spec.remote_port.to_string()),
        ("localPortNumber", local_port.to_string()),
    ];
    let host = host.map(|host| ("host", host));
    let pairs = ports.into_iter().chain(host);
    pairs
        .map(|(key, value)| (key.to_owned(), vec![value]))
        .collect()
}

fn warning(forward: &ForwardSettings) -> Option<String> {
    match &forward.spec.local {
        Local::Tcp(address) if forward.spec.local.is_exposed() => Some(format!(
            "{address} is not a loopback address: whoever can reach it can use {}",
            forward.spec
        )),
        Local::Loopback(_) | Local::Tcp(_) | Local::Unix(_) => None,
    }
}
