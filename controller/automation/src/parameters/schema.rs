//! The parameters an action has: its runner's and its own, merged under the rules of overriding.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Map;
use super::definition::{self, flag};
use super::validation::Validation;
use crate::expressions::repr;

/// What an action may change of a parameter that its runner declares.
const OVERRIDABLE: [&str; 5] = ["default", "description", "enum", "immutable", "required"];

/// What is wrong with the parameters an action declares. The text is for the author of the pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaProblem {
    /// The name is not one word.
    #[error(
        "Parameter name \"{0}\" is invalid. Valid characters for parameter name are [a-zA-Z0-9_]."
    )]
    Name(String),
    /// A definition says something it may not.
    #[error("{0}")]
    Definition(String),
    /// The action changes what belongs to the runner.
    #[error(
        "The attribute \"{attribute}\" for the runner parameter \"{parameter}\" in action \
         \"{action}\" cannot be overridden."
    )]
    Override {
        /// Name of the attribute.
        attribute: String,
        /// Name of the parameter.
        parameter: String,
        /// Reference of the action.
        action: String,
    },
    /// The runner already decided that the parameter is immutable, or that it is not.
    #[error("Param {0} is declared immutable in runner. Cannot override in action.")]
    ImmutableTwice(String),
    /// Nobody could ever give it a value.
    #[error("Immutable param {0} requires a default value.")]
    ImmutableWithoutDefault(String),
    /// Two parameters stand at one place.
    #[error(
        "Parameters {second} and {first} have same position {position}. Position values have to be \
         unique."
    )]
    SamePosition {
        /// The parameter that had the position.
        first: String,
        /// The parameter that claims it as well.
        second: String,
        /// The position.
        position: i64,
    },
    /// A place between the first and the last is empty.
    #[error("Positions supplied {0} for parameters are not contiguous.")]
    PositionGap(String),
}

/// The parameters of one action, ready to check and to render what callers give.
#[derive(Debug)]
pub struct Schema {
    pub(crate) runner: Map,
    pub(crate) action: Map,
    pub(crate) merged: Map,
    pub(crate) validation: Validation,
}

impl Schema {
    /// From the parameters that the runner and the action (`pack.name`) declare.
    ///
    /// # Errors
    /// All that is wrong with the action's declarations.
    pub fn new(reference: &str, runner: &Map, action: &Map) -> Result<Schema, Vec<SchemaProblem>> {
        let mut problems = vec![];
        let action = &without_nulls(action);
        for (name, definition) in action {
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                problems.push(SchemaProblem::Name(name.clone()));
            }
            let faults = definition::check(&format!("parameters.{name}"), definition);
            let refused = faults.iter().filter(|fault| !fault.is_tolerable);
            problems.extend(refused.map(|fault| SchemaProblem::Definition(fault.to_string())));
        }
        check_overrides(reference, runner, action, &mut problems);
        check_positions(action, &mut problems);
        let merged = deep_merge(runner, action);
        if problems.is_empty() {
            match Validation::new(&merged) {
                Ok(validation) => {
                    return Ok(Schema {
                        runner: runner.clone(),
                        action: action.clone(),
                        merged,
                        validation,
                    });
                }
                Err(text) => problems.push(SchemaProblem::Definition(text)),
            }
        }
        Err(problems)
    }

    /// All parameters with their attributes, as `/actions/views/parameters` shows them: where both
    /// declare an attribute the action's stands, but what one of them made immutable stays so.
    #[must_use]
    pub fn view(&self) -> Map {
        let names: BTreeSet<&String> = self.runner.keys().chain(self.action.keys()).collect();
        names
            .into_iter()
            .map(|name| {
                let mut attributes = Map::new();
                for definition in [self.runner.get(name), self.action.get(name)] {
                    let definition = definition.and_then(Value::as_object);
                    for (attribute, value) in definition.into_iter().flatten() {
                        let stays = attribute == "immutable"
                            && attributes.get(attribute) == Some(&Value::Bool(true));
                        if !stays {
                            attributes.insert(attribute.clone(), value.clone());
                        }
                    }
                }
                (name.clone(), Value::Object(attributes))
            })
            .collect()
    }

    /// Which required parameters are not among the names of a call, and which names are unknown;
    /// what inspecting a workflow asks before anything runs.
    #[must_use]
    pub fn compare(&self, given: &BTreeSet<String>) -> (Vec<String>, Vec<String>) {
        let missing = self
            .merged
            .iter()
            .filter(|(name, definition)| {
                flag(definition, "required")
                    && definition.get("default").is_none()
                    && !given.contains(*name)
            })
            .map(|(name, _)| name.clone())
            .collect();
        let unknown = given
            .iter()
            .filter(|name| !self.merged.contains_key(*name))
            .cloned()
            .collect();
        (missing, unknown)
    }

    /// The type a value of this parameter is cast to. The runner decides for what is its own.
    pub(crate) fn type_of(&self, name: &str) -> Option<&str> {
        let definition = self.runner.get(name).or_else(|| self.action.get(name))?;
        definition.get("type")?.as_str()
    }

    /// Names that callers may not give.
    pub(crate) fn is_immutable(&self, name: &str) -> bool {
        [&self.runner, &self.action]
            .into_iter()
            .filter_map(|definitions| definitions.get(name))
            .any(|definition| flag(definition, "immutable"))
    }
}

fn check_overrides(reference: &str, runner: &Map, action: &Map, problems: &mut Vec<SchemaProblem>) {
    for (name, definition) in action {
        let Some(own) = definition.as_object() else {
            continue;
        };
        let inherited = runner.get(name).and_then(Value::as_object);
        if let Some(inherited) = inherited {
            for (attribute, value) in own {
                if !OVERRIDABLE.contains(&attribute.as_str())
                    && inherited.get(attribute) != Some(value)
                {
                    problems.push(SchemaProblem::Override {
                        attribute: attribute.clone(),
                        parameter: name.clone(),
                        action: reference.to_owned(),
                    });
                }
            }
        }
        if !own.contains_key("immutable") {
            continue;
        }
        let inherits =
            |attribute| inherited.is_some_and(|inherited| inherited.contains_key(attribute));
        if inherits("immutable") {
            problems.push(SchemaProblem::ImmutableTwice(name.clone()));
        } else if !own.contains_key("default") && !inherits("default") {
            problems.push(SchemaProblem::ImmutableWithoutDefault(name.clone()));
        }
    }
}

fn check_positions(action: &Map, problems: &mut Vec<SchemaProblem>) {
    let mut taken: BTreeMap<i64, &String> = BTreeMap::new();
    for (name, definition) in action {
        let Some(position) = position(definition) else {
            continue;
        };
        if let Some(first) = taken.insert(position, name) {
            problems.push(SchemaProblem::SamePosition {
                first: first.clone(),
                second: name.clone(),
                position,
            });
        }
    }
    let positions: Vec<i64> = taken.into_keys().collect();
    if positions.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        problems.push(SchemaProblem::PositionGap(repr(&Value::from(positions))));
    }
}

/// Where a parameter stands among the arguments of a script.
pub(crate) fn position(definition: &Value) -> Option<i64> {
    let position = definition.get("position")?;
    position
        .as_i64()
        .or_else(|| position.as_f64().map(|position| position as i64))
}

/// `name:` with nothing after it says nothing about the parameter.
fn without_nulls(definitions: &Map) -> Map {
    definitions
        .iter()
        .map(|(name, definition)| match definition {
            Value::Null => (name.clone(), Value::Object(Map::new())),
            definition => (name.clone(), definition.clone()),
        })
        .collect()
}

/// The action's attributes over the runner's, objects within them merged too.
fn deep_merge(below: &Map, above: &Map) -> Map {
    let mut merged = below.clone();
    for (name, value) in above {
        let value = match (merged.get(name), value) {
            (Some(Value::Object(below)), Value::Object(above)) => {
                Value::Object(deep_merge(below, above))
            }
            (_, value) => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    merged
}
