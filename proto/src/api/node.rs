//! `/yard/v1/nodes`: the machines of the cluster, what they are to run, and what runs there.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /yard/v1/nodes`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeList {
    pub resources: Vec<SeenNode>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeenNode {
    /// Its name in the cluster.
    pub machine: String,
    /// Its own name; empty: its node was never heard.
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub version: String,
    /// `starting`, `running`, `stopping` or `stopped`, as its node says; `silent`: its node is not heard
    pub state: String,
    /// Null: never.
    #[serde(default)]
    pub seen_seconds_ago: Option<f64>,
    /// How many daemons of which role it is to have.
    pub roles: BTreeMap<String, u32>,
    /// Bus and cluster store too, where it has them; also those that are leaving.
    #[serde(default)]
    pub daemons: Vec<SeenDaemon>,
    /// Why it is not as its roles say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One daemon as the node of its machine sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeenDaemon {
    pub name: String,
    pub role: String,
    /// `ready`; `waiting`, `starting`, `unready`, `restarting`; `leaving`: it is emptied and stops then
    pub state: String,
    /// What it waits for, why it failed, or how far it is emptied.
    #[serde(default)]
    pub detail: String,
    pub restarts: u32,
    /// Seconds since its last start.
    pub up_seconds: f64,
}

/// `POST /yard/v1/nodes/<machine>/roles`: so many daemons more, so many fewer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RoleChanges {
    /// By role: `{"dea": 1}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remove: BTreeMap<String, u32>,
    /// The last one of a role may go too.
    #[serde(default)]
    pub force: bool,
}
