//! The table.

use std::fmt::Write;

/// What one measurement gave each time it was made.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// `None` if nothing could be measured.
    fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
        Some((lower + upper) / 2.0)
    }

    /// The median with its unit, and the range it comes from.
    fn summary(&self, unit: &str) -> Option<String> {
        let least = self.0.iter().copied().reduce(f64::min)?;
        let most = self.0.iter().copied().reduce(f64::max)?;
        let median = rounded(self.median()?);
        Some(match self.0.len() {
            1 => format!("{median} {unit}"),
            _ => format!("{median} {unit} ({} to {})", rounded(least), rounded(most)),
        })
    }
}

/// What a figure is meant to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// The figure itself.
    AtMost(f64),
    /// Its ratio to the reference's.
    RatioAtLeast(f64),
    /// Its ratio to the reference's.
    RatioAtMost(f64),
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    samples: Samples,
    reference: Samples,
    target: Option<Target>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, samples: Samples) -> Self {
        Self {
            name: name.into(),
            unit,
            samples,
            reference: Samples::default(),
            target: None,
        }
    }

    /// Compares with what another measurement gave.
    pub(crate) fn against(self, reference: Samples) -> Self {
        Self { reference, ..self }
    }

    pub(crate) fn target(self, target: Target) -> Self {
        Self {
            target: Some(target),
            ..self
        }
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.samples.median()? / self.reference.median()?)
    }

    /// The cells of the target and of whether it is met.
    fn verdict(&self) -> (String, &'static str) {
        let (text, is_met) = match self.target {
            None => return Default::default(),
            Some(Target::AtMost(limit)) => (
                format!("≤ {limit} {}", self.unit),
                self.samples.median().map(|median| median <= limit),
            ),
            Some(Target::RatioAtLeast(limit)) => (
                format!("ratio ≥ {limit}"),
                self.ratio().map(|ratio| ratio >= limit),
            ),
            Some(Target::RatioAtMost(limit)) => (
                format!("ratio ≤ {limit}"),
                self.ratio().map(|ratio| ratio <= limit),
            ),
        };
        let verdict = match is_met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        (text, verdict)
    }
}

/// Writes the rows as a Markdown table, which calls by this name what they are compared with.
pub(crate) fn table(reference: &str, rows: &[Row]) -> String {
    let mut table =
        format!("| | ssmfwd | {reference} | ratio | target | |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let measured = row.samples.summary(row.unit);
        let measured = measured.unwrap_or_else(|| "not measured: this system has no /proc".into());
        let reference = row.reference.summary(row.unit).unwrap_or_default();
        let ratio = row
            .ratio()
            .map(|ratio| format!("{ratio:.2}"))
            .unwrap_or_default();
        let (target, verdict) = row.verdict();
        let name = &row.name;
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| {name} | {measured} | {reference} | {ratio} | {target} | {verdict} |"
        );
    }
    table
}

/// Three significant digits, as far as there are decimals to drop.
fn rounded(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
