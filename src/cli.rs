//! The command line. The doc comments here are the help, the man pages and the completions.

use std::ffi::OsString;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;
use url::Url;

use crate::completion;
use crate::failure::{Exit, Failure};
use crate::local::half_close::DEFAULT_HOLD;
use crate::net::liveness::Liveness;
use crate::spec::Forward;

pub use console::{ConsoleArgs, ExecArgs, ShellArgs};
pub use doctor::DoctorArgs;
#[cfg(feature = "lab")]
pub use lab::{AgentArgs, EmbeddedLabArgs, LabArgs};

pub use network::NetworkArgs;
pub use ssh::{KeyArgs, ProxyArgs, SshConfigArgs};
pub use target::{ConfigArgs, SelectionArgs, TargetsArgs};

mod console;
mod doctor;
#[cfg(feature = "lab")]
mod lab;
mod network;
mod order;
mod ssh;
mod target;
mod text;
mod tips;

/// Make remote ports local, through AWS Session Manager.
///
/// A native Session Manager client: no AWS CLI, no plugin, no bastion, and no inbound port on the target. Each FORWARD
/// is a port of TARGET, or of a host that TARGET can reach, and the local address it is to appear at.
///
/// Options may stand in front of a SUBCOMMAND or behind it.
#[derive(Debug, Parser)]
#[command(
    name = "ssmfwd",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    subcommand_value_name = "SUBCOMMAND",
    subcommand_help_heading = "Subcommands",
    after_help = text::EXAMPLES,
    after_long_help = text::EXAMPLES_AND_EXIT_CODES,
)]
pub struct Cli {
    #[command(flatten)]
    forward: Option<ForwardArgs>,
    #[command(subcommand)]
    subcommand: Option<Job>,
}

impl Cli {
    /// Parses a command line, whose first word is the program's name. Options may stand before a subcommand or behind it.
    ///
    /// # Errors
    ///
    /// What is wrong with it and what was probably meant, or the help or version that it asks for.
    pub fn from_arguments(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let arguments = order::subcommand_first(arguments.into_iter().collect());
        Self::try_parse_from(&arguments).map_err(|error| tips::add(error, &arguments))
    }

    /// What is to be done: the subcommand, or the main job.
    pub fn into_job(self) -> Result<Job, Failure> {
        match (self.subcommand, self.forward) {
            (Some(job), _) => Ok(job),
            (None, Some(args)) => Ok(Job::Forward(Box::new(args))),
            (None, None) => Err(Failure::new(Exit::Usage, "no target is given")
                .with_hint("ssmfwd --help shows how a command line looks")),
        }
    }
}

/// What the command line asks for.
#[derive(Debug, Subcommand)]
pub enum Job {
    /// The main job, which has no name on the command line.
    #[command(skip)]
    Forward(Box<ForwardArgs>),

    /// Open a shell on a target.
    ///
    /// The terminal belongs to the far side until its shell ends. What is typed and pasted arrives byte for byte; a
    /// line that begins with ~ may be an escape: ~. ends the session, ~? lists the others.
    ///
    /// When standard input is not a terminal, it is typed, and its end is typed as Ctrl-D until the shell ends.
    Shell(Box<ShellArgs>),

    /// Run a command on a target, with its output and its exit code.
    ///
    /// The command's standard output and error become those of ssmfwd, byte for byte, and its exit code becomes
    /// ssmfwd's. It has no standard input: that of ssmfwd is not read. The remote side starts the program itself, with
    /// exactly the words given; for pipes and variables there, run a shell: ssmfwd exec i-0abc -- sh -c 'ls | wc -l'
    ///
    /// Ctrl-C is passed on as SIGINT; the second one ends the session.
    Exec(Box<ExecArgs>),

    /// Connect standard input and output to a port of TARGET, as ProxyCommand of ssh.
    ///
    /// Nothing but data is written to standard output. The exit code is 0 when both sides are done, or when whoever uses
    /// this ends it. `ssmfwd ssh-config` makes ssh, scp, sftp and rsync use it.
    Proxy(Box<ProxyArgs>),

    /// Print the stanza with which ssh, scp, sftp and rsync reach managed nodes by their id.
    ///
    /// With it, `ssh i-0123456789abcdef0` goes through Session Manager. --install adds it to ~/.ssh/config. The options
    /// are those the stanza gives to `ssmfwd proxy`.
    SshConfig(Box<SshConfigArgs>),

    /// List the targets there are, or what SELECTOR names.
    ///
    /// CAN tells what the version of a target's agent allows: mux is many connections in one session, hosts is
    /// connections to hosts behind the target. What is listed is what shells complete for some minutes.
    Targets(Box<TargetsArgs>),

    /// Find out why something does not work, from here to the target.
    ///
    /// Write doctor before the TARGET and FORWARD that fail. Each check passes, warns or fails, with what to do about it; what
    /// depends on a check that has failed is skipped. The exit code is that of the first failure. With --json, each check is
    /// an object on a line.
    Doctor(Box<DoctorArgs>),

    /// Run a Session Manager of your own on loopback; no AWS account is needed.
    ///
    /// It serves the Systems Manager API, the message gateway and one agent per TARGET, prints the environment that
    /// points ssmfwd, the AWS CLI or any AWS SDK at them, and runs until it is interrupted.
    #[cfg(feature = "lab")]
    Lab(Box<LabArgs>),

    /// Be the AWS CLI's session-manager-plugin, which a link of that name to ssmfwd is too.
    ///
    /// Takes the plugin's arguments and prints its lines, to the letter. Programs run it; there is little a person could
    /// do with it.
    Plugin {
        /// What the AWS CLI passes: response, region, operation, profile, request and endpoint.
        #[arg(
            value_name = "ARGUMENT",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        arguments: Vec<OsString>,
    },

    /// Print the completion script of a shell.
    ///
    /// For bash: ssmfwd completions bash > ~/.local/share/bash-completion/completions/ssmfwd
    ///
    /// For zsh, with ~/.zfunc in $fpath: ssmfwd completions zsh > ~/.zfunc/_ssmfwd
    ///
    /// For fish: ssmfwd completions fish > ~/.config/fish/completions/ssmfwd.fish
    Completions {
        /// The shell the script is for.
        shell: Shell,
    },

    /// Print a man page.
    ///
    /// To read it: ssmfwd man | man -l -
    Man {
        /// The subcommand whose page to print instead of the main one.
        #[arg(value_name = "SUBCOMMAND")]
        page: Option<Page>,
    },
}

impl Job {
    /// How this job's output is to look. A job without such options prints what it is asked for and nothing else.
    pub fn output(&self) -> OutputArgs {
        match self {
            Self::Forward(args) => args.output,
            Self::Shell(args) => args.console.output.into(),
            Self::Exec(args) => args.console.output.into(),
            Self::Proxy(args) => args.output(),
            Self::Targets(args) => args.output,
            Self::Doctor(args) => args.output,
            #[cfg(feature = "lab")]
            Self::Lab(args) => args.output,
            Self::Plugin { .. }
            | Self::SshConfig(_)
            | Self::Completions { .. }
            | Self::Man { .. } => OutputArgs::default(),
        }
    }
}

/// The subcommands, each of which has a man page of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Page {
    Shell,
    Exec,
    Proxy,
    SshConfig,
    Targets,
    Doctor,
    #[cfg(feature = "lab")]
    Lab,
    Plugin,
    Completions,
    Man,
}

impl Page {
    /// The subcommand's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Exec => "exec",
            Self::Proxy => "proxy",
            Self::SshConfig => "ssh-config",
            Self::Targets => "targets",
            Self::Doctor => "doctor",
            #[cfg(feature = "lab")]
            Self::Lab => "lab",
            Self::Plugin => "plugin",
            Self::Completions => "completions",
            Self::Man => "man",
        }
    }
}

/// The arguments of the main job.
#[derive(Debug, Args)]
// Arguments that come from flattened structs are no members of a group; whether there is a main job, TARGET tells.
#[group(arg = "target")]
pub struct ForwardArgs {
    #[arg(required = true, help = text::TARGET, long_help = text::TARGET_LONG, add = completion::targets(), value_parser = NonEmptyStringValueParser::new())]
    pub target: String,

    // The grammar's brackets would be links in a doc comment.
    #[arg(value_name = "FORWARD", required = true, help = text::FORWARD, long_help = text::FORWARD_LONG)]
    pub forwards: Vec<Forward>,

    /// A command to run once every forward works; its exit code becomes ours.
    ///
    /// It finds the first forward at $SSMFWD_HOST and $SSMFWD_PORT, and forward N, counted from 1, at $SSMFWD_HOST_N
    /// and $SSMFWD_PORT_N. Forwards to Unix sockets have $SSMFWD_SOCKET and $SSMFWD_SOCKET_N instead. The forwards end
    /// when the command does. If they fail before it has ended, it is stopped, and the exit code is that of the failure.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,

    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub session: SessionArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// Start no session before the first connection to its forward.
    ///
    /// Only a name is looked up before, so that one that nothing has ends the program at once; whether the target can
    /// be reached is not checked, and the first connection waits for a second or two.
    #[arg(long, help_heading = "Connection options")]
    pub lazy: bool,

    /// End, with exit code 6, when a session or its connection is lost.
    ///
    /// Without this option, a lost connection is replaced while local connections wait, and a session that is gone is
    /// followed by another one.
    #[arg(long, help_heading = "Connection options")]
    pub no_reconnect: bool,

    #[command(flatten)]
    pub aws: AwsArgs,
    #[command(flatten)]
    pub output: OutputArgs,

    /// Write READY and a newline to this inherited file descriptor once every forward works.
    #[arg(long, value_name = "N", help_heading = "Output options", value_parser = value_parser!(u32).range(3..=65_535))]
    pub ready_fd: Option<u32>,

    #[cfg(feature = "lab")]
    #[command(flatten)]
    pub lab: EmbeddedLabArgs,
}

/// How sessions are started and how their streams behave.
#[derive(Debug, Args)]
#[command(next_help_heading = "Session options")]
pub struct SessionArgs {
    /// A Session Manager document of your own, for exactly one FORWARD.
    ///
    /// It is given the parameters portNumber, localPortNumber and, if the FORWARD names one, host.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub document: Option<String>,

    /// A parameter for the document; may be repeated.
    ///
    /// The same KEY again adds a value to its list; commas mean nothing. A KEY given here replaces the value that
    /// follows from the FORWARD, and an empty VALUE leaves the parameter out.
    #[arg(long = "parameter", value_name = "KEY=VALUE", requires = "document", value_parser = parse_parameter)]
    pub parameters: Vec<(String, String)>,

    #[command(flatten)]
    pub start: StartArgs,

    /// How long the end of a local sender's data is held back, in seconds.
    ///
    /// An agent that is told of it closes its connection in both directions and so cuts off the reply. It is therefore
    /// told when the reply is complete, or after this time. Raise it for replies that take longer to begin; with 0,
    /// the remote side learns of the end at once.
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_HOLD, value_parser = value_parser!(u32).range(..=86_400))]
    pub half_close: u32,
}

/// How every session is started.
#[derive(Debug, Args)]
#[command(next_help_heading = "Session options")]
pub struct StartArgs {
    /// Why the session is started, for the account's audit log; 1 to 256 characters.
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    pub reason: Option<String>,

    /// The most payload one message upwards carries, in bytes: 256 to 32768.
    ///
    /// Larger messages are faster. 1024 is what every client sends; the service's own limit is not documented.
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = value_parser!(u16).range(256..=32_768))]
    pub payload_size: u16,
}

/// How the connection to the service is kept.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Connection options")]
pub struct ConnectionArgs {
    /// Keep sessions that are not used from ending with the account's idle timeout.
    ///
    /// Without this option, a session that has timed out is followed by another one with the next connection.
    #[arg(long)]
    pub keep_alive: bool,

    /// How long the service may be silent before it is asked for a sign of life, in seconds: 1 to 300.
    #[arg(long, value_name = "SECONDS", default_value_t = Liveness::PING_INTERVAL, value_parser = value_parser!(u16).range(1..=300))]
    pub ping_interval: u16,

    /// How long the service may be silent before its connection counts as lost, in seconds: 2 to 600.
    #[arg(long, value_name = "SECONDS", default_value_t = Liveness::DEAD_AFTER, value_parser = value_parser!(u16).range(2..=600))]
    pub dead_after: u16,
}

/// Which account and service are spoken to; whatever is not given comes from the environment and the shared
/// configuration files, as with every AWS tool.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "AWS options")]
pub struct AwsArgs {
    /// The profile of the shared configuration files.
    #[arg(long, value_name = "NAME", add = completion::profiles())]
    pub profile: Option<String>,

    /// The AWS region.
    #[arg(long)]
    pub region: Option<String>,

    /// The address of the Systems Manager API, such as a VPC endpoint's.
    #[arg(long, value_name = "URL", value_parser = parse_endpoint_url)]
    pub endpoint_url: Option<String>,

    #[command(flatten)]
    pub network: NetworkArgs,
}

/// What is printed, and who is told that the forwards work.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Output options")]
pub struct OutputArgs {
    /// Print events as JSON on standard output, one object per line.
    ///
    /// The output of -- COMMAND goes there too.
    #[arg(long)]
    pub json: bool,

    /// Print more: -v every connection, -vv also debug logs, -vvv every message.
    #[arg(long, short, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,

    /// Print errors only.
    #[arg(long, short)]
    pub quiet: bool,

    /// Whether every message is one line that names this program. No option: the job decides.
    #[arg(skip)]
    pub is_brief: bool,
}

/// What is printed beside the data of standard output, on standard error.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output options")]
pub struct DiagnosticArgs {
    /// Print more: -v how the session ends, -vv also debug logs, -vvv every message.
    #[arg(long, short, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,

    /// Print errors only.
    #[arg(long, short)]
    pub quiet: bool,
}

impl From<DiagnosticArgs> for OutputArgs {
    fn from(args: DiagnosticArgs) -> Self {
        Self {
            json: false,
            verbose: args.verbose,
            quiet: args.quiet,
            is_brief: false,
        }
    }
}

fn parse_parameter(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a parameter is a name, `=` and a value; write `portNumber=5432`"),
    }
}

fn parse_reason(text: &str) -> Result<String, &'static str> {
    match text.chars().count() {
        1..=256 => Ok(text.to_owned()),
        _ => Err("a reason has 1 to 256 characters"),
    }
}

fn parse_endpoint_url(text: &str) -> Result<String, &'static str> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            Ok(text.to_owned())
        }
        _ => {
            Err("an endpoint is an http or https URL; write `https://ssm.eu-west-1.amazonaws.com`")
        }
    }
}
