//! Deployments: replacing the instances of an app in steps.

use super::{GuidRef, Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deployment {
    pub guid: String,
    pub status: DeploymentStatus,
    /// `rolling` or `canary`
    pub strategy: String,
    #[serde(default)]
    pub options: DeploymentOptions,
    #[serde(default)]
    pub droplet: Option<GuidRef>,
    #[serde(default)]
    pub previous_droplet: Option<GuidRef>,
    /// What it brings.
    #[serde(default)]
    pub revision: Option<DeployedRevision>,
    #[serde(default)]
    pub new_processes: Vec<NewProcess>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: DeploymentRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeployedRevision {
    pub guid: String,
    /// Counted per app, from 1.
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentStatus {
    /// `ACTIVE` or `FINALIZED`
    pub value: String,
    /// `DEPLOYING`, `PAUSED`, `DEPLOYED`, `CANCELING`, `CANCELED`, `SUPERSEDED`
    pub reason: String,
    #[serde(default)]
    pub details: DeploymentDetails,
    /// Of a canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CanaryStatus {
    pub steps: CanaryProgress,
}

/// How far a canary is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CanaryProgress {
    /// Counted from 1.
    pub current: u32,
    pub total: u32,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentDetails {
    #[serde(default)]
    pub last_healthy_at: Option<String>,
    #[serde(default)]
    pub last_status_change: Option<String>,
    /// Why it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Where a canary pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryOptions>,
    /// How many instances the new version gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_instances: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_in_mb: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_in_mb: Option<u64>,
    /// -1: without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_rate_limit_in_bytes_per_second: Option<i64>,
}

/// Without steps a canary pauses after its first instance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CanaryOptions {
    #[serde(default)]
    pub steps: Vec<CanaryStep>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CanaryStep {
    /// Percent of the instances that are to be of the new version when it pauses.
    pub instance_weight: u32,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewProcess {
    pub guid: String,
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentRelationships {
    #[serde(default)]
    pub app: ToOne,
}

/// `POST /v3/deployments`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateDeployment {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Absent: the app's current droplet, that is a restart in steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub droplet: Option<GuidRef>,
    /// The revision to go back to, in place of a droplet: its variables and start commands too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<GuidRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<DeploymentOptions>,
    pub relationships: DeploymentRelationships,
}
