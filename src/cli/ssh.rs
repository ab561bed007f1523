//! The commands for `ssh`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args, value_parser};

#[cfg(feature = "lab")]
use super::EmbeddedLabArgs;
use super::{AwsArgs, OutputArgs, SelectionArgs, parse_parameter, parse_reason};
use crate::completion;
use crate::local::half_close::DEFAULT_HOLD;

/// The arguments of `ssmfwd proxy`.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// The target to connect to: an id such as i-0123456789abcdef0, or another name as in ssmfwd --help.
    ///
    /// Behind an id, a dot and what follows are ignored: in i-0abc.prod, it is the stanza of the ssh configuration that
    /// knows what prod means.
    #[arg(add = completion::targets(), value_parser = NonEmptyStringValueParser::new())]
    pub target: String,

    /// The port on TARGET.
    #[arg(default_value_t = 22, value_parser = value_parser!(u16).range(1..))]
    pub port: u16,

    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub key: KeyArgs,

    /// The user who can log in with the pushed key.
    ///
    /// Without it, that is the user that images of the target's platform come with, such as ec2-user.
    #[arg(long, value_name = "NAME", requires = "push_key", help_heading = "Key options", value_parser = parse_user)]
    pub user: Option<String>,

    /// The Session Manager document.
    ///
    /// It is given the parameter portNumber. With AWS-StartPortForwardingSession the bytes go through a multiplexer that
    /// a single connection does not need.
    #[arg(long, value_name = "NAME", default_value = "AWS-StartSSHSession", help_heading = "Session options", value_parser = NonEmptyStringValueParser::new())]
    pub document: String,

    /// A parameter for the document; may be repeated.
    ///
    /// The same KEY again adds a value to its list; commas mean nothing. An empty VALUE leaves the parameter out.
    #[arg(long = "parameter", value_name = "KEY=VALUE", help_heading = "Session options", value_parser = parse_parameter)]
    pub parameters: Vec<(String, String)>,

    /// Why the session is started, for the account's audit log; 1 to 256 characters.
    #[arg(long, value_name = "TEXT", help_heading = "Session options", value_parser = parse_reason)]
    pub reason: Option<String>,

    /// How long the rest of the answer is waited for once standard input has ended, in seconds of silence.
    ///
    /// The remote side is not told of the end: the agent would close its connection in both directions.
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_HOLD, help_heading = "Session options", value_parser = value_parser!(u32).range(1..=86_400))]
    pub half_close: u32,

    /// The most payload one message upwards carries, in bytes: 256 to 32768.
    ///
    /// Larger messages are faster. 1024 is what every client sends; the service's own limit is not documented.
    #[arg(long, value_name = "BYTES", default_value_t = 1024, help_heading = "Session options", value_parser = value_parser!(u16).range(256..=32_768))]
    pub payload_size: u16,

    /// End, with exit code 6, when the connection is lost.
    ///
    /// Without this option, it is replaced, for as long as the service keeps the session.
    #[arg(long, help_heading = "Connection options")]
    pub no_reconnect: bool,

    #[command(flatten)]
    pub aws: AwsArgs,

    /// Print more to standard error: -v how the session ended, -vv also debug logs, -vvv every message.
    #[arg(long, short, action = ArgAction::Count, help_heading = "Output options")]
    pub verbose: u8,

    #[cfg(feature = "lab")]
    #[command(flatten)]
    pub lab: EmbeddedLabArgs,
}

impl ProxyArgs {
    /// How messages are to look: one line each, among those of whoever started the proxy.
    pub(super) fn output(&self) -> OutputArgs {
        OutputArgs {
            verbose: self.verbose,
            is_brief: true,
            ..OutputArgs::default()
        }
    }
}

/// The arguments of `ssmfwd ssh-config`.
#[derive(Debug, Args)]
pub struct SshConfigArgs {
    /// Make the hosts i-ID.LABEL and mi-ID.LABEL instead of i-ID and mi-ID.
    ///
    /// One stanza for each account or region, with its --profile and --region, can then stand beside others.
    #[arg(long, value_parser = parse_label)]
    pub label: Option<String>,

    /// The user to log in as, unless ssh is told another; without it, ssh takes the local user's name.
    #[arg(long, value_name = "NAME", value_parser = parse_user)]
    pub user: Option<String>,

    #[command(flatten)]
    pub key: KeyArgs,

    #[command(flatten)]
    pub aws: AwsArgs,

    /// Put the stanza into the configuration file instead of printing it.
    ///
    /// It is added at the end, between two marks, or replaced if it is there. The file as it was before is kept as
    /// FILE.before-ssmfwd.
    #[arg(long, help_heading = "Output options")]
    pub install: bool,

    /// The configuration file to use instead of ~/.ssh/config.
    #[arg(
        long,
        value_name = "PATH",
        requires = "install",
        help_heading = "Output options"
    )]
    pub file: Option<PathBuf>,
}

/// Which key opens the target.
#[derive(Debug, Args)]
#[command(next_help_heading = "Key options")]
pub struct KeyArgs {
    /// Push a public key with EC2 Instance Connect before connecting; one can log in with it for a minute.
    ///
    /// Without FILE, a key is made in ~/.ssh/ssmfwd and replaced after a day. FILE is a public key, or a private one with
    /// its public key beside it.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub push_key: Option<Option<PathBuf>>,
}

fn parse_label(text: &str) -> Result<String, &'static str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !text.is_empty() && text.chars().all(is_allowed) {
        true => Ok(text.to_owned()),
        false => Err("a label is made of letters, digits, `-`, `_` and `.`"),
    }
}

/// Accepts what is a user's name on some system, and nothing a shell or ssh would interpret.
fn parse_user(text: &str) -> Result<String, &'static str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '_' | '-');
    let is_name = text.chars().all(is_allowed) && !text.starts_with('-');
    match !text.is_empty() && is_name {
        true => Ok(text.to_owned()),
        false => Err("a user's name is made of letters, digits, `@`, `.`, `_` and `-`"),
    }
}
