//! Which attributes a reader wants: `include_attributes` and `exclude_attributes` of every list.
//!
//! Attributes are separated by commas and may be paths (`action.ref`). An included path keeps its
//! place: `action.ref` gives `{"action": {"ref": …}}`. A path goes through lists element by element.
//! What identifies a document (`id`, and `ref` of what a pack brings) is always shown, and cannot be
//! left out: clients index their tables by it.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why the wanted attributes make no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProjectionError {
    /// Both lists were given.
    #[error(
        "exclude_attributes and include_attributes cannot be used together: they say the opposite"
    )]
    Both,
    /// An attribute that no such document has.
    #[error("Invalid or unsupported {list} attribute specified: {attribute}")]
    Unknown {
        /// `include` or `exclude`.
        list: &'static str,
        /// As it was asked for.
        attribute: String,
    },
}

/// A tree of wanted or unwanted attributes; a node without children stands for all below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Paths(BTreeMap<String, Paths>);

impl Paths {
    fn insert(&mut self, path: &str) {
        let mut node = self;
        let mut segments = path.split('.').peekable();
        while let Some(segment) = segments.next() {
            let fresh = !node.0.contains_key(segment);
            let child = node.0.entry(segment.to_owned()).or_default();
            if segments.peek().is_none() {
                child.0.clear();
            } else if !fresh && child.0.is_empty() {
                // All of this attribute is in already: a path below it adds nothing.
                return;
            }
            node = child;
        }
    }
}

/// Which attributes are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection(Choice);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Everything,
    Only(Paths),
    Without(Paths),
}

impl Projection {
    /// Shows everything.
    pub fn everything() -> Projection {
        Projection(Choice::Everything)
    }

    /// Reads the two query parameters. `always` names the attributes that every answer has,
    /// `known` says whether documents of this kind have a top-level attribute of that name.
    pub fn parse(
        include: Option<&str>,
        exclude: Option<&str>,
        always: &[&str],
        known: impl Fn(&str) -> bool,
    ) -> Result<Projection, ProjectionError> {
        let include = split(include);
        let exclude = split(exclude);
        match (include.is_empty(), exclude.is_empty()) {
            (true, true) => Ok(Projection::everything()),
            (false, false) => Err(ProjectionError::Both),
            (false, true) => {
                let mut paths = checked("include", &include, &known)?;
                for name in always {
                    paths.insert(name);
                }
                Ok(Projection(Choice::Only(paths)))
            }
            (true, false) => {
                let mut paths = checked("exclude", &exclude, &known)?;
                for name in always {
                    paths.0.remove(*name);
                }
                Ok(Projection(Choice::Without(paths)))
            }
        }
    }

    /// The part of a document that is shown.
    pub fn apply(&self, document: &Value) -> Value {
        match &self.0 {
            Choice::Everything => document.clone(),
            Choice::Only(paths) => only(document, paths).unwrap_or(Value::Object(Map::new())),
            Choice::Without(paths) => without(document, paths),
        }
    }

    /// Whether anything of a top-level attribute is shown: what is not need not be loaded.
    pub fn wants(&self, attribute: &str) -> bool {
        match &self.0 {
            Choice::Everything => true,
            Choice::Only(paths) => paths.0.contains_key(attribute),
            Choice::Without(paths) => paths
                .0
                .get(attribute)
                .is_none_or(|below| !below.0.is_empty()),
        }
    }
}

fn split(list: Option<&str>) -> Vec<&str> {
    list.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|attribute| !attribute.is_empty())
        .collect()
}

fn checked(
    list: &'static str,
    attributes: &[&str],
    known: impl Fn(&str) -> bool,
) -> Result<Paths, ProjectionError> {
    let mut paths = Paths::default();
    for attribute in attributes {
        let top = attribute.split('.').next().unwrap_or_default();
        if !known(top) || attribute.split('.').any(str::is_empty) {
            return Err(ProjectionError::Unknown {
                list,
                attribute: (*attribute).to_owned(),
            });
        }
        paths.insert(attribute);
    }
    Ok(paths)
}

/// The wanted part; None where nothing of it is there.
fn only(value: &Value, paths: &Paths) -> Option<Value> {
    if paths.0.is_empty() {
        return Some(value.clone());
    }
    match value {
        Value::Object(object) => {
            let kept: Map<String, Value> = paths
                .0
                .iter()
                .filter_map(|(name, below)| Some((name.clone(), only(object.get(name)?, below)?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => Some(Value::Array(
            items.iter().filter_map(|item| only(item, paths)).collect(),
        )),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn without(value: &Value, paths: &Paths) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object
                .iter()
                .filter_map(|(name, inner)| match paths.0.get(name) {
                    None => Some((name.clone(), inner.clone())),
                    Some(below) if below.0.is_empty() => None,
                    Some(below) => Some((name.clone(), without(inner, below))),
                })
                .collect(),
        ),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| without(item, paths)).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "id": "1", "ref": "core.local", "status": "running",
            "action": {"ref": "core.local", "name": "local", "pack": "core"},
            "context": {"user": "ada", "parent": {"execution_id": "0"}},
            "log": [{"status": "requested", "timestamp": "t0"}, {"status": "running", "timestamp": "t1"}],
        })
    }

    fn known(name: &str) -> bool {
        document().get(name).is_some() || name == "result"
    }

    #[track_caller]
    fn check(include: Option<&str>, exclude: Option<&str>, expected: Value) {
        let projection = Projection::parse(include, exclude, &["id"], known).expect("a projection");
        assert_eq!(projection.apply(&document()), expected);
    }

    #[test]
    fn everything_is_shown_unless_asked_otherwise() {
        check(None, None, document());
        check(Some(""), Some(" , "), document());
    }

    #[test]
    fn included_paths_keep_their_place_and_the_id() {
        check(
            Some("status, action.ref,context.parent.execution_id"),
            None,
            json!({"id": "1", "status": "running", "action": {"ref": "core.local"},
                   "context": {"parent": {"execution_id": "0"}}}),
        );
    }

    #[test]
    fn what_is_not_there_is_not_invented() {
        check(
            Some("result.output,action.nothing"),
            None,
            json!({"id": "1"}),
        );
        check(Some("status.deeper"), None, json!({"id": "1"}));
    }

    #[test]
    fn a_path_goes_through_lists() {
        check(
            Some("log.status"),
            None,
            json!({"id": "1", "log": [{"status": "requested"}, {"status": "running"}]}),
        );
    }

    #[test]
    fn the_whole_attribute_wins_over_a_path_below_it() {
        for include in ["action,action.ref", "action.ref,action"] {
            check(
                Some(include),
                None,
                json!({"id": "1", "action": document()["action"]}),
            );
        }
    }

    #[test]
    fn excluded_paths_go_and_the_id_stays() {
        let mut expected = document();
        expected["action"] = json!({"name": "local", "pack": "core"});
        let object = expected.as_object_mut().expect("an object");
        object.remove("log");
        object.remove("context");
        check(None, Some("id,log,action.ref,context"), expected);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(
            Projection::parse(Some("status"), Some("log"), &["id"], known),
            Err(ProjectionError::Both)
        );
        for attribute in ["colour", "colour.red", "action..ref", ".status"] {
            let error = Projection::parse(Some(attribute), None, &["id"], known)
                .expect_err("an unknown attribute");
            assert_eq!(
                error.to_string(),
                format!("Invalid or unsupported include attribute specified: {attribute}")
            );
        }
    }

    #[test]
    fn what_is_not_wanted_need_not_be_loaded() {
        let only = Projection::parse(Some("action.ref"), None, &["id"], known).expect("one");
        assert!(only.wants("action") && only.wants("id") && !only.wants("log"));
        let without =
            Projection::parse(None, Some("log,context.user"), &["id"], known).expect("one");
        assert!(!without.wants("log") && without.wants("context") && without.wants("result"));
    }
}
