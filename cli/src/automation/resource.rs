//! What all nouns of automation have in common: they are listed, shown, switched and deleted.

use crate::client::{Automation, segment};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Color, Output, human, table};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

/// A kind of resource: where it is and what a table of it shows.
pub struct Noun<const N: usize> {
    pub one: &'static str,
    pub many: &'static str,
    pub path: &'static str,
    /// Header and place in the document (`action.ref`).
    pub columns: [(&'static str, &'static str); N],
}

#[derive(Debug, Args)]
pub struct Length {
    /// How many at most; -1: all
    #[arg(
        short = 'n',
        long = "limit",
        value_name = "NUMBER",
        default_value_t = 50,
        allow_negative_numbers = true
    )]
    pub limit: i64,
}

impl<const N: usize> Noun<N> {
    pub fn address(&self, reference: &str) -> String {
        format!("{}/{}", self.path, segment(reference))
    }

    /// Lists; filters without a value are left out.
    pub async fn list(
        &self,
        api: &Automation,
        out: &Output,
        filters: &[(&str, Option<&str>)],
        length: &Length,
    ) -> Outcome {
        let limit = length.limit.to_string();
        let mut query: Vec<(&str, &str)> = filters
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?)))
            .collect();
        query.push(("limit", &limit));
        let listing = api
            .list::<Value>(self.path, &query)
            .await
            .map_err(|failure| failure.doing(format!("list {}", self.many)))?;
        out.show(&listing.resources, |resources| {
            let mut text = table::table(
                self.columns.map(|(header, _)| header),
                resources
                    .iter()
                    .map(|resource| self.columns.map(|(_, place)| cell(out, resource, place))),
                &format!("no {}", self.many),
            );
            if let Some(total) = listing.total.filter(|total| *total > resources.len()) {
                text.push_str(&format!(
                    "({} of {total}; -n {total} shows all)\n",
                    resources.len()
                ));
            }
            text
        })
    }

    pub async fn get(&self, api: &Automation, reference: &str) -> Outcome<Value> {
        api.get(&self.address(reference), &[])
            .await
            .map_err(|failure| self.missing(reference, failure))
    }

    pub async fn show(&self, api: &Automation, out: &Output, reference: &str) -> Outcome {
        let resource = self.get(api, reference).await?;
        out.show(&resource, document)
    }

    /// The server wants the whole document back; what it derives (`ref`) is left out.
    pub async fn enable(
        &self,
        api: &Automation,
        out: &Output,
        reference: &str,
        enabled: bool,
    ) -> Outcome {
        let mut resource = self.get(api, reference).await?;
        resource["enabled"] = json!(enabled);
        if let Some(fields) = resource.as_object_mut() {
            fields.remove("ref");
        }
        let word = if enabled { "enabled" } else { "disabled" };
        let address = self.address(text(&resource, "id").as_deref().unwrap_or(reference));
        let changed: Value = api
            .put(&address, &resource)
            .await
            .map_err(|failure| failure.doing(format!("change the {} {reference}", self.one)))?;
        out.show(&changed, |_| format!("{reference} is {word}"))
    }

    pub async fn create(&self, api: &Automation, out: &Output, body: &Value) -> Outcome {
        let created: Value = api
            .post(self.path, body)
            .await
            .map_err(|failure| failure.doing(format!("create the {}", self.one)))?;
        out.show(&created, |created| {
            format!(
                "{} is created",
                text(created, "ref")
                    .or_else(|| text(created, "id"))
                    .unwrap_or_default()
            )
        })
    }

    pub async fn delete(
        &self,
        api: &Automation,
        out: &Output,
        references: &[String],
        query: &[(&str, &str)],
    ) -> Outcome {
        for reference in references {
            api.delete(&self.address(reference), query)
                .await
                .map_err(|failure| self.missing(reference, failure))?;
        }
        out.show(&json!({ "deleted": references }), |_| {
            references
                .iter()
                .map(|reference| format!("{reference} is deleted\n"))
                .collect()
        })
    }

    pub async fn replace(&self, api: &Automation, reference: &str, body: &Value) -> Outcome<Value> {
        api.send(Method::PUT, &self.address(reference), body)
            .await?
            .json(self.path)
    }

    /// Says what there is none of, and where to look for those that are there.
    pub fn missing(&self, reference: &str, failure: Failure) -> Failure {
        if failure.code != Code::NotFound {
            return failure;
        }
        Failure::new(
            Code::NotFound,
            format!("there is no {} {reference}", self.one),
        )
        .because(failure)
        .fix(format!("`yard {} list`", self.one))
    }
}

fn value<'a>(document: &'a Value, place: &str) -> &'a Value {
    place.split('.').fold(document, |value, name| {
        value.get(name).unwrap_or(&Value::Null)
    })
}

/// The text at a place of a document; none where there is nothing.
pub fn text(document: &Value, place: &str) -> Option<String> {
    match value(document, place) {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            Some(items.join(", "))
        }
        other => Some(other.to_string()),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn cell(out: &Output, document: &Value, place: &str) -> table::Cell {
    let Some(text) = text(document, place) else {
        return table::Cell::from("-");
    };
    let last = place.rsplit('.').next().unwrap_or(place);
    match last {
        "status" => table::Cell::painted(out, color_of(&text), text),
        "enabled" => {
            let (color, word) = match text.as_str() {
                "true" => (Color::Good, "yes"),
                _ => (Color::Quiet, "no"),
            };
            table::Cell::painted(out, color, word)
        }
        _ => match human::parse_time(&text) {
            Some(time) => table::Cell::from(human::moment(time)),
            None => table::Cell::from(one_line(&text)),
        },
    }
}

pub fn color_of(status: &str) -> Color {
    match status {
        "succeeded" | "processed" | "success" => Color::Good,
        "failed" | "timeout" | "abandoned" | "processing_failed" => Color::Bad,
        "canceled" | "paused" | "pending" => Color::Careful,
        _ => Color::Quiet,
    }
}

/// Descriptions may have paragraphs; a table has rows.
fn one_line(text: &str) -> String {
    const WIDTH: usize = 72;
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

/// A document for people: YAML, what it is called first, nothing empty.
pub fn document(document: &Value) -> String {
    const FIRST: &[&str] = &[
        "id",
        "ref",
        "name",
        "pack",
        "description",
        "enabled",
        "action",
        "status",
    ];
    const LEFT_OUT: &[&str] = &["uid", "metadata_file"];
    let Some(fields) = document.as_object() else {
        return yaml(document);
    };
    let first = FIRST.iter().filter_map(|name| fields.get_key_value(*name));
    let rest = fields
        .iter()
        .filter(|(name, _)| !FIRST.contains(&name.as_str()) && !LEFT_OUT.contains(&name.as_str()));
    first
        .chain(rest)
        .filter(|(_, value)| !is_empty(value))
        .map(|(name, value)| yaml(&json!({ name: value })))
        .collect()
}

pub fn yaml(value: &Value) -> String {
    yaml_serde::to_string(value).unwrap_or_else(|_| format!("{value:#}\n"))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lead_into_documents() {
        let resource =
            json!({ "action": { "ref": "core.local" }, "formats": ["a", 1], "none": null });
        assert_eq!(text(&resource, "action.ref").as_deref(), Some("core.local"));
        assert_eq!(text(&resource, "formats").as_deref(), Some("a, 1"));
        assert_eq!(text(&resource, "none"), None);
        assert_eq!(text(&resource, "action.ref.deeper"), None);
    }

    #[test]
    fn people_see_the_name_first_and_nothing_empty() {
        let resource = json!({ "context": {}, "criteria": { "trigger.x": { "type": "exists" } }, "ref": "a.b", "uid": "rule:a:b", "enabled": false });
        assert_eq!(
            document(&resource),
            "ref: a.b\nenabled: false\ncriteria:\n  trigger.x:\n    type: exists\n"
        );
    }

    #[test]
    fn a_long_description_is_one_line() {
        let long = "word ".repeat(40);
        let line = one_line(&format!("first\n\n{long}"));
        assert!(
            line.starts_with("first word") && line.ends_with('…') && line.chars().count() <= 73,
            "{line}"
        );
    }
}
