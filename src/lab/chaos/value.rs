//! The values of faults: probabilities in percent, and short times.

use std::fmt;
use std::time::Duration;

/// How likely something happens, exact to one millionth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability {
    per_million: u32,
}

impl Probability {
    /// Does not happen.
    pub const NEVER: Self = Self { per_million: 0 };

    /// Creates a probability of `percent`, or nothing if that is more than 100.
    pub fn from_percent(percent: u32) -> Option<Self> {
        (percent <= 100).then_some(Self {
            per_million: percent * PER_PERCENT,
        })
    }

    /// Parses `5%`, `0.25%` or `5`; at most four decimal places.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let per_million = u32::try_from(parse_decimal(number, 4)?).ok()?;
        (per_million <= 100 * PER_PERCENT).then_some(Self { per_million })
    }

    /// Decides once. Draws from `rng` whatever the probability, so that one fault's setting does
    /// not shift the others' choices.
    pub(super) fn roll(self, rng: &mut fastrand::Rng) -> bool {
        rng.u32(0..100 * PER_PERCENT) < self.per_million
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (
            self.per_million / PER_PERCENT,
            self.per_million % PER_PERCENT,
        );
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        let decimals = format!("{rest:04}");
        write!(f, "{whole}.{}%", decimals.trim_end_matches('0'))
    }
}

/// Parses `250us`, `20ms`, `1.5s` or `0`; microseconds are the finest unit kept.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let micros = match unit {
        "us" => parse_decimal(number, 0)?,
        "ms" => parse_decimal(number, 3)?,
        "s" => parse_decimal(number, 6)?,
        "" if number == "0" => 0,
        _ => return None,
    };
    Some(Duration::from_micros(micros))
}

/// Writes the largest unit that needs no decimals.
pub(super) fn format_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros.is_multiple_of(1_000_000) {
        format!("{}s", micros / 1_000_000)
    } else if micros.is_multiple_of(1_000) {
        format!("{}ms", micros / 1_000)
    } else {
        format!("{micros}us")
    }
}

/// Parses an unsigned decimal number, scaled by `10^places`; more decimals than that are refused.
fn parse_decimal(text: &str, places: u32) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let missing = places.checked_sub(u32::try_from(decimals.len()).ok()?)?;
    if whole.is_empty() || !is_digits(whole) || !is_digits(decimals) {
        return None;
    }
    if text.ends_with('.') {
        return None;
    }
    let digits: u64 = format!("{whole}{decimals}").parse().ok()?;
    digits.checked_mul(10_u64.checked_pow(missing)?)
}

const PER_PERCENT: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(parse_decimal("1.5", 6), Some(1_500_000));
        assert_eq!(parse_decimal("0", 0), Some(0));
        for bad in ["", ".", ".5", "5.", "1.2.3", "+1", "-1", "1e3", "0.1234567"] {
            assert_eq!(parse_decimal(bad, 6), None, "{bad}");
        }
        assert_eq!(parse_decimal("99999999999999999999", 0), None);
    }

    #[test]
    fn durations_round_trip() {
        for text in ["250us", "20ms", "3s", "1001ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        assert_eq!(parse_duration("20"), None);
        assert_eq!(parse_duration("20 ms"), None);
        assert_eq!(parse_duration("20m"), None);
    }

    #[test]
    fn probabilities_round_trip() {
        for text in ["0%", "5%", "0.25%", "12.5%", "100%", "0.0001%"] {
            assert_eq!(Probability::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Probability::parse("5"), Probability::from_percent(5));
        assert_eq!(Probability::parse("100.0001%"), None);
        assert_eq!(Probability::from_percent(101), None);
    }

    #[test]
    fn rolls_follow_the_probability() {
        let mut rng = fastrand::Rng::with_seed(1);
        let five = Probability::from_percent(5).unwrap();
        let hits = (0..20_000).filter(|_| five.roll(&mut rng)).count();
        assert!((800..1200).contains(&hits), "{hits}");
        let always = Probability::from_percent(100).unwrap();
        assert!((0..100).all(|_| always.roll(&mut rng)));
        assert!(!(0..100).any(|_| Probability::NEVER.roll(&mut rng)));
    }
}
