//! Revisions: what an app ran with, each time that changed.

use super::{GuidRef, Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revision {
    pub guid: String,
    /// Counted per app, from 1.
    pub version: u64,
    pub droplet: GuidRef,
    /// By type of process.
    #[serde(default)]
    pub processes: BTreeMap<String, RevisionProcess>,
    /// What is new in it.
    pub description: String,
    /// Its droplet is still there: one can go back to it.
    pub deployable: bool,
    pub relationships: RevisionRelationships,
    pub created_at: String,
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevisionProcess {
    /// The user's; null: the droplet's.
    pub command: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevisionRelationships {
    pub app: ToOne,
}
