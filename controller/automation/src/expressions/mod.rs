//! Jinja expressions of packs and rules, with StackStorm's filters, under limits of work and memory.
//!
//! Packs were written for Jinja2 on Python and show it: booleans print as `True`, a list prints as
//! `['a', 'b']`, methods such as `.split(',')` are called on strings. The engine is minijinja, which
//! already speaks most of that; what StackStorm adds (filters, the datastore, the two ways of
//! reading a lone `{{ … }}`) and what a shared controller needs (a bound on every template) is here.
//!
//! ```text
//!   template ─► cache ─► compiled ──┐
//!   names, datastore ─► Context ────┴─► Engine::render        a lone {{ x }} keeps its type
//!                                   └─► Engine::render_text   always text
//! ```
//!
//! What a newcomer gets wrong:
//! - A parameter of an action is rendered to *text* and then cast by its schema (see
//!   [`crate::parameters`]); an Orquesta expression keeps its *type*. Both ways are offered.
//! - Text without `{{` or `{%` is not a template and never reaches the engine, not even for its
//!   trailing newline, which Jinja would drop.
//! - `st2kv.system.a.b` is one key, `a.b`: a lookup does not end before the expression ends.

mod cache;
mod context;
mod engine;
mod filters;
mod guard;
mod jsonpath;
mod lookup;
mod methods;
mod python;
mod references;
mod values;
mod wording;
mod yaml_text;

pub use context::Context;
pub use engine::{Engine, Limits};
pub use filters::NONE_MARKER;
pub use lookup::{Datastore, EmptyDatastore};
pub use python::{JsonStyle, json_text, repr, text, type_name};
pub use references::References;
pub use wording::ExpressionError;

/// Whether a text holds an expression at all: anything else is taken as it stands.
#[must_use]
pub fn is_template(text: &str) -> bool {
    text.as_bytes()
        .windows(2)
        .any(|pair| pair == b"{{" || pair == b"{%")
}

/// Whether any string within a value, keys included, holds an expression.
#[must_use]
pub fn holds_template(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => is_template(text),
        serde_json::Value::Array(items) => items.iter().any(holds_template),
        serde_json::Value::Object(entries) => entries
            .iter()
            .any(|(key, value)| is_template(key) || holds_template(value)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            false
        }
    }
}
