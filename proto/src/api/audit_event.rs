//! Audit events.

use super::{GuidRef, Links};
use serde::{Deserialize, Serialize};

/// Who did what to what, when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEvent {
    pub guid: String,
    /// `audit.app.start`, `app.crash`…
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    pub actor: AuditParty,
    pub target: AuditParty,
    #[serde(default)]
    pub data: serde_json::Value,
    #[serde(default)]
    pub space: Option<GuidRef>,
    #[serde(default)]
    pub organization: Option<GuidRef>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditParty {
    pub guid: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
}
