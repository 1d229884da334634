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
    #[serde(default)]
    pub copies: Copies,
    /// Whether /etc/hosts gets a marked block.
    pub hosts: bool,
    /// `/run/stackyard/<id>`
    pub run_folder: String,
}

impl ClusterFile {
    /// Where the router of this number listens: each further one a port higher.
    pub fn router_port(&self, index: u32) -> Option<u16> {
        further(self.port, index)
    }

    /// The same for TLS; None also without TLS.
    pub fn router_tls_port(&self, index: u32) -> Option<u16> {
        further(self.tls_port?, index)
    }
}

fn further(first: u16, index: u32) -> Option<u16> {
    let more = u16::try_from(index.checked_sub(1)?).ok()?;
    first.checked_add(more)
}

/// How many of these daemons a machine runs; agents are counted apart, and of collectors there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Copies {
    pub controllers: u32,
    pub routers: u32,
    pub stagers: u32,
    pub health_managers: u32,
}

impl Copies {
    /// Most of one kind.
    pub const MOST: u32 = 8;

    pub fn all(number: u32) -> Copies {
        Copies {
            controllers: number,
            routers: number,
            stagers: number,
            health_managers: number,
        }
    }
}

impl Default for Copies {
    fn default() -> Copies {
        Copies::all(1)
    }
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
