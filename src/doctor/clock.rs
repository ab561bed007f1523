//! This machine's clock against the service's.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::{Check, Finding};

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

/// Judges the difference of the clocks. However large, it is no failure: requests are signed with the service's time.
pub fn clock(skew: Option<Skew>) -> Finding {
    let check = Check::Clock;
    let Some(Skew {
        difference,
        is_ahead,
    }) = skew
    else {
        return Finding::skip(check, "not known: the service does not tell the time");
    };
    if difference < Duration::from_secs(2) {
        return Finding::pass(check, "as the service's");
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
        return Finding::pass(check, message);
    }
    let consequence = match difference > MAX_SKEW {
        true => {
            "ssmfwd signs with the service's time, but other tools may not, and certificates and the expiry of credentials are \
             judged by this machine's"
        }
        false => "at 300 s, tools that do not correct it are refused",
    };
    Finding::warn(check, format!("{message}: {consequence}"))
        .fix("have the clock set over the network (NTP), and check the time zone")
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
        let judge = |server| clock(Some(Skew::between(at(1000), at(1001), at(server))));
        assert_eq!(judge(1000).message, "as the service's");
        assert_eq!(
            judge(1030).message,
            "this machine's clock is 29 s behind the service's"
        );
        assert_eq!(judge(1030).outcome, Outcome::Pass);
        assert_eq!(judge(900).outcome, Outcome::Warn);
        let far = judge(100);
        assert!(
            far.message
                .starts_with("this machine's clock is 899 s ahead of the service's: ssmfwd signs"),
            "{}",
            far.message
        );
        assert_eq!(far.outcome, Outcome::Warn);
        assert_eq!(clock(None).outcome, Outcome::Skip);
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
