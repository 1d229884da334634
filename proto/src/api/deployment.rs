//! Deployments: replacing the instances of an app in steps.

use super::{GuidRef, Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deployment {
    pub guid: String,
    pub status: DeploymentStatus,
    /// `rolling`
    pub strategy: String,
    #[serde(default)]
    pub options: DeploymentOptions,
    #[serde(default)]
    pub droplet: Option<GuidRef>,
    #[serde(default)]
    pub previous_droplet: Option<GuidRef>,
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
pub struct DeploymentStatus {
    /// `ACTIVE` or `FINALIZED`
    pub value: String,
    /// `DEPLOYING`, `DEPLOYED`, `CANCELING`, `CANCELED`, `SUPERSEDED`
    pub reason: String,
    #[serde(default)]
    pub details: DeploymentDetails,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<DeploymentOptions>,
    pub relationships: DeploymentRelationships,
}
