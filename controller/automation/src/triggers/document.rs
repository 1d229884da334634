//! `docs/events.md`: what rules can react to, written from the trigger types themselves.

use super::trigger_type::TriggerType;
use super::{core, yard};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The text of the document.
pub fn document() -> String {
    let mut text = String::from(
        "# Events for rules\n\nGenerated from the trigger types in `controller/automation/src/triggers`; `YARD_REGENERATE=1 cargo test -p automation --test events_document` writes it anew.\n\n\
         A rule names a trigger type and matches on its payload: `trigger.app.name`, `trigger.crash_count`.\n\n\
         ## The platform\n\nEvery field is always there; those marked with `?` may be null.\n",
    );
    for kind in yard::types() {
        section(&mut text, &kind);
    }
    text.push_str(
        "\nNothing is listed that the platform does not tell. Events of tasks of apps and of services come with these, \
         none of which the platform has yet: a rule for `yard.task.finished` or `yard.service.*` is refused, as its trigger type does not exist.\n",
    );
    text.push_str(
        "\n## Automation itself\n\nThe trigger types of the pack `core`, as in StackStorm.\n",
    );
    for kind in core::types() {
        section(&mut text, &kind);
    }
    text
}

fn section(text: &mut String, kind: &TriggerType) {
    let _ = write!(
        text,
        "\n### `{}`\n\n{}\n",
        kind.reference(),
        kind.description
    );
    table(text, "parameter", &kind.parameters_schema);
    table(text, "field", &kind.payload_schema);
}

fn table(text: &mut String, what: &str, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    // Whatever order the JSON library keeps, the document has one.
    let properties: BTreeMap<&String, &Value> = properties.iter().collect();
    let described = properties
        .values()
        .any(|property| property.get("description").is_some());
    if !described {
        let names: Vec<String> = properties.keys().map(|name| format!("`{name}`")).collect();
        let _ = write!(text, "\nPayload: {}.\n", names.join(", "));
        return;
    }
    let _ = write!(text, "\n| {what} | type | meaning |\n|---|---|---|\n");
    for (name, property) in properties {
        let _ = writeln!(
            text,
            "| `{name}` | {} | {} |",
            kind_of(property),
            property["description"].as_str().unwrap_or_default()
        );
    }
}

fn kind_of(property: &Value) -> String {
    let nullable = property["type"]
        .as_array()
        .is_some_and(|kinds| kinds.iter().any(|kind| kind == "null"));
    let kind = match (&property["type"], &property["anyOf"], &property["enum"]) {
        (Value::String(kind), _, _) => kind.clone(),
        (Value::Array(kinds), _, _) => joined(kinds.iter().filter(|kind| *kind != "null")),
        (_, Value::Array(choices), _) => joined(choices.iter().map(|choice| &choice["type"])),
        (_, _, Value::Array(values)) => joined(values.iter()),
        _ => "any".to_owned(),
    };
    let time = property["format"] == "date-time";
    let kind = if time { "time".to_owned() } else { kind };
    let required = property["required"] == Value::Bool(true);
    format!(
        "{kind}{}{}",
        if nullable { "?" } else { "" },
        if required || nullable {
            ""
        } else {
            ", optional"
        }
    )
}

fn joined<'a>(values: impl Iterator<Item = &'a Value>) -> String {
    values
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(" or ")
}
