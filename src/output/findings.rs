//! What `ssmfwd doctor` prints, on standard output: it is what the command is run for.

use std::fmt::Write;
use std::process::ExitCode;

use super::{Format, Printer, Verbosity, one_line};
use crate::doctor::{Finding, Outcome};
use crate::failure::Exit;

/// Prints findings as they come, and sums them up.
pub struct Report {
    printer: Printer,
    failed_count: usize,
    warned_count: usize,
    /// Of the first failure.
    exit: Option<Exit>,
}

impl Report {
    /// Starts without findings.
    pub fn new(printer: Printer) -> Self {
        Self {
            printer,
            failed_count: 0,
            warned_count: 0,
            exit: None,
        }
    }

    /// Prints a finding.
    pub fn add(&mut self, finding: &Finding) {
        self.failed_count += usize::from(finding.outcome == Outcome::Fail);
        self.warned_count += usize::from(finding.outcome == Outcome::Warn);
        self.exit = self.exit.or(finding.exit);
        if self.printer.format() == Format::Json {
            // Findings are made of text and numbers, which always have a JSON form.
            let line = serde_json::to_string(finding).unwrap_or_default();
            self.printer.verbatim(line + "\n");
        } else if self.is_worth_saying(finding) {
            self.printer.verbatim(lines(finding));
        }
    }

    fn is_worth_saying(&self, finding: &Finding) -> bool {
        let is_trouble = matches!(finding.outcome, Outcome::Warn | Outcome::Fail);
        is_trouble || self.printer.verbosity() > Verbosity::Quiet
    }

    /// Sums up for people, and returns what the process ends with.
    pub fn finish(&self) -> ExitCode {
        if self.printer.format() != Format::Json && self.printer.verbosity() > Verbosity::Quiet {
            let count =
                |count, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
            self.printer
                .verbatim(match (self.failed_count, self.warned_count) {
                    (0, 0) => "nothing is wrong\n".to_owned(),
                    (failed, warned) => format!(
                        "{}, {}\n",
                        count(failed, "failure"),
                        count(warned, "warning")
                    ),
                });
        }
        self.exit.map_or(ExitCode::SUCCESS, ExitCode::from)
    }
}

/// A finding for people: a line, and another one for what to do.
pub fn lines(finding: &Finding) -> String {
    let outcome = match finding.outcome {
        Outcome::Pass => "ok",
        Outcome::Warn => "warn",
        Outcome::Fail => "FAIL",
        Outcome::Skip => "skip",
    };
    let subject = finding
        .subject
        .as_ref()
        .map(|subject| format!(" {}", one_line(subject)));
    let mut text = format!(
        "{outcome:<5} {}{}: {}\n",
        finding.check.name(),
        subject.unwrap_or_default(),
        one_line(&finding.message)
    );
    if let Some(fix) = &finding.fix {
        // A String takes everything.
        let _: std::fmt::Result = writeln!(text, "      fix: {}", one_line(fix));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Check;

    #[test]
    fn a_finding_is_a_line_with_its_fix_below() {
        let finding = Finding::warn(Check::Connection, "slow\u{1b}[2J\nand odd")
            .of("ssm")
            .fix("wait");
        assert_eq!(
            lines(&finding),
            "warn  connection ssm: slow [2J and odd\n      fix: wait\n"
        );
        assert_eq!(
            lines(&Finding::pass(Check::LocalPort, "free")),
            "ok    local port: free\n"
        );
    }
}
