//! Calendar times, as signatures and web pages write them.

use std::time::{Duration, SystemTime};

/// Seconds since the epoch; 0 for times before it.
pub(super) fn epoch_seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |duration| duration.as_secs())
}

/// The time of day in UTC, as `14:03:59`.
pub(super) fn time_of_day(time: SystemTime) -> String {
    let seconds = epoch_seconds(time) % 86_400;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// Parses the basic ISO 8601 form of `X-Amz-Date`: `20260102T030405Z`.
pub(super) fn parse_amz_date(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_once('T')?;
    let time = rest.strip_suffix('Z')?;
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    let number = |digits: Option<&str>| -> Option<u64> {
        let digits = digits?;
        let is_number = digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse().ok())?
    };
    let (year, month, day) = (
        number(date.get(..4))?,
        number(date.get(4..6))?,
        number(date.get(6..))?,
    );
    let (hour, minute, second) = (
        number(time.get(..2))?,
        number(time.get(2..4))?,
        number(time.get(4..))?,
    );
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds =
        days_since_epoch(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, for years from 1970 on.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is a year's last.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    Some(days - DAYS_TO_EPOCH)
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("19700101T000000Z", 0),
            ("20000229T235959Z", 951_868_799),
            ("20260102T030405Z", 1_767_323_045),
            ("21000301T000000Z", 4_107_542_400),
        ] {
            let time = parse_amz_date(text).unwrap();
            assert_eq!(epoch_seconds(time), seconds, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "20260102T030405",
            "2026-01-02T03:04:05Z",
            "20261302T030405Z",
            "20260100T030405Z",
            "20260102T240000Z",
            "+0260102T030405Z",
            "19691231T235959Z",
            "2026010éT030405Z",
        ] {
            assert_eq!(parse_amz_date(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_of_day_has_two_digits_each() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 + 3_723);
        assert_eq!(time_of_day(time), "01:02:03");
    }
}
