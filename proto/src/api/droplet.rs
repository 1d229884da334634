//! Droplets: staged, runnable results.

use super::{Checksum, Lifecycle, Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Droplet {
    pub guid: String,
    pub state: String,
    #[serde(default)]
    pub error: Option<String>,
    pub lifecycle: Lifecycle,
    #[serde(default)]
    pub execution_metadata: String,
    /// Type to command.
    #[serde(default)]
    pub process_types: BTreeMap<String, String>,
    #[serde(default)]
    pub checksum: Checksum,
    #[serde(default)]
    pub buildpacks: Vec<DropletBuildpack>,
    #[serde(default)]
    pub stack: Option<String>,
    #[serde(default)]
    pub image: Option<String>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: DropletRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DropletBuildpack {
    pub name: String,
    #[serde(default)]
    pub detect_output: Option<String>,
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub buildpack_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DropletRelationships {
    #[serde(default)]
    pub app: ToOne,
}
