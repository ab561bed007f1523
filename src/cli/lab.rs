//! The options of the embedded Session Manager.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args};
use url::Url;

use super::{OutputArgs, parse_endpoint_url};

/// `--lab`, and the options that shape it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Lab options", group = agent_options_need_the_lab())]
pub struct EmbeddedLabArgs {
    /// Use an embedded Session Manager in which TARGET exists, instead of AWS.
    ///
    /// Its agent serves a small web page on port 80. Nothing leaves this machine.
    #[arg(long, conflicts_with_all = ["profile", "region", "endpoint_url", "endpoints", "proxy", "ca_bundle"])]
    pub lab: bool,

    /// A node that exists in the lab, described as for ssmfwd lab; may be repeated.
    ///
    /// Without this option, there is one, which TARGET names.
    #[arg(long = "node", value_name = "NODE", requires = "lab")]
    pub nodes: Vec<String>,

    #[command(flatten)]
    pub agent: AgentArgs,
}

/// The arguments of `ssmfwd lab`.
#[derive(Debug, Args)]
#[command(mut_arg("json", |arg| arg.help(JSON).long_help(JSON_LONG)))]
#[command(mut_arg("verbose", |arg| arg.help("Print more: -vv debug logs, -vvv every message")))]
pub struct LabArgs {
    /// The targets that exist: i-…, mi-…, or ecs:CLUSTER_TASKID_RUNTIMEID for a container of ECS, and what is told of each.
    ///
    /// As in i-0abc,Name=web,ip=10.0.1.24,asg=blue: behind the id and commas, KEY=VALUE is a tag, but for some keys: ip,
    /// computer (the host name), platform (the name of the operating system), agent (its version), zone, asg (the Auto
    /// Scaling group); for a container service and container, their names. tag:KEY=VALUE is always a tag. offline is a
    /// target whose agent is not connected.
    #[arg(value_name = "TARGET", default_value = "i-0abc", value_parser = NonEmptyStringValueParser::new())]
    pub targets: Vec<String>,

    /// The loopback address and port to serve on; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = parse_loopback)]
    pub listen: SocketAddr,

    /// Where clients find the lab, if something in between leads them here, such as a reverse proxy with TLS.
    ///
    /// The URLs that the lab gives out begin with it. Whoever reaches it can run commands on this machine.
    #[arg(long, value_name = "URL", help_heading = "Lab options", value_parser = parse_public_url)]
    pub public_url: Option<Url>,

    /// Where keys pushed with EC2 Instance Connect go, as files named TARGET/USER.
    ///
    /// An SSH server sees them with `AuthorizedKeysFile DIR/TARGET/%u` in its configuration. Each key is there for a
    /// minute.
    #[arg(long, value_name = "DIR", help_heading = "Lab options", value_hint = clap::ValueHint::DirPath)]
    pub authorized_keys_dir: Option<PathBuf>,

    #[command(flatten)]
    pub agent: AgentArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How the lab's agents and its network behave.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Lab options")]
pub struct AgentArgs {
    /// The version the agents claim and behave as.
    ///
    /// Up to 3.0.196.0 an agent serves one connection at a time per session.
    #[arg(long, value_name = "VERSION", default_value = "3.3.987.0")]
    pub agent_version: String,

    /// Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond.
    #[arg(long)]
    pub pace: bool,

    /// Encrypt shells and commands with this KMS key: an id, an alias or an ARN.
    ///
    /// The key exists in the lab's own KMS.
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub kms_key: Option<String>,

    /// What goes wrong, such as delay=20ms,drop=5%,cut/60s.
    ///
    /// A comma-separated list. Between gateway and agents, in both directions: delay=20ms holds every message back,
    /// jitter=5ms adds up to as much again at random, drop=5%, duplicate=1% and reorder=3% do so to that share of the
    /// messages, alter=1% changes a bit, which only an encrypted session notices, and seed=7 makes the same faults happen
    /// again.
    ///
    /// deny=StartSession refuses an API operation as a missing permission would, forbid=StartSession as an organization
    /// would; missing-document=NAME takes a document away, and clock-ahead=600s has the services' clock wrong. garbage,
    /// silent, mute and refuse-upgrade are gateways that do not do their work.
    ///
    /// What begins at a moment is written NAME@AFTER/EVERY, what holds for a time NAME=FOR@AFTER/EVERY: cut/60s has the
    /// gateway close every connection once a minute, black-hole=30s@10s lets nothing pass for half a minute, ten seconds
    /// from now. Moments: cut, reset, kill-agents, terminate, expire-tokens, expire-cells, replace=i-0abc:i-0def,
    /// host=db:127.0.0.2. Times: black-hole, refuse-connections, refuse-upgrades, fail-upgrades, fail-calls, refuse-tokens,
    /// expire-credentials, swallow-acks, pause, stall, lose-agents, offline. The README says what each does.
    ///
    /// Limits of sessions: idle-timeout=60s, max-duration=3600s.
    #[arg(long, value_name = "SPEC")]
    pub chaos: Option<String>,
}

/// Refuses the agent's options when there is no lab they could shape.
fn agent_options_need_the_lab() -> ArgGroup {
    ArgGroup::new("agent-options")
        .args(["agent_version", "pace", "kms_key", "chaos"])
        .multiple(true)
        .requires("lab")
}

fn parse_public_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(&parse_endpoint_url(text)?).ok();
    let url = url.filter(|url| url.path() == "/" && url.query().is_none());
    url.ok_or("it has no path; write `https://lab.example`")
}

fn parse_loopback(text: &str) -> Result<SocketAddr, &'static str> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(_) => Err("the lab listens on loopback only; write `127.0.0.1:0`"),
        Err(_) => Err("an address is an IP and a port; write `127.0.0.1:0`"),
    }
}

const JSON: &str =
    "Print where the lab is as JSON on standard output, instead of the environment to export";

const JSON_LONG: &str = "\
Print where the lab is as JSON on standard output, instead of the environment to export

One object on one line: event is lab_started, endpoint_url the address of its API, targets what exists in it, and \
environment the variables that make AWS tools use it.";
