//! Dates as sensors write them.
//!
//! StackStorm reads them with a parser that guesses. The notations read here are those that
//! machines write: ISO 8601 in its variants, the dates of mail and of `date`, month names, and
//! numbers with slashes (month first). A date without a zone is UTC, one without a time is midnight.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// Notations apart from ISO 8601, by `strptime`.
const NOTATIONS: &[&str] = &[
    "%a, %d %b %Y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%d %b %Y %H:%M",
    "%d %b %Y",
    "%d %B %Y %H:%M:%S",
    "%d %B %Y %H:%M",
    "%d %B %Y",
    "%a %b %d %H:%M:%S %Y",
    "%b %d %Y %H:%M:%S",
    "%b %d %Y %H:%M",
    "%b %d %Y",
    "%B %d %Y %H:%M:%S",
    "%B %d %Y %H:%M",
    "%B %d %Y",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%Y%m%dT%H%M%S",
    "%Y%m%d%H%M%S",
    "%Y%m%d",
];

/// Longer texts are no dates.
const LONGEST: usize = 100;

/// The moment that a text names.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    let unknown = || format!("Unknown string format: {text}");
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.len() > LONGEST {
        return Err(unknown());
    }
    if let Ok(moment) = trimmed.parse::<Timestamp>() {
        return Ok(moment);
    }
    let (local, offset) = split_zone(trimmed);
    let words: Vec<&str> = local
        .split([' ', ','])
        // `date` writes the zone before the year.
        .filter(|word| !matches!(*word, "" | "UTC" | "GMT"))
        .collect();
    let plain = words.join(" ");
    let local = iso(local)
        .or_else(|| iso(&plain.replacen(' ', "T", 1)))
        .or_else(|| {
            NOTATIONS
                .iter()
                .find_map(|notation| strptime(notation, &plain))
        })
        .ok_or_else(unknown)?;
    let utc = offset
        .to_timestamp(local)
        .map_err(|error| format!("{text}: {error}"))?;
    Ok(utc)
}

fn iso(text: &str) -> Option<DateTime> {
    text.parse::<DateTime>()
        .ok()
        .or_else(|| Some(text.parse::<Date>().ok()?.to_datetime(Time::midnight())))
}

fn strptime(notation: &str, text: &str) -> Option<DateTime> {
    // Words were joined with single spaces, and commas dropped.
    let notation = notation.replace(',', "");
    let parts = BrokenDownTime::parse(&notation, text).ok()?;
    let date = parts.to_date().ok()?;
    let time = parts.to_time().unwrap_or(Time::midnight());
    Some(date.to_datetime(time))
}

/// Local time and offset; UTC when the text names no zone.
fn split_zone(text: &str) -> (&str, Offset) {
    for name in ["UTC", "GMT", "Z"] {
        if let Some(local) = text.strip_suffix(name)
            && local.ends_with(|last: char| last.is_ascii_digit() || last == ' ')
        {
            return (local.trim_end(), Offset::UTC);
        }
    }
    let Some(at) = text.rfind(['+', '-']) else {
        return (text, Offset::UTC);
    };
    // A dash between the parts of a date is no offset: a time with a colon comes before one.
    let (local, offset) = (&text[..at], &text[at + 1..]);
    if !local.contains(':') && !local.contains('T') {
        return (text, Offset::UTC);
    }
    let digits: String = offset.chars().filter(char::is_ascii_digit).collect();
    let is_offset = offset
        .chars()
        .all(|symbol| symbol.is_ascii_digit() || symbol == ':');
    let (hours, minutes) = match digits.len() {
        1 | 2 => (digits.as_str(), "0"),
        4 => digits.split_at(2),
        _ => return (text, Offset::UTC),
    };
    let (Ok(hours), Ok(minutes)) = (hours.parse::<i64>(), minutes.parse::<i64>()) else {
        return (text, Offset::UTC);
    };
    let seconds = hours * 3600 + minutes * 60;
    let signed = if text[at..].starts_with('-') {
        -seconds
    } else {
        seconds
    };
    match i32::try_from(signed)
        .ok()
        .and_then(|seconds| Offset::from_seconds(seconds).ok())
    {
        Some(offset) if is_offset => (local.trim_end(), offset),
        _ => (text, Offset::UTC),
    }
}

/// Seconds from a moment to `now`, which is in milliseconds since 1970.
pub(super) fn seconds_since(moment: Timestamp, now_millis: i64) -> f64 {
    let now = SignedDuration::from_millis(now_millis);
    (now - moment.as_duration()).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let moment = parse(text).expect(text);
        assert_eq!(moment.to_string(), expected, "for {text:?}");
    }

    #[test]
    fn dates_of_machines_are_read() {
        check("2014-08-05T01:02:03Z", "2014-08-05T01:02:03Z");
        check("2014-08-05T01:02:03.5+02:00", "2014-08-04T23:02:03.5Z");
        check("2014-08-05 01:02:03.5 +0200", "2014-08-04T23:02:03.5Z");
        check("2014-08-05 01:02:03.000001", "2014-08-05T01:02:03.000001Z");
        check("2014-08-05T01:02:03-05", "2014-08-05T06:02:03Z");
        check("2014-08-05", "2014-08-05T00:00:00Z");
        check("2014-08-05 10:00 GMT", "2014-08-05T10:00:00Z");
        check("20140805T010203Z", "2014-08-05T01:02:03Z");
        check("20140805", "2014-08-05T00:00:00Z");
        check("Tue, 05 Aug 2014 01:00:00 +0000", "2014-08-05T01:00:00Z");
        check("Tue, 05 Aug 2014 01:00:00 GMT", "2014-08-05T01:00:00Z");
        check("Tue Aug  5 01:00:00 2014", "2014-08-05T01:00:00Z");
        check("Tue Aug  5 01:00:00 UTC 2014", "2014-08-05T01:00:00Z");
        check("Aug 5, 2014", "2014-08-05T00:00:00Z");
        check("5 August 2014 10:00", "2014-08-05T10:00:00Z");
        check("08/05/2014 10:00 PM", "2014-08-05T22:00:00Z");
        check("2014/08/05 01:02", "2014-08-05T01:02:00Z");
    }

    #[test]
    fn other_text_is_no_date() {
        for text in ["", "None", "soon", "2014-13-01", "+", "-", "12:", "a-b:c"] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with("Unknown string format"), "{error}");
        }
    }
}
