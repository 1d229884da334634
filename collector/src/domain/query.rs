//! What a reader asks for (contract §1.8).

/// Checked parameters of `GET /api/v1/read/:source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Unix nanoseconds, inclusive. May be far in the past: clients send the year 1.
    pub start: i64,
    /// Exclusive.
    pub end: i64,
    pub limit: usize,
    pub descending: bool,
    /// Whether log lines are asked for at all; there is nothing else here.
    pub logs: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    #[error("{name} is no number: {value:?}")]
    Number { name: &'static str, value: String },
    #[error("limit must be {MOST} or less")]
    Limit,
    #[error("envelope_types: {0:?} is none of LOG, COUNTER, GAUGE, TIMER, EVENT, ANY")]
    EnvelopeType(String),
    #[error("descending is neither true nor false: {0:?}")]
    Descending(String),
    #[error("the end ({end}) must be after the start ({start})")]
    Order { start: i64, end: i64 },
}

const MOST: usize = 1000;
const USUAL: usize = 100;

/// Reads the parameters; unknown ones are ignored. Without an end: until `now`.
pub fn parse<'a>(
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    now: i64,
) -> Result<Query, BadQuery> {
    let (mut start, mut end, mut limit, mut descending) = (None, None, USUAL, false);
    let mut logs: Option<bool> = None;
    for (name, value) in parameters {
        match name {
            "start_time" => start = number("start_time", value)?,
            "end_time" => end = number("end_time", value)?,
            "limit" => {
                let wanted: Option<usize> = number("limit", value)?;
                limit = match wanted {
                    // Zero is how clients say "your choice".
                    None | Some(0) => USUAL,
                    Some(wanted) if wanted > MOST => return Err(BadQuery::Limit),
                    Some(wanted) => wanted,
                };
            }
            "descending" => {
                descending = match value {
                    "true" | "1" => true,
                    "false" | "0" | "" => false,
                    other => return Err(BadQuery::Descending(other.to_string())),
                };
            }
            "envelope_types" => {
                let wanted = match value.to_ascii_uppercase().as_str() {
                    "LOG" | "ANY" => true,
                    "COUNTER" | "GAUGE" | "TIMER" | "EVENT" => false,
                    other => return Err(BadQuery::EnvelopeType(other.to_string())),
                };
                logs = Some(logs.unwrap_or(false) || wanted);
            }
            _ => {}
        }
    }
    let start = start.unwrap_or(0);
    // An end of zero means none, as in protobuf.
    let end = end.filter(|end| *end != 0);
    if let Some(end) = end
        && end <= start
    {
        return Err(BadQuery::Order { start, end });
    }
    // Entries of the current nanosecond belong to it.
    Ok(Query {
        start,
        end: end.unwrap_or_else(|| now.saturating_add(1_000_000_000)),
        limit,
        descending,
        logs: logs.unwrap_or(true),
    })
}

fn number<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<Option<T>, BadQuery> {
    if value.is_empty() {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|_| BadQuery::Number {
        name,
        value: value.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000_000;

    fn check(text: &str) -> Result<Query, BadQuery> {
        parse(
            text.split('&')
                .filter(|part| !part.is_empty())
                .map(|part| part.split_once('=').unwrap_or((part, ""))),
            NOW,
        )
    }

    #[test]
    fn what_the_clients_send_is_understood() {
        let recent =
            check("start_time=-6795364578871345152&envelope_types=LOG&limit=1000&descending=true")
                .expect("understood");
        assert_eq!(
            (recent.start, recent.limit, recent.descending, recent.logs),
            (-6_795_364_578_871_345_152, 1000, true, true)
        );
        let first = check("limit=1&descending=true").expect("understood");
        assert!(first.logs && first.end > NOW);
        assert_eq!(check("").expect("understood").limit, 100);
        assert_eq!(
            check("limit=0&whatever=1&start_time=&end_time=0")
                .expect("understood")
                .limit,
            100
        );
        assert!(!check("envelope_types=COUNTER").expect("understood").logs);
        assert!(
            check("envelope_types=COUNTER&envelope_types=LOG")
                .expect("understood")
                .logs
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        assert_eq!(
            check("limit=1001").map_err(|error| error.to_string()),
            Err("limit must be 1000 or less".into())
        );
        assert!(check("start_time=yesterday").is_err());
        assert!(check("limit=-1").is_err());
        assert!(check("start_time=10&end_time=10").is_err());
        assert!(check("envelope_types=NOISE").is_err());
        assert!(check("descending=maybe").is_err());
        assert!(check("start_time=99999999999999999999").is_err());
    }
}
