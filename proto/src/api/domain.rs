//! Domains that routes are made under.

use super::{GuidRef, Links, Metadata, ToMany, ToOne};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DomainRelationships {
    /// None: shared by all organizations.
    #[serde(default)]
    pub organization: ToOne,
    #[serde(default)]
    pub shared_organizations: ToMany,
}
