//! What the controller and the agents tell each other (contract §2.3).

use super::router::RouteTerms;
use crate::ids::{DeaId, InstanceId, ProcessGuid, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `dea.start`: an agent came up. Also the answer to `dea.discover`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub id: DeaId,
    pub ip: String,
    /// Port of the agent's file and status server.
    #[serde(default)]
    pub port: u16,
    pub version: f64,
}

/// Answer to `dea.status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    #[serde(flatten)]
    pub hello: Hello,
    /// MB
    pub max_memory: u64,
    pub reserved_memory: u64,
    pub used_memory: u64,
    pub num_clients: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// `dea.discover`: who could run this?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Discover {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub droplet: Option<ProcessGuid>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
}

/// `dea.advertise`: free resources, every 5 s, at boot, on change and on `dea.locate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advertisement {
    pub id: DeaId,
    pub stacks: Vec<String>,
    /// MB
    pub available_memory: u64,
    /// MB
    #[serde(default)]
    pub available_disk: u64,
    #[serde(default)]
    pub app_id_to_count: BTreeMap<ProcessGuid, u32>,
    #[serde(default)]
    pub placement_properties: PlacementProperties,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// MB, all of it, used or not: lets a refusal say what the best agent could ever hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_total_memory: Option<u64>,
    /// MB
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_total_disk: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PlacementProperties {
    #[serde(default)]
    pub zone: String,
}

/// Limits of an instance or a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// MB
    pub mem: u64,
    /// MB
    pub disk: u64,
    /// Open files.
    #[serde(default = "fds")]
    pub fds: u64,
}

fn fds() -> u64 {
    16384
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            mem: 256,
            disk: 1024,
            fds: fds(),
        }
    }
}

/// `dea.{id}.start`: run one instance. Only the addressee may read it: it carries the environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartInstance {
    pub droplet: ProcessGuid,
    pub name: String,
    pub stack: String,
    #[serde(default)]
    pub uris: Vec<String>,
    #[serde(default)]
    pub prod: bool,
    /// SHA-1 of the droplet archive.
    pub sha1: String,
    #[serde(rename = "executableFile", default)]
    pub executable_file: String,
    /// Signed URL of the droplet.
    #[serde(rename = "executableUri")]
    pub executable_uri: String,
    pub version: Version,
    #[serde(default)]
    pub services: Vec<serde_json::Value>,
    pub limits: Limits,
    /// `NAME=value`
    #[serde(default)]
    pub env: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cc_partition: Option<String>,
    /// The effective command, never empty: the controller resolves it.
    #[serde(default)]
    pub start_command: String,
    /// Seconds until a starting instance must be healthy; absent: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_timeout: Option<u64>,
    #[serde(default)]
    pub vcap_application: serde_json::Value,
    pub index: u32,
    #[serde(default)]
    pub egress_network_rules: Vec<serde_json::Value>,
    /// SHA-256 of the droplet archive, checked when present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_sha256: Option<String>,
    /// App the process belongs to; absent: the app's guid is `droplet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_app: Option<String>,
    /// `web`, `worker`…
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_process_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_health_check: Option<HealthCheck>,
    /// Instance id chosen by the controller, so that the same command twice starts one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_instance: Option<InstanceId>,
    /// Leadership epoch the command was planned in; agents refuse an older one than they have seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_epoch: Option<i64>,
    /// The terms of those of `uris` that have others than the usual ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub yard_routes: BTreeMap<String, RouteTerms>,
}

/// How an agent finds out that an instance works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub kind: HealthCheckKind,
    /// Path of an `http` check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Seconds one check may take; absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_timeout: Option<u64>,
    /// Seconds between two checks of a running instance; absent: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthCheckKind {
    Port,
    Http,
    Process,
}

/// `dea.stop`: stop every instance that all the given filters match; only `droplet`: all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopInstances {
    pub droplet: ProcessGuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "instance_ids"
    )]
    pub instances: Option<Vec<InstanceId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indices: Option<Vec<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_epoch: Option<i64>,
}

/// `dea.update`: the names of a process changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateInstances {
    pub droplet: ProcessGuid,
    pub uris: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_epoch: Option<i64>,
    /// The terms of those of `uris` that have others than the usual ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub yard_routes: BTreeMap<String, RouteTerms>,
}

/// `dea.find.droplet` and `droplet.status`: which instances are there?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindInstances {
    pub droplet: ProcessGuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        alias = "instance_ids"
    )]
    pub instances: Option<Vec<InstanceId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indices: Option<Vec<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states: Option<Vec<String>>,
    #[serde(default)]
    pub include_stats: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// One answer to `dea.find.droplet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundInstance {
    pub dea: DeaId,
    pub version: Version,
    pub droplet: ProcessGuid,
    pub instance: InstanceId,
    pub index: u32,
    pub state: String,
    /// Unix seconds.
    pub state_timestamp: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_uri: Option<String>,
    #[serde(default)]
    pub credentials: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<InstanceStats>,
}

/// Stats of one instance; also the answer to `droplet.status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceStats {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub uris: Vec<String>,
    /// Seconds.
    pub uptime: f64,
    /// Bytes.
    pub mem_quota: u64,
    /// Bytes.
    pub disk_quota: u64,
    pub fds_quota: u64,
    #[serde(default)]
    pub cores: u32,
    pub usage: Usage,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Unix seconds of the sample.
    #[serde(default)]
    pub time: f64,
    /// Share of one core: 0.5 is half a core.
    pub cpu: f64,
    /// Bytes.
    pub mem: u64,
    /// Bytes.
    pub disk: u64,
}

/// `dea.shutdown`: this agent takes no more work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shutdown {
    pub id: DeaId,
    pub ip: String,
    pub version: f64,
    #[serde(default)]
    pub app_id_to_count: BTreeMap<ProcessGuid, u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_zone: Option<String>,
    /// It stays and is being emptied, and tells so again in every period of its advertisements;
    /// absent: it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_drain: Option<Drain>,
}

/// How far an agent is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// Unix seconds of its begin.
    pub since: f64,
    /// Unix seconds: what is left then is stopped, replaced or not.
    pub until: f64,
    /// Instances, tasks, actions and sensors it still has.
    pub left: u32,
}

/// `yard.dea.{id}.drain`: an agent is to be emptied, or to take work again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainAgent {
    pub drain: bool,
}

/// Answer to [`DrainAgent`]: how it is now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DrainReply {
    /// Absent: it takes work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// `yard.dea.{id}.enter`: whoever shows this ticket soon may open a session in the instance, once.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct EnterInstance {
    pub instance: InstanceId,
    /// A secret.
    pub ticket: String,
    /// How long it is good for.
    pub seconds: u64,
}

impl std::fmt::Debug for EnterInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EnterInstance({}, {} s)", self.instance, self.seconds)
    }
}

/// Where to show it, or why it was not taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnterReply {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::SocketAddr>,
    /// It is on a machine where nobody reaches it: it calls the proxy itself, and shows the ticket.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calls: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

super::json!(
    EnterInstance,
    EnterReply,
    DrainAgent,
    DrainReply,
    Hello,
    AgentStatus,
    Discover,
    Advertisement,
    StartInstance,
    StopInstances,
    UpdateInstances,
    FindInstances,
    FoundInstance,
    InstanceStats,
    Shutdown,
);
