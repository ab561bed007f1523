//! Parses the command line, runs what it asks for, and maps the outcome to an exit code.

use std::process::ExitCode;

use ssmfwd::cli::{Cli, Job};
use ssmfwd::command;
use ssmfwd::completion;
use ssmfwd::failure::{Exit, Failure};
use ssmfwd::open_files;
use ssmfwd::output::{self, Printer};
use ssmfwd::settings::{ConsoleSettings, ExecSettings, Settings};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    completion::answer();
    let job = match plugin_job() {
        Some(job) => Ok(job),
        None => match Cli::from_arguments(std::env::args_os()) {
            Ok(cli) => cli.into_job(),
            Err(error) => return output::command_line(&error, wants_json()),
        },
    };
    let (printer, outcome) = match job {
        Ok(job) => {
            let printer = Printer::from(job.output());
            output::log::start(printer.verbosity());
            (printer, run(job, &printer))
        }
        Err(failure) => (Printer::default(), Err(failure)),
    };
    let exit = outcome.unwrap_or_else(|failure| {
        printer.failure(&failure);
        failure.exit.into()
    });
    output::flush();
    exit
}

/// The job of a program that is named as the AWS CLI's plugin: all of its arguments are the plugin's.
fn plugin_job() -> Option<Job> {
    let mut arguments = std::env::args_os();
    let is_plugin = arguments
        .next()
        .is_some_and(|name| command::plugin::is_named(&name));
    is_plugin.then(|| Job::Plugin {
        arguments: arguments.collect(),
    })
}

/// Whether the command line, which cannot be parsed, asks for JSON.
fn wants_json() -> bool {
    let own = std::env::args_os().take_while(|word| word != "--");
    own.into_iter().any(|word| word == "--json")
}

fn run(job: Job, printer: &Printer) -> Result<ExitCode, Failure> {
    match job {
        Job::Forward(args) => {
            let settings = Settings::new(*args)?;
            return block_on(command::forward::run(settings, *printer));
        }
        Job::Shell(args) => {
            let settings = ConsoleSettings::try_from(*args)?;
            return block_on(command::shell::run(settings, *printer));
        }
        Job::Exec(args) => {
            let settings = ExecSettings::new(*args)?;
            return block_on(command::exec::run(settings, *printer));
        }
        Job::Proxy(args) => return block_on(command::proxy::run(*args, *printer)),
        Job::Targets(args) => return block_on(command::targets::run(*args, *printer)),
        Job::Doctor(args) => return block_on(command::doctor::run(*args, *printer)),
        Job::SshConfig(args) => command::ssh_config::run(*args, printer)?,
        #[cfg(feature = "lab")]
        Job::Lab(args) => return block_on(command::lab::run(*args, *printer)),
        Job::Plugin { arguments } => return block_on(command::plugin::run(arguments, *printer)),
        Job::Completions { shell } => command::completions::run(shell, printer)?,
        Job::Man { page } => command::man::run(page, printer)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command on one thread: what the program does is wait, and a second one would only cost memory.
fn block_on(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    open_files::raise_limit();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(Exit::Failure, format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(command);
    // A name that is still being looked up must not hold the end up.
    runtime.shutdown_background();
    outcome
}
