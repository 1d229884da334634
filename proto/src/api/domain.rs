//! Domains that routes are made under.

use super::{GuidRef, Links, Metadata, ToMany, ToOne};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Domain {
    pub guid: String,
    pub name: String,
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub router_group: Option<GuidRef>,
    #[serde(default)]
    pub supported_protocols: Vec<String>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: DomainRelationships,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DomainRelationships {
    /// None: shared by all organizations.
    #[serde(default)]
    pub organization: ToOne,
    #[serde(default)]
    pub shared_organizations: ToMany,
}
