//! The parts every document is made of.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `{"href": …}`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Link {
    pub href: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<serde_json::Value>,
}

impl Link {
    pub fn to(href: impl Into<String>) -> Link {
        Link {
            href: href.into(),
            ..Link::default()
        }
    }

    pub fn post(href: impl Into<String>) -> Link {
        Link {
            href: href.into(),
            method: Some("POST".into()),
            meta: None,
        }
    }
}

pub type Links = BTreeMap<String, Link>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Metadata {
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// The other end of a relationship.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GuidRef {
    pub guid: String,
}

/// `{"data": {"guid": …}}`, or `{"data": null}` where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ToOne {
    #[serde(default)]
    pub data: Option<GuidRef>,
}

impl ToOne {
    pub fn new(guid: impl Into<String>) -> ToOne {
        ToOne {
            data: Some(GuidRef { guid: guid.into() }),
        }
    }

    pub fn guid(&self) -> Option<&str> {
        self.data.as_ref().map(|reference| reference.guid.as_str())
    }
}

/// `{"data": [{"guid": …}]}`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ToMany {
    #[serde(default)]
    pub data: Vec<GuidRef>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    pub pagination: Pagination,
    pub resources: Vec<T>,
    /// Objects named by the resources, by kind, where `include` asked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub included: Option<Included>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pagination {
    #[serde(default)]
    pub total_results: u64,
    #[serde(default)]
    pub total_pages: u64,
    #[serde(default)]
    pub first: Option<Link>,
    #[serde(default)]
    pub last: Option<Link>,
    #[serde(default)]
    pub next: Option<Link>,
    #[serde(default)]
    pub previous: Option<Link>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Included {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<super::User>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<super::Organization>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spaces: Vec<super::Space>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<super::App>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_instances: Vec<super::ServiceInstance>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<super::Route>,
}

/// `{"type": "buildpack", "data": {…}}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lifecycle {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub data: LifecycleData,
}

impl Lifecycle {
    pub fn buildpack(buildpacks: Vec<String>, stack: impl Into<String>) -> Lifecycle {
        Lifecycle {
            kind: "buildpack".into(),
            data: LifecycleData {
                buildpacks: Some(buildpacks),
                stack: Some(stack.into()),
            },
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LifecycleData {
    #[serde(default)]
    pub buildpacks: Option<Vec<String>>,
    #[serde(default)]
    pub stack: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Checksum {
    /// `sha256` or `sha1`
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub value: Option<String>,
}
