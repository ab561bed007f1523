//! What time the services have it, by which signatures are judged.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use http::HeaderMap;
use http::header::DATE;
use tracing::debug;

/// The wall clock as the services have it: this machine's, corrected by what the last answer told.
///
/// The SDK corrects the signatures of its own calls in the same way. This is for those that are made without it.
#[derive(Debug, Default)]
pub(crate) struct ServiceClock {
    /// By how much it is later than this machine's, in seconds.
    ahead: AtomicI64,
}

impl ServiceClock {
    /// Compares the clocks by an answer of AWS; the request was sent at `sent`.
    pub(crate) fn learn(&self, headers: &HeaderMap, sent: SystemTime) {
        // A proxy has a clock of its own, and so does the instance metadata.
        if !headers.contains_key("x-amzn-requestid") || headers.contains_key(http::header::AGE) {
            return;
        }
        let date = headers.get(DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        let Some(date) = date else {
            return;
        };
        // Without a fraction on either side: the service tells whole seconds, and signatures have no others.
        let difference = date.secs() - DateTime::from(sent).secs();
        let ahead = match difference.unsigned_abs() > TOLERANCE.as_secs() {
            true => difference,
            false => 0,
        };
        if self.ahead.swap(ahead, Ordering::Relaxed) != ahead {
            debug!(ahead, "the service's clock differs from this machine's");
        }
    }

    /// By how much this machine's clock is corrected, in seconds.
    pub(crate) fn correction(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// The time to sign with.
    pub(crate) fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        let ahead = self.correction();
        let difference = Duration::from_secs(ahead.unsigned_abs());
        let corrected = match ahead {
            0.. => now.checked_add(difference),
            _ => now.checked_sub(difference),
        };
        corrected.unwrap_or(now)
    }
}

/// What is not corrected: an answer that took its time looks like a clock that is ahead, and signatures are good for five
/// minutes.
const TOLERANCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// How much later the service's clock is, in seconds, after an answer that told `date`.
    fn learned(fields: &[(&'static str, &str)], sent: u64) -> i64 {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        let clock = ServiceClock::default();
        clock.learn(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(sent));
        clock.correction()
    }

    #[test]
    fn the_service_is_right() {
        let id = ("x-amzn-requestid", "1");
        let date = ("date", "Thu, 01 Jan 1970 00:16:40 GMT");
        assert_eq!(learned(&[id, date], 0), 1000);
        assert_eq!(learned(&[id, date], 3000), -2000);
        assert_eq!(learned(&[id, date], 1060), 0);
        assert_eq!(learned(&[date], 0), 0);
        assert_eq!(learned(&[id, date, ("age", "5")], 0), 0);
        assert_eq!(learned(&[id, ("date", "now")], 0), 0);
    }

    #[test]
    fn the_time_is_corrected_both_ways() {
        for ahead in [600, -600] {
            let clock = ServiceClock {
                ahead: AtomicI64::new(ahead),
            };
            let (before, now, after) = (SystemTime::now(), clock.now(), SystemTime::now());
            let shifted = |time: SystemTime| DateTime::from(time).secs() + ahead;
            let now = DateTime::from(now).secs();
            assert!((shifted(before)..=shifted(after)).contains(&now));
        }
    }
}
