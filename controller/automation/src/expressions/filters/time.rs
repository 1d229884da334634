//! Spans of time for people.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Value};

use super::super::python;
use super::super::values::refuse;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("to_human_time_from_seconds", to_human_time_from_seconds);
}

/// `12345` as `3h25m45s`.
///
/// Upstream takes days from a calendar date and loses whole months: 40 days print as 9 there. Here
/// a year has 365 days, and days are counted up to it.
fn to_human_time_from_seconds(seconds: &Value) -> Result<String, Error> {
    let is_number = matches!(seconds.kind(), ValueKind::Number | ValueKind::Bool);
    let Some(number) = f64::try_from(seconds.clone()).ok().filter(|_| is_number) else {
        return Err(refuse(format!(
            "to_human_time_from_seconds needs a number of seconds, not {seconds:?}"
        )));
    };
    if number == 0.0 {
        return Ok("0s".into());
    }
    if number < 1.0 {
        let text = if seconds.is_integer() {
            seconds.to_string()
        } else {
            python::float_text(number)
        };
        return Ok(format!("{text}\u{3bc}s"));
    }
    // Saturates far beyond any span that is measured.
    let seconds = number.round_ties_even() as u64;
    let parts = [
        (seconds / YEAR, 'y'),
        (seconds % YEAR / DAY, 'd'),
        (seconds % DAY / HOUR, 'h'),
        (seconds % HOUR / MINUTE, 'm'),
        (seconds % MINUTE, 's'),
    ];
    Ok(parts
        .iter()
        .skip_while(|(amount, _)| *amount == 0)
        .map(|(amount, unit)| format!("{amount}{unit}"))
        .collect())
}
