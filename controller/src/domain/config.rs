//! What edits, imports and rollbacks of the configuration change, decided from what is stored.
//!
//! Whatever is asked becomes a list of [`Edit`]s; [`plan`] makes of them the [`Change`]s that one
//! transaction writes, or says why not. Nothing here trusts what is stored: it may be of another
//! version, or unreadable.
//!
//! A rollback is computed from the history and not from the store's own old revisions, which are
//! thrown away within hours: undoing every later change, the newest first, gives what each value was.

use daemon::{ComponentId, Stored};
use proto::api::{
    ConfigDifference, ConfigEdit, ConfigImport, ConfigRevision, ConfigStep, ConfigTree,
};
use proto::config::{Key, Kind, NotEditable, Owner, Place, Value};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// What is stored, place by place.
pub type Stock = BTreeMap<Place, Stored>;

/// Changes that are kept in the history.
pub const KEPT: usize = 500;
/// Most values that one change may write: the store takes 1024 operations at once.
pub const MOST: usize = 500;

/// What is to become of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    Value(Value),
    Unset,
    Add(Vec<String>),
    Remove(Vec<String>),
}

/// One wish, checked against the schema.
#[derive(Debug, Clone)]
pub struct Edit {
    pub key: &'static Key,
    pub owner: Option<Owner>,
    pub wanted: Wanted,
    /// The revision its author saw; None: whatever is there.
    pub revision: Option<i64>,
}

/// One value that is to be written, or deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub place: Place,
    /// As stored. Null: nothing.
    pub was: Json,
    pub is: Json,
    /// Of what was stored.
    pub revision: Option<i64>,
}

/// Why something cannot be done; a sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{path}: there is no such configuration key")]
    UnknownKey { path: String },
    #[error("{place}: {because}")]
    Wrong { place: String, because: String },
    /// Somebody was faster.
    #[error("'{place}' was changed meanwhile: {now}")]
    Conflict { place: String, now: String },
    #[error("{0}")]
    History(String),
}

fn wrong(place: impl ToString, because: impl ToString) -> Problem {
    Problem::Wrong {
        place: place.to_string(),
        because: because.to_string(),
    }
}

impl Edit {
    pub fn place(&self) -> Place {
        Place::of(self.key.path, self.owner.clone())
    }
}

/// Finds the key and the owner, which must read it if it is a component.
pub fn find(path: &str, owner: Option<&str>) -> Result<(&'static Key, Option<Owner>), Problem> {
    let key = Key::find(path).ok_or_else(|| Problem::UnknownKey { path: path.into() })?;
    let owner = owner
        .map(|name| key.check_override(name))
        .transpose()
        .map_err(|error| wrong(path, error))?;
    Ok((key, owner))
}

/// Checks one wish of the API.
pub fn check(edit: &ConfigEdit) -> Result<Edit, Problem> {
    let (key, owner) = find(&edit.path, edit.component.as_deref())?;
    let place = Place::of(key.path, owner.clone());
    let asked = [
        edit.value.is_some(),
        edit.unset,
        !edit.add.is_empty(),
        !edit.remove.is_empty(),
    ];
    if asked.into_iter().filter(|asked| *asked).count() != 1 {
        return Err(wrong(
            place,
            "give exactly one of value, unset, add and remove",
        ));
    }
    let wanted = match &edit.value {
        Some(value) => {
            Wanted::Value(Value::from_json(&key.kind, value).map_err(|error| wrong(&place, error))?)
        }
        None if edit.unset => Wanted::Unset,
        None if edit.remove.is_empty() => Wanted::Add(edit.add.clone()),
        None => Wanted::Remove(edit.remove.clone()),
    };
    Ok(Edit {
        key,
        owner,
        wanted,
        revision: edit.revision,
    })
}

/// The value a text of the store has for a key; None: this version cannot read it.
pub fn read(key: &Key, stored: &Stored) -> Option<Value> {
    let json = serde_json::from_str(&stored.value).ok()?;
    Value::from_json(&key.kind, &json).ok()
}

/// What a text of the store is in a document, readable for this version or not.
fn shown(stored: Option<&Stored>) -> Json {
    stored.map_or(Json::Null, |stored| {
        serde_json::from_str(&stored.value).unwrap_or_else(|_| stored.value.clone().into())
    })
}

/// The changes that the edits come to. What is as wanted already is no change.
/// `running` tells which machine a component is on.
pub fn plan(stock: &Stock, edits: &[Edit], running: &[Component]) -> Result<Vec<Change>, Problem> {
    let mut seen = BTreeSet::new();
    let mut changes = Vec::new();
    for edit in edits {
        let place = edit.place();
        if !seen.insert(place.clone()) {
            return Err(wrong(place, "it is named twice"));
        }
        let stored = stock.get(&place);
        let revision = stored.map(|stored| stored.revision);
        if edit.revision.is_some() && edit.revision != revision {
            let now = match stored {
                Some(stored) => format!("it is {} at revision {}", stored.value, stored.revision),
                None => "it is no longer set".to_string(),
            };
            return Err(Problem::Conflict {
                place: place.to_string(),
                now,
            });
        }
        // Elements are added to what is in force, be it set here or not.
        let in_force = || {
            stored
                .and_then(|stored| read(edit.key, stored))
                .or_else(|| {
                    let machine = machine_of(edit.owner.as_ref()?, running)?;
                    let place = Place::of(edit.key.path, Some(Owner::Machine(machine)));
                    read(edit.key, stock.get(&place)?)
                })
                .or_else(|| read(edit.key, stock.get(&Place::cluster(edit.key.path))?))
                .unwrap_or_else(|| edit.key.default_value())
        };
        let edited = |result: Result<Value, NotEditable>| {
            result
                .map(|value| value.to_json())
                .map_err(|error| wrong(&place, error))
        };
        let is = match &edit.wanted {
            Wanted::Value(value) => value.to_json(),
            Wanted::Unset => Json::Null,
            Wanted::Add(elements) => edited(in_force().with(&edit.key.kind, elements))?,
            Wanted::Remove(elements) => edited(in_force().without(&edit.key.kind, elements))?,
        };
        let was = shown(stored);
        if was != is {
            changes.push(Change {
                place,
                was,
                is,
                revision,
            });
        }
    }
    if changes.len() > MOST {
        return Err(Problem::History(format!(
            "{} values are too many for one change: {MOST} fit",
            changes.len()
        )));
    }
    Ok(changes)
}

/// The machine whose values a component has; none of a machine itself.
fn machine_of(owner: &Owner, running: &[Component]) -> Option<ComponentId> {
    match owner {
        Owner::Machine(_) => None,
        Owner::Component(name) => {
            let component = running.iter().find(|one| one.name == *name)?;
            component.machine.clone()
        }
    }
}

/// Everything that is set and that this version knows.
pub fn export(stock: &Stock) -> ConfigTree {
    let mut tree = ConfigTree::default();
    for (place, stored) in stock {
        let Some(value) = Key::find(&place.path).and_then(|key| read(key, stored)) else {
            continue;
        };
        let values = match &place.owner {
            None => &mut tree.cluster,
            Some(owner) => tree.components.entry(owner.to_string()).or_default(),
        };
        values.insert(place.path.clone(), value.to_json());
    }
    tree
}

/// The edits after which the stock is what the tree says; every problem at once if there are some.
pub fn import(stock: &Stock, import: &ConfigImport) -> Result<Vec<Edit>, Vec<Problem>> {
    let of_cluster = import.tree.cluster.iter();
    let of_cluster = of_cluster.map(|(path, value)| (None, path, value));
    let of_components = import.tree.components.iter().flat_map(|(name, values)| {
        values
            .iter()
            .map(move |(path, value)| (Some(name.clone()), path, value))
    });
    let mut edits = Vec::new();
    let mut problems = Vec::new();
    for (component, path, value) in of_cluster.chain(of_components) {
        let edit = ConfigEdit {
            path: path.clone(),
            component,
            value: Some(value.clone()),
            ..ConfigEdit::default()
        };
        match check(&edit) {
            Ok(edit) => edits.push(edit),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    if !import.keep_others {
        let named: BTreeSet<Place> = edits.iter().map(Edit::place).collect();
        // What this version does not know belongs to another one, and stays.
        let others = stock.keys().filter(|place| !named.contains(place));
        edits.extend(others.filter_map(|place| {
            Some(Edit {
                key: Key::find(&place.path)?,
                owner: place.owner.clone(),
                wanted: Wanted::Unset,
                revision: None,
            })
        }));
    }
    Ok(edits)
}

/// One change as it is kept in the store; its revision is that of the key that holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// RFC 3339
    pub at: String,
    pub user: String,
    pub action: String,
    pub changes: Vec<ConfigStep>,
}

impl Recorded {
    pub fn of(at: String, user: &str, action: &str, changes: &[Change]) -> Recorded {
        Recorded {
            at,
            user: user.to_string(),
            action: action.to_string(),
            changes: changes
                .iter()
                .map(|change| ConfigStep {
                    path: change.place.path.clone(),
                    component: change.place.owner.as_ref().map(ToString::to_string),
                    was: change.was.clone(),
                    is: change.is.clone(),
                })
                .collect(),
        }
    }

    pub fn at_revision(self, revision: i64) -> ConfigRevision {
        ConfigRevision {
            revision,
            at: self.at,
            user: self.user,
            action: self.action,
            changes: self.changes,
        }
    }
}

/// What a rollback is about.
#[derive(Debug, Clone, Copy)]
pub struct Rollback<'a> {
    /// None: before the last change of the place.
    pub revision: Option<i64>,
    pub place: Option<&'a Place>,
}

/// The revision that the rollback goes back to, and the edits that lead there. The history is the
/// newest first; `KEPT` of its entries mean that older ones may have been dropped.
pub fn undo(
    history: &[ConfigRevision],
    rollback: Rollback<'_>,
) -> Result<(i64, Vec<Edit>), Problem> {
    let touches = |step: &ConfigStep| {
        rollback.place.is_none_or(|place| {
            step.path == place.path
                && step.component == place.owner.as_ref().map(ToString::to_string)
        })
    };
    let target = match (rollback.revision, rollback.place) {
        (Some(revision), _) => revision,
        (None, Some(place)) => {
            let last = history
                .iter()
                .find(|entry| entry.changes.iter().any(touches))
                .ok_or_else(|| {
                    Problem::History(format!(
                        "{place} was not changed, as far as the history reaches"
                    ))
                })?;
            last.revision - 1
        }
        (None, None) => {
            return Err(Problem::History(
                "name a revision of the history, or a key".to_string(),
            ));
        }
    };
    if let Some(oldest) = history.last()
        && history.len() >= KEPT
        && target < oldest.revision
    {
        return Err(Problem::History(format!(
            "the history reaches back to revision {} only",
            oldest.revision
        )));
    }
    if let Some(newest) = history.first()
        && target > newest.revision
    {
        return Err(Problem::History(format!(
            "there is no revision {target}: the last change has {}",
            newest.revision
        )));
    }
    let mut values: BTreeMap<(String, Option<String>), Json> = BTreeMap::new();
    for entry in history.iter().take_while(|entry| entry.revision > target) {
        for step in entry.changes.iter().filter(|step| touches(step)) {
            // The next entry is older: what it says of the same place stands.
            values.insert(
                (step.path.clone(), step.component.clone()),
                step.was.clone(),
            );
        }
    }
    let edits = values.into_iter().map(|((path, component), value)| {
        let unset = value.is_null();
        check(&ConfigEdit {
            path,
            component,
            value: (!unset).then_some(value),
            unset,
            ..ConfigEdit::default()
        })
    });
    Ok((target, edits.collect::<Result<_, _>>()?))
}

/// A component that is seen.
#[derive(Debug, Clone)]
pub struct Component {
    pub name: ComponentId,
    pub role: String,
    /// None: nobody said on which.
    pub machine: Option<ComponentId>,
}

/// Who is concerned by the changes: those of `running` that have no closer value.
pub fn differences(
    stock: &Stock,
    changes: &[Change],
    running: &[Component],
) -> Vec<ConfigDifference> {
    changes
        .iter()
        .filter_map(|change| {
            let key = Key::find(&change.place.path)?;
            let roles = key.readers();
            let has = |owner: Owner| stock.contains_key(&Place::of(key.path, Some(owner)));
            let own = |one: &Component| has(Owner::Component(one.name.clone()));
            let of_machine = |one: &Component| {
                one.machine
                    .clone()
                    .is_some_and(|name| has(Owner::Machine(name)))
            };
            let concerned = running.iter().filter(|one| {
                roles.contains(&one.role.as_str())
                    && match &change.place.owner {
                        Some(Owner::Component(component)) => *component == one.name,
                        Some(Owner::Machine(machine)) => {
                            one.machine.as_ref() == Some(machine) && !own(one)
                        }
                        None => !own(one) && !of_machine(one),
                    }
            });
            Some(ConfigDifference {
                path: key.path.to_string(),
                component: change.place.owner.as_ref().map(ToString::to_string),
                was: change.was.clone(),
                is: change.is.clone(),
                needs_restart: key.needs_restart,
                concerned: concerned.map(|one| one.name.to_string()).collect(),
                roles: roles.into_iter().map(str::to_string).collect(),
            })
        })
        .collect()
}

/// Environments hold passwords of proxies and package indexes.
pub fn is_secret(key: &Key) -> bool {
    key.kind == Kind::Environment
}

/// A value as everybody may see it.
pub fn masked(key: &Key, value: &Json) -> Json {
    if is_secret(key) && !value.is_null() {
        "[PRIVATE DATA HIDDEN]".into()
    } else {
        value.clone()
    }
}

#[cfg(test)]
mod tests;
