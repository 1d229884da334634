//! Methods of Python's strings and lists that the engine's Python compatibility does not bring.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::values::{Meter, measure, refuse};

/// Called for a method the value itself does not have.
pub(crate) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    pay_ahead(state, value, method, arguments)?;
    match minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments) {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {}
        answer => return answer,
    }
    match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => of_string(state, text, method, arguments),
        (ValueKind::Seq, _) if method == "index" => {
            let (wanted,): (&Value,) = from_args(arguments)?;
            let mut meter = Meter::new(state);
            for (position, item) in value.try_iter()?.checked().enumerate() {
                meter.node()?;
                if item? == *wanted {
                    return Ok(Value::from(position));
                }
            }
            Err(refuse(format!("{wanted:?} is not in list")))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// Pays for what the method will walk: arguments made into text or compared, and the padding that a
/// format asks for.
fn pay_ahead(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<(), Error> {
    let mut meter = Meter::new(state);
    for argument in arguments {
        if argument.as_object().is_some() {
            measure(argument, &mut meter)?;
        }
    }
    match (method, value.as_str()) {
        ("count" | "index", None) => measure(value, &mut meter)?,
        ("format", Some(format)) => {
            let widths = format
                .split(|character: char| !character.is_ascii_digit())
                .filter(|digits| !digits.is_empty())
                .map(|digits| digits.parse::<usize>().unwrap_or(usize::MAX));
            for width in widths {
                meter.bytes(width)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn of_string(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    Ok(match method {
        "ljust" | "rjust" => {
            let (width, fill): (usize, Option<char>) = from_args(arguments)?;
            let padding = padding(state, text, width, fill.unwrap_or(' '))?;
            Value::from(match method {
                "ljust" => format!("{text}{padding}"),
                _ => format!("{padding}{text}"),
            })
        }
        "zfill" => {
            let (width,): (usize,) = from_args(arguments)?;
            let padding = padding(state, text, width, '0')?;
            let digits = text.trim_start_matches(['+', '-']);
            let sign = if text.len() - digits.len() == 1 {
                &text[..1]
            } else {
                ""
            };
            Value::from(format!("{sign}{padding}{}", &text[sign.len()..]))
        }
        "rsplit" => {
            let (separator, most): (&str, Option<i64>) = from_args(arguments)?;
            if separator.is_empty() {
                return Err(refuse("empty separator"));
            }
            let pieces = match most.and_then(|most| usize::try_from(most).ok()) {
                Some(most) => most.saturating_add(1),
                None => usize::MAX,
            };
            let mut pieces: Vec<Value> = text.rsplitn(pieces, separator).map(Value::from).collect();
            pieces.reverse();
            Value::from(pieces)
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            let (found, missing) = match method {
                "partition" => (text.split_once(separator), [text, "", ""]),
                _ => (text.rsplit_once(separator), ["", "", text]),
            };
            let parts = found.map_or(missing, |(before, after)| [before, separator, after]);
            Value::from(minijinja::value::Tuple::from(parts.map(Value::from)))
        }
        "index" => {
            let (wanted,): (&str,) = from_args(arguments)?;
            let at = text
                .find(wanted)
                .ok_or_else(|| refuse("substring not found"))?;
            Value::from(text[..at].chars().count())
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn padding(state: &State<'_, '_>, text: &str, width: usize, fill: char) -> Result<String, Error> {
    let missing = width.saturating_sub(text.chars().count());
    Meter::new(state).bytes(missing.saturating_mul(fill.len_utf8()))?;
    Ok(std::iter::repeat_n(fill, missing).collect())
}
