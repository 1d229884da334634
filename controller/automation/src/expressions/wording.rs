//! What users read when an expression fails: the sentences of Jinja2, since packs, tests and
//! runbooks quote them.
//!
//! The engine reports an undefined value by the path that led to it (`action_context.pack`); Jinja2
//! names the object that lacks it (`'dict object' has no attribute 'pack'`). The object is found by
//! walking the path through the context, which only names set within the template escape.

use minijinja::value::ValueKind;
use minijinja::{ErrorKind, Value};

use super::context::Context;
use super::engine::Limits;

/// Why an expression has no value. The text is for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is not a template.
    #[error("{0}")]
    Syntax(String),
    /// It uses something that is not there.
    #[error("{0}")]
    Undefined(String),
    /// An operation or a filter refused its arguments.
    #[error("{0}")]
    Failed(String),
    /// Its evaluation takes more steps than one expression may use.
    #[error("The expression takes more work than the {limit} steps it may use.")]
    TooMuchWork {
        /// Steps: instructions, and the data they produce.
        limit: u64,
    },
    /// It writes more text than may be stored.
    #[error("The text of the expression is larger than {limit} bytes.")]
    TooLarge {
        /// Bytes of text.
        limit: usize,
    },
    /// Its source is longer than may be compiled.
    #[error("The template is longer than {limit} bytes.")]
    TemplateTooLong {
        /// Bytes of source.
        limit: usize,
    },
}

/// The error of the engine as the user reads it.
pub(crate) fn translate(
    error: &minijinja::Error,
    context: &Context,
    limits: &Limits,
) -> ExpressionError {
    if chain(error).any(|error| error.kind() == ErrorKind::OutOfFuel) {
        return ExpressionError::TooMuchWork { limit: limits.work };
    }
    let error = chain(error).last().unwrap_or(error);
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::SyntaxError | ErrorKind::BadEscape => {
            ExpressionError::Syntax(match error.line() {
                Some(line) => format!("{} (line {line})", sentence(error)),
                None => sentence(error),
            })
        }
        ErrorKind::UnknownFilter => ExpressionError::Failed(unknown("filter", detail)),
        ErrorKind::UnknownTest => ExpressionError::Failed(unknown("test", detail)),
        kind => match undefined_path(detail) {
            Some(path) => ExpressionError::Undefined(undefined(path, context)),
            None if kind == ErrorKind::UndefinedError => {
                ExpressionError::Undefined(sentence(error))
            }
            None if detail == "range has too many elements" => ExpressionError::Failed(
                "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).".into(),
            ),
            None => ExpressionError::Failed(sentence(error)),
        },
    }
}

/// The error and those of the engine that caused it.
fn chain(error: &minijinja::Error) -> impl Iterator<Item = &minijinja::Error> {
    std::iter::successors(Some(error), |error| {
        std::error::Error::source(*error)?.downcast_ref::<minijinja::Error>()
    })
}

fn sentence(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

/// `filter x is unknown` in the words of Jinja2.
fn unknown(what: &str, detail: &str) -> String {
    let name = detail
        .strip_prefix(what)
        .and_then(|rest| rest.strip_suffix("is unknown"))
        .map_or(detail, str::trim);
    format!("No {what} named '{name}'.")
}

/// The path within "`a.b` is undefined", alone or at the end of another message.
fn undefined_path(detail: &str) -> Option<&str> {
    let rest = &detail[detail.rfind("` is undefined").map(|end| ..end)?];
    Some(&rest[rest.rfind('`')? + 1..])
}

/// What Jinja2 says of a path whose last step is missing.
fn undefined(path: &str, context: &Context) -> String {
    let Some((name, steps)) = steps(path) else {
        return format!("'{}' is undefined", path.trim_start_matches("(...)."));
    };
    // A name that is not in the context and yet has steps is one the template set itself.
    let Some(mut object) = context.get(name).cloned() else {
        return format!("'{path}' is undefined");
    };
    for step in steps {
        let next = match &step {
            Step::Attribute(name) => object.get_attr(name),
            Step::Item(key) => object.get_item(key),
        };
        match next {
            Ok(next) if !next.is_undefined() => object = next,
            Ok(_) | Err(_) => return lacking(&object, &step),
        }
    }
    format!("'{path}' is undefined")
}

enum Step {
    Attribute(String),
    Item(Value),
}

/// `name.attribute['key'][0]` taken apart.
fn steps(path: &str) -> Option<(&str, Vec<Step>)> {
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (name, mut rest) = path.split_at(end);
    if name.is_empty() || name.starts_with('(') {
        return None;
    }
    let mut steps = vec![];
    while !rest.is_empty() {
        if let Some(attribute) = rest.strip_prefix('.') {
            let end = attribute.find(['.', '[']).unwrap_or(attribute.len());
            steps.push(Step::Attribute(attribute[..end].to_owned()));
            rest = &attribute[end..];
        } else {
            let (key, after) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Item(match key.parse::<i64>() {
                Ok(index) => Value::from(index),
                Err(_) => Value::from(key.trim_matches(['\'', '"'])),
            }));
            rest = after;
        }
    }
    Some((name, steps))
}

fn lacking(object: &Value, step: &Step) -> String {
    let kind = match object.kind() {
        ValueKind::None => "None",
        ValueKind::Bool => "bool object",
        ValueKind::Number if object.is_integer() => "int object",
        ValueKind::Number => "float object",
        ValueKind::String => "str object",
        ValueKind::Seq => "list object",
        ValueKind::Map => "dict object",
        _ => "object",
    };
    match step {
        Step::Attribute(name) => format!("'{kind}' has no attribute '{name}'"),
        Step::Item(key) => match key.as_str() {
            Some(name) => format!("'{kind}' has no attribute '{name}'"),
            None => format!("{kind} has no element {key}"),
        },
    }
}
