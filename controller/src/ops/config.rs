//! The live configuration of the cluster: read by everybody, changed by administrators.
//!
//! Values live in the cluster store, not in the database. What is to be written is planned from what
//! is stored ([`crate::domain::config`]) and written with its entry in the history in one transaction
//! of the store, only if none of the values was changed meanwhile; else it is planned anew. A change
//! is audited after it was made: the other order would record changes that never happened.

use super::{Ops, Refusal, authorize, by, now};
use crate::domain::access::{Action, Actor, Object};
use crate::domain::config::{
    self, Change, Component, Edit, KEPT, Problem, Recorded, Rollback, Stock, Wanted, masked, undo,
};
use crate::domain::times::rfc3339_micros;
use crate::store::audit_events::{self, On};
use crate::store::platform_events;
use automation::triggers::yard::ConfigChanged;
use daemon::{Cluster, ClusterError, ComponentId, Write};
use proto::api::{
    ConfigChanges, ConfigEntry, ConfigHistory, ConfigImport, ConfigOutcome, ConfigOverride,
    ConfigRevision, ConfigRollback, ConfigTree, SeenNode,
};
use proto::config::{HISTORY, KEYS, Key, Owner, PREFIX, Place, Value};
use proto::roles::ROLES;
use serde_json::json;

/// How often a change is planned anew because somebody else changed the same value.
const ATTEMPTS: usize = 8;

/// Environments hold passwords of proxies and package indexes: only for administrators.
pub fn is_visible(actor: &Actor, key: &Key) -> bool {
    actor.is_admin || !config::is_secret(key)
}

/// A key as it is shown, with what the store holds for it. What the store holds but this version
/// cannot read is not in force: the default is, as in every daemon.
pub fn entry(key: &Key, stock: &Stock) -> ConfigEntry {
    let stored = stock.get(&Place::cluster(key.path));
    let value = stored.and_then(|stored| config::read(key, stored));
    ConfigEntry {
        path: key.path.to_string(),
        is_set: value.is_some(),
        value: value.unwrap_or_else(|| key.default_value()).to_json(),
        default: key.default_value().to_json(),
        revision: stored.map(|stored| stored.revision),
        doc: key.doc.to_string(),
        kind: key.kind.to_string(),
        needs_restart: key.needs_restart,
        overrides: overrides(key, stock),
    }
}

/// The values that single components have for themselves.
fn overrides(key: &Key, stock: &Stock) -> Vec<ConfigOverride> {
    stock
        .iter()
        .filter(|(place, _)| place.path == key.path)
        .filter_map(|(place, stored)| {
            Some(ConfigOverride {
                component: place.owner.as_ref()?.to_string(),
                value: config::read(key, stored)?.to_json(),
                revision: stored.revision,
            })
        })
        .collect()
}

/// The cluster store could not be asked.
pub(super) fn away(error: ClusterError) -> Refusal {
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "the cluster store could not be reached"
    );
    Refusal::Unavailable("The cluster store does not answer: try again in a moment".into())
}

fn refusal(problem: Problem) -> Refusal {
    match problem {
        Problem::Conflict { .. } => Refusal::Conflict(problem.to_string()),
        Problem::UnknownKey { .. } | Problem::Wrong { .. } | Problem::History(_) => {
            Refusal::Unprocessable(problem.to_string())
        }
    }
}

/// Only administrators change the configuration and see who did.
fn check_admin(actor: &Actor) -> Result<(), Refusal> {
    authorize(
        actor,
        Action::Administer,
        &Object::Platform,
        "Configuration key",
    )
}

/// The key of a path that the actor may see.
fn known(actor: &Actor, path: &str) -> Result<&'static Key, Refusal> {
    let key = Key::find(path).ok_or(Refusal::NotFound("Configuration key"))?;
    if is_visible(actor, key) {
        Ok(key)
    } else {
        Err(Refusal::NotAuthorized)
    }
}

/// What is to be written, decided anew whenever what is stored turned out to be older than thought.
struct Asked<'a> {
    actor: &'a Actor,
    cluster: &'a Cluster,
    dry_run: bool,
}

/// What is stored now.
struct Seen {
    stock: Stock,
    /// The newest first.
    history: Vec<ConfigRevision>,
    /// Keys of entries that give way to a new one.
    surplus: Vec<String>,
}

impl Ops {
    /// What is stored, by place; what is not in the schema too.
    pub async fn stored_config(&self, cluster: &Cluster) -> Result<Stock, Refusal> {
        let pairs = cluster.list(PREFIX).await.map_err(away)?;
        Ok(pairs
            .into_iter()
            .filter_map(|(key, stored)| Some((Place::parse(key.strip_prefix(PREFIX)?)?, stored)))
            .collect())
    }

    pub async fn list_config(
        &self,
        actor: &Actor,
        cluster: &Cluster,
    ) -> Result<Vec<ConfigEntry>, Refusal> {
        let stock = self.stored_config(cluster).await?;
        Ok(KEYS
            .iter()
            .filter(|key| is_visible(actor, key))
            .map(|key| entry(key, &stock))
            .collect())
    }

    pub async fn config_entry(
        &self,
        actor: &Actor,
        cluster: &Cluster,
        path: &str,
    ) -> Result<ConfigEntry, Refusal> {
        let key = known(actor, path)?;
        Ok(entry(key, &self.stored_config(cluster).await?))
    }

    /// A hint each time something may have changed.
    pub async fn watch_config(
        &self,
        cluster: &Cluster,
    ) -> Result<tokio::sync::mpsc::Receiver<()>, Refusal> {
        cluster.watch(PREFIX).await.map_err(away)
    }

    /// Whether there is such a key for the actor. Needs no cluster.
    pub fn check_config_read(&self, actor: &Actor, path: &str) -> Result<(), Refusal> {
        known(actor, path).map(|_| ())
    }

    /// The edit of one key that an administrator wants, if it fits. Needs no cluster.
    pub fn check_config(
        &self,
        actor: &Actor,
        path: &str,
        component: Option<&str>,
        value: Option<&serde_json::Value>,
        revision: Option<i64>,
    ) -> Result<Edit, Refusal> {
        check_admin(actor)?;
        known(actor, path)?;
        let (key, owner) = config::find(path, component).map_err(refusal)?;
        let wanted = match value {
            Some(value) => Wanted::Value(
                Value::from_json(&key.kind, value)
                    .map_err(|error| Refusal::Unprocessable(format!("{path}: {error}")))?,
            ),
            None => Wanted::Unset,
        };
        Ok(Edit {
            key,
            owner,
            wanted,
            revision,
        })
    }

    /// Changes one value, or takes it back; gives the key as it is then.
    pub async fn change_config(
        &self,
        actor: &Actor,
        cluster: &Cluster,
        edit: Edit,
    ) -> Result<ConfigEntry, Refusal> {
        let asked = Asked {
            actor,
            cluster,
            dry_run: false,
        };
        let key = edit.key;
        let edits = [edit];
        self.write_config(&asked, |_| Ok(("change".to_string(), edits.to_vec())))
            .await?;
        Ok(entry(key, &self.stored_config(cluster).await?))
    }

    /// Several edits, all or none.
    pub async fn change_configs(
        &self,
        actor: &Actor,
        cluster: &Cluster,
        changes: &ConfigChanges,
    ) -> Result<ConfigOutcome, Refusal> {
        check_admin(actor)?;
        let edits: Vec<Edit> = all(changes.edits.iter().map(config::check))?;
        let asked = Asked {
            actor,
            cluster,
            dry_run: changes.dry_run,
        };
        self.write_config(&asked, |_| Ok(("change".to_string(), edits.clone())))
            .await
    }

    /// What is set becomes what the tree says.
    pub async fn import_config(
        &self,
        actor: &Actor,
        cluster: &Cluster,
        import: &ConfigImport,
    ) -> Result<ConfigOutcome, Refusal> {
        check_admin(actor)?;
        let asked = Asked {
            actor,
            cluster,
            dry_run: import.dry_run,
        };
        self.write_config(&asked, |seen| match config::import(&seen.stock, import) {
            Ok(edits) => Ok(("import".to_string(), edits)),
            Err(problems) => all(problems.into_iter().map(Err::<Edit, _>))
                .map(|edits| ("import".to_string(), edits)),
        })
        .await
    }

    /// Everything that is set.
    pub async fn export_config(
        &self,
        actor: &Actor,
        cluster: &Cluster,
    ) -> Result<ConfigTree, Refusal> {
        check_admin(actor)?;
        Ok(config::export(&self.stored_config(cluster).await?))
    }

    /// Back to what was in force at a revision of the history.
    pub async fn roll_config_back(
        &self,
        actor: &Actor,
        cluster: &Cluster,
        rollback: &ConfigRollback,
    ) -> Result<ConfigOutcome, Refusal> {
        check_admin(actor)?;
        let place = match (&rollback.path, &rollback.component) {
            (Some(path), component) => {
                let (key, owner) = config::find(path, component.as_deref()).map_err(refusal)?;
                Some(Place::of(key.path, owner))
            }
            (None, Some(_)) => {
                return Refusal::unprocessable("A component or machine is rolled back with a path");
            }
            (None, None) => None,
        };
        let wanted = Rollback {
            revision: rollback.revision,
            place: place.as_ref(),
        };
        let asked = Asked {
            actor,
            cluster,
            dry_run: rollback.dry_run,
        };
        self.write_config(&asked, |seen| {
            let (revision, edits) = undo(&seen.history, wanted).map_err(refusal)?;
            Ok((format!("rollback to {revision}"), edits))
        })
        .await
    }

    /// Who changed what, the newest first; of one path, if it is named.
    pub async fn config_history(
        &self,
        actor: &Actor,
        cluster: &Cluster,
        path: Option<&str>,
        most: usize,
    ) -> Result<ConfigHistory, Refusal> {
        check_admin(actor)?;
        if let Some(path) = path {
            known(actor, path)?;
        }
        let mut history = self.seen(cluster).await?.history;
        history.retain(|entry| {
            path.is_none_or(|path| entry.changes.iter().any(|step| step.path == path))
        });
        history.truncate(most);
        Ok(ConfigHistory { resources: history })
    }

    async fn seen(&self, cluster: &Cluster) -> Result<Seen, Refusal> {
        let stock = self.stored_config(cluster).await?;
        let mut kept = cluster.list(HISTORY).await.map_err(away)?;
        kept.sort_by_key(|(_, stored)| std::cmp::Reverse(stored.revision));
        let surplus = kept.iter().skip(KEPT - 1).map(|(key, _)| key.clone());
        Ok(Seen {
            stock,
            surplus: surplus.collect(),
            history: kept
                .iter()
                .filter_map(|(key, stored)| {
                    let recorded: Recorded = serde_json::from_str(&stored.value)
                        .inspect_err(|error| {
                            tracing::warn!(key, %error, "an entry of the configuration's history cannot be read");
                        })
                        .ok()?;
                    Some(recorded.at_revision(stored.revision))
                })
                .collect(),
        })
    }

    /// Plans, writes in one transaction, audits. `decide` says what for, and which edits.
    async fn write_config(
        &self,
        asked: &Asked<'_>,
        decide: impl Fn(&Seen) -> Result<(String, Vec<Edit>), Refusal>,
    ) -> Result<ConfigOutcome, Refusal> {
        let running = self.running_components(asked.cluster).await;
        for _ in 0..ATTEMPTS {
            let seen = self.seen(asked.cluster).await?;
            let (action, edits) = decide(&seen)?;
            self.check_machines(asked.cluster, &edits).await?;
            let changes = config::plan(&seen.stock, &edits, &running).map_err(refusal)?;
            let mut outcome = ConfigOutcome {
                dry_run: asked.dry_run,
                revision: None,
                changes: config::differences(&seen.stock, &changes, &running),
            };
            if asked.dry_run || changes.is_empty() {
                return Ok(outcome);
            }
            let now = now();
            let at = rfc3339_micros(now);
            let recorded = Recorded::of(at, &asked.actor.name, &action, &changes);
            let (unchanged, writes) = transaction(&changes, &recorded, now, &seen.surplus);
            let done = asked.cluster.transact(&unchanged, &writes).await;
            if let Some(revision) = done.map_err(away)? {
                outcome.revision = Some(revision);
                self.audit_config(asked.actor, &action, revision, &changes)
                    .await;
                return Ok(outcome);
            }
        }
        Err(Refusal::Conflict(
            "Others keep changing the same values: try again".into(),
        ))
    }

    /// The components that this controller sees, with their machines as far as nodes tell.
    async fn running_components(&self, cluster: &Cluster) -> Vec<Component> {
        let status = (self.live.status)().await;
        let components = status["components"].as_array();
        let nodes = self.nodes(cluster).await.unwrap_or_default();
        let machine = |component: &str| {
            let has = |node: &&SeenNode| node.daemons.iter().any(|one| one.name == component);
            let node = nodes.iter().find(has)?;
            ComponentId::new(node.machine.as_str()).ok()
        };
        components
            .into_iter()
            .flatten()
            .filter_map(|one| {
                let name = one["name"].as_str()?;
                Some(Component {
                    name: ComponentId::new(name).ok()?,
                    role: one["role"].as_str()?.to_string(),
                    machine: machine(name),
                })
            })
            .collect()
    }

    /// Only machines that there are have values of their own: a slip of the pen would change nothing, unseen.
    async fn check_machines(&self, cluster: &Cluster, edits: &[Edit]) -> Result<(), Refusal> {
        let named = edits
            .iter()
            .filter_map(|edit| match (&edit.owner, &edit.wanted) {
                // What is left of one that is gone can be taken away.
                (
                    Some(Owner::Machine(machine)),
                    Wanted::Value(_) | Wanted::Add(_) | Wanted::Remove(_),
                ) => Some(machine),
                (Some(Owner::Machine(_) | Owner::Component(_)) | None, _) => None,
            });
        for machine in named {
            let key = format!("{ROLES}{machine}");
            if cluster.get(&key).await.map_err(away)?.is_none() {
                return Refusal::unprocessable(format!(
                    "There is no machine {machine}: `yard node list` shows all"
                ));
            }
        }
        Ok(())
    }

    /// The change is made and cannot be taken back unseen: if the database is away, the log keeps it.
    async fn audit_config(&self, actor: &Actor, action: &str, revision: i64, changes: &[Change]) {
        let now = now();
        let data = |key: &Key, change: &Change| {
            json!({
                "path": key.path,
                "component": change.place.owner.as_ref().map(ToString::to_string),
                "was": masked(key, &change.was),
                "is": masked(key, &change.is),
                "action": action,
                "revision": revision,
            })
        };
        let known = || {
            let key = |change: &Change| Key::find(&change.place.path);
            changes
                .iter()
                .filter_map(move |change| Some((key(change)?, change)))
        };
        for (key, change) in known() {
            tracing::info!(actor = %actor.name, place = %change.place, is = %masked(key, &change.is), action, "the configuration was changed");
        }
        let record = async {
            let mut tx = self
                .store
                .write("audit a change of the configuration")
                .await?;
            for (key, change) in known() {
                let target = On {
                    guid: key.path,
                    kind: "config",
                    name: key.path,
                    space: None,
                    organization: None,
                };
                audit_events::record(
                    &mut tx,
                    "audit.config.update",
                    by(actor),
                    target,
                    data(key, change),
                    now,
                )
                .await?;
                let event = ConfigChanged {
                    at: rfc3339_micros(now),
                    key: key.path.to_string(),
                    component: change.place.owner.as_ref().map(ToString::to_string),
                    value: masked(key, &change.is),
                    previous: masked(key, &change.was),
                    user: actor.name.clone(),
                    restart_needed: key.needs_restart,
                };
                platform_events::tell(&mut tx, event, key.path, now).await?;
            }
            tx.commit().await
        };
        if let Err(error) = record.await {
            tracing::error!(error = &error as &dyn std::error::Error, actor = %actor.name, revision, "a change of the configuration was not audited");
        }
    }
}

/// Every result, or every problem at once.
fn all(results: impl Iterator<Item = Result<Edit, Problem>>) -> Result<Vec<Edit>, Refusal> {
    let mut edits = Vec::new();
    let mut problems = Vec::new();
    for result in results {
        match result {
            Ok(edit) => edits.push(edit),
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    if problems.is_empty() {
        Ok(edits)
    } else {
        Err(Refusal::AllUnprocessable(problems))
    }
}

/// What must be unchanged, and what is written: the values, their entry in the history, and the end of
/// its oldest entries.
fn transaction(
    changes: &[Change],
    recorded: &Recorded,
    now: i64,
    surplus: &[String],
) -> (Vec<(String, Option<i64>)>, Vec<Write>) {
    let key = |change: &Change| format!("{PREFIX}{}", change.place.stored());
    let unchanged = changes
        .iter()
        .map(|change| (key(change), change.revision))
        .collect();
    let values = changes.iter().map(|change| {
        if change.is.is_null() {
            Write::Delete { key: key(change) }
        } else {
            Write::Put {
                key: key(change),
                value: change.is.to_string(),
            }
        }
    });
    let entry = Write::Put {
        key: format!("{HISTORY}{now:020}-{}", uuid::Uuid::new_v4().simple()),
        value: json!(recorded).to_string(),
    };
    let dropped = surplus.iter().map(|key| Write::Delete { key: key.clone() });
    (unchanged, values.chain([entry]).chain(dropped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::Stored;

    #[test]
    fn what_is_stored_and_cannot_be_read_shows_as_the_default_with_its_revision() {
        let key = Key::find("router/limits/max_attempts").expect("a known key");
        let stock = |value: &str| {
            let stored = Stored {
                value: value.into(),
                revision: 7,
            };
            Stock::from([(Place::cluster(key.path), stored)])
        };
        let readable = entry(key, &stock("5"));
        assert_eq!(
            (readable.value, readable.is_set, readable.revision),
            (json!(5), true, Some(7))
        );
        let unreadable = entry(key, &stock("\"many\""));
        assert_eq!(
            (unreadable.value, unreadable.is_set, unreadable.revision),
            (json!(3), false, Some(7))
        );
        let unset = entry(key, &Stock::new());
        assert_eq!(
            (unset.value, unset.is_set, unset.revision),
            (json!(3), false, None)
        );
    }
}
