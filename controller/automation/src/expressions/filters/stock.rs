//! Filters of Jinja2 that the engine does not bring (`center`, `filesizeformat`, `forceescape`,
//! `striptags`, `truncate`, `urlencode`, `wordcount`), or that it reads differently: `int` and
//! `float` give their default for what is no number, `escape` writes the entities of MarkupSafe.
//!
//! Left out: `random` (an expression gives the same answer on every replica), `urlize`, `wordwrap`
//! and `xmlattr` (no pack uses them).

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::super::values::{Meter, refuse};
use super::{Arguments, text_of};

/// The width `center` fills when none is given.
const DEFAULT_WIDTH: usize = 80;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("center", center);
    environment.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
    for name in ["e", "escape", "forceescape"] {
        environment.add_filter(name, escape);
    }
    environment.add_filter("float", float);
    environment.add_filter("int", int);
    environment.add_filter("striptags", minijinja_contrib::filters::striptags);
    environment.add_filter("truncate", truncate);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("wordcount", wordcount);
}

/// `int(default=0, base=10)`.
fn int(state: &State, value: &Value, given: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = Arguments::new("int", 2, given)?;
    let default = arguments
        .optional(0, "default")?
        .unwrap_or_else(|| Value::from(0));
    let base = match arguments.optional(1, "base")? {
        Some(base) => base
            .as_usize()
            .and_then(|base| u32::try_from(base).ok())
            .filter(|base| (2..=36).contains(base))
            .ok_or_else(|| refuse("int() base must be >= 2 and <= 36"))?,
        None => 10,
    };
    arguments.finish()?;
    let number = match value.kind() {
        ValueKind::Bool => Some(Value::from(i64::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => Some(value.clone()),
        ValueKind::Number => f64::try_from(value.clone()).ok().and_then(truncated),
        ValueKind::None | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => None,
        _ => {
            let text = text_of(state, value)?;
            let digits = text.trim();
            let digits = match base {
                16 => digits.trim_start_matches("0x"),
                8 => digits.trim_start_matches("0o"),
                2 => digits.trim_start_matches("0b"),
                _ => digits,
            };
            i64::from_str_radix(digits, base)
                .map(Value::from)
                .ok()
                .or_else(|| digits.parse().ok().and_then(truncated))
        }
    };
    Ok(number.unwrap_or(default))
}

fn truncated(float: f64) -> Option<Value> {
    let whole = float.trunc();
    // Beyond this a float has no exact neighbours, and an integer would only pretend to.
    (whole.abs() < 9.2e18).then(|| Value::from(whole as i64))
}

/// `float(default=0.0)`.
fn float(state: &State, value: &Value, given: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = Arguments::new("float", 1, given)?;
    let default = arguments
        .optional(0, "default")?
        .unwrap_or_else(|| Value::from(0.0));
    arguments.finish()?;
    let number = match value.kind() {
        ValueKind::Bool => Some(if value.is_true() { 1.0 } else { 0.0 }),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::None | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => None,
        _ => text_of(state, value)?.trim().parse().ok(),
    };
    Ok(number.map_or(default, Value::from))
}

fn escape(state: &State, value: &Value) -> Result<String, Error> {
    let text = text_of(state, value)?;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            character => out.push(character),
        }
    }
    Ok(out)
}

fn center(state: &State, value: &Value, width: Option<usize>) -> Result<String, Error> {
    let text = text_of(state, value)?;
    let width = width.unwrap_or(DEFAULT_WIDTH);
    Meter::new(state).bytes(width)?;
    let spaces = width.saturating_sub(text.chars().count());
    // CPython puts the odd space on the left when the width is odd too.
    let left = spaces / 2 + (spaces & width & 1);
    Ok([" ".repeat(left), text, " ".repeat(spaces - left)].concat())
}

/// `truncate(length=255, killwords=False, end='...', leeway=5)`.
fn truncate(state: &State, value: &Value, given: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let arguments = Arguments::new("truncate", 4, given)?;
    let number = |position, name, default: usize| -> Result<usize, Error> {
        match arguments.optional(position, name)? {
            Some(number) => number
                .as_usize()
                .ok_or_else(|| refuse(format!("truncate: {name} has to be a natural number"))),
            None => Ok(default),
        }
    };
    let length = number(0, "length", 255)?;
    let kill_words = arguments.flag(1, "killwords")?;
    let end = match arguments.optional(2, "end")? {
        Some(end) => text_of(state, &end)?,
        None => "...".into(),
    };
    let leeway = number(3, "leeway", 5)?;
    arguments.finish()?;
    let kept = length
        .checked_sub(end.chars().count())
        .ok_or_else(|| refuse("truncate: the length is shorter than the end"))?;
    let text = text_of(state, value)?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let mut cut: String = text.chars().take(kept).collect();
    if !kill_words && let Some(space) = cut.rfind(' ') {
        cut.truncate(space);
    }
    Ok(cut + &end)
}

/// Percent-encoding of text (`/` stays), or of pairs as a query string.
fn urlencode(state: &State, value: &Value) -> Result<String, Error> {
    let pair = |key: &Value, value: &Value| -> Result<String, Error> {
        let key = quote(&text_of(state, key)?, "");
        let value = quote(&text_of(state, value)?, "");
        Ok(format!("{key}={value}").replace("%20", "+"))
    };
    match value.kind() {
        ValueKind::Map => {
            let mut pairs = vec![];
            for key in value.try_iter()?.checked() {
                let key = key?;
                pairs.push(pair(&key, &value.get_item(&key)?)?);
            }
            Ok(pairs.join("&"))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut pairs = vec![];
            for item in value.try_iter()?.checked() {
                let item = item?;
                pairs.push(pair(
                    &item.get_item_by_index(0)?,
                    &item.get_item_by_index(1)?,
                )?);
            }
            Ok(pairs.join("&"))
        }
        _ => Ok(quote(&text_of(state, value)?, "/")),
    }
}

fn quote(text: &str, safe: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                char::from(byte).to_string()
            }
            byte if safe.as_bytes().contains(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn wordcount(state: &State, value: &Value) -> Result<usize, Error> {
    let text = text_of(state, value)?;
    Ok(text
        .split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
        .count())
}
