//! Services that users provide themselves: a name with credentials, bound to apps.

use super::{Links, Metadata, ToOne};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceInstance {
    pub guid: String,
    pub name: String,
    /// `user-provided`
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub last_operation: LastOperation,
    /// Always null.
    #[serde(default)]
    pub syslog_drain_url: Option<String>,
    /// Where requests of routes go that are bound to it.
    #[serde(default)]
    pub route_service_url: Option<String>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: ServiceInstanceRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceInstanceRelationships {
    #[serde(default)]
    pub space: ToOne,
}

/// What was done last. Nothing of a user-provided service takes time: it has always succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastOperation {
    /// `create` or `update`
    #[serde(rename = "type", default)]
    pub kind: String,
    /// `succeeded`
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
}

/// An app that gets the credentials of a service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceCredentialBinding {
    pub guid: String,
    /// What the app calls the service; null: as it is called.
    #[serde(default)]
    pub name: Option<String>,
    /// `app`
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub last_operation: LastOperation,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: ServiceCredentialBindingRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceCredentialBindingRelationships {
    #[serde(default)]
    pub app: ToOne,
    #[serde(default)]
    pub service_instance: ToOne,
}

/// `GET /v3/service_credential_bindings/:guid/details`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceCredentialBindingDetails {
    /// Names to any values.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub credentials: serde_json::Map<String, Value>,
    /// Always null.
    #[serde(default)]
    pub syslog_drain_url: Option<String>,
    /// Always empty.
    #[serde(default)]
    pub volume_mounts: Vec<Value>,
}

/// A route whose requests go to a service first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceRouteBinding {
    pub guid: String,
    /// The service's.
    #[serde(default)]
    pub route_service_url: Option<String>,
    #[serde(default)]
    pub last_operation: LastOperation,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub relationships: ServiceRouteBindingRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceRouteBindingRelationships {
    #[serde(default)]
    pub route: ToOne,
    #[serde(default)]
    pub service_instance: ToOne,
}
