//! Buildpacks that every app may use.

use super::{Links, Metadata};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Buildpack {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    pub name: String,
    /// Null: of any stack.
    #[serde(default)]
    pub stack: Option<String>,
    /// In the order of detection, from 1.
    #[serde(default)]
    pub position: i64,
    /// `buildpack`
    #[serde(default)]
    pub lifecycle: String,
    /// Only these are used by stagings.
    #[serde(default)]
    pub enabled: bool,
    /// Its archive may not be replaced.
    #[serde(default)]
    pub locked: bool,
    /// `AWAITING_UPLOAD` or `READY`
    #[serde(default)]
    pub state: String,
    /// What the archive is called; null for one that comes with the cluster.
    #[serde(default)]
    pub filename: Option<String>,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}
