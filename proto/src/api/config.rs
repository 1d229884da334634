//! `/yard/v1/config`: the live configuration of the cluster.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `GET /yard/v1/config`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigList {
    pub resources: Vec<ConfigEntry>,
}

/// One key with the value in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigEntry {
    pub path: String,
    /// JSON form of the kind: `"10s"`, `"64MiB"`, `3`, `true`.
    pub value: Value,
    pub default: Value,
    /// Somebody set it (to the default, perhaps).
    pub is_set: bool,
    /// To be sent back with a change, so that nobody overwrites what he did not see; null: not set.
    #[serde(default)]
    pub revision: Option<i64>,
    #[serde(default)]
    pub doc: String,
    /// What the key takes, in words.
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub needs_restart: bool,
    /// Components and machines that have a value of their own instead; a component's wins over its machine's.
    #[serde(default)]
    pub overrides: Vec<ConfigOverride>,
}

/// What one component has instead of the cluster's value, or the daemons of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigOverride {
    /// As in `yard status`: `dea-2`. With an `@` in front of its name, a machine: `@machine-1`
    pub component: String,
    pub value: Value,
    pub revision: i64,
}

/// `PUT /yard/v1/config/<path>`. DELETE takes `?revision=n`. Both take `?component=dea-2`, or `@machine-1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigChange {
    pub value: Value,
    /// The revision the change was made from. Absent: whatever is stored now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}

/// `POST /yard/v1/config/changes`: several edits, all or none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigChanges {
    pub edits: Vec<ConfigEdit>,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// What is to become of one value. Exactly one of `value`, `unset`, `add` and `remove`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigEdit {
    pub path: String,
    /// Only for this component, like `dea-2`, or the daemons of a machine, like `@machine-1`. Absent: for the whole
    /// cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Back to the cluster's value, or the default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unset: bool,
    /// Elements that a list has from now on; of an environment, `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// Elements that it has no longer; of an environment, names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// As in [`ConfigChange`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}

/// `POST /yard/v1/config/rollback`: back to what was in force right after a revision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigRollback {
    /// One of the history. Absent (then there is a path): before the last change of that path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Only this key. Absent: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// With a path: the component's own value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    #[serde(default)]
    pub dry_run: bool,
}

/// `POST /yard/v1/config/import`: what is set becomes what the tree has, all or nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigImport {
    pub tree: ConfigTree,
    /// What the tree does not name stays as it is. Else it is unset.
    #[serde(default)]
    pub keep_others: bool,
    #[serde(default)]
    pub dry_run: bool,
}

/// `GET /yard/v1/config/export`: everything that is set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigTree {
    /// Values of the whole cluster, by path.
    #[serde(default)]
    pub cluster: BTreeMap<String, Value>,
    /// Values that single components and machines (`@machine-1`) have for themselves, by owner and path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, BTreeMap<String, Value>>,
}

/// What a change did, or would do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigOutcome {
    pub dry_run: bool,
    /// Of the change, to come back to; null: nothing was changed.
    #[serde(default)]
    pub revision: Option<i64>,
    pub changes: Vec<ConfigDifference>,
}

/// One value before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigDifference {
    pub path: String,
    /// Null: the whole cluster's.
    #[serde(default)]
    pub component: Option<String>,
    /// What was stored; null: nothing, the cluster's value or the default was in force.
    #[serde(default)]
    pub was: Value,
    #[serde(default)]
    pub is: Value,
    #[serde(default)]
    pub needs_restart: bool,
    /// Roles whose daemons read it.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Those of them that run and have no other value of their own.
    #[serde(default)]
    pub concerned: Vec<String>,
}

/// `GET /yard/v1/config/history`, the newest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigHistory {
    pub resources: Vec<ConfigRevision>,
}

/// One change: who, when, how, from what to what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigRevision {
    pub revision: i64,
    #[serde(default)]
    pub at: String,
    #[serde(default)]
    pub user: String,
    /// `change`, `import`, or `rollback to REVISION`
    #[serde(default)]
    pub action: String,
    pub changes: Vec<ConfigStep>,
}

/// One value of a recorded change; null: nothing was stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigStep {
    pub path: String,
    #[serde(default)]
    pub component: Option<String>,
    #[serde(default)]
    pub was: Value,
    #[serde(default)]
    pub is: Value,
}
