//! `/yard/v1`: what Cloud Foundry has no word for.

use serde::{Deserialize, Serialize};

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
    pub value: serde_json::Value,
    pub default: serde_json::Value,
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
}

/// `PUT /yard/v1/config/<path>`. DELETE takes `?revision=n`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigChange {
    pub value: serde_json::Value,
    /// The revision the change was made from. Absent: whatever is stored now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}

/// `GET /yard/v1/status`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterStatus {
    #[serde(default)]
    pub components: Vec<SeenComponent>,
    #[serde(default)]
    pub agents: Vec<SeenAgent>,
    /// Which controller leads.
    #[serde(default)]
    pub leader: Option<Leader>,
    /// What cannot go on right now, and why.
    #[serde(default)]
    pub waiting: Vec<WaitingThing>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeenComponent {
    pub name: String,
    #[serde(default)]
    pub role: String,
    /// Address of its status server.
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub uptime: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeenAgent {
    pub id: String,
    #[serde(default)]
    pub zone: String,
    #[serde(default)]
    pub stacks: Vec<String>,
    pub available_memory_in_mb: u64,
    #[serde(default)]
    pub total_memory_in_mb: Option<u64>,
    pub available_disk_in_mb: u64,
    #[serde(default)]
    pub total_disk_in_mb: Option<u64>,
    /// Instances seen on it.
    pub instances: u64,
    /// Seconds since it was last heard.
    pub seen_seconds_ago: f64,
    /// `ready`; `draining` and `drained`: it is emptied and takes no work; `leaving`: it ends;
    /// `stale`, `lost`: it is not heard
    pub state: String,
    /// Absent: it is not emptied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<AgentDrain>,
}

/// `PUT /yard/v1/agents/<id>/drain`: how far an agent is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentDrain {
    /// Instances, tasks, actions and sensors it still has.
    pub left: u32,
    pub begun_seconds_ago: f64,
    /// What is left then is stopped, replaced or not; 0: it was.
    pub ends_in_seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Leader {
    pub name: String,
    pub epoch: i64,
    /// This controller is it.
    #[serde(default)]
    pub is_me: bool,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitingThing {
    /// `build`, `instance`, `deployment`, `libraries` (those that every pack of automation may import)
    pub kind: String,
    pub guid: String,
    #[serde(default)]
    pub name: String,
    pub because: String,
    /// Seconds it has waited.
    #[serde(default)]
    pub since: f64,
}
