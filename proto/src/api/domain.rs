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

/// `GET /routing/v1/router_groups`: routers that give out ports. (Cloud Foundry has an API of its own for them.)
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouterGroup {
    pub guid: String,
    pub name: String,
    /// `tcp` or `udp`
    #[serde(rename = "type")]
    pub kind: String,
    /// `10000-10099,10500`
    pub reservable_ports: String,
}

/// `POST /v3/domains`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CreateDomain {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_group: Option<GuidRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relationships: Option<DomainOwner>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DomainOwner {
    pub organization: ToOne,
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
