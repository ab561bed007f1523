//! The arguments of `ssmfwd shell` and `ssmfwd exec`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

#[cfg(feature = "lab")]
use super::EmbeddedLabArgs;
use super::{AwsArgs, DiagnosticArgs, SelectionArgs, StartArgs, parse_parameter, text};
use crate::completion;
use crate::terminal::escape::EscapeChar;

/// The arguments of `ssmfwd shell`.
#[derive(Debug, Args)]
pub struct ShellArgs {
    #[arg(help = text::TARGET, long_help = text::TARGET_LONG, add = completion::targets(), value_parser = NonEmptyStringValueParser::new())]
    pub target: String,

    /// The character that begins an escape at the start of a line, or none.
    ///
    /// With ~, what is typed as ~. ends the session, ~^Z stops ssmfwd as Ctrl-Z stops other programs, ~? lists the
    /// escapes, ~- ends them, and ~~ sends one ~. Only a terminal has escapes.
    #[arg(long, value_name = "CHAR", default_value = "~")]
    pub escape_char: EscapeChar,

    #[command(flatten)]
    pub console: ConsoleArgs,
}

/// The arguments of `ssmfwd exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    #[arg(help = text::TARGET, long_help = text::TARGET_LONG, add = completion::targets(), value_parser = NonEmptyStringValueParser::new())]
    pub target: String,

    /// The program to run and its arguments.
    #[arg(
        last = true,
        value_name = "COMMAND",
        required_unless_present = "document"
    )]
    pub command: Vec<String>,

    /// Give the command a terminal: ours, as in ssmfwd shell.
    ///
    /// Standard output and error are one then, and the agent does not report an exit code: ours is 0 when the command
    /// has ended.
    #[arg(long, short)]
    pub tty: bool,

    /// The character that begins an escape at the start of a line, or none; see ssmfwd shell.
    #[arg(long, value_name = "CHAR", default_value = "~", requires = "tty")]
    pub escape_char: EscapeChar,

    #[command(flatten)]
    pub console: ConsoleArgs,
}

/// What shells and commands have in common.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub document: DocumentArgs,
    #[command(flatten)]
    pub start: StartArgs,

    /// End, with exit code 6, when the connection is lost.
    ///
    /// Without this option, it is replaced, for as long as the service keeps the session.
    #[arg(long, help_heading = "Connection options")]
    pub no_reconnect: bool,

    #[command(flatten)]
    pub aws: AwsArgs,
    #[command(flatten)]
    pub output: DiagnosticArgs,

    #[cfg(feature = "lab")]
    #[command(flatten)]
    pub lab: EmbeddedLabArgs,
}

/// The document that starts the session instead of the usual one.
#[derive(Debug, Args)]
#[command(next_help_heading = "Session options")]
pub struct DocumentArgs {
    /// A Session Manager document of your own.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub document: Option<String>,

    /// A parameter for the document; may be repeated.
    ///
    /// The same KEY again adds a value to its list; commas mean nothing. A KEY given here replaces the value it would
    /// have otherwise, and an empty VALUE leaves the parameter out.
    #[arg(long = "parameter", value_name = "KEY=VALUE", requires = "document", value_parser = parse_parameter)]
    pub parameters: Vec<(String, String)>,
}
