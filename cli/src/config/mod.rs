//! `yard config`: the live configuration of the cluster.
//!
//! Values are checked against the schema before they are sent, so that a wrong one is explained
//! even by an old server; the server checks again and is right. What is changed is planned and written
//! by the server in one step: two people cannot overwrite each other unseen.

mod change;
mod history;
mod owners;
mod tree;

use crate::client::Client;
use crate::config::owners::{DEFAULT, Seen, Whose, in_words};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{self, Output, table};
use crate::targets::Store;
use clap::{Args, Subcommand};
use proto::api::{ConfigEntry, ConfigList};
use proto::config::Key;
use serde_json::Value;

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Every key with its value in force, and the components that have another one
    List {
        /// Only keys that begin so
        prefix: Option<String>,
        /// Only keys that somebody set
        #[arg(long)]
        set: bool,
        #[command(flatten)]
        whose: Whose,
    },
    /// One value, with its meaning and where it comes from
    Get {
        /// For instance router/access_log/enabled; `yard config list` shows all
        key: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Change a value; every daemon concerned follows within a second
    Set {
        /// For instance router/access_log/enabled; `yard config list` shows all
        key: String,
        /// With its unit, where it has one: 10s, 2m, 64KiB
        #[arg(allow_hyphen_values = true)]
        value: String,
        #[command(flatten)]
        how: change::How,
    },
    /// Go back to the default, or from a component's own value to the cluster's
    Unset {
        /// For instance router/access_log/enabled; `yard config list --set` shows those that are set
        key: String,
        #[command(flatten)]
        how: change::How,
    },
    /// Add elements to a list, or variables to an environment
    Add {
        /// For instance automation/pack/folders
        key: String,
        /// Elements, or NAME=value for an environment
        #[arg(required = true)]
        elements: Vec<String>,
        #[command(flatten)]
        how: change::How,
    },
    /// Take elements out of a list, or variables out of an environment
    Remove {
        /// For instance automation/pack/folders
        key: String,
        /// Elements, or names of an environment
        #[arg(required = true)]
        elements: Vec<String>,
        #[command(flatten)]
        how: change::How,
    },
    /// Who changed what, when, from what to what; the newest first
    History {
        /// Only of this key
        key: Option<String>,
        /// How many changes
        #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        lines: u32,
    },
    /// Go back to what was in force before
    Rollback {
        /// Only this key, by default to before its last change; without a key, everything
        #[arg(required_unless_present = "to")]
        key: Option<String>,
        /// Right after this revision of `yard config history`
        #[arg(long, value_name = "REVISION")]
        to: Option<i64>,
        #[command(flatten)]
        how: change::How,
    },
    /// Print everything that is set, as YAML
    Export,
    /// Set everything as a file has it, all or nothing; what it does not name goes back to its default
    Import {
        /// YAML or JSON as `yard config export` prints it; - reads standard input
        file: std::path::PathBuf,
        /// Leave what the file does not name as it is
        #[arg(long)]
        keep_others: bool,
        /// Only tell what would change
        #[arg(long)]
        dry_run: bool,
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
        ConfigCommand::List { prefix, set, whose } => {
            let prefix = prefix.as_deref().unwrap_or("");
            list(&client, out, prefix, set, &whose).await
        }
        ConfigCommand::Get { key, whose } => {
            let entry = get(&client, &key).await?;
            let seen = whose.owners(&client).await?.see(entry);
            out.show(&seen, describe)
        }
        ConfigCommand::Set { key, value, how } => {
            change::set(&client, out, &key, &value, how).await
        }
        ConfigCommand::Unset { key, how } => change::unset(&client, out, &key, how).await,
        ConfigCommand::Add { key, elements, how } => {
            change::add(&client, out, &key, elements, how).await
        }
        ConfigCommand::Remove { key, elements, how } => {
            change::remove(&client, out, &key, elements, how).await
        }
        ConfigCommand::History { key, lines } => {
            history::show(&client, out, key.as_deref(), lines).await
        }
        ConfigCommand::Rollback { key, to, how } => {
            change::rollback(&client, out, key, to, how).await
        }
        ConfigCommand::Export => tree::export(&client, out).await,
        ConfigCommand::Import {
            file,
            keep_others,
            dry_run,
        } => tree::import(&client, out, &file, keep_others, dry_run).await,
        ConfigCommand::Watch { prefix } => {
            tokio::select! {
                ended = watch(&client, out, prefix.as_deref().unwrap_or("")) => ended,
                () = output::reader_gone() => Err(Failure::pipe_closed()),
            }
        }
    }
}

async fn list(
    client: &Client,
    out: &Output,
    prefix: &str,
    only_set: bool,
    whose: &Whose,
) -> Outcome {
    let all: ConfigList = client.get("/yard/v1/config", &[]).await?;
    let owners = whose.owners(client).await?;
    let entries: Vec<Seen> = all
        .resources
        .into_iter()
        .filter(|entry| entry.path.starts_with(prefix))
        .map(|entry| owners.see(entry))
        .filter(|seen| {
            !only_set
                || seen.from != DEFAULT
                || owners.is_whole() && !seen.entry.overrides.is_empty()
        })
        .collect();
    out.show(&entries, |entries| {
        let rows = entries.iter().flat_map(|seen| {
            let entry = &seen.entry;
            let own = entry
                .overrides
                .iter()
                .filter(|_| owners.is_whole())
                .map(|own| {
                    [
                        entry.path.clone(),
                        plain(&own.value),
                        in_words(&own.component),
                        String::new(),
                    ]
                });
            let from = match seen.from.as_str() {
                DEFAULT => String::new(),
                from => format!("{from} (default {})", plain(&entry.default)),
            };
            let row = [
                entry.path.clone(),
                plain(&seen.value),
                from,
                entry.doc.clone(),
            ];
            std::iter::once(row).chain(own)
        });
        table::table(["key", "value", "from", "meaning"], rows, "no keys")
    })
}

async fn get(client: &Client, key: &str) -> Outcome<ConfigEntry> {
    check_key(key)?;
    client.get(&format!("/yard/v1/config/{key}"), &[]).await
}

/// Unknown keys are told at once, with what was perhaps meant.
fn check_key(key: &str) -> Outcome {
    match Key::find(key) {
        Some(_) => Ok(()),
        None => Err(no_key(key)),
    }
}

fn no_key(key: &str) -> Failure {
    let last = format!("/{}", key.rsplit('/').next().unwrap_or(key));
    let near: Vec<&str> = proto::config::KEYS
        .iter()
        .map(|known| known.path)
        .filter(|path| path.starts_with(key) || path.ends_with(&last))
        .take(5)
        .collect();
    let fix = if near.is_empty() {
        "`yard config list` shows all keys".to_string()
    } else {
        near.join(", ")
    };
    Failure::new(
        Code::NotFound,
        format!("there is no configuration key {key}"),
    )
    .fix(fix)
}

async fn watch(client: &Client, out: &Output, prefix: &str) -> Outcome {
    let keys = || proto::config::KEYS.iter();
    if !keys().any(|key| key.path.starts_with(prefix)) {
        // It would wait for ever.
        return Err(no_key(prefix));
    }
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
        let own: String = value["overrides"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|own| {
                format!(
                    ", {} for {}",
                    plain(&own["value"]),
                    in_words(&plain(&own["component"]))
                )
            })
            .collect();
        out.say(format!("{path} = {text}{default}{own}"))?;
    }
    Err(
        Failure::new(Code::Unreachable, "the cluster ended the stream of changes")
            .fix("start the command again"),
    )
}

fn describe(seen: &Seen) -> String {
    let entry = &seen.entry;
    let mut rows = vec![
        ("key", entry.path.clone()),
        ("value", plain(&seen.value)),
        ("from", seen.from.clone()),
        ("default", plain(&entry.default)),
    ];
    for own in &entry.overrides {
        rows.push((
            "instead",
            format!("{} for {}", plain(&own.value), in_words(&own.component)),
        ));
    }
    if !entry.kind.is_empty() {
        rows.push(("takes", entry.kind.clone()));
    }
    rows.push(("meaning", entry.doc.clone()));
    if entry.needs_restart {
        rows.push((
            "note",
            "needs a restart of the daemons concerned, which the node does".into(),
        ));
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
        let failure = check_key("router/proxy_protocol").expect_err("half a key");
        assert_eq!(
            failure.fix.as_deref(),
            Some("router/proxy_protocol/enabled")
        );
        let failure = check_key("log/level").expect_err("the end of a key");
        assert_eq!(failure.fix.as_deref(), Some("cluster/log/level"));
        assert!(check_key("x").is_err());
    }
}
