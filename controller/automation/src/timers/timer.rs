//! The three kinds of timers, read from the parameters of a trigger.

use super::cron::{Cron, FieldError};
use crate::documents::schema::{self, Invalid};
use crate::documents::timestamp;
use crate::triggers;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why the parameters make no timer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TimerError {
    /// Not a type of timer.
    #[error(
        "{0} is not a timer: the timers are core.st2.IntervalTimer, core.st2.DateTimer and core.st2.CronTimer"
    )]
    Type(String),
    /// The parameters violate the schema of the trigger type.
    #[error("the parameters of {timer} are not valid: {problem}")]
    Parameters {
        /// The trigger type.
        timer: String,
        /// What is wrong.
        problem: Invalid,
    },
    /// No such time zone.
    #[error("the time zone \"{0}\" is not known")]
    Zone(String),
    /// Not a date.
    #[error(
        "the date \"{0}\" is not understood: write it like 2026-12-31T23:59:59Z, 2026-12-31 23:59:59 or 2026-12-31"
    )]
    Date(String),
    /// An interval of no length.
    #[error("the delta of an interval must be at least 1, not {0}")]
    Delta(i64),
    /// An interval that ends beyond all times.
    #[error("an interval of {delta} {unit} is too long")]
    Length {
        /// As given.
        delta: i64,
        /// As given.
        unit: String,
    },
    /// A cron field.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// When something fires.
#[derive(Debug, Clone)]
pub struct Timer(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// Every so many milliseconds.
    Interval(i64),
    /// Once.
    Date(i64),
    Cron(Box<Cron>),
}

/// The time zone of this name.
pub fn zone(name: &str) -> Result<TimeZone, TimerError> {
    TimeZone::get(name).map_err(|_| TimerError::Zone(name.to_owned()))
}

impl Timer {
    /// Reads the parameters of a trigger of a timer type. `default_zone` is where times without a
    /// zone are.
    pub fn parse(
        trigger_type: &str,
        parameters: &Value,
        default_zone: &TimeZone,
    ) -> Result<Timer, TimerError> {
        let schema = triggers::timer_parameters(trigger_type)
            .ok_or_else(|| TimerError::Type(trigger_type.to_owned()))?;
        schema::validate(&schema, parameters).map_err(|problem| TimerError::Parameters {
            timer: trigger_type.to_owned(),
            problem,
        })?;
        let text = |name: &str| parameters[name].as_str().unwrap_or_default();
        // The zone of an interval is checked like any other, though it moves nothing: an interval is
        // a number of seconds.
        let zone = match parameters["timezone"].as_str() {
            Some(name) => self::zone(name)?,
            None => default_zone.clone(),
        };
        let kind = match trigger_type {
            "core.st2.IntervalTimer" => Kind::Interval(interval(
                text("unit"),
                parameters["delta"].as_i64().unwrap_or_default(),
            )?),
            "core.st2.DateTimer" => Kind::Date(date(text("date"), &zone)?),
            _ => Kind::Cron(Box::new(Cron::parse(&fields(parameters), zone)?)),
        };
        Ok(Timer(kind))
    }

    /// The first firing strictly after a time. Intervals are counted from the anchor, which is when the timer
    /// was created, also backwards: a clock that was set back shows times before it. Unix milliseconds.
    pub fn next(&self, anchor: i64, after: i64) -> Option<i64> {
        match &self.0 {
            Kind::Interval(length) => {
                let passed = after.checked_sub(anchor)?.div_euclid(*length);
                passed
                    .checked_add(1)?
                    .checked_mul(*length)?
                    .checked_add(anchor)
            }
            Kind::Date(at) => Some(*at).filter(|at| *at > after.max(anchor)),
            Kind::Cron(cron) => cron.next(after),
        }
    }
}

fn interval(unit: &str, delta: i64) -> Result<i64, TimerError> {
    if delta < 1 {
        return Err(TimerError::Delta(delta));
    }
    let seconds = match unit {
        "weeks" => 7 * 86_400,
        "days" => 86_400,
        "hours" => 3600,
        "minutes" => 60,
        _ => 1,
    };
    delta
        .checked_mul(seconds * 1000)
        .ok_or_else(|| TimerError::Length {
            delta,
            unit: unit.to_owned(),
        })
}

fn date(text: &str, zone: &TimeZone) -> Result<i64, TimerError> {
    let text = text.trim();
    let with_offset = text.parse::<Timestamp>().ok().or_else(|| {
        let written = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(written.timestamp())
    });
    let instant = with_offset.or_else(|| {
        let local: DateTime = text.parse().ok()?;
        zone.to_timestamp(local).ok()
    });
    instant
        .map(Timestamp::as_millisecond)
        .ok_or_else(|| TimerError::Date(text.to_owned()))
}

/// The fields as text; a field that is null is not given.
fn fields(parameters: &Value) -> BTreeMap<&'static str, String> {
    super::cron::NAMES
        .iter()
        .filter_map(|name| match &parameters[*name] {
            Value::String(text) => Some((*name, text.clone())),
            Value::Number(number) => Some((*name, number.to_string())),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        })
        .collect()
}

/// What a firing tells the rules.
pub fn payload(parameters: &Value, executed_at: i64) -> Value {
    json!({"executed_at": timestamp(executed_at), "schedule": parameters})
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn parsed(timer: &str, parameters: Value) -> Timer {
        Timer::parse(&format!("core.st2.{timer}"), &parameters, &TimeZone::UTC)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn refused(timer: &str, parameters: Value, text: &str) {
        let error = Timer::parse(&format!("core.st2.{timer}"), &parameters, &TimeZone::UTC)
            .expect_err("refused")
            .to_string();
        assert!(error.contains(text), "{error}");
    }

    #[test]
    fn an_interval_counts_from_its_anchor() {
        let timer = parsed("IntervalTimer", json!({"unit": "minutes", "delta": 2}));
        assert_eq!(timer.next(7, 7), Some(120_007));
        assert_eq!(timer.next(7, 120_006), Some(120_007));
        assert_eq!(timer.next(7, 120_007), Some(240_007));
        let week = parsed("IntervalTimer", json!({"unit": "weeks", "delta": 1}));
        assert_eq!(week.next(0, 0), Some(604_800_000));
    }

    #[test]
    fn an_interval_goes_on_also_where_the_clock_was_set_back_before_its_anchor() {
        let timer = parsed("IntervalTimer", json!({"unit": "minutes", "delta": 2}));
        assert_eq!(timer.next(120_007, 0), Some(7));
        assert_eq!(timer.next(120_007, 7), Some(120_007));
    }

    #[test]
    fn a_date_is_read_in_its_zone() {
        let at = |parameters: Value| parsed("DateTimer", parameters).next(0, 0);
        let new_year = Some(1_420_070_399_000);
        assert_eq!(at(json!({"date": "2014-12-31T23:59:59Z"})), new_year);
        assert_eq!(at(json!({"date": "2014-12-31 23:59:59"})), new_year);
        assert_eq!(at(json!({"date": "2015-01-01T00:59:59+01:00"})), new_year);
        assert_eq!(
            at(json!({"date": "Wed, 31 Dec 2014 23:59:59 +0000"})),
            new_year
        );
        assert_eq!(
            at(json!({"date": "2015-01-01 00:59:59", "timezone": "Europe/Vienna"})),
            new_year
        );
        assert_eq!(
            at(json!({"date": "1970-01-02", "timezone": "UTC"})),
            Some(86_400_000)
        );
        assert_eq!(
            parsed("DateTimer", json!({"date": "1970-01-02"})).next(86_400_000, 0),
            None
        );
    }

    #[test]
    fn parameters_are_checked() {
        refused(
            "IntervalTimer",
            json!({"unit": "years", "delta": 1}),
            "unit: ",
        );
        refused(
            "IntervalTimer",
            json!({"unit": "days"}),
            "\"delta\" is a required property",
        );
        refused(
            "IntervalTimer",
            json!({"unit": "days", "delta": 0}),
            "at least 1, not 0",
        );
        refused(
            "IntervalTimer",
            json!({"unit": "days", "delta": "1"}),
            "delta: ",
        );
        refused(
            "IntervalTimer",
            json!({"unit": "weeks", "delta": i64::MAX}),
            "too long",
        );
        refused(
            "IntervalTimer",
            json!({"unit": "days", "delta": 1, "every": 1}),
            "every",
        );
        refused(
            "IntervalTimer",
            json!({"unit": "days", "delta": 1, "timezone": "Mars/Olympus"}),
            "the time zone \"Mars/Olympus\" is not known",
        );
        refused("DateTimer", json!({"date": "next year"}), "next year");
        refused("CronTimer", json!({"minute": 60}), "minute: ");
        refused("CronTimer", json!({"minute": "60"}), "for field \"minute\"");
        refused("WebTimer", json!({}), "core.st2.WebTimer is not a timer");
    }

    #[test]
    fn a_cron_field_that_is_null_is_not_given() {
        let timer = parsed("CronTimer", json!({"minute": "30", "second": null}));
        assert_eq!(timer.next(0, 0), Some(1_800_000));
        assert_eq!(timer.next(0, 1_800_000), Some(5_400_000));
    }

    #[test]
    fn the_payload_obeys_the_schema_of_the_trigger_type() {
        let parameters = json!({"unit": "days", "delta": 1});
        let payload = payload(&parameters, 0);
        assert_eq!(
            payload,
            json!({"executed_at": "1970-01-01T00:00:00.000000Z", "schedule": parameters})
        );
        for timer in triggers::builtin()
            .into_iter()
            .filter(|kind| kind.name.ends_with("Timer"))
        {
            assert_eq!(schema::validate(&timer.payload_schema, &payload), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn the_next_firing_is_later_and_none_lies_between(delta in 1..500i64, anchor in 0..1_000_000i64, after in 0..3_000_000i64) {
            let timer = parsed("IntervalTimer", json!({"unit": "seconds", "delta": delta}));
            let next = timer.next(anchor, after).expect("intervals go on");
            prop_assert!(next > after);
            prop_assert_eq!((next - anchor) % (delta * 1000), 0);
            prop_assert!(next - delta * 1000 <= after);
        }
    }
}
