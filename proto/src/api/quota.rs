//! Quotas of organizations and of spaces. A limit that is null is none.

use super::{Links, ToMany, ToOne};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrganizationQuota {
    pub guid: String,
    pub name: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub apps: QuotaApps,
    #[serde(default)]
    pub services: QuotaServices,
    #[serde(default)]
    pub routes: QuotaRoutes,
    #[serde(default)]
    pub domains: QuotaDomains,
    #[serde(default)]
    pub relationships: OrganizationQuotaRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SpaceQuota {
    pub guid: String,
    pub name: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
    #[serde(default)]
    pub apps: QuotaApps,
    #[serde(default)]
    pub services: QuotaServices,
    #[serde(default)]
    pub routes: QuotaRoutes,
    #[serde(default)]
    pub relationships: SpaceQuotaRelationships,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaApps {
    /// Of all instances of started apps and all running tasks together.
    #[serde(default)]
    pub total_memory_in_mb: Option<u64>,
    /// Of one instance or task.
    #[serde(default)]
    pub per_process_memory_in_mb: Option<u64>,
    #[serde(default)]
    pub total_instances: Option<u64>,
    /// Tasks that run at a time, of all apps together.
    #[serde(default)]
    pub per_app_tasks: Option<u64>,
    #[serde(default)]
    pub log_rate_limit_in_bytes_per_second: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaServices {
    #[serde(default)]
    pub paid_services_allowed: bool,
    #[serde(default)]
    pub total_service_instances: Option<u64>,
    #[serde(default)]
    pub total_service_keys: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaRoutes {
    #[serde(default)]
    pub total_routes: Option<u64>,
    #[serde(default)]
    pub total_reserved_ports: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaDomains {
    /// Private domains of the organization.
    #[serde(default)]
    pub total_domains: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrganizationQuotaRelationships {
    #[serde(default)]
    pub organizations: ToMany,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SpaceQuotaRelationships {
    #[serde(default)]
    pub organization: ToOne,
    #[serde(default)]
    pub spaces: ToMany,
}

/// What counts against the quota of an organization or a space.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageSummary {
    #[serde(default)]
    pub usage_summary: Usage,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, super::Link>))]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    #[serde(default)]
    pub started_instances: u64,
    #[serde(default)]
    pub memory_in_mb: u64,
    #[serde(default)]
    pub routes: u64,
    #[serde(default)]
    pub service_instances: u64,
    #[serde(default)]
    pub reserved_ports: u64,
    #[serde(default)]
    pub domains: u64,
    #[serde(default)]
    pub per_app_tasks: u64,
    #[serde(default)]
    pub service_keys: u64,
}
