//! Changes of single values, and the way back.

use super::{check_key, get, in_words, plain};
use crate::client::Client;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use clap::Args;
use proto::api::{ConfigChanges, ConfigDifference, ConfigEdit, ConfigOutcome, ConfigRollback};
use proto::config::Key;
use serde_json::Value;

#[derive(Debug, Args)]
pub struct How {
    /// Only for this component, as `yard status` calls it: dea-2
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
    /// Only for the daemons of this machine, as `yard node list` calls it: machine-1
    #[arg(long, value_name = "NAME", conflicts_with = "component")]
    machine: Option<String>,
    /// Only tell what would change, for whom, and whether something would restart
    #[arg(long)]
    dry_run: bool,
}

impl How {
    /// As documents name it.
    fn owner(&self) -> Option<String> {
        let machine = self.machine.as_ref().map(|machine| format!("@{machine}"));
        machine.or_else(|| self.component.clone())
    }
}

pub async fn set(client: &Client, out: &Output, key: &str, text: &str, how: How) -> Outcome {
    let known = known(key, &how)?;
    // Judged before anything is asked, so that a slip of the pen is told without a cluster.
    let value = known
        .parse(text)
        .map_err(|error| Failure::usage(format!("{key}: {error}")))?;
    let edit = ConfigEdit {
        value: Some(value.to_json()),
        ..edit(key, &how)
    };
    apply(client, out, edit, how.dry_run).await
}

pub async fn unset(client: &Client, out: &Output, key: &str, how: How) -> Outcome {
    known(key, &how)?;
    let edit = ConfigEdit {
        unset: true,
        ..edit(key, &how)
    };
    apply(client, out, edit, how.dry_run).await
}

pub async fn add(
    client: &Client,
    out: &Output,
    key: &str,
    elements: Vec<String>,
    how: How,
) -> Outcome {
    let known = known(key, &how)?;
    known
        .default_value()
        .with(&known.kind, &elements)
        .map_err(|error| Failure::usage(format!("{key}: {error}")))?;
    let edit = ConfigEdit {
        add: elements,
        ..edit(key, &how)
    };
    apply(client, out, edit, how.dry_run).await
}

pub async fn remove(
    client: &Client,
    out: &Output,
    key: &str,
    elements: Vec<String>,
    how: How,
) -> Outcome {
    known(key, &how)?;
    let edit = ConfigEdit {
        remove: elements,
        ..edit(key, &how)
    };
    apply(client, out, edit, how.dry_run).await
}

pub async fn rollback(
    client: &Client,
    out: &Output,
    key: Option<String>,
    to: Option<i64>,
    how: How,
) -> Outcome {
    match &key {
        Some(key) => known(key, &how).map(drop)?,
        None if how.owner().is_some() => {
            return Err(Failure::usage("--component and --machine need a key"));
        }
        None => {}
    }
    let rollback = ConfigRollback {
        revision: to,
        path: key,
        component: how.owner(),
        dry_run: how.dry_run,
    };
    let outcome: ConfigOutcome = client
        .post("/yard/v1/config/rollback", &rollback)
        .await
        .map_err(|failure| failure.doing("go back"))?;
    out.show(&outcome, told)
}

fn edit(key: &str, how: &How) -> ConfigEdit {
    ConfigEdit {
        path: key.to_string(),
        component: how.owner(),
        ..ConfigEdit::default()
    }
}

/// The key, and whether the component may have a value of its own for it.
fn known(key: &str, how: &How) -> Outcome<&'static Key> {
    check_key(key)?;
    let known = Key::find(key).ok_or_else(|| Failure::usage(format!("{key} is no key")))?;
    if let Some(owner) = how.owner() {
        known
            .check_override(&owner)
            .map_err(|error| Failure::usage(error.to_string()))?;
    }
    Ok(known)
}

/// Asks for it; shows the key as it is then, or what would change.
async fn apply(client: &Client, out: &Output, edit: ConfigEdit, dry_run: bool) -> Outcome {
    let key = edit.path.clone();
    let changes = ConfigChanges {
        edits: vec![edit],
        dry_run,
    };
    let outcome: ConfigOutcome = client
        .post("/yard/v1/config/changes", &changes)
        .await
        .map_err(|failure| failure.doing(format!("change {key}")))?;
    if dry_run {
        return out.show(&outcome, told);
    }
    let now = get(client, &key).await?;
    out.show(&now, |_| told(&outcome))
}

/// What a change did, or would do, in words.
pub fn told(outcome: &ConfigOutcome) -> String {
    let mut text: String = outcome
        .changes
        .iter()
        .map(|change| line(change, outcome.dry_run) + "\n")
        .collect();
    let summary = match (outcome.changes.len(), outcome.dry_run, outcome.revision) {
        (0, _, _) => "nothing to change: it is so already".to_string(),
        (_, true, _) => "nothing was changed, because of --dry-run".to_string(),
        (_, false, Some(revision)) => format!("revision {revision}"),
        (_, false, None) => String::new(),
    };
    text.push_str(&summary);
    text
}

fn line(change: &ConfigDifference, dry_run: bool) -> String {
    let of = change
        .component
        .as_ref()
        .map_or(String::new(), |owner| format!(" of {}", in_words(owner)));
    let verb = if dry_run { "would be" } else { "is" };
    let unset = match &change.component {
        Some(owner) if !owner.starts_with('@') => "its machine's value or the cluster's",
        Some(_) => "the cluster's value",
        None => "the default",
    };
    let shown = |value: &Value| {
        if value.is_null() {
            unset.to_string()
        } else {
            plain(value)
        }
    };
    let mut text = format!(
        "{}{of} {verb} {}, was {}",
        change.path,
        shown(&change.is),
        shown(&change.was)
    );
    let concerned = if change.concerned.is_empty() {
        change.roles.join(", ")
    } else {
        change.concerned.join(", ")
    };
    let how = match (change.needs_restart, dry_run) {
        (true, true) => "would be restarted one at a time",
        (true, false) => "are restarted one at a time",
        (false, true) => "would follow at once",
        (false, false) => "follow at once",
    };
    text.push_str(&format!(" ({concerned} {how})"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn difference() -> ConfigDifference {
        ConfigDifference {
            path: "dea/heartbeat/period".into(),
            component: Some("dea-2".into()),
            was: Value::Null,
            is: json!("2s"),
            needs_restart: false,
            roles: vec!["dea".into()],
            concerned: vec!["dea-2".into()],
        }
    }

    #[test]
    fn a_change_says_from_what_to_what_and_for_whom() {
        let done = ConfigOutcome {
            dry_run: false,
            revision: Some(17),
            changes: vec![difference()],
        };
        assert_eq!(
            told(&done),
            "dea/heartbeat/period of dea-2 is 2s, was its machine's value or the cluster's (dea-2 follow at once)\nrevision 17"
        );
        let planned = ConfigOutcome {
            dry_run: true,
            revision: None,
            changes: vec![ConfigDifference {
                needs_restart: true,
                component: None,
                concerned: vec![],
                ..difference()
            }],
        };
        assert_eq!(
            told(&planned),
            "dea/heartbeat/period would be 2s, was the default (dea would be restarted one at a time)\nnothing was changed, because of --dry-run"
        );
        assert_eq!(
            told(&ConfigOutcome::default()),
            "nothing to change: it is so already"
        );
    }

    #[test]
    fn a_component_that_does_not_read_the_key_is_told_at_once() {
        let how = |component: &str| How {
            component: Some(component.into()),
            machine: None,
            dry_run: false,
        };
        assert!(known("dea/heartbeat/period", &how("dea-2")).is_ok());
        let failure = known("dea/heartbeat/period", &how("router-1")).expect_err("not a dea");
        assert!(failure.what.contains("does not read"), "{}", failure.what);
    }
}
