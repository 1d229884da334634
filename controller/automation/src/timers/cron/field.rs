//! One field of a cron line: a list of expressions.

use jiff::civil::{Date, Weekday};
use thiserror::Error;

/// The fields, from the most to the least significant.
pub const NAMES: [&str; 8] = [
    "year",
    "month",
    "day",
    "week",
    "day_of_week",
    "hour",
    "minute",
    "second",
];

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Why a field cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("Unrecognized expression \"{expression}\" for field \"{field}\": {problem}")]
pub struct FieldError {
    /// The field.
    pub field: &'static str,
    /// The expression, one of a list.
    pub expression: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The smallest and the largest value of a field.
fn bounds(name: &str) -> (i64, i64) {
    match name {
        "year" => (1970, 9999),
        "month" => (1, 12),
        "day" => (1, 31),
        "week" => (1, 53),
        "day_of_week" => (0, 6),
        "hour" => (0, 23),
        _ => (0, 59),
    }
}

/// What an omitted field below the last given one means.
pub(super) fn omitted(name: &str) -> &'static str {
    match name {
        "month" | "day" => "1",
        "hour" | "minute" | "second" => "0",
        _ => "*",
    }
}

/// Every `step`th value from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progression {
    first: i64,
    last: i64,
    step: i64,
}

impl Progression {
    fn next(self, from: i64, limit: i64) -> Option<i64> {
        let from = from.max(self.first);
        let behind = (from - self.first).rem_euclid(self.step);
        let next = if behind == 0 {
            from
        } else {
            from + self.step - behind
        };
        (next <= self.last.min(limit)).then_some(next)
    }
}

/// A field whose expressions do not depend on the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field(Vec<Progression>);

impl Field {
    pub(super) fn parse(name: &'static str, text: &str) -> Result<Field, FieldError> {
        expressions(text)
            .map(|expression| {
                progression(name, expression).map_err(|problem| FieldError {
                    field: name,
                    expression: expression.to_owned(),
                    problem,
                })
            })
            .collect::<Result<_, _>>()
            .map(Field)
    }

    /// The smallest value not below `from` and not above `limit`.
    pub(super) fn next(&self, from: i64, limit: i64) -> Option<i64> {
        self.0
            .iter()
            .filter_map(|progression| progression.next(from, limit))
            .min()
    }

    pub(super) fn contains(&self, value: i64) -> bool {
        self.next(value, value).is_some()
    }
}

/// The day of the month, whose expressions may depend on the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DayField(Vec<Day>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Day {
    In(Progression),
    Last,
    /// The nth such weekday, or the last one.
    Weekday {
        nth: Option<i8>,
        weekday: Weekday,
    },
}

impl DayField {
    pub(super) fn parse(text: &str) -> Result<DayField, FieldError> {
        expressions(text)
            .map(|expression| {
                day(expression).map_err(|problem| FieldError {
                    field: "day",
                    expression: expression.to_owned(),
                    problem,
                })
            })
            .collect::<Result<_, _>>()
            .map(DayField)
    }

    pub(super) fn contains(&self, date: Date) -> bool {
        let of_month = i64::from(date.day());
        self.0.iter().any(|day| match day {
            Day::In(progression) => progression.next(of_month, of_month).is_some(),
            Day::Last => date == date.last_of_month(),
            Day::Weekday { nth, weekday } => {
                date.weekday() == *weekday
                    && match nth {
                        Some(nth) => (date.day() - 1) / 7 + 1 == *nth,
                        None => date.day() + 7 > date.days_in_month(),
                    }
            }
        })
    }
}

fn expressions(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

fn day(expression: &str) -> Result<Day, String> {
    let lower = expression.to_ascii_lowercase();
    if lower == "last" {
        return Ok(Day::Last);
    }
    if let Some((position, weekday)) = lower.split_once(' ') {
        let nth = match position {
            "1st" => Some(1),
            "2nd" => Some(2),
            "3rd" => Some(3),
            "4th" => Some(4),
            "5th" => Some(5),
            "last" => None,
            _ => return Err("a position is 1st, 2nd, 3rd, 4th, 5th or last".to_owned()),
        };
        let index = index_of(&WEEKDAYS, weekday.trim(), "weekday")?;
        let weekday = Weekday::from_monday_zero_offset(index as i8)
            .map_err(|_| format!("invalid weekday name \"{}\"", weekday.trim()))?;
        return Ok(Day::Weekday { nth, weekday });
    }
    progression("day", expression).map(Day::In)
}

fn progression(name: &str, expression: &str) -> Result<Progression, String> {
    let (min, max) = bounds(name);
    let (range, step) = match expression.split_once('/') {
        Some((range, step)) => (range, Some(number(step)?)),
        None => (expression, None),
    };
    let (first, last) = if range == "*" {
        (min, max)
    } else if range.starts_with(|first: char| first.is_ascii_alphabetic()) {
        if step.is_some() {
            return Err("names take no step".to_owned());
        }
        names(name, range)?
    } else {
        match range.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            // `5/10` goes on to the end, `5` does not.
            None if step.is_some() => (number(range)?, max),
            None => (number(range)?, number(range)?),
        }
    };
    if first > last {
        return Err("the minimum value in a range must not be higher than the maximum".to_owned());
    }
    if first < min {
        return Err(format!(
            "the first value ({first}) is lower than the minimum value ({min})"
        ));
    }
    if last > max {
        return Err(format!(
            "the last value ({last}) is higher than the maximum value ({max})"
        ));
    }
    match step {
        Some(0) => Err("the step must be higher than 0".to_owned()),
        Some(step) if step > last - first => Err(format!(
            "the step value ({step}) is higher than the total range of the expression ({})",
            last - first
        )),
        _ => Ok(Progression {
            first,
            last,
            step: step.unwrap_or(1),
        }),
    }
}

fn names(field: &str, range: &str) -> Result<(i64, i64), String> {
    let (known, what): (&[&str], &str) = match field {
        "month" => (&MONTHS, "month"),
        "day_of_week" => (&WEEKDAYS, "weekday"),
        _ => return Err("this field takes numbers only".to_owned()),
    };
    let origin = bounds(field).0;
    let value = |name: &str| index_of(known, name, what).map(|index| index as i64 + origin);
    match range.split_once('-') {
        Some((first, last)) => Ok((value(first)?, value(last)?)),
        None => value(range).map(|value| (value, value)),
    }
}

fn index_of(known: &[&str], name: &str, what: &str) -> Result<usize, String> {
    known
        .iter()
        .position(|candidate| candidate.eq_ignore_ascii_case(name))
        .ok_or_else(|| format!("invalid {what} name \"{name}\""))
}

fn number(text: &str) -> Result<i64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("\"{text}\" is not a number"));
    }
    text.parse()
        .map_err(|_| format!("the number {text} is too large"))
}
