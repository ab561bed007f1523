//! Every byte the program writes to standard output and standard error.
//!
//! Standard output carries what a program may read: events with `--json`, completion scripts, man pages. What is said to
//! people goes to standard error.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::error::ContextKind;

use crate::cli::OutputArgs;
use crate::failure::{Exit, Failure};
use crate::standard_streams::StandardSink;

pub use event::{Action, Event};
pub use mapping::Mapping;
pub use surface::{set_full_screen, take_overwritten};
pub use writer::flush;

mod event;
pub mod findings;
pub mod log;
mod mapping;
pub mod nodes;
mod surface;
mod wrap;
mod writer;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Sentences, on standard error.
    Human,
    /// The same, each one line that begins with the program's name: for standard error that other programs write to
    /// as well.
    Brief,
    /// One JSON object per line, on standard output.
    Json,
}

/// How much is said; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors.
    Quiet,
    /// What the user has to know.
    Normal,
    /// Every connection.
    Verbose,
    /// Logs of state changes.
    Debug,
    /// Logs of every message.
    Trace,
}

/// Writes events. Copies are equal to the original: there is one standard output.
///
/// Nobody reading does not end or stop the tunnels: what cannot be written is dropped. Call [`flush`] before the process
/// ends.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    format: Format,
    verbosity: Verbosity,
}

impl Printer {
    /// Creates a printer. With [`Format::Json`], every event is written unless `verbosity` is [`Verbosity::Quiet`].
    pub fn new(format: Format, verbosity: Verbosity) -> Self {
        Self { format, verbosity }
    }

    /// How events are written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How much is to be said.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Writes one event, if it is of interest at this verbosity.
    pub fn event(&self, event: &Event) {
        match self.format {
            Format::Human | Format::Brief => {
                if let Some(text) = self.sentence(event) {
                    self.write(StandardSink::Error, text.into_bytes());
                }
            }
            Format::Json => {
                if self.verbosity > Verbosity::Quiet || event.verbosity() == Verbosity::Quiet {
                    self.write(StandardSink::Output, json(event));
                }
            }
        }
    }

    /// Writes a failure as an [`Event::Error`].
    pub fn failure(&self, failure: &Failure) {
        self.event(&failure.into());
    }

    /// Writes a warning as an [`Event::Warning`].
    pub fn warning(&self, message: impl Into<String>) {
        let message = message.into();
        self.event(&Event::Warning { message });
    }

    /// Writes text to standard output as it is, for programs that wait for it.
    pub fn verbatim(&self, text: impl Display) {
        self.write(StandardSink::Output, text.to_string().into_bytes());
    }

    /// Writes text to standard error as it is, for people.
    pub fn aside(&self, text: impl Display) {
        self.write(StandardSink::Error, text.to_string().into_bytes());
    }

    /// Writes the product of the command, such as a man page, to standard output.
    ///
    /// # Errors
    ///
    /// When it cannot be written, except that a reader who has seen enough is no error.
    pub fn product(&self, bytes: &[u8]) -> Result<(), Failure> {
        match StandardSink::Output.write_all(bytes) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                let failure = unwritable(StandardSink::Output, &error);
                if self.format == Format::Json {
                    // The event that it will be cannot be written either.
                    Self::new(Format::Human, self.verbosity).failure(&failure);
                }
                Err(failure)
            }
            _ => Ok(()),
        }
    }

    /// Queues text, and says so if earlier text was dropped.
    fn write(&self, sink: StandardSink, text: Vec<u8>) {
        let dropped_count = writer::write(sink, text);
        if dropped_count > 0 {
            self.warning(format!(
                "{dropped_count} lines were dropped because nobody read them"
            ));
        }
    }

    /// What a person is told about `event`, with its line feed.
    fn sentence(&self, event: &Event) -> Option<String> {
        if event.verbosity() > self.verbosity {
            return None;
        }
        Some(match (self.format, event) {
            (
                Format::Brief,
                Event::Error {
                    message,
                    hint,
                    matches,
                    ..
                },
            ) => {
                let ids: Vec<_> = matches.iter().map(|node| node.id.as_str()).collect();
                let ids = match ids.is_empty() {
                    true => String::new(),
                    false => format!(" ({})", ids.join(", ")),
                };
                let hint = hint.as_ref().map(|hint| format!("; {hint}"));
                let sentence = format!("{message}{ids}{}", hint.unwrap_or_default());
                format!("ssmfwd: {}\n", one_line(sentence))
            }
            (Format::Brief, event) => format!("ssmfwd: {event}\n"),
            (Format::Human | Format::Json, event) => format!("{event}\n"),
        })
    }
}

impl Default for Printer {
    fn default() -> Self {
        Self::new(Format::Human, Verbosity::Normal)
    }
}

impl From<OutputArgs> for Printer {
    fn from(args: OutputArgs) -> Self {
        let format = match (args.json, args.is_brief) {
            (true, _) => Format::Json,
            (false, true) => Format::Brief,
            (false, false) => Format::Human,
        };
        let verbosity = match (args.quiet, args.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Verbose,
            (false, 2) => Verbosity::Debug,
            (false, _) => Verbosity::Trace,
        };
        Self::new(format, verbosity)
    }
}

/// Writes what the parser of the command line has to say: an error, or the help or version that was asked for. With
/// `is_json`, an error is an event, unless it is that there is no JSON to be had.
pub fn command_line(error: &clap::Error, is_json: bool) -> ExitCode {
    let refused = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    if is_json && error.use_stderr() && refused.as_deref() != Some("--json") {
        let failure = misuse(&error.render().to_string());
        Printer::new(Format::Json, Verbosity::Normal).failure(&failure);
        flush();
        return failure.exit.into();
    }
    let_go(error.print());
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ => Exit::Usage.into(),
    }
}

/// Makes a failure of what the parser of the command line says for people, in paragraphs: what is wrong, perhaps a tip,
/// and the usage.
fn misuse(text: &str) -> Failure {
    let mut paragraphs = text.split("\n\n").map(one_line);
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(&first);
    let hint = paragraphs.find_map(|paragraph| {
        let tip = paragraph.strip_prefix("tip: ").map(str::to_owned);
        tip.or_else(|| paragraph.starts_with("Usage: ").then_some(paragraph))
    });
    let failure = Failure::new(Exit::Usage, message);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// What follows from data that could not be written. A reader who has seen enough is no failure: the exit code is that of a
/// program which SIGPIPE has killed.
///
/// # Errors
///
/// When there was another reason.
pub fn sink_failed(sink: StandardSink, error: &io::Error) -> Result<ExitCode, Failure> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(ExitCode::from(BROKEN_PIPE)),
        _ => Err(unwritable(sink, error)),
    }
}

/// As shells report it: 128 and SIGPIPE's number.
const BROKEN_PIPE: u8 = 141;

fn unwritable(sink: StandardSink, error: &io::Error) -> Failure {
    let name = match sink {
        StandardSink::Output => "standard output",
        StandardSink::Error => "standard error",
    };
    Failure::new(Exit::Failure, format!("cannot write to {name}: {error}"))
}

/// The event as a line of JSON.
fn json(event: &Event) -> Vec<u8> {
    // Events are made of text and numbers, which always have a JSON form.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Ignores that standard output or standard error cannot be written to: there is nowhere left to say so.
fn let_go(_written: io::Result<()>) {}

/// Makes `text` fit on one line and harmless to a terminal, wherever it came from.
fn one_line(text: impl Display) -> String {
    let text = text.to_string();
    let words = text.split(|char: char| char.is_whitespace() || char.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer(args: OutputArgs) -> Printer {
        Printer::from(args)
    }

    #[test]
    fn quiet_lets_errors_through_and_nothing_else() {
        let quiet = printer(OutputArgs {
            quiet: true,
            ..OutputArgs::default()
        });
        let warning = Event::Warning {
            message: "careful".into(),
        };
        let error =
            Event::from(&Failure::new(Exit::Target, "no such target").with_hint("look again"));
        assert_eq!(quiet.sentence(&warning), None);
        assert_eq!(
            quiet.sentence(&error).unwrap(),
            "error: no such target\nhint: look again\n"
        );
    }

    #[test]
    fn a_brief_failure_is_one_line_with_its_fix() {
        let brief = printer(OutputArgs {
            is_brief: true,
            ..OutputArgs::default()
        });
        let failure = Failure::new(Exit::Target, "no such target").with_hint("look again");
        assert_eq!(
            brief.sentence(&(&failure).into()).unwrap(),
            "ssmfwd: no such target; look again\n"
        );
    }

    #[test]
    fn a_brief_failure_cannot_steer_the_terminal() {
        let brief = Printer::new(Format::Brief, Verbosity::Normal);
        let failure = Failure::new(Exit::Target, "no such\ntarget")
            .with_hint("did you mean `\u{1b}[2Jweb\r\nprod`?");
        assert_eq!(
            brief.sentence(&(&failure).into()).unwrap(),
            "ssmfwd: no such target; did you mean ` [2Jweb prod`?\n"
        );
    }

    #[test]
    fn verbosity_follows_the_flags() {
        let levels = [
            Verbosity::Normal,
            Verbosity::Verbose,
            Verbosity::Debug,
            Verbosity::Trace,
            Verbosity::Trace,
        ];
        for (verbose, level) in (0..).zip(levels) {
            let args = OutputArgs {
                verbose,
                ..OutputArgs::default()
            };
            assert_eq!(printer(args).verbosity(), level);
        }
    }

    #[test]
    fn json_is_one_object_per_line() {
        let event = Event::Warning {
            message: "two\nlines".into(),
        };
        assert_eq!(
            json(&event),
            b"{\"event\":\"warning\",\"message\":\"two\\nlines\"}\n"
        );
    }

    #[test]
    fn a_mistyped_command_line_is_an_event_with_its_tip() {
        let error = "error: unexpected argument '--jsn' found\n\n  tip: a similar argument exists: '--json'\n\n\
                     Usage: ssmfwd doctor\n\nFor more information, try '--help'.\n";
        let failure = misuse(error);
        assert_eq!(failure.message, "unexpected argument '--jsn' found");
        assert_eq!(
            failure.hint.as_deref(),
            Some("a similar argument exists: '--json'")
        );
        let failure = misuse("error: required:\n  <TARGET>\n\nUsage: ssmfwd <TARGET>\n");
        assert_eq!(failure.message, "required: <TARGET>");
        assert_eq!(failure.hint.as_deref(), Some("Usage: ssmfwd <TARGET>"));
    }

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\r\n\u{1b}[2Jb\t c\u{9b}"), "a [2Jb c");
    }
}
