//! This machine's clock against the service's.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::{Check, Finding};
use crate::failure::{Exit, Failure};

/// How the clocks of this machine and of a service compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// How far they are apart.
    pub difference: Duration,
    /// Whether this machine's is the later one.
    pub is_ahead: bool,
}

impl Skew {
    /// Takes the service's time from the head of its answer, which arrived between two moments; `None` if it tells none.
    pub(super) fn told_by(head: &[u8], before: SystemTime, after: SystemTime) -> Option<Self> {
        date_in(head).map(|server| Self::between(before, after, server))
    }

    /// Compares the time a service told with that of its answer, which arrived between two moments.
    fn between(before: SystemTime, after: SystemTime, server: SystemTime) -> Self {
        let apart = |later: SystemTime, earlier: SystemTime| {
            later.duration_since(earlier).unwrap_or_default()
        };
        // The service tells whole seconds, rounded down.
        let (ahead, behind) = (
            apart(before, server + Duration::from_secs(1)),
            apart(server, after),
        );
        Self {
            difference: ahead.max(behind),
            is_ahead: ahead > behind,
        }
    }
}

/// The time of an answer's `Date` header.
fn date_in(head: &[u8]) -> Option<SystemTime> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).ok()?;
    let date = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("date"))?;
    let date = DateTime::from_str(std::str::from_utf8(date.value).ok()?, Format::HttpDate).ok()?;
    SystemTime::try_from(date).ok()
}

/// Signatures are good for five minutes around the service's time (IAM User Guide, "Create a signed AWS API request").
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// A clock that is off by more than this is not set by anybody.
const WORTH_A_WORD: Duration = Duration::from_secs(60);

/// Judges the difference of the clocks.
pub fn clock(skew: Option<Skew>) -> (Finding, Option<()>) {
    let check = Check::Clock;
    let Some(Skew {
        difference,
        is_ahead,
    }) = skew
    else {
        return (
            Finding::skip(check, "not known: the service does not tell the time"),
            Some(()),
        );
    };
    if difference < Duration::from_secs(2) {
        return (Finding::pass(check, "as the service's"), Some(()));
    }
    let direction = match is_ahead {
        true => "ahead of",
        false => "behind",
    };
    let message = format!(
        "this machine's clock is {} s {direction} the service's",
        difference.as_secs()
    );
    if difference <= WORTH_A_WORD {
        return (Finding::pass(check, message), Some(()));
    }
    let fix = "have the clock set over the network (NTP), and check the time zone";
    if difference <= MAX_SKEW {
        let message = format!("{message}: beyond 300 s, no signature is accepted");
        return (Finding::warn(check, message).fix(fix), Some(()));
    }
    let message = format!("{message}: signatures are accepted for 300 s only");
    let failure = Failure::new(Exit::Credentials, message).with_hint(fix);
    (Finding::fail(check, &failure), None)
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn clocks_are_compared() {
        let judge = |server| clock(Some(Skew::between(at(1000), at(1001), at(server)))).0;
        assert_eq!(judge(1000).message, "as the service's");
        assert_eq!(
            judge(1030).message,
            "this machine's clock is 29 s behind the service's"
        );
        assert_eq!(judge(1030).outcome, Outcome::Pass);
        assert_eq!(judge(900).outcome, Outcome::Warn);
        let failed = judge(100);
        assert!(
            failed
                .message
                .starts_with("this machine's clock is 899 s ahead of"),
            "{}",
            failed.message
        );
        assert_eq!(failed.exit, Some(Exit::Credentials));
        assert_eq!(clock(None).0.outcome, Outcome::Skip);
    }

    #[test]
    fn the_time_is_read() {
        let head = b"HTTP/1.1 404 Not Found\r\ndate: Thu, 01 Jan 1970 00:16:40 GMT\r\n\r\n";
        assert_eq!(date_in(head), Some(at(1000)));
        assert_eq!(
            date_in(b"HTTP/1.1 404 Not Found\r\nDate: now\r\n\r\n"),
            None
        );
        assert_eq!(date_in(b"HTTP/1.1 404"), None);
    }
}
