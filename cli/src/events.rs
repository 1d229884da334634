//! `yard events`: what happened to an app, newest first.

use crate::apps::find;
use crate::client::Client;
use crate::failure::Outcome;
use crate::output::{Output, human, table};
use crate::targets::Store;
use clap::Args;
use proto::api::{AuditEvent, Page};
use serde_json::Value;

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The app; without one, the whole space
    app: Option<String>,
    /// How many
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5000))]
    lines: u32,
}

pub async fn run(args: EventsArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let number = args.lines.to_string();
    let (filter, guid) = match &args.app {
        Some(name) => ("target_guids", find::app(&client, name).await?.guid),
        None => ("space_guids", client.space()?.guid.clone()),
    };
    let query = [
        (filter, guid.as_str()),
        ("order_by", "-created_at"),
        ("per_page", &number),
        ("page", "1"),
    ];
    let page: Page<AuditEvent> = client.get("/v3/audit_events", &query).await?;
    out.show(&page.resources, |events| {
        let rows = events.iter().map(|event| {
            let time = human::parse_time(&event.created_at)
                .map_or(event.created_at.clone(), human::moment);
            [
                time,
                event.kind.clone(),
                event.actor.name.clone(),
                event.target.name.clone(),
                describe(&event.data),
            ]
        });
        table::table(
            ["time", "event", "actor", "target", "description"],
            rows,
            "no events",
        )
    })
}

/// The parts of an event that explain it, in a line.
fn describe(data: &Value) -> String {
    const TELLING: &[&str] = &[
        "index",
        "instance_index",
        "reason",
        "exit_description",
        "instances",
        "memory",
        "memory_in_mb",
        "disk_quota",
        "state",
        "command",
        "error",
        "strategy",
        "route",
        "url",
        "because",
        "dea",
        "cell_id",
    ];
    let request = data.get("request").cloned().unwrap_or(Value::Null);
    let mut parts = Vec::new();
    // What a crash says in words says the rest too.
    let in_words = data.get("exit_description").is_some();
    for key in TELLING {
        if in_words && *key == "reason" {
            continue;
        }
        if let Some(value) = data.get(key).or_else(|| request.get(key)) {
            match value {
                Value::Null => {}
                Value::String(text) if text.is_empty() => {}
                Value::String(text) if *key == "exit_description" => parts.push(text.clone()),
                Value::String(text) if *key == "cell_id" => parts.push(format!("on {text}")),
                Value::String(text) => parts.push(format!("{key}: {text}")),
                Value::Object(_) | Value::Array(_) => {}
                other => parts.push(format!("{key}: {other}")),
            }
        }
    }
    parts.join(", ").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn descriptions_name_what_explains() {
        assert_eq!(
            describe(&json!({"exit_description": "out of memory", "index": 1, "secret": "x"})),
            "index: 1, out of memory"
        );
        assert_eq!(
            describe(&json!({"request": {"instances": 3, "state": ""}})),
            "instances: 3"
        );
        assert_eq!(describe(&Value::Null), "");
    }
}
