//! Jobs.

use super::{ApiError, Links};
use serde::{Deserialize, Serialize};

/// `GET /v3/jobs/:guid`: something that goes on after its request was answered 202.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    pub guid: String,
    /// `space.apply_manifest`, `app.delete`…
    #[serde(default)]
    pub operation: String,
    /// `PROCESSING`, `COMPLETE`, `FAILED`
    pub state: String,
    #[serde(default)]
    pub errors: Vec<ApiError>,
    #[serde(default)]
    pub warnings: Vec<JobWarning>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobWarning {
    pub detail: String,
}
