//! `ssmfwd man`: the man pages.

use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::{Cli, Page};
use crate::failure::{Exit, Failure};
use crate::output::Printer;

/// Prints a page: a subcommand's, or the main one.
pub fn run(page: Option<Page>, printer: &Printer) -> Result<(), Failure> {
    let failure = |error| Failure::new(Exit::Failure, format!("cannot write the page: {error}"));
    printer.product(&text(page).map_err(failure)?)
}

/// The text of a page, in the language of man.
pub fn text(page: Option<Page>) -> io::Result<Vec<u8>> {
    let mut main = Cli::command().disable_help_subcommand(true);
    main.build();
    let command = match page {
        None => main,
        Some(page) => {
            let found = main.find_subcommand(page.name()).cloned();
            found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, page.name()))?
        }
    };
    render(command)
}

/// Arranges what clap_mangen renders, except for the two sections whose lines must stay as they are.
fn render(mut command: Command) -> io::Result<Vec<u8>> {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").lines().map(str::trim);
    let usage = usage.collect::<Vec<_>>().join("\n");
    let after_help = command.get_after_long_help().map(ToString::to_string);
    let has_subcommands = command.has_subcommands();
    let man = Man::new(command)
        .source(concat!("ssmfwd ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");

    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    render_verbatim("SYNOPSIS", &usage, &mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_subcommands {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(after_help) = after_help {
        render_verbatim("NOTES", &after_help, &mut text)?;
    }
    Ok(text)
}

fn render_verbatim(heading: &str, lines: &str, out: &mut dyn io::Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    roff.control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.to_writer(out)
}
