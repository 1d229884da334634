//! From what a pack's files say to rows: everything a pack brings, in one transaction.
//!
//! Rows are upserted by reference and keep their ids. What the pack brought before and brings no more is
//! removed, unlike in StackStorm, where it lingers; what was made through the API in the pack's name (it has
//! no metadata file) stays. Metadata wins over a change of `enabled` through the API, as there. An
//! unchanged row is not touched, so that nothing restarts because a pack was registered again.

use super::fault::Fault;
use super::resources::Resource;
use super::triggers::ensure_trigger;
use crate::automation::ids::new_id;
use crate::store::Json;
use crate::store::StoreError;
use crate::store::automation::action_aliases::ActionAlias;
use crate::store::automation::actions::Action;
use crate::store::automation::policies::Policy;
use crate::store::automation::rules::Rule;
use crate::store::automation::sensor_types::SensorType;
use crate::store::automation::trigger_types::TriggerType;
use crate::store::automation::triggers::Trigger;
use crate::store::query::Filter;
use crate::store::sql::Connection;
use automation::spec::overrides::{self, Overrides, ResourceKind};
use automation::spec::{self, Inspection, Severity};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a pack brings, in the order of registration: rules need triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Triggers,
    Sensors,
    Actions,
    Rules,
    Aliases,
    Policies,
}

impl Kind {
    pub const ALL: [Kind; 6] = [
        Kind::Triggers,
        Kind::Sensors,
        Kind::Actions,
        Kind::Rules,
        Kind::Aliases,
        Kind::Policies,
    ];

    /// As the counts of a registration name it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Triggers => "triggers",
            Kind::Sensors => "sensors",
            Kind::Actions => "actions",
            Kind::Rules => "rules",
            Kind::Aliases => "aliases",
            Kind::Policies => "policies",
        }
    }
}

/// How many of each type were registered; `actions(overridden)`: of how many an operator decided
/// otherwise.
pub type Counts = BTreeMap<String, u64>;

/// An operator's word on what is enabled.
#[derive(Debug, Clone, Default)]
pub struct Switches {
    pub all_packs: Overrides,
    pub this_pack: Overrides,
}

/// A row that packs bring.
pub trait PackRow: Resource + Clone + PartialEq + Sync {
    /// Takes over from the row of the same reference what a registration leaves alone.
    fn take_over(&mut self, before: &Self);
    fn insert_row(
        &self,
        connection: &mut Connection,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    fn update_row(
        &mut self,
        connection: &mut Connection,
        now: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    fn delete_row(
        connection: &mut Connection,
        reference: &str,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

macro_rules! pack_row {
    ($row:ident, |$fresh:ident, $before:ident| $more:block) => {
        impl PackRow for $row {
            fn take_over(&mut self, before: &Self) {
                self.id.clone_from(&before.id);
                self.created_at = before.created_at;
                self.updated_at = before.updated_at;
                self.row_version = before.row_version;
                let ($fresh, $before) = (self, before);
                $more
            }
            async fn insert_row(&self, connection: &mut Connection) -> Result<(), StoreError> {
                self.insert(connection).await
            }
            async fn update_row(
                &mut self,
                connection: &mut Connection,
                now: i64,
            ) -> Result<(), StoreError> {
                self.update(connection, now).await
            }
            async fn delete_row(
                connection: &mut Connection,
                reference: &str,
            ) -> Result<bool, StoreError> {
                $row::delete(connection, reference).await
            }
        }
    };
}

pack_row!(TriggerType, |_fresh, _before| {});
pack_row!(Action, |_fresh, _before| {});
pack_row!(ActionAlias, |_fresh, _before| {});
pack_row!(Policy, |_fresh, _before| {});
pack_row!(Rule, |fresh, before| {
    fresh.owner_guid.clone_from(&before.owner_guid);
});
pack_row!(SensorType, |fresh, before| {
    fresh.dea.clone_from(&before.dea);
    fresh.generation = before.generation;
});

/// Writes a row over the one of the same reference, if there is one and it differs.
pub async fn put<R: PackRow>(
    connection: &mut Connection,
    mut fresh: R,
    now: i64,
) -> Result<R, Fault> {
    let same = Filter::new().equals("reference", fresh.names().reference);
    match R::fetch(connection, same).await?.pop() {
        None => fresh.insert_row(connection).await?,
        Some(before) => {
            fresh.take_over(&before);
            if fresh != before {
                fresh.update_row(connection, now).await?;
            }
        }
    }
    Ok(fresh)
}

/// The file that a resource comes from; None: it was made through the API.
pub fn metadata_file(document: &Value) -> Option<&str> {
    document
        .get("metadata_file")
        .and_then(Value::as_str)
        .filter(|file| !file.is_empty())
}

/// What is kept in columns is not kept twice.
pub fn document_of(resource: &impl Serialize) -> Result<Value, Fault> {
    let mut value = serde_json::to_value(resource)
        .map_err(Fault::internal("writing down a resource of a pack"))?;
    if let Some(entries) = value.as_object_mut() {
        for column in ["name", "pack", "ref", "enabled"] {
            entries.remove(column);
        }
    }
    Ok(value)
}

/// How a pack is registered.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub kinds: &'a BTreeSet<Kind>,
    pub switches: &'a Switches,
    /// What cannot be registered is left as it is, and the rest goes on; else everything fails.
    pub lenient: bool,
    /// Unix microseconds.
    pub now: i64,
}

struct Registration<'a> {
    connection: &'a mut Connection,
    pack: &'a str,
    switches: &'a Switches,
    lenient: bool,
    /// Files with errors: what they brought before stays.
    broken: BTreeSet<&'a str>,
    now: i64,
    counts: Counts,
}

/// Registers what `inspection` found and removes what is stale.
pub async fn register(
    connection: &mut Connection,
    pack: &str,
    inspection: &Inspection,
    terms: Terms<'_>,
) -> Result<Counts, Fault> {
    let kinds = terms.kinds;
    let broken = inspection
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| problem.file.as_str());
    let mut registration = Registration {
        connection,
        pack,
        switches: terms.switches,
        lenient: terms.lenient,
        broken: broken.collect(),
        now: terms.now,
        counts: Counts::new(),
    };
    for kind in Kind::ALL.into_iter().filter(|kind| kinds.contains(kind)) {
        match kind {
            Kind::Triggers => registration.triggers(&inspection.trigger_types).await?,
            Kind::Sensors => {
                // A sensor declares its types in its own file.
                if !kinds.contains(&Kind::Triggers) {
                    registration.triggers(&inspection.trigger_types).await?;
                    registration.counts.remove(Kind::Triggers.name());
                }
                registration.sensors(&inspection.sensors).await?;
            }
            Kind::Actions => registration.actions(&inspection.actions).await?,
            Kind::Rules => registration.rules(&inspection.rules).await?,
            Kind::Aliases => registration.aliases(&inspection.aliases).await?,
            Kind::Policies => registration.policies(&inspection.policies).await?,
        }
    }
    Ok(registration.counts)
}

impl Registration<'_> {
    fn count(&mut self, kind: Kind, number: usize) {
        *self.counts.entry(kind.name().to_string()).or_default() += number as u64;
    }

    fn enabled(&mut self, kind: Kind, of: ResourceKind, name: &str, said: bool) -> bool {
        let Switches {
            all_packs,
            this_pack,
        } = self.switches;
        let enabled = overrides::apply(all_packs, this_pack, of, name, said);
        if enabled != said {
            *self
                .counts
                .entry(format!("{}(overridden)", kind.name()))
                .or_default() += 1;
        }
        enabled
    }

    /// Whether a row is of a file that the pack has no more.
    fn is_stale<R: PackRow>(&self, row: &R, keep: &BTreeSet<&str>) -> bool {
        metadata_file(row.document()).is_some_and(|file| !self.broken.contains(file))
            && !keep.contains(row.names().reference)
    }

    /// Removes what the pack's files brought and `keep` does not name.
    async fn remove_stale<R: PackRow>(&mut self, keep: &BTreeSet<&str>) -> Result<(), Fault> {
        let filter = Filter::new().equals("pack", self.pack);
        for row in R::fetch(self.connection, filter).await? {
            if self.is_stale(&row, keep) {
                R::delete_row(self.connection, row.names().reference).await?;
            }
        }
        Ok(())
    }

    async fn triggers(&mut self, types: &[spec::TriggerType]) -> Result<(), Fault> {
        self.count(Kind::Triggers, types.len());
        let mut keep = BTreeSet::new();
        for kind in types {
            let row = TriggerType {
                reference: kind.reference.clone(),
                id: new_id(),
                pack: kind.pack.clone(),
                name: kind.name.clone(),
                document: Json(document_of(kind)?),
                created_at: self.now,
                updated_at: self.now,
                row_version: 1,
            };
            put(self.connection, row, self.now).await?;
            keep.insert(kind.reference.as_str());
        }
        self.remove_stale::<TriggerType>(&keep).await
    }

    async fn sensors(&mut self, sensors: &[spec::Sensor]) -> Result<(), Fault> {
        self.count(Kind::Sensors, sensors.len());
        let mut keep = BTreeSet::new();
        for sensor in sensors {
            let enabled = self.enabled(
                Kind::Sensors,
                ResourceKind::Sensors,
                &sensor.class_name,
                sensor.enabled,
            );
            let mut document = document_of(sensor)?;
            document["artifact_uri"] = json!(format!(
                "file://{}/sensors/{}",
                crate::automation::engine::dispatch::CONTENT,
                sensor.entry_point
            ));
            let mut row = SensorType {
                reference: sensor.reference.clone(),
                id: new_id(),
                pack: sensor.pack.clone(),
                name: sensor.class_name.clone(),
                enabled,
                document: Json(document),
                dea: None,
                generation: 1,
                created_at: self.now,
                updated_at: self.now,
                row_version: 1,
            };
            if let Some(before) = SensorType::find(self.connection, &row.reference).await? {
                let changed = before.document != row.document || before.enabled != row.enabled;
                row.take_over(&before);
                if changed {
                    row.generation += 1;
                    row.update(self.connection, self.now).await?;
                }
            } else {
                row.insert(self.connection).await?;
            }
            keep.insert(sensor.reference.as_str());
        }
        self.remove_stale::<SensorType>(&keep).await
    }

    async fn actions(&mut self, actions: &[spec::Action]) -> Result<(), Fault> {
        self.count(Kind::Actions, actions.len());
        let mut keep = BTreeSet::new();
        for action in actions {
            let enabled = self.enabled(
                Kind::Actions,
                ResourceKind::Actions,
                &action.name,
                action.enabled,
            );
            let mut row = action_row(action, self.now)?;
            row.enabled = enabled;
            put(self.connection, row, self.now).await?;
            keep.insert(action.reference.as_str());
        }
        self.remove_stale::<Action>(&keep).await
    }

    async fn rules(&mut self, rules: &[spec::Rule]) -> Result<(), Fault> {
        let mut registered = 0;
        let mut keep = BTreeSet::new();
        let mut left = BTreeSet::new();
        for rule in rules {
            let enabled = self.enabled(Kind::Rules, ResourceKind::Rules, &rule.name, rule.enabled);
            let trigger = ensure_trigger(
                self.connection,
                &rule.trigger.kind,
                &rule.trigger.parameters,
                self.now,
            )
            .await;
            let trigger = match trigger {
                Ok(trigger) => trigger,
                Err(Fault::Invalid(text)) if self.lenient => {
                    tracing::warn!(rule = rule.reference, text, "a rule was not registered");
                    keep.insert(rule.reference.as_str());
                    continue;
                }
                Err(Fault::Invalid(text)) => {
                    return Err(Fault::Invalid(format!("{}: {text}", rule.metadata_file)));
                }
                Err(fault) => return Err(fault),
            };
            registered += 1;
            let mut document = document_of(rule)?;
            document["trigger"]["ref"] = json!(trigger.reference);
            let row = Rule {
                reference: rule.reference.clone(),
                id: new_id(),
                pack: rule.pack.clone(),
                name: rule.name.clone(),
                trigger_ref: trigger.reference,
                action_ref: rule.action.reference.clone(),
                enabled,
                document: Json(document),
                owner_guid: None,
                created_at: self.now,
                updated_at: self.now,
                row_version: 1,
            };
            if let Some(before) = Rule::find(self.connection, &rule.reference).await?
                && before.trigger_ref != row.trigger_ref
            {
                left.insert(before.trigger_ref);
            }
            put(self.connection, row, self.now).await?;
            keep.insert(rule.reference.as_str());
        }
        let filter = Filter::new().equals("pack", self.pack);
        for row in Rule::fetch(self.connection, filter, "rules of a pack").await? {
            if self.is_stale(&row, &keep) {
                left.insert(row.trigger_ref);
            }
        }
        self.count(Kind::Rules, registered);
        self.remove_stale::<Rule>(&keep).await?;
        drop_unused_triggers(self.connection, &left).await
    }

    async fn aliases(&mut self, aliases: &[spec::Alias]) -> Result<(), Fault> {
        self.count(Kind::Aliases, aliases.len());
        let mut keep = BTreeSet::new();
        for alias in aliases {
            let enabled = self.enabled(
                Kind::Aliases,
                ResourceKind::Aliases,
                &alias.name,
                alias.enabled,
            );
            let row = ActionAlias {
                reference: alias.reference.clone(),
                id: new_id(),
                pack: alias.pack.clone(),
                name: alias.name.clone(),
                enabled,
                document: Json(document_of(alias)?),
                created_at: self.now,
                updated_at: self.now,
                row_version: 1,
            };
            put(self.connection, row, self.now).await?;
            keep.insert(alias.reference.as_str());
        }
        self.remove_stale::<ActionAlias>(&keep).await
    }

    async fn policies(&mut self, policies: &[spec::Policy]) -> Result<(), Fault> {
        self.count(Kind::Policies, policies.len());
        let mut keep = BTreeSet::new();
        for policy in policies {
            let row = Policy {
                reference: policy.reference.clone(),
                id: new_id(),
                pack: policy.pack.clone(),
                name: policy.name.clone(),
                resource_ref: policy.resource_ref.clone(),
                policy_type: policy.policy_type.clone(),
                enabled: policy.enabled,
                document: Json(document_of(policy)?),
                created_at: self.now,
                updated_at: self.now,
                row_version: 1,
            };
            put(self.connection, row, self.now).await?;
            keep.insert(policy.reference.as_str());
        }
        self.remove_stale::<Policy>(&keep).await
    }
}

pub fn action_row(action: &spec::Action, now: i64) -> Result<Action, Fault> {
    let mut document = document_of(action)?;
    if let Some(entries) = document.as_object_mut() {
        entries.remove("runner_type");
    }
    Ok(Action {
        reference: action.reference.clone(),
        id: new_id(),
        pack: action.pack.clone(),
        name: action.name.clone(),
        runner_type: action.runner_type.clone(),
        enabled: action.enabled,
        document: Json(document),
        created_at: now,
        updated_at: now,
        row_version: 1,
    })
}

/// A trigger with parameters is there for its rules: a timer without any would go on firing for nobody.
async fn drop_unused_triggers(
    connection: &mut Connection,
    references: &BTreeSet<String>,
) -> Result<(), Fault> {
    for reference in references {
        let filter = Filter::new().equals("trigger_ref", reference);
        let used = Rule::fetch(connection, filter, "rules of a trigger").await?;
        if used.is_empty()
            && let Some(trigger) = Trigger::find(connection, reference).await?
            && trigger.type_ref != trigger.reference
        {
            Trigger::delete(connection, reference).await?;
        }
    }
    Ok(())
}

/// Removes everything a pack brought, and what was made in its name.
pub async fn unregister(connection: &mut Connection, pack: &str) -> Result<(), Fault> {
    let of_pack = || Filter::new().equals("pack", pack);
    let mut left = BTreeSet::new();
    for row in Rule::fetch(connection, of_pack(), "rules of a pack").await? {
        left.insert(row.trigger_ref);
        Rule::delete(connection, &row.reference).await?;
    }
    drop_unused_triggers(connection, &left).await?;
    async fn remove<R: PackRow>(connection: &mut Connection, pack: &str) -> Result<(), Fault> {
        for row in R::fetch(connection, Filter::new().equals("pack", pack)).await? {
            R::delete_row(connection, row.names().reference).await?;
        }
        Ok(())
    }
    remove::<SensorType>(connection, pack).await?;
    remove::<TriggerType>(connection, pack).await?;
    remove::<Action>(connection, pack).await?;
    remove::<ActionAlias>(connection, pack).await?;
    remove::<Policy>(connection, pack).await
}
