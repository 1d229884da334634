//! `/yard/v1/status`: how the cluster is.

use serde::{Deserialize, Serialize};

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
    /// What is wrong with its machine, for people: little room, a clock that jumped. Only administrators see it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
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
    /// `instance` (the instances of a process that are not placed), `build`, `deployment`, `task`, `drain` (of an
    /// agent), `certificate` (whose last order failed), `execution` (those of an action: held by a policy, or without an agent), `pack` (what it requires is
    /// installed), `libraries` (those that every pack of automation may import)
    pub kind: String,
    /// Of the thing; of several executions, the oldest.
    pub guid: String,
    /// The app, the action, the pack or the agent.
    #[serde(default)]
    pub name: String,
    /// What it waits for.
    pub because: String,
    /// Seconds it has waited.
    #[serde(default)]
    pub since: f64,
}
