//! Builds: one staging of a package.

use super::{GuidRef, Lifecycle, Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Build {
    pub guid: String,
    /// `STAGING`, `STAGED`, `FAILED`
    pub state: String,
    /// `Kind - what to tell the user`
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub staging_memory_in_mb: Option<u64>,
    #[serde(default)]
    pub staging_disk_in_mb: Option<u64>,
    pub lifecycle: Lifecycle,
    pub package: GuidRef,
    #[serde(default)]
    pub droplet: Option<GuidRef>,
    #[serde(default)]
    pub created_by: CreatedBy,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: BuildRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BuildRelationships {
    #[serde(default)]
    pub app: ToOne,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedBy {
    #[serde(default)]
    pub guid: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub email: String,
}
