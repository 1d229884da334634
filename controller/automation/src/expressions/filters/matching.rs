//! Regular expressions.

use std::sync::Arc;

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::super::values::{Meter, refuse};
use super::{Arguments, Patterns, text_of};
use crate::python_regex::{Captures, Flags, PythonRegex, RegexError};

pub(super) fn register(environment: &mut Environment<'static>, patterns: &Arc<Patterns>) {
    for (name, at_start) in [("regex_match", true), ("regex_search", false)] {
        let patterns = Arc::clone(patterns);
        environment.add_filter(
            name,
            move |state: &State, value: &Value, given: Rest<ValueOrKwargs>| {
                let arguments = Arguments::new(name, 2, given)?;
                let pattern = pattern(state, &patterns, &arguments, 1, at_start)?;
                arguments.finish()?;
                pattern
                    .is_match(&text_of(state, value)?)
                    .map_err(|error| refuse(error.to_string()))
            },
        );
    }
    let replacing = Arc::clone(patterns);
    environment.add_filter(
        "regex_replace",
        move |state: &State, value: &Value, given: Rest<ValueOrKwargs>| {
            let arguments = Arguments::new("regex_replace", 3, given)?;
            let pattern = pattern(state, &replacing, &arguments, 2, false)?;
            let replacement = text_of(state, &arguments.required(1, "replacement")?)?;
            arguments.finish()?;
            replace(state, &pattern, &text_of(state, value)?, &replacement)
        },
    );
    let taking = Arc::clone(patterns);
    environment.add_filter(
        "regex_substring",
        move |state: &State, value: &Value, given: Rest<ValueOrKwargs>| {
            let arguments = Arguments::new("regex_substring", 3, given)?;
            let pattern = pattern(state, &taking, &arguments, 2, false)?;
            let index = match arguments.optional(1, "result_index")? {
                Some(index) => index
                    .as_i64()
                    .ok_or_else(|| refuse("regex_substring: the index has to be an integer"))?,
                None => 0,
            };
            arguments.finish()?;
            substring(state, &pattern, &text_of(state, value)?, index)
        },
    );
}

/// The pattern of the first argument, compiled once.
fn pattern(
    state: &State,
    patterns: &Patterns,
    arguments: &Arguments,
    ignore_case_at: usize,
    at_start: bool,
) -> Result<Arc<PythonRegex>, Error> {
    let source = text_of(state, &arguments.required(0, "pattern")?)?;
    let flags = Flags {
        ignore_case: arguments.flag(ignore_case_at, "ignorecase")?,
        dot_all: false,
        at_start,
    };
    let key = (source, flags);
    if let Some(pattern) = patterns.get(&key) {
        return Ok(pattern);
    }
    // Compiling a pattern costs far more than its length suggests.
    Meter::new(state).bytes(key.0.len().saturating_mul(1024))?;
    let pattern =
        Arc::new(PythonRegex::compile(&key.0, flags).map_err(|error| refuse(error.to_string()))?);
    patterns.insert(key, Arc::clone(&pattern));
    Ok(pattern)
}

/// An error of matching or one of the work it may do.
enum Stop {
    Pattern(RegexError),
    Engine(Error),
}

impl From<RegexError> for Stop {
    fn from(error: RegexError) -> Stop {
        Stop::Pattern(error)
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Error {
        match stop {
            Stop::Pattern(error) => refuse(error.to_string()),
            Stop::Engine(error) => error,
        }
    }
}

fn replace(
    state: &State,
    pattern: &PythonRegex,
    text: &str,
    replacement: &str,
) -> Result<String, Error> {
    let replacement = Replacement::parse(replacement, pattern)?;
    let mut meter = Meter::new(state);
    let mut out = String::new();
    let mut copied = 0;
    pattern.each_match(text, |captures| {
        let (start, end) = captures
            .get(0)
            .map_or((copied, copied), |whole| (whole.start(), whole.end()));
        out.push_str(&text[copied..start]);
        copied = end;
        let before = out.len();
        replacement.expand(&captures, &mut out);
        meter.node().map_err(Stop::Engine)?;
        meter.bytes(out.len() - before).map_err(Stop::Engine)
    })?;
    out.push_str(&text[copied..]);
    Ok(out)
}

/// `re.findall(…)[index]`: the whole match, its only group, or a tuple of its groups.
fn substring(state: &State, pattern: &PythonRegex, text: &str, index: i64) -> Result<Value, Error> {
    let mut meter = Meter::new(state);
    let mut found = vec![];
    pattern.each_match(text, |captures| {
        meter.node().map_err(Stop::Engine)?;
        let groups: Vec<Option<&str>> = captures
            .iter()
            .map(|group| group.map(|group| group.as_str()))
            .collect();
        found.push(match groups.as_slice() {
            [Some(whole)] => Value::from(*whole),
            [_, group] => Value::from(group.unwrap_or_default()),
            groups => Value::from(minijinja::value::Tuple::from(
                groups
                    .iter()
                    .skip(1)
                    .map(|group| Value::from(group.unwrap_or_default()))
                    .collect::<Vec<_>>(),
            )),
        });
        Ok::<(), Stop>(())
    })?;
    let position = if index < 0 {
        i64::try_from(found.len()).unwrap_or(i64::MAX) + index
    } else {
        index
    };
    usize::try_from(position)
        .ok()
        .and_then(|position| found.into_iter().nth(position))
        .ok_or_else(|| refuse("list index out of range"))
}

/// A replacement as `re.sub` reads it: `\1`, `\g<name>` and the escapes of control characters.
struct Replacement {
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Group(usize),
}

impl Replacement {
    fn parse(source: &str, pattern: &PythonRegex) -> Result<Replacement, Error> {
        let names: Vec<Option<&str>> = pattern.group_names().collect();
        let group = |reference: &str| {
            let number = match reference.parse::<usize>() {
                Ok(number) if number < names.len() => Some(number),
                Ok(_) => None,
                Err(_) => names.iter().position(|name| *name == Some(reference)),
            };
            number
                .map(Part::Group)
                .ok_or_else(|| refuse(format!("invalid group reference {reference}")))
        };
        let mut parts = vec![];
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find('\\') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let Some(escaped) = rest.chars().next() else {
                return Err(refuse("bad escape (end of pattern)"));
            };
            let mut length = escaped.len_utf8();
            let part = match escaped {
                '1'..='9' => {
                    length = if rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
                        2
                    } else {
                        1
                    };
                    Some(group(&rest[..length])?)
                }
                'g' => {
                    let name = rest[1..]
                        .strip_prefix('<')
                        .and_then(|name| name.split_once('>'))
                        .map(|(name, _)| name)
                        .ok_or_else(|| refuse("missing group name"))?;
                    length = name.len() + 3;
                    Some(group(name)?)
                }
                escaped => {
                    match escaped {
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        'r' => text.push('\r'),
                        'f' => text.push('\u{c}'),
                        'v' => text.push('\u{b}'),
                        'a' => text.push('\u{7}'),
                        'b' => text.push('\u{8}'),
                        '0' => text.push('\0'),
                        '\\' => text.push('\\'),
                        letter if letter.is_ascii_alphabetic() => {
                            return Err(refuse(format!("bad escape \\{letter}")));
                        }
                        other => {
                            text.push('\\');
                            text.push(other);
                        }
                    }
                    None
                }
            };
            rest = &rest[length..];
            if let Some(part) = part {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(part);
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Replacement { parts })
    }

    fn expand(&self, captures: &Captures<'_>, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(number) => {
                    if let Some(group) = captures.get(*number) {
                        out.push_str(group.as_str());
                    }
                }
            }
        }
    }
}
