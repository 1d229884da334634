//! Tasks: one run of a command with an app's droplet.

use super::{Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Task {
    pub guid: String,
    /// Counts the tasks of an app.
    #[serde(default)]
    pub sequence_id: u64,
    #[serde(default)]
    pub name: String,
    /// Only for those who may see what may hold passwords, and not in lists of several apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(default)]
    pub user: Option<String>,
    /// `PENDING`, `RUNNING`, `CANCELING`, `SUCCEEDED`, `FAILED`
    pub state: String,
    #[serde(default)]
    pub memory_in_mb: u64,
    #[serde(default)]
    pub disk_in_mb: u64,
    /// -1: unlimited.
    #[serde(default)]
    pub log_rate_limit_in_bytes_per_second: Option<i64>,
    #[serde(default)]
    pub result: TaskResult,
    #[serde(default)]
    pub droplet_guid: String,
    /// What a `PENDING` task waits for.
    #[serde(default)]
    pub yard_waits_for: Option<String>,
    /// The agent it was given to.
    #[serde(default)]
    pub yard_agent: Option<String>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: TaskRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskResult {
    /// Why it failed.
    #[serde(default)]
    pub failure_reason: Option<String>,
    /// What the command exited with; 128 + signal where a signal ended it. Null if it did not get that far.
    #[serde(default)]
    pub yard_exit_status: Option<i32>,
    /// The signal that ended it, by name.
    #[serde(default)]
    pub yard_signal: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskRelationships {
    #[serde(default)]
    pub app: ToOne,
}
