//! What `ssmfwd doctor` prints, on standard output: it is what the command is run for.

use std::process::ExitCode;

use serde::Serialize;

use super::{Format, Printer, Verbosity, one_line, wrap};
use crate::doctor::{Check, Finding, Outcome, Untried};
use crate::failure::{Exit, Failure};
use crate::terminal;

/// Where the text of a finding begins, and that of its fix.
const MARGIN: usize = 6;
const FIX_MARGIN: usize = MARGIN + "fix: ".len();

/// Prints findings as they come, and sums them up.
pub struct Report {
    printer: Printer,
    /// Columns of the terminal, if it is one.
    width: Option<usize>,
    counts: Counts,
    /// What was not looked at for want of something else.
    needy: Vec<(Check, Check)>,
    /// The first check that has failed, in the order of checks.
    failed: Option<(Check, Exit)>,
    /// What was said last to be waited for.
    awaited: Vec<String>,
}

/// How many checks went how.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Counts {
    passed: usize,
    warned: usize,
    failed: usize,
    skipped: usize,
}

/// The last line with `--json`.
///
/// It is part of the command-line contract: members may be added, and are neither renamed nor removed.
#[derive(Serialize)]
#[serde(tag = "event", rename = "summary")]
struct Summary<'a> {
    /// The worst of the findings', but for what was skipped.
    outcome: Outcome,
    #[serde(flatten)]
    counts: Counts,
    /// What nobody has asked to be tried.
    not_tried: &'a [Check],
    /// How to have it tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
    exit_code: u8,
}

impl Report {
    /// Starts without findings.
    pub fn new(printer: Printer) -> Self {
        Self {
            printer,
            width: terminal::output_width(),
            counts: Counts::default(),
            needy: Vec::new(),
            failed: None,
            awaited: Vec::new(),
        }
    }

    /// Prints a finding. What was skipped for want of something else is told together, at the end.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written to.
    pub fn add(&mut self, finding: &Finding) -> Result<(), Failure> {
        self.counts.add(finding.outcome);
        if let Some(exit) = finding.exit
            && self.failed.is_none_or(|(check, _)| finding.check < check)
        {
            self.failed = Some((finding.check, exit));
        }
        if self.printer.format() == Format::Json {
            return self.json(finding);
        }
        match finding.needs {
            Some(cause) => self.needy.push((cause, finding.check)),
            None if self.is_worth_saying(finding) => {
                return self.print(&lines(finding, self.width));
            }
            None => {}
        }
        Ok(())
    }

    fn is_worth_saying(&self, finding: &Finding) -> bool {
        let is_trouble = matches!(finding.outcome, Outcome::Warn | Outcome::Fail);
        is_trouble || self.printer.verbosity() > Verbosity::Quiet
    }

    /// Tells people what takes its time.
    pub fn waiting_for(&mut self, checks: &[String]) {
        let is_wanted =
            self.printer.format() != Format::Json && self.printer.verbosity() > Verbosity::Quiet;
        if is_wanted && !checks.is_empty() && self.awaited != checks {
            self.awaited = checks.to_vec();
            let text = format!("...   trying: {}", one_line(checks.join("; ")));
            let text = wrap::hanging(&text, MARGIN, terminal::error_width());
            self.printer.aside(text + "\n");
        }
    }

    /// Sums up, and returns what the process ends with.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written to.
    pub fn finish(&self, untried: Option<&Untried>) -> Result<ExitCode, Failure> {
        let exit = self.failed.map(|(_, exit)| exit);
        if self.printer.format() == Format::Json {
            self.json(&Summary {
                outcome: self.counts.outcome(),
                counts: self.counts,
                not_tried: untried.map_or(&[], |untried| &untried.checks),
                next: untried.map(|untried| untried.next),
                exit_code: exit.map_or(0, |exit| exit as u8),
            })?;
        } else if self.printer.verbosity() > Verbosity::Quiet {
            for line in self.needs() {
                self.print(&(wrap::hanging(&line, MARGIN, self.width) + "\n"))?;
            }
            let line = self.counts.summary(untried);
            self.print(&(wrap::hanging(&line, 2, self.width) + "\n"))?;
        }
        Ok(exit.map_or(ExitCode::SUCCESS, ExitCode::from))
    }

    /// A line for each check that others would have needed.
    fn needs(&self) -> Vec<String> {
        let mut needy = self.needy.clone();
        needy.sort_unstable();
        needy.dedup();
        let of_one_cause = needy.chunk_by(|(one, _), (other, _)| one == other);
        let lines = of_one_cause.filter_map(|checks| {
            let (cause, _) = checks.first()?;
            let names = names(checks.iter().map(|(_, check)| *check));
            let verb = if checks.len() == 1 { "needs" } else { "need" };
            Some(format!(
                "skip  {names}: not checked, {verb} {}",
                cause.name()
            ))
        });
        lines.collect()
    }

    fn json(&self, line: &impl Serialize) -> Result<(), Failure> {
        // Findings are made of text and numbers, which always have a JSON form.
        let line = serde_json::to_string(line).unwrap_or_default();
        self.print(&(line + "\n"))
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        self.printer.product(text.as_bytes())
    }
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Pass => &mut self.passed,
            Outcome::Warn => &mut self.warned,
            Outcome::Fail => &mut self.failed,
            Outcome::Skip => &mut self.skipped,
        };
        *count += 1;
    }

    fn outcome(self) -> Outcome {
        match self {
            Self { failed: 1.., .. } => Outcome::Fail,
            Self { warned: 1.., .. } => Outcome::Warn,
            Self { .. } => Outcome::Pass,
        }
    }

    /// What was looked at, what came of it, what was not looked at, and how to have it looked at.
    fn summary(self, untried: Option<&Untried>) -> String {
        let count = |count, what| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        let checks = count(self.passed + self.warned + self.failed, "check");
        let mut summary = match (self.failed, self.warned) {
            (0, 0) => format!("nothing is wrong in {checks}"),
            (0, warned) => format!("{} in {checks}", count(warned, "warning")),
            (failed, 0) => format!("{} in {checks}", count(failed, "failure")),
            (failed, warned) => format!(
                "{}, {} in {checks}",
                count(failed, "failure"),
                count(warned, "warning")
            ),
        };
        if self.skipped > 0 {
            summary += &format!("; {} skipped", self.skipped);
        }
        if let Some(untried) = untried {
            let names = names(untried.checks.iter().copied());
            summary += &format!("; not tried: {names}");
            // First things first.
            if self.failed == 0 {
                summary += &format!(" ({})", untried.next);
            }
        }
        summary
    }
}

fn names(checks: impl Iterator<Item = Check>) -> String {
    checks.map(Check::name).collect::<Vec<_>>().join(", ")
}

/// A finding for people: what was found, and below it what to do.
fn lines(finding: &Finding, width: Option<usize>) -> String {
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
    let line = format!(
        "{outcome:<MARGIN$}{}{}: {}",
        finding.check.name(),
        subject.unwrap_or_default(),
        one_line(&finding.message)
    );
    let mut text = wrap::hanging(&line, MARGIN, width) + "\n";
    if let Some(fix) = &finding.fix {
        let line = format!("{:MARGIN$}fix: {}", "", one_line(fix));
        text += &(wrap::hanging(&line, FIX_MARGIN, width) + "\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: &[Finding]) -> Report {
        let mut report = Report::new(Printer::new(Format::Human, Verbosity::Quiet));
        for finding in findings {
            report.add(finding).unwrap();
        }
        report
    }

    #[test]
    fn a_finding_is_a_line_with_its_fix_below() {
        let finding = Finding::warn(Check::Connection, "slow\u{1b}[2J\nand odd")
            .of("ssm")
            .fix("wait");
        assert_eq!(
            lines(&finding, None),
            "warn  connection ssm: slow [2J and odd\n      fix: wait\n"
        );
        assert_eq!(
            lines(&Finding::pass(Check::LocalPort, "free"), None),
            "ok    local port: free\n"
        );
    }

    #[test]
    fn what_does_not_fit_is_indented() {
        let finding = Finding::warn(Check::Clock, "one two three").fix("four fiver six");
        assert_eq!(
            lines(&finding, Some(20)),
            "warn  clock: one two\n      three\n      fix: four\n           fiver six\n"
        );
    }

    #[test]
    fn skipped_checks_are_told_by_what_they_need() {
        let report = report(&[
            Finding::needs(Check::Agent, Check::Target),
            Finding::needs(Check::Session, Check::Target).of("80:0"),
            Finding::needs(Check::Session, Check::Target).of("81:0"),
            Finding::needs(Check::Clock, Check::Connection),
        ]);
        assert_eq!(
            report.needs(),
            [
                "skip  clock: not checked, needs connection",
                "skip  agent, session: not checked, need target",
            ]
        );
    }

    #[test]
    fn the_summary_says_what_was_not_done() {
        let untried = Untried {
            checks: vec![Check::Session, Check::RemotePort],
            next: "add --connect",
        };
        let pass = Finding::pass(Check::Dns, "known");
        let skip = Finding::skip(Check::Preferences, "not known");
        let failure = Failure::new(Exit::Target, "off");
        let summary = |findings: &[Finding], untried| report(findings).counts.summary(untried);
        assert_eq!(
            summary(&[pass.clone(), pass.clone()], None),
            "nothing is wrong in 2 checks"
        );
        assert_eq!(
            summary(&[pass.clone(), skip.clone()], Some(&untried)),
            "nothing is wrong in 1 check; 1 skipped; not tried: session, remote port (add --connect)"
        );
        let failed = Finding::fail(Check::Target, &failure);
        let warned = Finding::warn(Check::Clock, "late");
        let both = [warned, failed.clone()];
        assert_eq!(summary(&both[..1], None), "1 warning in 1 check");
        assert_eq!(summary(&both, None), "1 failure, 1 warning in 2 checks");
        assert_eq!(
            summary(&[pass, failed, skip], Some(&untried)),
            "1 failure in 2 checks; 1 skipped; not tried: session, remote port"
        );
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_check_that_fails() {
        let fail = |check, exit| Finding::fail(check, &Failure::new(exit, "it"));
        let report = report(&[
            fail(Check::LocalPort, Exit::Address),
            fail(Check::Target, Exit::Target),
            fail(Check::Document, Exit::Failure),
        ]);
        assert_eq!(report.failed, Some((Check::Target, Exit::Target)));
    }
}
