//! `ssmfwd completions`: the completion script of a shell.

use clap_complete::Shell;

use crate::completion;
use crate::failure::Failure;
use crate::output::Printer;

/// Prints the script for `shell`.
pub fn run(shell: Shell, printer: &Printer) -> Result<(), Failure> {
    printer.product(&completion::script(shell))
}
