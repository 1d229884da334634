//! Renders what parameters hold: values that callers give may use expressions, and so may defaults,
//! each with the other parameters as names.
//!
//! Parameters form a graph, since one may use another: it is rendered from those that use none
//! upwards. A cycle, or a name that nobody has, is found before anything is rendered.
//!
//! This happens twice. [`Schema::live`] renders what the caller gave when the request arrives;
//! [`Schema::resolve`] fills in the rest just before the action runs. Values from the first pass
//! are data in the second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::Map;
use super::casts::{CastError, cast};
use super::definition::flag;
use super::schema::Schema;
use crate::documents::MASK;
use crate::expressions::{
    Context, Datastore, Engine, ExpressionError, References, holds_template, is_template, text,
    type_name,
};

/// What expressions in parameters may use besides each other.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// `action_context`: who runs the action, from where, for which parent.
    pub action_context: &'a Value,
    /// `config_context`: the configuration of the pack.
    pub config: &'a Value,
    /// `st2kv`, loaded with the keys that [`Schema::references`] names.
    pub datastore: Arc<dyn Datastore>,
    /// Whose keys `st2kv.user` are; see [`datastore_user`].
    pub user: &'a str,
    /// More names, such as the `trigger` of a rule.
    pub names: &'a Map,
}

impl Surroundings<'_> {
    fn has(&self, name: &str) -> bool {
        ["action_context", "config_context", "st2kv"].contains(&name)
            || self.names.contains_key(name)
    }

    fn context(&self) -> Context {
        let mut context = Context::new()
            .with_datastore(Arc::clone(&self.datastore), self.user)
            .with("action_context", self.action_context)
            .with("config_context", self.config);
        for (name, value) in self.names {
            context.insert(name, value);
        }
        context
    }
}

/// The user whose keys `st2kv.user` are: who called through the API or a chat, else who runs the
/// action, else the system's user.
#[must_use]
pub fn datastore_user<'a>(action_context: &'a Value, system_user: &'a str) -> &'a str {
    let user = match action_context.get("api_user") {
        Some(user) => Some(user),
        None => action_context.get("user"),
    };
    user.and_then(Value::as_str)
        .filter(|user| !user.is_empty())
        .unwrap_or(system_user)
}

/// Why parameters cannot be rendered. The text is for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Expressions use names that nobody has.
    #[error("Dependency unsatisfied in variable {}", quoted(names))]
    Unsatisfied {
        /// The names.
        names: Vec<String>,
    },
    /// Parameters need each other.
    #[error(
        "Cyclic dependency found in the following variables: {}. Likely the variable is \
         referencing itself",
        names.join(", ")
    )]
    Cyclic {
        /// The parameters of the cycles.
        names: Vec<String>,
    },
    /// The expression of a parameter failed.
    #[error("Failed to render parameter \"{parameter}\": {reason}")]
    Expression {
        /// Name of the parameter.
        parameter: String,
        /// Why it failed. Part of the sentence, so it is not a source of the error as well.
        reason: ExpressionError,
    },
    /// The rendered value does not fit the type of its parameter.
    #[error(transparent)]
    Cast(#[from] CastError),
}

fn quoted(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Parameters as they are handed over: the runner's and the action's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// Parameters that the runner declares.
    pub runner: Map,
    /// Parameters that only the action declares.
    pub action: Map,
}

/// A parameter before it is rendered.
enum Source {
    Value(Value),
    Template {
        template: Value,
        uses: BTreeSet<String>,
    },
}

impl Schema {
    /// Names and datastore keys that rendering these parameters may ask for.
    #[must_use]
    pub fn references(&self, engine: &Engine, given: &Map) -> References {
        let mut references = References::default();
        let defaults = [&self.action, &self.runner]
            .into_iter()
            .flat_map(Map::values)
            .filter_map(|definition| definition.get("default"));
        for value in given.values().chain(defaults) {
            // What does not compile is taken as text later, and asks for nothing.
            if let Ok(found) = engine.references_of_value(value) {
                references.extend(found);
            }
        }
        references
    }

    /// What the caller gave, rendered and cast, and the defaults that are expressions.
    ///
    /// # Errors
    /// A cycle, an unknown name, an expression that failed, or a value of the wrong type.
    pub fn live(
        &self,
        engine: &Engine,
        given: &Map,
        surroundings: &Surroundings<'_>,
    ) -> Result<Map, RenderError> {
        let mut sources: BTreeMap<String, Source> = given
            .iter()
            .map(|(name, value)| (name.clone(), source(engine, value)))
            .collect();
        self.add_defaults(engine, &mut sources);
        let rendered = render(engine, sources, surroundings)?;
        let mut live = Map::new();
        for (name, value) in &rendered {
            let expression_by_default = || {
                [&self.action, &self.runner].into_iter().any(|definitions| {
                    definitions.get(name).is_some_and(|definition| {
                        let default = definition.get("default").and_then(Value::as_str);
                        !flag(definition, "immutable")
                            && default.is_some_and(is_template)
                            && default != value.as_str()
                    })
                })
            };
            if given.contains_key(name) || expression_by_default() {
                live.insert(name.clone(), self.cast(name, value)?);
            }
        }
        Ok(live)
    }

    /// Values that are data, whatever braces they hold, cast to the types of their parameters.
    ///
    /// # Errors
    /// A value of the wrong type.
    pub fn literal(&self, given: &Map) -> Result<Map, CastError> {
        given
            .iter()
            .map(|(name, value)| Ok((name.clone(), self.cast(name, value)?)))
            .collect()
    }

    /// Everything the action runs with: live parameters as they are, defaults for the rest.
    ///
    /// # Errors
    /// As for [`Schema::live`].
    pub fn resolve(
        &self,
        engine: &Engine,
        live: &Map,
        surroundings: &Surroundings<'_>,
    ) -> Result<Resolved, RenderError> {
        let mut sources: BTreeMap<String, Source> = live
            .iter()
            .map(|(name, value)| (name.clone(), Source::Value(value.clone())))
            .collect();
        self.add_defaults(engine, &mut sources);
        let mut resolved = Resolved::default();
        for (name, value) in render(engine, sources, surroundings)? {
            let value = self.cast(&name, &value)?;
            if self.runner.contains_key(&name) {
                resolved.runner.insert(name, value);
            } else if self.action.contains_key(&name) {
                resolved.action.insert(name, value);
            }
        }
        Ok(resolved)
    }

    /// Defaults for what is absent or null, and for what nobody may change. The action's come
    /// first; the runner's stand where the action has none, or where the runner says immutable.
    fn add_defaults(&self, engine: &Engine, sources: &mut BTreeMap<String, Source>) {
        for (name, definition) in self.action.iter().chain(&self.runner) {
            let open = match sources.get(name) {
                None | Some(Source::Value(Value::Null)) => true,
                Some(Source::Value(_) | Source::Template { .. }) => flag(definition, "immutable"),
            };
            if open {
                let default = definition.get("default").unwrap_or(&Value::Null);
                sources.insert(name.clone(), source(engine, default));
            }
        }
    }

    fn cast(&self, name: &str, value: &Value) -> Result<Value, CastError> {
        let Some(expected) = self.type_of(name) else {
            return Ok(value.clone());
        };
        cast(value, expected).map_err(|reason| {
            let secret = self
                .merged
                .get(name)
                .is_some_and(|definition| flag(definition, "secret"));
            CastError {
                parameter: name.to_owned(),
                value: if secret { MASK.into() } else { text(value) },
                given: type_name(value),
                expected: expected.to_owned(),
                reason: if secret {
                    "the value is not shown".into()
                } else {
                    reason
                },
            }
        })
    }
}

/// Text with braces that is no template after all is taken as it stands.
fn source(engine: &Engine, value: &Value) -> Source {
    if holds_template(value)
        && let Ok(references) = engine.references_of_value(value)
    {
        return Source::Template {
            template: value.clone(),
            uses: references.names,
        };
    }
    Source::Value(value.clone())
}

fn render(
    engine: &Engine,
    sources: BTreeMap<String, Source>,
    surroundings: &Surroundings<'_>,
) -> Result<BTreeMap<String, Value>, RenderError> {
    let (templates, mut rendered) = split(sources);
    if templates.is_empty() {
        return Ok(rendered);
    }
    let order = order(&templates, |name| {
        rendered.contains_key(name) || surroundings.has(name)
    })?;
    let used: BTreeSet<&str> = templates
        .values()
        .flat_map(|(_, uses)| uses.iter().map(String::as_str))
        .collect();
    let mut context = surroundings.context();
    for (name, value) in &rendered {
        if used.contains(name.as_str()) {
            context.insert(name, value);
        }
    }
    for name in order {
        let (template, _) = &templates[&name];
        let value =
            render_one(engine, template, &context).map_err(|reason| RenderError::Expression {
                parameter: name.clone(),
                reason,
            })?;
        if used.contains(name.as_str()) {
            context.insert(&name, &value);
        }
        rendered.insert(name, value);
    }
    Ok(rendered)
}

type Templates = BTreeMap<String, (Value, BTreeSet<String>)>;

fn split(sources: BTreeMap<String, Source>) -> (Templates, BTreeMap<String, Value>) {
    let mut templates = Templates::new();
    let mut values = BTreeMap::new();
    for (name, source) in sources {
        match source {
            Source::Value(value) => {
                values.insert(name, value);
            }
            Source::Template { template, uses } => {
                templates.insert(name, (template, uses));
            }
        }
    }
    (templates, values)
}

/// The templates in an order in which each comes after those it uses.
fn order(
    templates: &Templates,
    is_known: impl Fn(&str) -> bool,
) -> Result<Vec<String>, RenderError> {
    let unsatisfied: BTreeSet<&String> = templates
        .values()
        .flat_map(|(_, uses)| uses)
        .filter(|name| !templates.contains_key(*name) && !is_known(name))
        .collect();
    if !unsatisfied.is_empty() {
        return Err(RenderError::Unsatisfied {
            names: unsatisfied.into_iter().cloned().collect(),
        });
    }
    let mut waiting: BTreeMap<&String, BTreeSet<&String>> = templates
        .iter()
        .map(|(name, (_, uses))| {
            let uses = uses.iter().filter(|name| templates.contains_key(*name));
            (name, uses.collect())
        })
        .collect();
    let mut order = vec![];
    while let Some(ready) = waiting
        .iter()
        .find(|(_, uses)| uses.is_empty())
        .map(|(name, _)| *name)
    {
        waiting.remove(ready);
        for uses in waiting.values_mut() {
            uses.remove(ready);
        }
        order.push(ready.clone());
    }
    if waiting.is_empty() {
        return Ok(order);
    }
    // What only waits for a cycle, without being used by one, is not part of it.
    while let Some(outside) = waiting
        .keys()
        .find(|name| !waiting.values().any(|uses| uses.contains(**name)))
        .copied()
    {
        waiting.remove(outside);
    }
    Err(RenderError::Cyclic {
        names: waiting.into_keys().cloned().collect(),
    })
}

/// Text renders to text. Within lists and objects too, except that a string that is exactly
/// `{{name}}` gives the value of that name.
fn render_one(
    engine: &Engine,
    template: &Value,
    context: &Context,
) -> Result<Value, ExpressionError> {
    match template {
        Value::String(template) => engine.render_text(template, context).map(Value::String),
        structure => render_within(engine, structure, context),
    }
}

fn render_within(
    engine: &Engine,
    template: &Value,
    context: &Context,
) -> Result<Value, ExpressionError> {
    Ok(match template {
        Value::String(template) if names_one_value(template) => engine.render(template, context)?,
        Value::String(template) => Value::String(engine.render_text(template, context)?),
        Value::Array(items) => items
            .iter()
            .map(|item| render_within(engine, item, context))
            .collect::<Result<_, _>>()?,
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| {
                Ok((
                    engine.render_text(key, context)?,
                    render_within(engine, value, context)?,
                ))
            })
            .collect::<Result<_, _>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
    })
}

/// `{{name}}`, without spaces.
fn names_one_value(template: &str) -> bool {
    template
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"))
        .is_some_and(|name| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        })
}
