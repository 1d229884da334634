//! Processes, their scale and the stats of their instances.

use super::{Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Process {
    pub guid: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// The effective one: the user's, else the droplet's.
    #[serde(default)]
    pub command: Option<String>,
    #[serde(default)]
    pub user: Option<String>,
    pub instances: u32,
    pub memory_in_mb: u64,
    pub disk_in_mb: u64,
    /// -1: unlimited.
    #[serde(default)]
    pub log_rate_limit_in_bytes_per_second: Option<i64>,
    pub health_check: HealthCheck,
    #[serde(default)]
    pub readiness_health_check: HealthCheck,
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: ProcessRelationships,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_instances: Option<Vec<ProcessInstance>>,
    /// It sleeps after so long without a request; absent: it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_sleep_after_in_seconds: Option<u64>,
    /// Since when it sleeps; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_asleep_since: Option<String>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProcessRelationships {
    #[serde(default)]
    pub app: ToOne,
    #[serde(default)]
    pub revision: Option<ToOne>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthCheck {
    /// `port`, `http` or `process`
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub data: HealthCheckData,
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck {
            kind: "process".into(),
            data: HealthCheckData::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthCheckData {
    /// Seconds an instance may take to become healthy.
    #[serde(default)]
    pub timeout: Option<u64>,
    /// Seconds one check may take.
    #[serde(default)]
    pub invocation_timeout: Option<u64>,
    /// Seconds between checks.
    #[serde(default)]
    pub interval: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// Embedded in lists of processes (`embed=process_instances`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProcessInstance {
    pub index: u32,
    pub state: String,
    /// Seconds in this state.
    pub since: u64,
}

/// `POST …/actions/scale`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Scale {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_in_mb: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_in_mb: Option<u64>,
    /// Only -1 (unlimited) is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_rate_limit_in_bytes_per_second: Option<i64>,
    /// The web process sleeps, without instances, after so many seconds without a request, and is started by the next
    /// one. 0: it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_sleep_after_in_seconds: Option<u64>,
}

/// `GET /v3/processes/:guid/stats`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProcessStats {
    pub resources: Vec<InstanceStats>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagination: Option<super::Pagination>,
}

/// A `DOWN` instance whose `details` hold one of these clauses waits for what no agent could ever
/// give it; with other details it waits for room, or for an agent.
pub const WAITS_IN_VAIN: [&str; 2] = ["more than any agent could ever give", "needs stack "];

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceStats {
    #[serde(rename = "type")]
    pub kind: String,
    pub index: u32,
    /// `RUNNING`, `STARTING`, `CRASHED`, `DOWN`
    pub state: String,
    #[serde(default)]
    pub routable: Option<bool>,
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub instance_guid: String,
    #[serde(default)]
    pub instance_internal_ip: String,
    #[serde(default)]
    pub instance_ports: Vec<InstancePort>,
    /// Seconds.
    #[serde(default)]
    pub uptime: u64,
    /// Bytes.
    #[serde(default)]
    pub mem_quota: Option<u64>,
    /// Bytes.
    #[serde(default)]
    pub disk_quota: Option<u64>,
    #[serde(default)]
    pub log_rate_limit: Option<i64>,
    #[serde(default)]
    pub fds_quota: u64,
    #[serde(default)]
    pub isolation_segment: Option<String>,
    /// Why it crashed, or what it waits for: for a `DOWN` one see [`WAITS_IN_VAIN`].
    #[serde(default)]
    pub details: Option<String>,
    #[serde(default)]
    pub usage: InstanceUsage,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstancePort {
    #[serde(default)]
    pub external: Option<u16>,
    #[serde(default)]
    pub internal: u16,
    #[serde(default)]
    pub external_tls_proxy_port: Option<u16>,
    #[serde(default)]
    pub internal_tls_proxy_port: Option<u16>,
}

/// Empty (`{}`) where nothing was measured yet.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceUsage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Share of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_rate: Option<u64>,
}
