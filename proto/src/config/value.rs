//! Kinds of configuration values, and how a person writes them.

use std::fmt;
use std::time::Duration;

/// What a key may hold, with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    /// A decimal number.
    Number {
        min: f64,
        max: f64,
    },
    /// Written `250ms`, `10s`, `2m`, `1h`.
    Duration {
        min: Duration,
        max: Duration,
    },
    /// Bytes, written `64KiB`, `10MiB`, `2GiB`.
    Size {
        min: u64,
        max: u64,
    },
    Text {
        max: usize,
    },
    Choice(&'static [&'static str]),
    /// Lines `NAME=value`, written as a JSON object of texts.
    Environment,
}

/// A checked value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Duration(Duration),
    Size(u64),
    Text(String),
    Environment(std::collections::BTreeMap<String, String>),
}

/// Why a text is no value for a key; says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no value for this key: it takes {expected}")]
pub struct InvalidValue {
    pub given: String,
    pub expected: String,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Bool => f.write_str("true or false"),
            Kind::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Kind::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::Duration { min, max } => {
                write!(
                    f,
                    "a duration from {} to {}, like 500ms, 10s, 2m, 1h",
                    show_duration(*min),
                    show_duration(*max)
                )
            }
            Kind::Size { min, max } => {
                write!(
                    f,
                    "a size from {} to {}, like 64KiB, 10MiB, 2GiB",
                    show_size(*min),
                    show_size(*max)
                )
            }
            Kind::Text { max } => write!(f, "a text of at most {max} characters"),
            Kind::Choice(choices) => write!(f, "one of {}", choices.join(", ")),
            Kind::Environment => f.write_str("a JSON object of texts, like {\"NAME\":\"value\"}"),
        }
    }
}

impl Kind {
    /// Reads what a person wrote, or what the store holds.
    pub fn parse(&self, text: &str) -> Result<Value, InvalidValue> {
        let text = text.trim();
        let invalid = || InvalidValue {
            given: shorten(text),
            expected: self.to_string(),
        };
        match self {
            Kind::Bool => match text {
                "true" | "on" | "yes" => Ok(Value::Bool(true)),
                "false" | "off" | "no" => Ok(Value::Bool(false)),
                _ => Err(invalid()),
            },
            Kind::Integer { min, max } => match text.parse::<i64>() {
                Ok(number) if (*min..=*max).contains(&number) => Ok(Value::Integer(number)),
                _ => Err(invalid()),
            },
            Kind::Number { min, max } => match text.parse::<f64>() {
                Ok(number) if (*min..=*max).contains(&number) => Ok(Value::Number(number)),
                _ => Err(invalid()),
            },
            Kind::Duration { min, max } => match parse_duration(text) {
                Some(duration) if (*min..=*max).contains(&duration) => {
                    Ok(Value::Duration(duration))
                }
                _ => Err(invalid()),
            },
            Kind::Size { min, max } => match parse_size(text) {
                Some(size) if (*min..=*max).contains(&size) => Ok(Value::Size(size)),
                _ => Err(invalid()),
            },
            Kind::Text { max } => {
                if text.chars().count() <= *max && !text.contains('\0') {
                    Ok(Value::Text(text.to_string()))
                } else {
                    Err(invalid())
                }
            }
            Kind::Choice(choices) => {
                if choices.contains(&text) {
                    Ok(Value::Text(text.to_string()))
                } else {
                    Err(invalid())
                }
            }
            Kind::Environment => {
                let map: std::collections::BTreeMap<String, String> =
                    serde_json::from_str(text).map_err(|_| invalid())?;
                let fine =
                    |name: &String| !name.is_empty() && !name.contains('=') && !name.contains('\0');
                if map.keys().all(fine) {
                    Ok(Value::Environment(map))
                } else {
                    Err(invalid())
                }
            }
        }
    }
}

impl fmt::Display for Value {
    /// The way a person writes it; [`Kind::parse`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{value}"),
            Value::Duration(value) => f.write_str(&show_duration(*value)),
            Value::Size(value) => f.write_str(&show_size(*value)),
            Value::Text(value) => f.write_str(value),
            Value::Environment(map) => {
                f.write_str(&serde_json::to_string(map).expect("a map of texts always serializes"))
            }
        }
    }
}

impl Value {
    /// As stored and as shown with `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Number(value) => (*value).into(),
            Value::Environment(map) => serde_json::json!(map),
            Value::Duration(_) | Value::Size(_) | Value::Text(_) => self.to_string().into(),
        }
    }

    /// Reads what the store or an API body holds, by the kind of the key.
    pub fn from_json(kind: &Kind, json: &serde_json::Value) -> Result<Value, InvalidValue> {
        match json {
            serde_json::Value::String(text) => kind.parse(text),
            other => kind.parse(&other.to_string()),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// `250ms`, `10s`, `2m`, `1h`, `1d`; a bare number is refused: its unit is a guess.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_string();
    }
    for (unit, size) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ] {
        if millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

/// `64KiB`, `64K`, `10M`, `10MB`, `2GiB`: always powers of 1024, as in manifests.
pub fn parse_size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let factor: u64 = match unit.trim().to_ascii_uppercase().as_str() {
        "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

pub fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes != 0 && bytes.is_multiple_of(1u64 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}
