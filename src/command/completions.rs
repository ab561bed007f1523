//! `ssmfwd completions`: the completion script of a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::Printer;

/// Prints the script for `shell`.
pub fn run(shell: Shell, printer: &Printer) -> Result<(), Failure> {
    printer.product(&script(shell))
}

/// The script for `shell`.
pub fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ssmfwd", &mut script);
    script
}
