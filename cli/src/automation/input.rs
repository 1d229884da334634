//! What commands of automation are given: files, words, spans of time.

use super::parameters;
use crate::failure::{Failure, Outcome};
use serde_json::{Map, Value};
use std::io::Read;
use std::time::Duration;

/// The text of a file, `-` being standard input.
pub fn text_of(file: &str) -> Result<String, String> {
    if file == "-" {
        let mut text = String::new();
        return std::io::stdin()
            .read_to_string(&mut text)
            .map(|_| text)
            .map_err(|error| format!("read standard input: {error}"));
    }
    std::fs::read_to_string(file).map_err(|error| format!("read {file}: {error}"))
}

/// A document in JSON or YAML; YAML is read as the cluster reads packs.
pub fn document(file: &str) -> Outcome<Value> {
    let text = text_of(file).map_err(Failure::usage)?;
    if let Ok(value) = serde_json::from_str(&text) {
        return Ok(value);
    }
    ::automation::spec::yaml::parse(&text)
        .map_err(|error| Failure::usage(error.in_file(file).to_string()))
}

/// A document that is a mapping.
pub fn mapping(file: &str) -> Outcome<Map<String, Value>> {
    match document(file)? {
        Value::Object(mapping) => Ok(mapping),
        _ => Err(Failure::usage(format!(
            "{file} does not hold a mapping of names to values"
        ))),
    }
}

/// A payload: words `name=value` on top of what a file says.
pub fn payload(file: Option<&str>, words: &[String]) -> Outcome<Map<String, Value>> {
    let mut payload = match file {
        Some(file) => mapping(file)?,
        None => Map::new(),
    };
    payload.extend(parameters::free(words, text_of).map_err(|faults| usage(&faults))?);
    Ok(payload)
}

/// Several faults of one command line.
pub fn usage(faults: &[String]) -> Failure {
    Failure::usage(faults.join("\n"))
}

/// `500ms`, `10s`, `5m`, `2h`, `7d`; a bare number is seconds.
pub fn span(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| {
        format!("{text:?} is no span of time: it looks like 500ms, 10s, 5m, 2h, 7d")
    })?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!("{unit:?} is no unit of time: ms, s, m, h or d"));
        }
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("90", 90_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1w", "-1s", "99999999999999999d"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn documents_are_json_or_yaml_as_packs_have_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("rule.yaml");
        let name = file.display().to_string();
        std::fs::write(&file, "enabled: yes\nname: x\n").expect("a file");
        assert_eq!(
            document(&name).expect("YAML"),
            serde_json::json!({ "enabled": true, "name": "x" })
        );
        std::fs::write(&file, "a: [1\nb: 2\n").expect("a file");
        let failure = document(&name).expect_err("broken");
        assert!(failure.what.contains(&name), "{failure}");
        std::fs::write(&file, "[1]").expect("a file");
        assert!(mapping(&name).is_err());
    }
}
