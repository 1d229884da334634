//! Differences between a manifest and what is there.

use serde::{Deserialize, Serialize};

/// `POST /v3/spaces/:guid/manifest_diff`: what applying a manifest would change.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestDiff {
    pub diff: Vec<ManifestChange>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestChange {
    /// `add`, `remove`, `replace`
    pub op: String,
    /// `/applications/0/memory`
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
}
