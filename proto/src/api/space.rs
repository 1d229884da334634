//! Spaces.

use super::{Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Space {
    pub guid: String,
    pub name: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: SpaceRelationships,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SpaceRelationships {
    #[serde(default)]
    pub organization: ToOne,
    #[serde(default)]
    pub quota: ToOne,
}
