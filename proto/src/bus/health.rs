//! What agents observe and what the health manager asks for (contract §2.4).

use crate::ids::{DeaId, InstanceId, ProcessGuid, TaskId, Version};
use serde::{Deserialize, Serialize};

/// `dea.heartbeat`: the instances an agent has. `yard_complete` false: only those named changed;
/// a beat without the field counts as complete when it is not about a single instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub dea: DeaId,
    #[serde(default, deserialize_with = "super::router::null_is_default")]
    pub droplets: Vec<Beat>,
    /// True: the agent has exactly these instances. False: the others are unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_complete: Option<bool>,
    /// Seconds until the next regular beat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_period: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_zone: Option<String>,
    /// With a complete beat: the tasks of apps that it runs, or whose end nobody has acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_tasks: Option<Vec<TaskId>>,
}

impl Heartbeat {
    /// The agent has exactly these instances.
    pub fn is_complete(&self) -> bool {
        self.yard_complete.unwrap_or(self.droplets.len() != 1)
    }
}

/// One instance in a heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    pub droplet: ProcessGuid,
    pub version: Version,
    pub instance: InstanceId,
    pub index: u32,
    pub state: InstanceState,
    /// Unix seconds of the last change of state.
    pub state_timestamp: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cc_partition: Option<String>,
    /// What status pages show, so that nobody has to ask the agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_stats: Option<super::dea::InstanceStats>,
    /// Why it crashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_details: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InstanceState {
    Starting,
    Running,
    Crashed,
    Evacuating,
}

/// `droplet.exited`: an instance is gone. Sent as a request and repeated until the controller
/// answers; receivers know it by `instance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exited {
    pub droplet: ProcessGuid,
    pub version: Version,
    pub instance: InstanceId,
    pub index: u32,
    pub reason: ExitReason,
    /// Unix seconds, only if crashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_timestamp: Option<f64>,
    /// Exit status; 128 + signal where a signal ended it.
    #[serde(default)]
    pub exit_status: i32,
    #[serde(default)]
    pub exit_description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cc_partition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_dea: Option<DeaId>,
    /// Signal that ended it, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_out_of_memory: Option<bool>,
    /// `starting` or `running`: the phase it died in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_phase: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExitReason {
    Stopped,
    Crashed,
    DeaShutdown,
    DeaEvacuation,
}

/// `droplet.updated`: read the desired state of this one again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Updated {
    pub droplet: ProcessGuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cc_partition: Option<String>,
}

/// `healthmanager.status`: which indices are flapping, which instances crashed?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthStatusQuery {
    pub droplet: ProcessGuid,
    /// `FLAPPING` or `CRASHED`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

/// Answer to `healthmanager.status`: `indices` for FLAPPING, `instances` for CRASHED.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HealthStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indices: Option<Vec<FlappingIndex>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<Vec<CrashedInstance>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlappingIndex {
    pub index: u32,
    pub since: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrashedInstance {
    pub instance: InstanceId,
    pub since: f64,
}

/// `healthmanager.health`: how many instances of each are healthy? One answer per process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthQuery {
    pub droplets: Vec<HealthQueryItem>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthQueryItem {
    pub droplet: ProcessGuid,
    pub version: Version,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    pub droplet: ProcessGuid,
    pub version: Version,
    pub healthy: u32,
}

/// `cloudcontrollers.hm.requests`: the health manager asks the controller to start or stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthRequest {
    pub droplet: ProcessGuid,
    pub op: HealthOperation,
    /// Unix seconds of the desired state it was planned from; the controller ignores older plans.
    #[serde(default)]
    pub last_updated: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// For START.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indices: Vec<u32>,
    /// For STOP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flapping: Option<bool>,
    /// Why, for logs and events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthOperation {
    Start,
    Stop,
}

/// Answer to `cloudcontroller.bulk.credentials`: how to read the whole desired state over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BulkCredentials {
    pub user: String,
    pub password: String,
    /// `http://host:port` of the controller that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_url: Option<String>,
}

/// `vcap.cc.events`: `[unix time, "USER" or "SYSTEM", actor, text…]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControllerEvent(pub Vec<serde_json::Value>);

/// `GET /bulk/apps?batch_size=N&bulk_token={"id":last}` (Basic): one page of the desired state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BulkPage {
    /// Keyed by row id.
    pub results: std::collections::BTreeMap<String, DesiredProcess>,
    /// Where the next page starts; a page without results is the end.
    pub bulk_token: BulkToken,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BulkToken {
    pub id: i64,
}

/// What should run of one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredProcess {
    /// Process guid: `droplet` on the bus.
    pub id: ProcessGuid,
    pub instances: u32,
    /// `STARTED` or `STOPPED`
    pub state: String,
    /// MB
    pub memory: u64,
    /// `STAGED`, `PENDING` or `FAILED`; only a staged one can miss instances.
    pub package_state: String,
    pub version: Version,
    /// Unix seconds.
    pub updated_at: f64,
}

/// `GET /bulk/crashes?since=<unix seconds>` (Basic), not Cloud Foundry's: the recorded crashes since
/// then, the newest first and no more than the controller is ready to tell. A health manager that
/// begins reads them once, to go on with the back-off of what crashes again and again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BulkCrashes {
    pub crashes: Vec<RecordedCrash>,
}

/// One crash as the controller recorded it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedCrash {
    pub droplet: ProcessGuid,
    pub version: Version,
    pub instance: InstanceId,
    pub index: u32,
    /// Unix seconds.
    pub at: f64,
    /// Seconds it had been RUNNING; absent if it never was, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<f64>,
}

super::json!(
    Heartbeat,
    Exited,
    Updated,
    HealthStatusQuery,
    HealthStatus,
    HealthQuery,
    Health,
    HealthRequest,
    BulkCredentials,
    ControllerEvent,
    BulkPage,
    BulkCrashes,
);
