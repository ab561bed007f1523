//! Says what happens, where whoever started the plugin looks for it.

use std::cell::{Cell, OnceCell};
use std::process::ExitCode;

use crate::failure::Failure;
use crate::output::{self, Printer};

use super::text::Text;

/// The document whose sessions carry a byte stream on standard input and output: that of `ssh`.
const STREAM_DOCUMENT: &str = "AWS-StartSSHSession";

/// The plugin's voice. It speaks on standard output, as the official plugin does, except where that would fall into a
/// byte stream.
pub(super) struct Report {
    printer: Printer,
    session_id: OnceCell<String>,
    /// Standard output belongs to the session's data.
    is_stream: Cell<bool>,
}

impl Report {
    pub(super) fn new(printer: Printer) -> Self {
        Self {
            printer,
            session_id: OnceCell::new(),
            is_stream: Cell::new(false),
        }
    }

    /// Says that the session begins, and learns what it is.
    ///
    /// This is the one line that goes ahead of a byte stream too: programs take the session's id from it, and an SSH
    /// client passes over lines before the server's own (RFC 4253, section 4.2).
    pub(super) fn begin(&self, session_id: &str, document: Option<&str>) {
        self.say(Text::Starting(session_id));
        // A second session never begins.
        let _: Result<(), String> = self.session_id.set(session_id.to_owned());
        if document == Some(STREAM_DOCUMENT) {
            self.leave_stdout();
        }
    }

    /// Leaves standard output to the session's data, once everything said has been written.
    pub(super) fn leave_stdout(&self) {
        output::flush();
        self.is_stream.set(true);
    }

    /// Writes what is not the plugin's own.
    pub(super) fn printer(&self) -> &Printer {
        &self.printer
    }

    /// The session's id, once there is one.
    pub(super) fn session_id(&self) -> &str {
        self.session_id.get().map_or("", String::as_str)
    }

    /// Says one text.
    pub(super) fn say(&self, text: Text<'_>) {
        match self.is_stream.get() {
            true => self.printer.aside(text),
            false => self.printer.verbatim(text),
        }
    }

    /// Says that the session is over; whoever uses a byte stream sees its end, and may have given the terminal back.
    pub(super) fn exit(&self) {
        if !self.is_stream.get() {
            self.say(Text::Exiting(self.session_id()));
        }
    }

    /// Says what went wrong, and returns the exit code for it.
    pub(super) fn fail(&self, failure: &Failure) -> ExitCode {
        self.end(Text::Failed(&failure.message), failure)
    }

    /// Says that service or agent have ended the session, with what they said of it; returns the exit code for it.
    pub(super) fn over(&self, output: &str, failure: &Failure) -> ExitCode {
        match output {
            "" => self.fail(failure),
            output => self.end(Text::Closed(self.session_id(), output), failure),
        }
    }

    /// Says in the official plugin's words, or those of `failure` to whoever uses a byte stream, how everything came to an
    /// end; returns the exit code for it.
    pub(super) fn end(&self, text: Text<'_>, failure: &Failure) -> ExitCode {
        if self.is_stream.get() {
            self.printer.failure(failure);
        } else {
            self.say(text);
            if let Some(hint) = &failure.hint {
                self.printer.aside(format_args!("hint: {hint}\n"));
            }
        }
        failure.exit.into()
    }

    /// Says that a session could not be ended; of a byte stream, nobody is there to hear it.
    pub(super) fn session_may_go_on(&self, failure: &Failure) {
        match self.is_stream.get() {
            true => tracing::warn!(%failure, "the session may go on"),
            false => self.warn(format!("the session may go on: {failure}")),
        }
    }

    /// Warns whoever reads standard error.
    pub(super) fn warn(&self, message: impl Into<String>) {
        self.printer.warning(message);
    }
}
