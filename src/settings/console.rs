//! What shells and commands need.

use std::collections::BTreeMap;

use super::ServiceSettings;
use crate::aws::StartSession;
use crate::cli::{ConsoleArgs, ExecArgs, ShellArgs};
use crate::failure::{Exit, Failure};
use crate::terminal::escape::EscapeChar;

/// A shell or a command, ready to be run.
#[derive(Debug)]
pub struct ConsoleSettings {
    /// The session.
    pub request: StartSession,
    /// The character that begins an escape.
    pub escape_char: EscapeChar,
    /// Whether a lost connection is replaced.
    pub reconnects: bool,
    /// The most payload one message upwards carries, in bytes: 256 to 32768.
    pub payload_len: usize,
    /// Account and service.
    pub service: ServiceSettings,
}

/// What `ssmfwd exec` is to do.
#[derive(Debug)]
pub enum ExecSettings {
    /// Run the command without a terminal.
    Plain(ConsoleSettings),
    /// Run the command on a terminal, as a shell is.
    Terminal(ConsoleSettings),
}

impl ConsoleSettings {
    /// Those of a session whose `parameters` the user's own override.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] if the target is none.
    fn new(
        target: &str,
        escape_char: EscapeChar,
        mut parameters: BTreeMap<String, Vec<String>>,
        args: ConsoleArgs,
    ) -> Result<Self, Failure> {
        super::override_parameters(&mut parameters, args.document.parameters);
        Ok(Self {
            request: StartSession {
                target: args.selection.target(target)?,
                document: args.document.document,
                parameters,
                reason: args.start.reason,
            },
            escape_char,
            reconnects: !args.no_reconnect,
            payload_len: args.start.payload_size.into(),
            service: ServiceSettings {
                aws: args.aws,
                #[cfg(feature = "lab")]
                lab: args.lab.lab.then_some(args.lab),
            },
        })
    }
}

impl TryFrom<ShellArgs> for ConsoleSettings {
    type Error = Failure;

    /// # Errors
    ///
    /// [`Exit::Usage`] if the target is none.
    fn try_from(args: ShellArgs) -> Result<Self, Failure> {
        Self::new(
            &args.target,
            args.escape_char,
            BTreeMap::new(),
            args.console,
        )
    }
}

impl ExecSettings {
    /// Makes one line of the command, with the document that runs it.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] if it does not fit, or the target is none.
    pub fn new(mut args: ExecArgs) -> Result<Self, Failure> {
        let mut parameters = BTreeMap::new();
        if !args.command.is_empty() {
            parameters.insert("command".to_owned(), vec![command_line(&args.command)?]);
        }
        let document = &mut args.console.document.document;
        if document.is_none() {
            let name = match args.tty {
                true => "AWS-StartInteractiveCommand",
                false => {
                    let separate = ("separateOutputStream".to_owned(), vec!["true".to_owned()]);
                    parameters.extend([separate]);
                    "AWS-StartNonInteractiveCommand"
                }
            };
            *document = Some(name.to_owned());
        }
        let settings =
            ConsoleSettings::new(&args.target, args.escape_char, parameters, args.console)?;
        Ok(match args.tty {
            true => Self::Terminal(settings),
            false => Self::Plain(settings),
        })
    }
}

/// Quotes the words so that the agent finds the same ones.
///
/// Without a terminal it splits the line by the rules of shells and starts the program itself (google/shlex); with one
/// it hands the line to `sh -c`. What is quoted means the same to both.
fn command_line(words: &[String]) -> Result<String, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let words = words.iter().map(String::as_str);
    let line = shlex::try_join(words).map_err(|error| usage(format!("COMMAND: {error}")))?;
    match line.chars().count() {
        0..=MAX_PARAMETER_LEN => Ok(line),
        len => Err(usage(format!(
            "COMMAND has {len} characters, and Session Manager takes at most {MAX_PARAMETER_LEN}"
        ))
        .with_hint("copy a script to the target and run that")),
    }
}

/// Longest value of a parameter, in characters. Source: the API's model, `SessionManagerParameterValue`.
const MAX_PARAMETER_LEN: usize = 65_535;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Job};

    fn exec(words: &[&str]) -> Result<ExecSettings, Failure> {
        let words = ["ssmfwd", "exec", "i-0abc"].iter().chain(words);
        let Job::Exec(args) = Cli::try_parse_from(words).unwrap().into_job().unwrap() else {
            panic!("this is not exec");
        };
        ExecSettings::new(*args)
    }

    fn request_of(words: &[&str]) -> StartSession {
        match exec(words).unwrap() {
            ExecSettings::Plain(settings) | ExecSettings::Terminal(settings) => settings.request,
        }
    }

    #[test]
    fn a_command_has_the_document_that_suits_it() {
        let plain = request_of(&["--", "ls", "-l"]);
        assert_eq!(
            plain.document.as_deref(),
            Some("AWS-StartNonInteractiveCommand")
        );
        assert_eq!(plain.parameters["command"], ["ls -l"]);
        assert_eq!(plain.parameters["separateOutputStream"], ["true"]);
        let terminal = request_of(&["--tty", "--", "top"]);
        assert_eq!(
            terminal.document.as_deref(),
            Some("AWS-StartInteractiveCommand")
        );
        assert_eq!(terminal.parameters.len(), 1);
    }

    #[test]
    fn a_document_of_ones_own_has_the_parameters_it_is_given() {
        let own = request_of(&["--document", "Mine", "--parameter", "a=b"]);
        assert_eq!(own.document.as_deref(), Some("Mine"));
        assert_eq!(
            own.parameters,
            BTreeMap::from([("a".into(), vec!["b".into()])])
        );
        let own = request_of(&["--document", "Mine", "--", "x y"]);
        assert_eq!(own.parameters["command"], ["'x y'"]);
    }

    #[cfg(unix)]
    #[test]
    fn the_remote_side_finds_the_same_words() {
        let words = [
            "printf",
            "%s|",
            "",
            " ",
            "a b",
            "it's",
            "\"",
            "$HOME",
            "`x`",
            "\\",
            "\\n",
            "!",
            "^a",
            "*",
            "~",
            "#no",
            "a#b",
            ";",
            "&&",
            "ä\u{1F600}",
            "line\nbreak",
            "\t",
            "{a,b}",
            "-n",
            "=",
            "'\"'",
        ]
        .map(str::to_owned);
        let expected = words[2..].join("|") + "|";
        let line = command_line(&words).unwrap();
        let shell = Command::new("sh").arg("-c").arg(&line).output().unwrap();
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), expected, "{line}");
        assert_eq!(shlex::split(&line).unwrap(), words);
    }

    #[test]
    fn a_command_that_does_not_fit_is_refused() {
        let long = "x".repeat(70_000);
        let failure = exec(&["--", &long]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("70000 characters"), "{failure}");
    }
}
