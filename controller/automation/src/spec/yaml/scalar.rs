//! What a bare word means in YAML 1.1, as PyYAML's safe loader reads it.
//!
//! The forms differ from the YAML 1.1 document in places: `y` and `n` are strings, `1e3` is a
//! string because a float needs a point and its exponent a sign, and `0o17` is a string.

use granit_parser::Tag;
use jiff::civil;
use serde_json::{Number, Value};

/// What `!!` stands for.
pub(super) const YAML: &str = "tag:yaml.org,2002:";

/// Value of a scalar, or what is wrong with it.
pub(super) fn resolve(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Value, String> {
    let Some(tag) = tag.filter(|tag| !is_unspecific(tag)) else {
        return if plain {
            bare(text)
        } else {
            Ok(Value::String(text.to_owned()))
        };
    };
    if tag.handle() != YAML {
        return Err(unknown_tag(tag));
    }
    let misfit = || format!("{text:?} is no {}", tag.suffix());
    match tag.suffix() {
        "str" => Ok(Value::String(text.to_owned())),
        "null" => Ok(Value::Null),
        "bool" => boolean(&text.to_ascii_lowercase())
            .map(Value::Bool)
            .ok_or_else(misfit),
        "int" => integer(text).unwrap_or_else(|| Err(misfit())),
        "float" => match float(text) {
            Some(value) => value,
            None => match integer(text).ok_or_else(misfit)?? {
                Value::Number(number) => number
                    .as_f64()
                    .and_then(Number::from_f64)
                    .map(Value::Number)
                    .ok_or_else(misfit),
                Value::Null
                | Value::Bool(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_) => Err(misfit()),
            },
        },
        "timestamp" => timestamp(text).unwrap_or_else(|| Err(misfit())),
        _ => Err(unknown_tag(tag)),
    }
}

/// `!` alone leaves the meaning to the text.
pub(super) fn is_unspecific(tag: &Tag) -> bool {
    (tag.handle().is_empty() && tag.suffix() == "!")
        || (tag.handle() == "!" && tag.suffix().is_empty())
}

pub(super) fn unknown_tag(tag: &Tag) -> String {
    let shown = if tag.handle() == YAML {
        format!("!!{}", tag.suffix())
    } else {
        format!("{}{}", tag.handle(), tag.suffix())
    };
    format!("the tag {shown} is not understood here")
}

fn bare(text: &str) -> Result<Value, String> {
    let Some(first) = text.chars().next() else {
        return Ok(Value::Null);
    };
    if matches!(text, "~" | "null" | "Null" | "NULL") {
        return Ok(Value::Null);
    }
    if let Some(value) = boolean_word(text) {
        return Ok(Value::Bool(value));
    }
    if first.is_ascii_digit() || matches!(first, '+' | '-' | '.') {
        if let Some(number) = integer(text) {
            return number;
        }
        if let Some(number) = float(text) {
            return number;
        }
        if let Some(time) = timestamp(text) {
            return time;
        }
    }
    Ok(Value::String(text.to_owned()))
}

fn boolean(lower: &str) -> Option<bool> {
    match lower {
        "yes" | "true" | "on" => Some(true),
        "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// Bare booleans are all lower, all upper, or capitalized.
fn boolean_word(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let value = boolean(&lower)?;
    let rest = &text[1..];
    let is_upper = text.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_upper || rest.bytes().all(|byte| byte.is_ascii_lowercase())).then_some(value)
}

fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn all(text: &str, accept: fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte == b'_' || accept(byte))
}

/// None: not written like an integer.
fn integer(text: &str) -> Option<Result<Value, String>> {
    let (negative, digits) = sign(text);
    let magnitude = if let Some(rest) = digits.strip_prefix("0b") {
        all(rest, |byte| matches!(byte, b'0' | b'1')).then(|| radix(rest, 2))
    } else if let Some(rest) = digits.strip_prefix("0x") {
        all(rest, |byte| byte.is_ascii_hexdigit()).then(|| radix(rest, 16))
    } else if digits == "0" {
        Some(Some(0))
    } else if let Some(rest) = digits.strip_prefix('0') {
        all(rest, |byte| matches!(byte, b'0'..=b'7')).then(|| octal(rest))
    } else if digits.starts_with(|first: char| first.is_ascii_digit()) {
        if all(digits, |byte| byte.is_ascii_digit()) {
            Some(radix(digits, 10))
        } else {
            sexagesimal(digits)
        }
    } else {
        None
    }?;
    Some(number(text, negative, magnitude))
}

fn radix(digits: &str, radix: u32) -> Option<u64> {
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

/// `0_` is zero: nothing but the leading zero counts.
fn octal(digits: &str) -> Option<u64> {
    let digits = digits.replace('_', "");
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(&digits, 8).ok()
}

/// `1:30:00`; the first part does not start with a zero, the others are below 60.
fn sexagesimal(digits: &str) -> Option<Option<u64>> {
    let mut parts = digits.split(':');
    let first = parts.next()?;
    if !all(first, |byte| byte.is_ascii_digit()) || !digits.contains(':') {
        return None;
    }
    let mut total = radix(first, 10);
    for part in parts {
        let part = below_sixty(part)?;
        total = total
            .and_then(|total| total.checked_mul(60))
            .and_then(|total| total.checked_add(part));
    }
    Some(total)
}

fn below_sixty(part: &str) -> Option<u64> {
    if part.is_empty() || part.len() > 2 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    part.parse().ok().filter(|part| *part < 60)
}

fn number(text: &str, negative: bool, magnitude: Option<u64>) -> Result<Value, String> {
    let too_large =
        || format!("the integer {text} does not fit 64 bits; quote it to keep its text");
    let magnitude = magnitude.ok_or_else(too_large)?;
    if !negative {
        return Ok(Value::from(magnitude));
    }
    0i64.checked_sub_unsigned(magnitude)
        .map(Value::from)
        .ok_or_else(too_large)
}

/// None: not written like a float.
fn float(text: &str) -> Option<Result<Value, String>> {
    let (negative, digits) = sign(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Err(format!(
            "{text} is a number that JSON does not have; quote it to keep its text"
        )));
    }
    let magnitude = if digits.contains(':') {
        sexagesimal_float(digits)?
    } else {
        let (mantissa, exponent) = match digits.find(['e', 'E']) {
            Some(at) => (&digits[..at], Some(&digits[at + 1..])),
            None => (digits, None),
        };
        let (whole, fraction) = mantissa.split_once('.')?;
        if let Some(exponent) = exponent {
            let exponent = exponent.strip_prefix(['+', '-'])?;
            if exponent.is_empty() || !exponent.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
        }
        let digit = |byte: u8| byte.is_ascii_digit();
        if whole.is_empty() {
            // `.5` takes no sign, and a digit comes first.
            let starts_with_digit = fraction.starts_with(|first: char| first.is_ascii_digit());
            if text.len() != digits.len() || !starts_with_digit || !all(fraction, digit) {
                return None;
            }
        } else if !whole.starts_with(|first: char| first.is_ascii_digit())
            || !all(whole, digit)
            || !(fraction.is_empty() || all(fraction, digit))
        {
            return None;
        }
        digits.replace('_', "").parse::<f64>().ok()?
    };
    let value = if negative { -magnitude } else { magnitude };
    Some(
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| format!("the number {text} is too large; quote it to keep its text")),
    )
}

fn sexagesimal_float(digits: &str) -> Option<f64> {
    let (whole, fraction) = digits.split_once('.')?;
    if !(fraction.is_empty() || all(fraction, |byte| byte.is_ascii_digit())) {
        return None;
    }
    let mut parts = whole.split(':').peekable();
    let first = parts.next()?;
    if !first.starts_with(|first: char| first.is_ascii_digit())
        || !all(first, |byte| byte.is_ascii_digit())
    {
        return None;
    }
    let mut total: f64 = first.replace('_', "").parse().ok()?;
    while let Some(part) = parts.next() {
        let part_value = below_sixty(part)?;
        total *= 60.0;
        total += if parts.peek().is_none() {
            format!("{part_value}.{}", fraction.replace('_', ""))
                .parse::<f64>()
                .ok()?
        } else {
            part_value as f64
        };
    }
    Some(total)
}

/// Reads digits, between `least` and `most` of them.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let count = text
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    if count < least {
        return None;
    }
    Some((text[..count].parse().ok()?, &text[count..]))
}

/// A date, or a date with a time and perhaps an offset, as Python's `isoformat` writes it. None:
/// not written like one.
fn timestamp(text: &str) -> Option<Result<Value, String>> {
    let (year, rest) = digits(text, 4, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 1, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 1, 2)?;
    let date = || {
        civil::Date::new(year as i16, month as i8, day as i8)
            .map_err(|_| format!("{text} is no date of the calendar; quote it if it is text"))
    };
    if rest.is_empty() {
        if text.len() != "2000-01-01".len() {
            return None;
        }
        return Some(date().map(|date| Value::String(date.to_string())));
    }
    let time = match rest.strip_prefix(['T', 't']) {
        Some(time) => time,
        None => {
            let time = rest.trim_start_matches([' ', '\t']);
            if time.len() == rest.len() {
                return None;
            }
            time
        }
    };
    let (hour, rest) = digits(time, 1, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2, 2)?;
    let (second, rest) = digits(rest.strip_prefix(':')?, 2, 2)?;
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.bytes().take_while(u8::is_ascii_digit).count();
            (&rest[..end], &rest[end..])
        }
        None => ("", rest),
    };
    let offset = offset(rest)?;
    let micros: String = format!("{fraction:0<6}").chars().take(6).collect();
    let clock = || {
        let in_range = hour < 24 && minute < 60 && second < 60;
        in_range
            .then(|| format!("{hour:02}:{minute:02}:{second:02}"))
            .ok_or_else(|| format!("{text} is no time of the day; quote it if it is text"))
    };
    Some(date().and_then(|date| {
        let clock = clock()?;
        let fraction = if micros == "000000" {
            String::new()
        } else {
            format!(".{micros}")
        };
        Ok(Value::String(format!("{date}T{clock}{fraction}{offset}")))
    }))
}

/// The offset at the end of a time: none, `Z`, `-5`, `+01:30`.
fn offset(text: &str) -> Option<String> {
    let text = text.trim_start_matches([' ', '\t']);
    if text.is_empty() {
        return Some(String::new());
    }
    if text == "Z" {
        return Some("+00:00".to_owned());
    }
    let sign = text
        .chars()
        .next()
        .filter(|sign| matches!(sign, '+' | '-'))?;
    let (hours, rest) = digits(&text[1..], 1, 2)?;
    let minutes = match rest.strip_prefix(':') {
        Some(minutes) => {
            let (minutes, rest) = digits(minutes, 2, 2)?;
            if !rest.is_empty() {
                return None;
            }
            minutes
        }
        None if rest.is_empty() => 0,
        None => return None,
    };
    Some(format!("{sign}{hours:02}:{minutes:02}"))
}
