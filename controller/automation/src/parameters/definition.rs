//! What a definition of a parameter may say: of an action, a policy, a pack's configuration.
//!
//! StackStorm's dialect is JSON Schema draft 4 with two differences: `required` is a boolean in the
//! property itself, and there are the words `secret`, `position` and `immutable`. What is wrong is
//! told as data: the API says it in the words of Python's jsonschema ([`Fault`]'s `Display`), an
//! inspection of a pack in its own, with advice ([`crate::spec::parameter_schema`]).

use std::fmt;

use serde_json::Value;

use crate::expressions::repr;
use crate::python_regex::{PythonRegex, RegexError};

/// Definitions within definitions.
const DEEPEST: usize = 32;

/// The types a value may have.
pub(crate) const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// How a word of a definition is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Anything,
    Text,
    /// Text that is a regular expression.
    Pattern,
    Flag,
    Number,
    /// A number above zero.
    Divisor,
    /// A count from zero.
    Count,
    /// A definition.
    Definition,
    /// A definition or a list of them, one for each position.
    Items,
    FlagOrDefinition,
    /// Definitions by name.
    Definitions,
    ListOfDefinitions,
    /// By name: a definition, or names of what else must be there.
    Dependencies,
    /// The name of a type, or a list of them.
    Type,
    Choices,
}

/// Every word, and how it is written.
pub(crate) const WORDS: &[(&str, Form)] = &[
    ("id", Form::Text),
    ("$schema", Form::Text),
    ("title", Form::Text),
    ("description", Form::Text),
    ("default", Form::Anything),
    ("format", Form::Text),
    ("multipleOf", Form::Divisor),
    ("maximum", Form::Number),
    ("exclusiveMaximum", Form::Flag),
    ("minimum", Form::Number),
    ("exclusiveMinimum", Form::Flag),
    ("maxLength", Form::Count),
    ("minLength", Form::Count),
    ("pattern", Form::Pattern),
    ("additionalItems", Form::FlagOrDefinition),
    ("items", Form::Items),
    ("maxItems", Form::Count),
    ("minItems", Form::Count),
    ("uniqueItems", Form::Flag),
    ("maxProperties", Form::Count),
    ("minProperties", Form::Count),
    ("required", Form::Flag),
    ("secret", Form::Flag),
    ("additionalProperties", Form::FlagOrDefinition),
    ("definitions", Form::Definitions),
    ("properties", Form::Definitions),
    ("patternProperties", Form::Definitions),
    ("dependencies", Form::Dependencies),
    ("enum", Form::Choices),
    ("type", Form::Type),
    ("position", Form::Count),
    ("immutable", Form::Flag),
    ("allOf", Form::ListOfDefinitions),
    ("anyOf", Form::ListOfDefinitions),
    ("oneOf", Form::ListOfDefinitions),
    ("not", Form::Definition),
];

/// One thing that is wrong with a definition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    /// Like `parameters.cmd.type`.
    pub path: String,
    pub kind: FaultKind,
    /// A definition inside another one may have words that nobody knows: it works without them.
    pub is_tolerable: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FaultKind {
    /// This stands where a definition should.
    NoDefinition(Value),
    TooDeep,
    UnknownWord(String),
    Misfit {
        word: String,
        found: Value,
        form: Form,
    },
    NoType(Value),
    BadPattern(RegexError),
    SameChoice(Value),
    /// `word` says nothing without `needed`.
    Lacks {
        word: &'static str,
        needed: &'static str,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        let not_of_type =
            |value: &Value, kind: &str| format!("{path}: {} is not of type '{kind}'", repr(value));
        let text = match &self.kind {
            FaultKind::NoDefinition(value) => not_of_type(value, "object"),
            FaultKind::TooDeep => format!("{path}: nested deeper than {DEEPEST} levels"),
            FaultKind::UnknownWord(word) => format!(
                "{}: Additional properties are not allowed ('{word}' was unexpected)",
                path.strip_suffix(word.as_str())
                    .map_or(path.as_str(), |around| around.trim_end_matches('.'))
            ),
            FaultKind::Misfit { word, found, form } => {
                let is_negative = found.as_f64().is_some_and(|number| number < 0.0);
                match form {
                    Form::Divisor if found.is_number() => {
                        format!("{path}: {} is too small", repr(found))
                    }
                    Form::Count if word == "position" && is_negative => {
                        format!("{path}: {} is too small", repr(found))
                    }
                    Form::Text | Form::Pattern => not_of_type(found, "string"),
                    Form::Flag => not_of_type(found, "boolean"),
                    Form::Number | Form::Divisor => not_of_type(found, "number"),
                    Form::Count => not_of_type(found, "non-negative integer"),
                    Form::Choices => not_of_type(found, "array of values"),
                    Form::Items | Form::ListOfDefinitions => not_of_type(found, "array of schemas"),
                    Form::Dependencies if word != "dependencies" => {
                        not_of_type(found, "array of strings")
                    }
                    Form::Anything
                    | Form::Definition
                    | Form::FlagOrDefinition
                    | Form::Definitions
                    | Form::Dependencies
                    | Form::Type => not_of_type(found, "object"),
                }
            }
            FaultKind::NoType(name) => format!(
                "{path}: {} is not one of {}",
                repr(name),
                repr(&Value::from(TYPES.as_slice()))
            ),
            FaultKind::BadPattern(error) => format!("{path}: {error}"),
            FaultKind::SameChoice(choice) => {
                format!("{path}: {} is listed twice", repr(choice))
            }
            FaultKind::Lacks { word, needed } => {
                let around = path.trim_end_matches(word).trim_end_matches('.');
                format!("{around}: '{needed}' is a dependency of '{word}'")
            }
        };
        out.write_str(&text)
    }
}

/// Everything that is wrong with the definition at a path.
pub(crate) fn check(path: &str, definition: &Value) -> Vec<Fault> {
    let mut check = Check { faults: Vec::new() };
    check.definition(path, definition, 0);
    check.faults
}

/// A flag of a definition; absent is false.
pub(crate) fn flag(definition: &Value, name: &str) -> bool {
    definition
        .get(name)
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

struct Check {
    faults: Vec<Fault>,
}

impl Check {
    fn fault(&mut self, path: &str, kind: FaultKind) {
        self.faults.push(Fault {
            path: path.to_owned(),
            kind,
            is_tolerable: false,
        });
    }

    fn definition(&mut self, path: &str, definition: &Value, depth: usize) {
        let words = match definition {
            Value::Object(words) => words,
            // `name:` with nothing after it takes any value.
            Value::Null => return,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return self.fault(path, FaultKind::NoDefinition(definition.clone()));
            }
        };
        if depth > DEEPEST {
            return self.fault(path, FaultKind::TooDeep);
        }
        for (word, value) in words {
            let path = format!("{path}.{word}");
            match WORDS.iter().find(|(known, _)| known == word) {
                Some((_, form)) => self.word(&path, word, *form, value, depth),
                None => self.faults.push(Fault {
                    path,
                    kind: FaultKind::UnknownWord(word.clone()),
                    is_tolerable: depth > 0,
                }),
            }
        }
        for (word, needed) in [
            ("exclusiveMaximum", "maximum"),
            ("exclusiveMinimum", "minimum"),
        ] {
            if words.contains_key(word) && !words.contains_key(needed) {
                self.fault(&format!("{path}.{word}"), FaultKind::Lacks { word, needed });
            }
        }
    }

    fn word(&mut self, path: &str, word: &str, form: Form, value: &Value, depth: usize) {
        match (form, value) {
            (Form::Anything, _)
            | (Form::Text, Value::String(_))
            | (Form::Flag | Form::FlagOrDefinition, Value::Bool(_))
            | (Form::Number, Value::Number(_)) => {}
            (Form::Count, Value::Number(number)) if number.is_u64() => {}
            (Form::Divisor, Value::Number(number))
                if number.as_f64().is_some_and(|number| number > 0.0) => {}
            (Form::Pattern, Value::String(pattern)) => {
                if let Err(error) = PythonRegex::search(pattern) {
                    self.fault(path, FaultKind::BadPattern(error));
                }
            }
            (Form::Definition | Form::Items | Form::FlagOrDefinition, Value::Object(_)) => {
                self.definition(path, value, depth + 1);
            }
            (Form::Items | Form::ListOfDefinitions, Value::Array(items)) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    self.definition(&format!("{path}[{index}]"), item, depth + 1);
                }
            }
            (Form::Definitions, Value::Object(definitions)) => {
                for (name, definition) in definitions {
                    self.definition(&format!("{path}.{name}"), definition, depth + 1);
                }
            }
            (Form::Dependencies, Value::Object(dependencies)) => {
                for (name, dependency) in dependencies {
                    self.dependency(&format!("{path}.{name}"), name, dependency, depth);
                }
            }
            (Form::Type, Value::Array(names)) if !names.is_empty() => {
                for name in names {
                    self.type_name(path, name);
                }
            }
            (Form::Type, name) => self.type_name(path, name),
            (Form::Choices, Value::Array(choices)) if !choices.is_empty() => {
                for (index, choice) in choices.iter().enumerate() {
                    if choices[..index].contains(choice) {
                        let path = format!("{path}[{index}]");
                        self.fault(&path, FaultKind::SameChoice(choice.clone()));
                    }
                }
            }
            _ => self.misfit(path, word, form, value),
        }
    }

    fn misfit(&mut self, path: &str, word: &str, form: Form, found: &Value) {
        let kind = FaultKind::Misfit {
            word: word.to_owned(),
            found: found.clone(),
            form,
        };
        self.fault(path, kind);
    }

    fn dependency(&mut self, path: &str, name: &str, dependency: &Value, depth: usize) {
        match dependency {
            Value::Array(names) if !names.is_empty() && names.iter().all(Value::is_string) => {}
            Value::Array(_) => self.misfit(path, name, Form::Dependencies, dependency),
            definition => self.definition(path, definition, depth + 1),
        }
    }

    fn type_name(&mut self, path: &str, name: &Value) {
        if !name.as_str().is_some_and(|name| TYPES.contains(&name)) {
            self.fault(path, FaultKind::NoType(name.clone()));
        }
    }
}
