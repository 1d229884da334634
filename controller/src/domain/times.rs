//! Times as the API writes them. Inside they are Unix microseconds.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2026-01-31T12:00:00Z`
pub fn rfc3339(micros: i64) -> String {
    OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000))
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// `2026-01-31T12:00:00.000001Z`: six digits, always, so that texts sort as times.
pub fn rfc3339_micros(micros: i64) -> String {
    let whole = rfc3339(micros);
    match whole.strip_suffix('Z') {
        Some(seconds) => format!("{seconds}.{:06}Z", micros.rem_euclid(1_000_000)),
        None => whole,
    }
}

/// The other way; None for anything else.
pub fn parse(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back() {
        assert_eq!(rfc3339(1_700_000_000_123_456), "2023-11-14T22:13:20Z");
        assert_eq!(
            rfc3339_micros(1_700_000_000_000_456),
            "2023-11-14T22:13:20.000456Z"
        );
        assert_eq!(parse("2023-11-14T22:13:20Z"), Some(1_700_000_000_000_000));
        assert_eq!(parse("yesterday"), None);
    }
}
