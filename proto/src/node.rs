//! What `yard` and the node process say to each other over the node's Unix socket
//! (`/run/stackyard/<cluster>/node.sock`): one JSON document a line each way.

use serde::{Deserialize, Serialize};

/// `$YARD_HOME/cluster.json`: what `yard` needs to find a cluster. No secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterFile {
    /// Short random id, safe in file and interface names (8 hex digits).
    pub id: String,
    pub domain: String,
    /// Address the router listens on.
    pub bind: String,
    pub port: u16,
    /// Where the router listens for TLS; without it, it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_port: Option<u16>,
    /// Agents on this machine.
    pub deas: u32,
    /// Whether /etc/hosts gets a marked block.
    pub hosts: bool,
    /// `/run/stackyard/<id>`
    pub run_folder: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum NodeRequest {
    Status,
    /// Stops everything; answered when it is done.
    Stop,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub cluster: String,
    pub phase: NodePhase,
    pub components: Vec<ComponentStatus>,
    /// What went wrong as a whole, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodePhase {
    Starting,
    Running,
    Stopping,
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// `nats`, `etcd`, `router-1`…
    pub name: String,
    pub role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    pub state: ComponentState,
    /// What it waits for, or why it failed.
    #[serde(default)]
    pub detail: String,
    pub restarts: u32,
    /// Unix seconds of the last start.
    pub since: f64,
    /// `http://127.0.0.1:port` of its status server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    #[serde(default)]
    pub log_file: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    Waiting,
    Starting,
    Ready,
    Unready,
    Restarting,
    Stopped,
}
