//! Sizes, spans and times as people read them. Pure: the present comes in as an argument.

use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `512M`, `1.5G`, `0`: one digit after the point where it says something.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if bytes == 0 {
        return "0".to_string();
    }
    let rounded = (value * 10.0).round() / 10.0;
    if rounded.fract() == 0.0 || rounded >= 100.0 {
        format!("{rounded:.0}{}", UNITS[unit])
    } else {
        format!("{rounded:.1}{}", UNITS[unit])
    }
}

pub fn megabytes(megabytes: u64) -> String {
    bytes(megabytes.saturating_mul(1 << 20))
}

/// How long something took: `840ms`, `4.2s`, `1m03s`.
pub fn took(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{:.1}s", span.as_secs_f64()),
        _ => {
            let seconds = span.as_secs();
            format!("{}m{:02}s", seconds / 60, seconds % 60)
        }
    }
}

/// How long something lasts already: `12s`, `5m`, `3h20m`, `4d`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// An RFC 3339 time, or None.
pub fn parse_time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// `3m12s ago`; what cannot be read is shown as it is.
pub fn ago(text: &str, now: OffsetDateTime) -> String {
    match parse_time(text) {
        Some(then) => {
            let seconds = (now - then).whole_seconds();
            if seconds < 0 {
                "now".to_string()
            } else {
                format!("{} ago", span(seconds.unsigned_abs()))
            }
        }
        None => text.to_string(),
    }
}

/// A moment as a table shows it: `2026-03-04 05:06:07Z`.
pub fn moment(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC);
    format!(
        "{} {:02}:{:02}:{:02}Z",
        time.date(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// `RFC 3339` of a moment, for documents.
pub fn rfc3339(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0)
        .unwrap_or(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// `1 instance`, `3 instances`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn sizes() {
        for (size, text) in [
            (0, "0"),
            (512, "512B"),
            (1536, "1.5K"),
            (256 << 20, "256M"),
            ((1 << 30) + (1 << 29), "1.5G"),
            (1023 << 20, "1023M"),
        ] {
            assert_eq!(bytes(size), text);
        }
        assert_eq!(megabytes(1024), "1G");
    }

    #[test]
    fn spans() {
        assert_eq!(took(Duration::from_millis(840)), "840ms");
        assert_eq!(took(Duration::from_millis(4210)), "4.2s");
        assert_eq!(took(Duration::from_secs(63)), "1m03s");
        assert_eq!(span(59), "59s");
        assert_eq!(span(3 * 3600 + 20 * 60), "3h20m");
        assert_eq!(span(4 * 86_400), "4d00h");
    }

    #[test]
    fn times() {
        let now = datetime!(2026-03-04 05:06:07 UTC);
        assert_eq!(ago("2026-03-04T05:03:07Z", now), "3m00s ago");
        assert_eq!(ago("2026-03-04T06:03:07Z", now), "now", "clocks differ");
        assert_eq!(ago("yesterday", now), "yesterday");
        assert_eq!(moment(now), "2026-03-04 05:06:07Z");
    }
}
