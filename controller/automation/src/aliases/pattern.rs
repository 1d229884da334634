//! One pattern of an alias: compiled, and matched against commands.
//!
//! Text outside `{{ … }}` is a regular expression in Python's notation and may have named groups of
//! its own. Unless the pattern says where it starts and ends (`^`, `$`), it covers the whole
//! command, spaces around it apart. The space before a parameter belongs to it, so that an
//! optional parameter that is left out leaves no space behind.
//!
//! Two things differ from StackStorm, which loses text there: a value in braces at the end of a
//! command keeps braces inside it, and pairs at the end are cut off there only, not wherever else
//! the command has the same words.

use serde_json::{Map, Value};

use crate::python_regex::{Captures, Flags, PythonRegex, RegexError};

/// Executions that one command can ask for.
const MOST_MATCHES: usize = 100;

/// Pairs of key and value at the end of a command: quoted, in braces, or one word.
const PAIR: &str = r#"(?:^|\s+)\s*(?P<key>\S+?)\s*=(?:""|''|"(?P<double>.+?)"|'(?P<single>.+?)'|(?P<braces>\{.+?\})|(?P<word>\S+))(?=\s|$)"#;

/// The same, as a run up to the end.
const PAIRS_AT_END: &str =
    r#"(?P<pairs>(?:(?:^|\s+)\s*\S+?\s*=(?:""|''|".+?"|'.+?'|\{.+?\}|\S+)\s*)+)$"#;

const DOT_ALL: Flags = Flags {
    ignore_case: false,
    dot_all: true,
    at_start: false,
};

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("the parameter {name:?} is no name of letters, digits and underscores")]
    Name { name: String },
    #[error("the parameter {name:?} occurs twice")]
    Twice { name: String },
    #[error("a parameter has no end: `}}}}` is missing after {after:?}")]
    Open { after: String },
    #[error("{message}")]
    Expression { message: String },
}

/// Why a command has no parameters for a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("Command \"{command}\" doesn't match format string \"{format}\"")]
    Other { command: String, format: String },
    #[error("No value supplied and no default value found.")]
    NoValue,
    /// The expression takes too much work on this command.
    #[error("{message}")]
    TooHard { message: String },
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    format: String,
    regex: PythonRegex,
    pair: PythonRegex,
    pairs_at_end: PythonRegex,
    /// Names of groups, the author's own included.
    names: Vec<String>,
    defaults: Vec<(String, String)>,
}

impl Pattern {
    pub fn compile(format: &str) -> Result<Self, PatternError> {
        let pieces = pieces(format)?;
        let mut expression = String::new();
        let mut defaults = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for piece in &pieces {
            match piece {
                Piece::Text(text) => expression.push_str(text),
                Piece::Parameter { name, default } => {
                    let is_name = !name.starts_with(|first: char| first.is_ascii_digit())
                        && name
                            .chars()
                            .all(|symbol| symbol.is_ascii_alphanumeric() || symbol == '_');
                    if !is_name || name.is_empty() {
                        return Err(PatternError::Name {
                            name: (*name).to_owned(),
                        });
                    }
                    if names.contains(name) {
                        return Err(PatternError::Twice {
                            name: (*name).to_owned(),
                        });
                    }
                    names.push(name);
                    let space = expression.trim_end().len();
                    let space = expression.split_off(space);
                    let group = format!("{space}{}", value_group(name));
                    match default {
                        None => expression.push_str(&group),
                        Some(default) => {
                            defaults.push(((*name).to_owned(), (*default).to_owned()));
                            expression.push_str(&format!("(?:{group})?"));
                        }
                    }
                }
            }
        }
        let anchors = anchors(&expression);
        let start = if anchors.start { "" } else { r"^\s*" };
        let end = if anchors.end { "" } else { r"\s*$" };
        let compile = |expression: &str| {
            PythonRegex::compile(expression, DOT_ALL).map_err(|error| PatternError::Expression {
                message: error.to_string(),
            })
        };
        let regex = compile(&format!("{start}{expression}{end}"))?;
        Ok(Pattern {
            format: format.to_owned(),
            names: regex.group_names().flatten().map(str::to_owned).collect(),
            regex,
            pair: compile(PAIR)?,
            pairs_at_end: compile(PAIRS_AT_END)?,
            defaults,
        })
    }

    /// Parameters that a command gives.
    pub fn extract(&self, command: &str) -> Result<Map<String, Value>, Mismatch> {
        let (text, pairs) = self.split_pairs(command)?;
        let captures = self.regex.captures(&text).map_err(too_hard)?;
        let captures = captures.ok_or_else(|| Mismatch::Other {
            command: command.to_owned(),
            format: self.format.clone(),
        })?;
        self.parameters(&text, &captures, &pairs)
    }

    /// Parameters of every match in a command; none matches: an empty list.
    pub fn extract_all(&self, command: &str) -> Result<Vec<Map<String, Value>>, Mismatch> {
        let (text, pairs) = self.split_pairs(command)?;
        let mut found = Vec::new();
        let done = self.regex.each_match(&text, |captures| {
            found.push(self.parameters(&text, &captures, &pairs)?);
            if found.len() == MOST_MATCHES {
                return Err(Stop::Enough);
            }
            Ok(())
        });
        match done {
            Ok(()) | Err(Stop::Enough) => Ok(found),
            Err(Stop::Mismatch(mismatch)) => Err(mismatch),
        }
    }

    /// The command without the pairs at its end, and the pairs.
    fn split_pairs(&self, command: &str) -> Result<(String, Vec<(String, String)>), Mismatch> {
        let run = self.pairs_at_end.captures(command).map_err(too_hard)?;
        let Some(run) = run.and_then(|captures| captures.name("pairs")) else {
            return Ok((format!(" {command} "), Vec::new()));
        };
        let mut pairs = Vec::new();
        self.pair
            .each_match(run.as_str(), |pair| {
                let value = ["double", "single", "braces", "word"]
                    .iter()
                    .find_map(|form| pair.name(form))
                    .map_or("", |value| value.as_str());
                if let Some(key) = pair.name("key") {
                    pairs.push((key.as_str().to_owned(), value.to_owned()));
                }
                Ok(())
            })
            .map_err(too_hard)?;
        Ok((format!(" {} ", &command[..run.start()]), pairs))
    }

    fn parameters(
        &self,
        text: &str,
        captures: &Captures<'_>,
        pairs: &[(String, String)],
    ) -> Result<Map<String, Value>, Mismatch> {
        let mut parameters = Map::new();
        for name in &self.names {
            let value = captures
                .name(name)
                .map_or(Value::Null, |value| Value::from(value.as_str()));
            parameters.insert(name.clone(), value);
        }
        for (name, default) in &self.defaults {
            let has_value = parameters
                .get(name)
                .and_then(Value::as_str)
                .is_some_and(|value| !value.is_empty());
            if !has_value {
                parameters.insert(name.clone(), Value::from(default.as_str()));
            }
        }
        for (name, value) in pairs {
            parameters.insert(name.clone(), Value::from(value.as_str()));
        }
        let has_any_value = || {
            parameters
                .values()
                .any(|value| value.as_str().is_some_and(|value| !value.is_empty()))
        };
        if !self.format.is_empty() && text.trim().is_empty() && !has_any_value() {
            return Err(Mismatch::NoValue);
        }
        Ok(parameters)
    }
}

fn too_hard(error: RegexError) -> Mismatch {
    Mismatch::TooHard {
        message: error.to_string(),
    }
}

/// Why no further match is looked at.
enum Stop {
    Enough,
    Mismatch(Mismatch),
}

impl From<RegexError> for Stop {
    fn from(error: RegexError) -> Stop {
        Stop::Mismatch(too_hard(error))
    }
}

impl From<Mismatch> for Stop {
    fn from(mismatch: Mismatch) -> Stop {
        Stop::Mismatch(mismatch)
    }
}

/// A group for a value: what is inside quotes, braces with what they hold, or as little as lets
/// the rest match.
fn value_group(name: &str) -> String {
    let inside = |quote: char| format!("(?<={quote}).+?(?={quote})");
    let (single, double) = (inside('\''), inside('"'));
    format!(r#"["']?(?P<{name}>{single}|{double}|\{{.+?\}}|.+?)["']?"#)
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Parameter {
        name: &'a str,
        default: Option<&'a str>,
    },
}

fn pieces(format: &str) -> Result<Vec<Piece<'_>>, PatternError> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some(start) = rest.find("{{") {
        if start > 0 {
            pieces.push(Piece::Text(&rest[..start]));
        }
        let inside = rest[start + 2..].trim_start();
        let open = || PatternError::Open {
            after: rest[start..].chars().take(20).collect(),
        };
        let name_end = inside
            .find(|symbol: char| symbol == '=' || symbol == '}' || symbol.is_whitespace())
            .ok_or_else(open)?;
        let (name, after) = inside.split_at(name_end);
        let after = after.trim_start();
        if let Some(after) = after.strip_prefix("}}") {
            pieces.push(Piece::Parameter {
                name,
                default: None,
            });
            rest = after;
        } else if let Some(after) = after.strip_prefix('=') {
            let (default, after) = default_value(after.trim_start()).ok_or_else(open)?;
            pieces.push(Piece::Parameter {
                name,
                default: Some(default),
            });
            rest = after;
        } else {
            let end = inside.find("}}").ok_or_else(open)?;
            return Err(PatternError::Name {
                name: inside[..end].trim().to_owned(),
            });
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// A default up to the end of its parameter: in quotes, in braces, or any text.
fn default_value(text: &str) -> Option<(&str, &str)> {
    let end_of_parameter = |rest: &'_ str| -> Option<usize> {
        let spaces = rest.len() - rest.trim_start().len();
        rest.trim_start().starts_with("}}").then_some(spaces + 2)
    };
    let quote = text
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''));
    if let Some(quote) = quote {
        let ends = text.match_indices(quote).skip(1);
        for (at, _) in ends {
            if let Some(end) = end_of_parameter(&text[at + 1..]) {
                return Some((&text[1..at], &text[at + 1 + end..]));
            }
        }
    }
    if text.starts_with('{') {
        // At least one symbol stands between the braces.
        for (at, _) in text.match_indices('}').filter(|(at, _)| *at > 1) {
            if let Some(end) = end_of_parameter(&text[at + 1..]) {
                return Some((&text[..=at], &text[at + 1 + end..]));
            }
        }
    }
    let end = text.find("}}").filter(|end| *end > 0)?;
    Some((text[..end].trim_end(), &text[end + 2..]))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Anchors {
    start: bool,
    end: bool,
}

/// Whether an expression says where it starts and ends. Anchors inside look-around or in a group
/// that is repeated or optional do not count.
fn anchors(expression: &str) -> Anchors {
    // One entry for each open group: whether it is a look-around, and the anchors inside.
    let mut groups = vec![(false, Anchors::default())];
    let mut rest = expression;
    while let Some(symbol) = rest.chars().next() {
        let mut after = &rest[symbol.len_utf8()..];
        let innermost = groups.len() - 1;
        match symbol {
            '\\' => {
                let escaped = after.chars().next();
                groups[innermost].1.start |= escaped == Some('A');
                groups[innermost].1.end |= escaped == Some('Z');
                after = &after[escaped.map_or(0, char::len_utf8)..];
            }
            '[' => {
                let negated = after.strip_prefix('^').unwrap_or(after);
                let from = after.len() - negated.len() + usize::from(negated.starts_with(']'));
                after = skip_class(&after[from..]);
            }
            '(' => {
                let is_look_around = ["?=", "?!", "?<=", "?<!"]
                    .iter()
                    .any(|start| after.starts_with(start));
                groups.push((is_look_around, Anchors::default()));
            }
            ')' if innermost > 0 => {
                let (is_look_around, inside) = groups.remove(innermost);
                let is_repeated = after.starts_with(['*', '+', '?', '{']);
                if !is_look_around && !is_repeated {
                    let around = &mut groups[innermost - 1].1;
                    around.start |= inside.start;
                    around.end |= inside.end;
                }
            }
            '^' => groups[innermost].1.start = true,
            '$' => groups[innermost].1.end = true,
            _ => {}
        }
        rest = after;
    }
    groups[0].1
}

/// What follows the class whose inside is given.
fn skip_class(inside: &str) -> &str {
    let mut symbols = inside.char_indices();
    while let Some((at, symbol)) = symbols.next() {
        match symbol {
            '\\' => {
                symbols.next();
            }
            ']' => return &inside[at + 1..],
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::{Anchors, anchors};

    #[test]
    fn anchors_are_seen_where_they_hold() {
        let check = |expression: &str, start: bool, end: bool| {
            assert_eq!(anchors(expression), Anchors { start, end }, "{expression}");
        };
        check("abc", false, false);
        check("^abc$", true, true);
        check(r"\Aabc\Z", true, true);
        check(r"\^abc\$", false, false);
        check("[^a]b[]$]", false, false);
        check("(?:^a)(b$)", true, true);
        check("(?:^a)?(?=b$)", false, false);
    }
}
