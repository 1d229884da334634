//! Kinds of configuration values, and how a person writes them.

use crate::ports;
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
    /// Texts without the separator in them, none twice; their order stays. Kept as one text.
    List {
        of: Element,
        separator: char,
        max: usize,
    },
    /// Lines `NAME=value`, written as a JSON object of texts.
    Environment,
}

/// What each element of a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    Text,
    /// `X-Name`
    HeaderName,
    /// `X-Name: value`
    Header,
    /// `shop.example.com`
    HostName,
    /// `10000` or `10000-10099`
    Ports,
}

impl Element {
    fn takes(self, text: &str) -> bool {
        match self {
            Element::Text => true,
            Element::HeaderName => is_header_name(text),
            Element::Header => text.split_once(':').is_some_and(|(name, value)| {
                let is_shown = |c: char| c == '\t' || (' '..='~').contains(&c);
                is_header_name(name.trim()) && value.chars().all(is_shown)
            }),
            Element::HostName => is_host_name(text),
            Element::Ports => ports::range(text).is_some(),
        }
    }

    fn named(self) -> &'static str {
        match self {
            Element::Text => "",
            Element::HeaderName => " of names of headers",
            Element::Header => " of headers (Name: value)",
            Element::HostName => " of names of hosts like shop.example.com (no wildcards)",
            Element::Ports => " of ports from 1024 to 65535 (10000, 10000-10099)",
        }
    }
}

/// A token (RFC 9110 §5.6.2).
fn is_header_name(text: &str) -> bool {
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_of_token)
}

/// A name of DNS of at least two labels, written in full, that is no address.
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len())
            && label.chars().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((_, last)) = text.rsplit_once('.') else {
        return false;
    };
    text.len() <= 253 && text.split('.').all(is_label) && !last.chars().all(|c| c.is_ascii_digit())
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

/// Why elements cannot be added to a value or taken out of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEditable {
    #[error("it holds one value and no list: set it instead")]
    NotAList,
    #[error("{0:?} is not of the form NAME=value")]
    NoAssignment(String),
    #[error("{0:?} cannot be one element: it is empty, or has the separator in it")]
    NotOneElement(String),
    #[error("{0:?} is not in it")]
    Absent(String),
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
}

fn check_elements(added: &[String], separator: char) -> Result<(), NotEditable> {
    match added
        .iter()
        .find(|element| element.trim().is_empty() || element.contains(separator))
    {
        Some(element) => Err(NotEditable::NotOneElement(shorten(element))),
        None => Ok(()),
    }
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
            Kind::List { of, separator, max } => write!(
                f,
                "a list{}, its elements separated by '{separator}', of at most {max} characters",
                of.named()
            ),
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
            Kind::List { of, separator, max } => {
                let mut elements: Vec<&str> = Vec::new();
                for element in text.split(*separator).map(str::trim) {
                    if element.is_empty() || elements.contains(&element) {
                        continue;
                    }
                    if !of.takes(element) {
                        return Err(InvalidValue {
                            given: shorten(element),
                            expected: self.to_string(),
                        });
                    }
                    elements.push(element);
                }
                let joined = elements.join(&separator.to_string());
                if joined.chars().count() <= *max && !joined.contains('\0') {
                    Ok(Value::Text(joined))
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
    /// The value with these elements besides its own; `NAME=value` replaces what the name had.
    pub fn with(&self, kind: &Kind, added: &[String]) -> Result<Value, NotEditable> {
        match (kind, self) {
            (Kind::List { separator, .. }, Value::Text(text)) => {
                check_elements(added, *separator)?;
                let own = text.split(*separator).filter(|element| !element.is_empty());
                let all: Vec<&str> = own.chain(added.iter().map(String::as_str)).collect();
                Ok(kind.parse(&all.join(&separator.to_string()))?)
            }
            (Kind::Environment, Value::Environment(map)) => {
                let mut map = map.clone();
                for element in added {
                    let (name, value) = element
                        .split_once('=')
                        .ok_or_else(|| NotEditable::NoAssignment(shorten(element)))?;
                    map.insert(name.to_string(), value.to_string());
                }
                Ok(kind.parse(&Value::Environment(map).to_string())?)
            }
            _ => Err(NotEditable::NotAList),
        }
    }

    /// The value without these elements, or these names of an environment; each must be there.
    pub fn without(&self, kind: &Kind, removed: &[String]) -> Result<Value, NotEditable> {
        let absent = |element: &String| NotEditable::Absent(shorten(element));
        match (kind, self) {
            (Kind::List { separator, .. }, Value::Text(text)) => {
                let mut elements: Vec<&str> = text
                    .split(*separator)
                    .filter(|element| !element.is_empty())
                    .collect();
                for element in removed {
                    let at = elements.iter().position(|one| *one == element.trim());
                    elements.remove(at.ok_or_else(|| absent(element))?);
                }
                Ok(Value::Text(elements.join(&separator.to_string())))
            }
            (Kind::Environment, Value::Environment(map)) => {
                let mut map = map.clone();
                for name in removed {
                    map.remove(name).ok_or_else(|| absent(name))?;
                }
                Ok(Value::Environment(map))
            }
            _ => Err(NotEditable::NotAList),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<const N: usize>(elements: [&str; N]) -> Vec<String> {
        elements.map(String::from).to_vec()
    }

    #[test]
    fn elements_come_and_go_and_none_is_there_twice() {
        let kind = Kind::List {
            of: Element::Text,
            separator: ',',
            max: 20,
        };
        let value = kind.parse(" a, b ,,a ").expect("a list");
        assert_eq!(value, Value::Text("a,b".into()));
        let more = value.with(&kind, &texts(["c", "a"])).expect("added");
        assert_eq!(more.to_string(), "a,b,c");
        assert_eq!(
            more.without(&kind, &texts(["b"])).expect("taken out"),
            Value::Text("a,c".into())
        );
        assert_eq!(
            more.without(&kind, &texts(["d"])),
            Err(NotEditable::Absent("d".into()))
        );
        for wrong in ["", " ", "x,y"] {
            assert!(matches!(
                value.with(&kind, &texts([wrong])),
                Err(NotEditable::NotOneElement(_))
            ));
        }
        assert!(matches!(
            value.with(&kind, &["x".repeat(30)]),
            Err(NotEditable::Invalid(_))
        ));
        let empty = kind.parse("").expect("an empty list");
        assert_eq!(
            empty.with(&kind, &texts(["a"])).expect("the first"),
            Value::Text("a".into())
        );
    }

    #[test]
    fn what_is_no_header_is_no_element_of_a_list_of_headers() {
        let list = |of, separator| Kind::List {
            of,
            separator,
            max: 100,
        };
        let names = list(Element::HeaderName, ',');
        assert!(names.parse("X-Request-Id, cookie").is_ok() && names.parse("").is_ok());
        for wrong in ["a b", "X:", "X-Ä", "fine,not fine"] {
            let refused = names.parse(wrong).unwrap_err().to_string();
            assert!(refused.contains("names of headers"), "{refused}");
        }
        let value = names.parse("a").expect("a list");
        assert!(value.with(&names, &texts(["b c"])).is_err());
        let headers = list(Element::Header, '|');
        assert!(headers.parse("X-Frame-Options: DENY|A: b:c").is_ok());
        for wrong in ["no colon", ": value", "a b: c", "A: \u{1}", "A: \u{e4}"] {
            assert!(headers.parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        let ports = Kind::List {
            of: Element::Ports,
            separator: ',',
            max: 100,
        };
        assert!(ports.parse("10000-10099, 20000").is_ok() && ports.parse("").is_ok());
        for wrong in ["80", "10000-", "20000-10000", "10000 10001"] {
            let refused = ports.parse(wrong).unwrap_err().to_string();
            assert!(refused.contains("of ports from 1024"), "{refused}");
        }
    }

    #[test]
    fn an_environment_is_edited_by_name() {
        let kind = Kind::Environment;
        let value = kind.parse(r#"{"A":"1"}"#).expect("an environment");
        let more = value.with(&kind, &texts(["B=x=y", "A=2"])).expect("added");
        assert_eq!(more.to_string(), r#"{"A":"2","B":"x=y"}"#);
        let less = more.without(&kind, &texts(["A"])).expect("taken out");
        assert_eq!(less.to_string(), r#"{"B":"x=y"}"#);
        assert_eq!(
            value.with(&kind, &texts(["C"])),
            Err(NotEditable::NoAssignment("C".into()))
        );
        assert!(value.with(&kind, &texts(["=x"])).is_err());
    }

    #[test]
    fn what_is_no_list_is_not_edited() {
        let kind = Kind::Bool;
        let value = Value::Bool(true);
        assert_eq!(value.with(&kind, &texts(["x"])), Err(NotEditable::NotAList));
        assert_eq!(
            value.without(&kind, &texts(["x"])),
            Err(NotEditable::NotAList)
        );
    }
}
