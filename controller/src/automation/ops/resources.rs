//! What packs bring, alike in one thing: a `pack.name` that everything else refers to, and a
//! document. Looking up and listing is written once, here.

use super::callers::Permission;
use super::fault::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::is_id;
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
use serde_json::{Map, Value, json};

/// A row that is known by its reference `pack.name`.
pub trait Resource: Sized + Send {
    /// As error texts call it: `Action`.
    const NOUN: &'static str;
    /// As permissions call it: `action`.
    const PERMISSION: &'static str;
    /// Start of its uid: `action`.
    const UID: &'static str;

    fn names(&self) -> Names<'_>;
    fn document(&self) -> &Value;
    /// What stands in columns of its own and belongs into its document.
    fn columns(&self) -> Vec<(&'static str, Value)>;

    fn fetch(
        connection: &mut Connection,
        filter: Filter,
    ) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send;
    fn page(
        connection: &mut Connection,
        filter: Filter,
        limit: i64,
        offset: i64,
    ) -> impl Future<Output = Result<(Vec<Self>, u64), StoreError>> + Send;
}

/// A resource whose whole document users write.
pub trait Written: Resource {
    fn create(
        automation: &Automation,
        caller: &Caller,
        written: &Value,
    ) -> impl Future<Output = Result<Self, Fault>> + Send;
    fn update(
        automation: &Automation,
        caller: &Caller,
        ref_or_id: &str,
        written: &Value,
    ) -> impl Future<Output = Result<Self, Fault>> + Send;
    fn delete(
        automation: &Automation,
        caller: &Caller,
        ref_or_id: &str,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    pub id: &'a str,
    pub reference: &'a str,
    pub pack: &'a str,
    pub name: &'a str,
}

macro_rules! resource {
    ($row:ident, $noun:literal, $permission:literal, $uid:literal, [$($shown:literal $field:ident),*]) => {
        impl Resource for $row {
            const NOUN: &'static str = $noun;
            const PERMISSION: &'static str = $permission;
            const UID: &'static str = $uid;

            fn names(&self) -> Names<'_> {
                Names { id: &self.id, reference: &self.reference, pack: &self.pack, name: &self.name }
            }
            fn document(&self) -> &Value {
                &self.document
            }
            fn columns(&self) -> Vec<(&'static str, Value)> {
                vec![$(($shown, json!(self.$field))),*]
            }
            async fn fetch(connection: &mut Connection, filter: Filter) -> Result<Vec<Self>, StoreError> {
                $row::fetch(connection, filter, concat!("find ", $noun)).await
            }
            async fn page(
                connection: &mut Connection,
                filter: Filter,
                limit: i64,
                offset: i64,
            ) -> Result<(Vec<Self>, u64), StoreError> {
                $row::page(connection, filter, limit, offset).await
            }
        }
    };
}

resource!(Action, "Action", "action", "action", ["runner_type" runner_type, "enabled" enabled]);
resource!(SensorType, "SensorType", "sensor_type", "sensor_type", ["enabled" enabled]);
resource!(TriggerType, "TriggerType", "trigger", "trigger_type", []);
resource!(Trigger, "Trigger", "trigger", "trigger", ["type" type_ref]);
resource!(Rule, "Rule", "rule", "rule", ["enabled" enabled]);
resource!(ActionAlias, "ActionAlias", "action_alias", "action_alias", ["enabled" enabled]);
resource!(Policy, "Policy", "policy", "policy", ["enabled" enabled, "resource_ref" resource_ref, "policy_type" policy_type]);

/// The whole document of a row.
pub fn present<R: Resource>(row: &R) -> Value {
    let names = row.names();
    let mut document: Map<String, Value> = row.document().as_object().cloned().unwrap_or_default();
    for (name, value) in row.columns() {
        document.insert(name.to_string(), value);
    }
    document.insert("id".into(), json!(names.id));
    document.insert("ref".into(), json!(names.reference));
    document.insert("pack".into(), json!(names.pack));
    document.insert("name".into(), json!(names.name));
    document
        .entry("uid")
        .or_insert_with(|| json!(format!("{}:{}:{}", R::UID, names.pack, names.name)));
    Value::Object(document)
}

/// By reference or id.
pub async fn find<R: Resource>(
    connection: &mut Connection,
    ref_or_id: &str,
) -> Result<Option<R>, Fault> {
    let by_reference = Filter::new().equals("reference", ref_or_id);
    if let Some(row) = R::fetch(connection, by_reference).await?.pop() {
        return Ok(Some(row));
    }
    if !is_id(ref_or_id) {
        return Ok(None);
    }
    let by_id = Filter::new().equals("id", ref_or_id);
    Ok(R::fetch(connection, by_id).await?.pop())
}

/// By reference or id, or StackStorm's words for what is not there.
pub async fn get<R: Resource>(connection: &mut Connection, ref_or_id: &str) -> Result<R, Fault> {
    find(connection, ref_or_id).await?.ok_or_else(|| {
        Fault::NotFound(format!(
            "Resource with a reference or id \"{ref_or_id}\" not found"
        ))
    })
}

impl Automation {
    pub async fn resource<R: Resource>(
        &self,
        caller: &Caller,
        ref_or_id: &str,
    ) -> Result<R, Fault> {
        caller.allow(Permission::View, &format!("{}_view", R::PERMISSION))?;
        get(&mut *self.ops.store.read().await?, ref_or_id).await
    }

    pub async fn list_resources<R: Resource>(
        &self,
        caller: &Caller,
        filter: Filter,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<R>, u64), Fault> {
        caller.allow(Permission::View, &format!("{}_list", R::PERMISSION))?;
        let mut connection = self.ops.store.read().await?;
        Ok(R::page(&mut connection, filter, limit, offset).await?)
    }
}
