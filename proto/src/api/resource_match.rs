//! `POST /v3/resource_matches`, and the field `resources` of an upload: files the server has.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceMatches {
    pub resources: Vec<Resource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resource {
    pub checksum: ResourceChecksum,
    pub size_in_bytes: u64,
    /// Where it belongs in the app, with `/` as separator.
    #[serde(default)]
    pub path: String,
    /// Octal permissions, `644`.
    #[serde(default = "plain_file")]
    pub mode: String,
}

fn plain_file() -> String {
    "644".to_string()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceChecksum {
    /// SHA-1, hex.
    pub value: String,
}
