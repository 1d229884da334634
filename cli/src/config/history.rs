//! Who changed what.

use super::{check_key, in_words, plain};
use crate::client::Client;
use crate::failure::Outcome;
use crate::output::{Output, human, table};
use proto::api::{ConfigHistory, ConfigRevision};
use serde_json::Value;

pub async fn show(client: &Client, out: &Output, key: Option<&str>, lines: u32) -> Outcome {
    if let Some(key) = key {
        check_key(key)?;
    }
    let number = lines.to_string();
    let mut query = vec![("per_page", number.as_str())];
    query.extend(key.map(|key| ("path", key)));
    let history: ConfigHistory = client.get("/yard/v1/config/history", &query).await?;
    out.show(&history.resources, |entries| {
        let rows = entries.iter().flat_map(|entry| rows(entry, key));
        table::table(
            ["revision", "time", "user", "what", "key", "was", "is"],
            rows,
            "no changes",
        )
    })
}

/// One row for each value; the first says who and when.
fn rows(entry: &ConfigRevision, key: Option<&str>) -> Vec<[String; 7]> {
    let shown = |value: &Value| {
        if value.is_null() {
            "-".to_string()
        } else {
            plain(value)
        }
    };
    let steps = entry
        .changes
        .iter()
        .filter(|step| key.is_none_or(|key| step.path == key));
    steps
        .enumerate()
        .map(|(number, step)| {
            let of = step
                .component
                .as_ref()
                .map_or(String::new(), |owner| format!(" of {}", in_words(owner)));
            let head = if number == 0 {
                [
                    entry.revision.to_string(),
                    human::parse_time(&entry.at).map_or(entry.at.clone(), human::moment),
                    entry.user.clone(),
                    entry.action.clone(),
                ]
            } else {
                Default::default()
            };
            let [revision, time, user, what] = head;
            [
                revision,
                time,
                user,
                what,
                format!("{}{of}", step.path),
                shown(&step.was),
                shown(&step.is),
            ]
        })
        .collect()
}
