//! How a target is chosen.

use std::path::PathBuf;

use clap::{Args, ValueHint};

#[cfg(feature = "lab")]
use super::EmbeddedLabArgs;
use super::{AwsArgs, OutputArgs};
use crate::aws::{Selector, Target};
use crate::completion;
use crate::config_file::ConfigFile;
use crate::failure::Failure;

/// What TARGET means.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Target options")]
pub struct SelectionArgs {
    /// If several targets have this name, take one that is online.
    #[arg(long)]
    pub any: bool,

    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Where aliases are.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Target options")]
pub struct ConfigArgs {
    /// The configuration file, instead of $SSMFWD_CONFIG or ~/.config/ssmfwd/config.toml.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

/// The arguments of `ssmfwd targets`.
#[derive(Debug, Args)]
#[command(mut_arg("json", |arg| arg.help(JSON).long_help(JSON_LONG)))]
#[command(mut_arg("verbose", |arg| arg.help("Print more: -vv debug logs, -vvv every message")))]
pub struct TargetsArgs {
    /// Only what this names, written as TARGET is elsewhere, such as a Name tag, tag:Key=Value or ecs:CLUSTER/SERVICE.
    #[arg(add = completion::targets())]
    pub selector: Option<String>,

    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub aws: AwsArgs,
    #[command(flatten)]
    pub output: OutputArgs,

    #[cfg(feature = "lab")]
    #[command(flatten)]
    pub lab: EmbeddedLabArgs,
}

impl SelectionArgs {
    /// What `name` means, which may be an alias.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`](crate::failure::Exit::Usage) if it means nothing, or the configuration file is wrong.
    pub fn target(&self, name: &str) -> Result<Target, Failure> {
        self.config.target(name, self.any)
    }
}

impl ConfigArgs {
    /// What `name` means, which may be an alias; with `takes_any`, one of several nodes is as good as another.
    ///
    /// A configuration file that was not given here may be wrong as long as nobody uses an alias.
    ///
    /// # Errors
    ///
    /// As [`SelectionArgs::target`].
    pub fn target(&self, name: &str, takes_any: bool) -> Result<Target, Failure> {
        let file = || ConfigFile::load(self.config.as_deref());
        if let Some(alias) = name.strip_prefix('@') {
            return Ok(Target::new(name, file()?.alias(alias)?, takes_any));
        }
        let selector = name.parse()?;
        let is_alias = match (&selector, &self.config) {
            (_, Some(_)) => file()?.has(name),
            (Selector::Name(_), None) => file().is_ok_and(|file| file.has(name)),
            _ => false,
        };
        let suggestion = is_alias.then(|| format!("@{name}"));
        Ok(Target::suggesting(name, selector, takes_any, suggestion))
    }
}

const JSON: &str = "Print the list as JSON, one object per line";

const JSON_LONG: &str = "\
Print the list as JSON, one object per line

What is not known of a target is left out. An error is an object whose event is error.";
