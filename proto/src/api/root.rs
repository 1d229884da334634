//! `GET /`: where everything is.

use super::Link;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Root {
    /// `cloud_controller_v3`, `uaa`, `login`, `log_cache`, `yard`… A name without a link is null.
    #[serde(default)]
    pub links: BTreeMap<String, Option<Link>>,
}

impl Root {
    pub fn href(&self, name: &str) -> Option<&str> {
        self.links
            .get(name)?
            .as_ref()
            .map(|link| link.href.as_str())
    }
}

/// `GET /v3/info`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Info {
    #[serde(default)]
    pub build: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub version: u64,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub custom: serde_json::Value,
}
