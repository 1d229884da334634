//! Apps and what belongs to nothing but them.

use super::{Lifecycle, Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct App {
    pub guid: String,
    pub name: String,
    /// `STARTED` or `STOPPED`: what is wanted, not what is seen.
    pub state: String,
    pub lifecycle: Lifecycle,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: AppRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppRelationships {
    #[serde(default)]
    pub space: ToOne,
    #[serde(default)]
    pub current_droplet: ToOne,
}

/// `GET /v3/apps/:guid/env`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppEnvironment {
    #[serde(default)]
    pub environment_variables: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub staging_env_json: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub running_env_json: BTreeMap<String, serde_json::Value>,
    /// `VCAP_SERVICES`
    #[serde(default)]
    pub system_env_json: BTreeMap<String, serde_json::Value>,
    /// `VCAP_APPLICATION`
    #[serde(default)]
    pub application_env_json: BTreeMap<String, serde_json::Value>,
}

/// `GET|PATCH /v3/apps/:guid/environment_variables`. In a PATCH null takes a variable away.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvironmentVariables {
    pub var: BTreeMap<String, Option<String>>,
}

/// `GET /v3/apps/:guid/features/:name`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppFeature {
    pub name: String,
    pub description: String,
    pub enabled: bool,
}
