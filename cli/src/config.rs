//! `yard config`: the live configuration of the cluster.
//!
//! Values are checked against the schema before they are sent, so that a wrong one is explained
//! even by an old server; the server checks again and is right. A change is made from the revision
//! that was read: two people cannot overwrite each other unseen.

use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{self, Output, table};
use crate::targets::Store;
use clap::{Args, Subcommand};
use proto::api::{ConfigChange, ConfigEntry, ConfigList};
use proto::config::Key;
use reqwest::Method;
use serde_json::Value;

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Every key with its value in force
    List {
        /// Only keys that begin so
        prefix: Option<String>,
        /// Only keys that somebody set
        #[arg(long)]
        set: bool,
    },
    /// One value, with its meaning
    Get {
        /// For instance router/access_log/enabled; `yard config list` shows all
        key: String,
    },
    /// Change a value; every daemon concerned follows within a second
    Set {
        /// For instance router/access_log/enabled; `yard config list` shows all
        key: String,
        /// With its unit, where it has one: 10s, 2m, 64KiB
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Go back to the default
    Unset {
        /// For instance router/access_log/enabled; `yard config list --set` shows those that are set
        key: String,
    },
    /// Print changes as they happen
    Watch {
        /// Only keys that begin so
        prefix: Option<String>,
    },
}

pub async fn run(args: ConfigArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    match args.command {
        ConfigCommand::List { prefix, set } => {
            list(&client, out, prefix.as_deref().unwrap_or(""), set).await
        }
        ConfigCommand::Get { key } => {
            let entry = get(&client, &key).await?;
            out.show(&entry, describe)
        }
        ConfigCommand::Set { key, value } => change(&client, out, &key, Some(&value)).await,
        ConfigCommand::Unset { key } => change(&client, out, &key, None).await,
        ConfigCommand::Watch { prefix } => {
            tokio::select! {
                ended = watch(&client, out, prefix.as_deref().unwrap_or("")) => ended,
                () = output::reader_gone() => Err(Failure::pipe_closed()),
            }
        }
    }
}

async fn list(client: &Client, out: &Output, prefix: &str, only_set: bool) -> Outcome {
    let all: ConfigList = client.get("/yard/v1/config", &[]).await?;
    let entries: Vec<ConfigEntry> = all
        .resources
        .into_iter()
        .filter(|entry| entry.path.starts_with(prefix) && (!only_set || entry.is_set))
        .collect();
    out.show(&entries, |entries| {
        let rows = entries.iter().map(|entry| {
            let set = if entry.is_set {
                format!("(default {})", plain(&entry.default))
            } else {
                String::new()
            };
            [
                entry.path.clone(),
                plain(&entry.value),
                set,
                entry.doc.clone(),
            ]
        });
        table::table(["key", "value", "", "meaning"], rows, "no keys")
    })
}

async fn get(client: &Client, key: &str) -> Outcome<ConfigEntry> {
    check_key(key)?;
    client.get(&format!("/yard/v1/config/{key}"), &[]).await
}

/// Unknown keys are told at once, with what was perhaps meant.
fn check_key(key: &str) -> Outcome {
    if Key::find(key).is_some() {
        return Ok(());
    }
    let last = key.rsplit('/').next().unwrap_or(key);
    let near: Vec<&str> = proto::config::KEYS
        .iter()
        .map(|known| known.path)
        .filter(|path| path.starts_with(key) || path.ends_with(last))
        .take(5)
        .collect();
    let fix = if near.is_empty() {
        "`yard config list` shows all keys".to_string()
    } else {
        near.join(", ")
    };
    Err(Failure::new(
        Code::NotFound,
        format!("there is no configuration key {key}"),
    )
    .fix(fix))
}

async fn change(client: &Client, out: &Output, key: &str, text: Option<&str>) -> Outcome {
    check_key(key)?;
    // Judged before anything is asked, so that a slip of the pen is told without a cluster.
    let value = match (Key::find(key), text) {
        (Some(known), Some(text)) => Some(
            known
                .parse(text)
                .map_err(|error| Failure::usage(format!("{key}: {error}")))?,
        ),
        _ => None,
    };
    let entry = get(client, key).await?;
    let path = format!("/yard/v1/config/{key}");
    let doing = |failure: Failure| failure.doing(format!("change {key}"));
    match value {
        Some(value) => {
            let change = ConfigChange {
                value: value.to_json(),
                revision: entry.revision,
            };
            client
                .send(Method::PUT, &path, &change)
                .await
                .map_err(doing)?;
        }
        None if entry.is_set => {
            let revision = entry.revision.map(|revision| revision.to_string());
            let query: Vec<(&str, &str)> = revision
                .iter()
                .map(|revision| ("revision", revision.as_str()))
                .collect();
            client.delete(&path, &query).await.map_err(doing)?;
        }
        None => {}
    }
    let now = get(client, key).await?;
    out.show(&now, |now| {
        let restart = if now.needs_restart {
            "; it takes effect when the daemon starts anew"
        } else {
            ""
        };
        let default = if now.is_set { "" } else { " (the default)" };
        format!(
            "{key} is {}{default}, was {}{restart}",
            plain(&now.value),
            plain(&entry.value)
        )
    })
}

async fn watch(client: &Client, out: &Output, prefix: &str) -> Outcome {
    let mut stream = client.config_stream().await?;
    while let Some(data) = stream.next_data().await {
        let Ok(value) = serde_json::from_str::<Value>(&data) else {
            continue;
        };
        let path = value
            .get("path")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_string();
        if !path.starts_with(prefix) {
            continue;
        }
        if out.json {
            out.record(&value)?;
            continue;
        }
        let text = value.get("value").map(plain).unwrap_or_default();
        let default = if value.get("is_set") == Some(&Value::Bool(false)) {
            " (default)"
        } else {
            ""
        };
        out.say(format!("{path} = {text}{default}"))?;
    }
    Err(
        Failure::new(Code::Unreachable, "the cluster ended the stream of changes")
            .fix("start the command again"),
    )
}

fn describe(entry: &ConfigEntry) -> String {
    let set = if entry.is_set {
        "yes"
    } else {
        "no, this is the default"
    };
    let mut rows = vec![
        ("key", entry.path.clone()),
        ("value", plain(&entry.value)),
        ("set", set.to_string()),
        ("default", plain(&entry.default)),
    ];
    if !entry.kind.is_empty() {
        rows.push(("takes", entry.kind.clone()));
    }
    rows.push(("meaning", entry.doc.clone()));
    if entry.needs_restart {
        rows.push(("note", "takes effect when the daemon starts anew".into()));
    }
    table::fields(&rows)
}

/// A value as a person would write it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_its_neighbours() {
        assert!(check_key("router/access_log/enabled").is_ok());
        let failure = check_key("router/access_log").expect_err("half a key");
        assert_eq!(failure.fix.as_deref(), Some("router/access_log/enabled"));
        let failure = check_key("log/level").expect_err("the end of a key");
        assert_eq!(failure.fix.as_deref(), Some("cluster/log/level"));
        assert!(check_key("x").is_err());
    }
}
