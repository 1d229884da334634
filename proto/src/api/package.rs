//! Packages: uploaded sources.

use super::{Checksum, Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Package {
    pub guid: String,
    /// `bits`
    #[serde(rename = "type")]
    pub kind: String,
    /// `AWAITING_UPLOAD`, `PROCESSING_UPLOAD`, `READY`, `FAILED`, `EXPIRED`
    pub state: String,
    #[serde(default)]
    pub data: PackageData,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: PackageRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageData {
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub checksum: Checksum,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageRelationships {
    #[serde(default)]
    pub app: ToOne,
}

/// `GET /yard/v1/packages/<guid>/files`: what a package holds, folders left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageFiles {
    pub files: Vec<PackageFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageFile {
    pub path: String,
    pub size_in_bytes: u64,
    /// Of the content; of a symlink, of its target.
    pub crc32: u32,
    /// Permissions, octal.
    pub mode: String,
}
