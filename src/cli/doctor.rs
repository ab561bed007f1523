//! What is examined.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

#[cfg(feature = "lab")]
use super::EmbeddedLabArgs;
use super::{AwsArgs, OutputArgs, SelectionArgs, parse_parameter, text};
use crate::completion;
use crate::spec::Forward;

/// The arguments of `ssmfwd doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[arg(help = text::TARGET, long_help = text::TARGET_LONG, add = completion::targets(), value_parser = NonEmptyStringValueParser::new())]
    pub target: Option<String>,

    #[arg(value_name = "FORWARD", help = text::FORWARD, long_help = text::FORWARD_LONG)]
    pub forwards: Vec<Forward>,

    /// Start a session for each FORWARD, and connect to its remote port.
    ///
    /// Nothing is sent there. Without this option, nothing is started and nothing changes.
    #[arg(long, requires = "forwards", help_heading = "Session options")]
    pub connect: bool,

    /// A Session Manager document of your own, for exactly one FORWARD.
    #[arg(long, value_name = "NAME", requires = "forwards", help_heading = "Session options", value_parser = NonEmptyStringValueParser::new())]
    pub document: Option<String>,

    /// A parameter for the document; may be repeated.
    #[arg(long = "parameter", value_name = "KEY=VALUE", requires = "document", help_heading = "Session options", value_parser = parse_parameter)]
    pub parameters: Vec<(String, String)>,

    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub aws: AwsArgs,
    #[command(flatten)]
    pub output: OutputArgs,

    #[cfg(feature = "lab")]
    #[command(flatten)]
    pub lab: EmbeddedLabArgs,
}
