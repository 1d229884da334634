//! Route registration (contract §2.2).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `router.start` and the answer to `router.greet`: how often to register.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterStart {
    pub id: String,
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default = "five")]
    pub minimum_register_interval_in_seconds: u64,
    #[serde(default = "hundred_twenty")]
    pub prune_threshold_in_seconds: u64,
}

fn five() -> u64 {
    5
}
fn hundred_twenty() -> u64 {
    120
}

/// `router.register` and `router.unregister`: one endpoint and the names it serves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Registration {
    /// Hosts, with an optional path and an optional leading `*.`; `tcp://host:port` and `udp://host:port`: that port
    /// of the routers ([`crate::ports`]).
    pub uris: Vec<String>,
    /// Address of the endpoint, name or ip.
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_port: Option<u16>,
    /// App guid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dea: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_instance_id: Option<String>,
    /// A number as text: Cloud Foundry's routers take no number here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_instance_index: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::router::null_is_default"
    )]
    pub tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_cert_domain_san: Option<String>,
    /// `http2`; anything else is HTTP/1.1 where a uri is one of HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_service_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_threshold_in_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation_segment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_updated_at_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<RouteOptions>,
    /// When unregistering: the instance crashed and is to be replaced. A route that loses its last
    /// instance this way is answered 503 for a while, not 404.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_returns: Option<bool>,
    /// The guid of a process that sleeps: no instance serves these names, and a router that gets a request for them
    /// asks for one (`yard.router.wake`) and holds the request until it is there. The address is that of whoever wakes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_wakes: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loadbalancing: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_balance: Option<f64>,
    /// What the route lets in. Each router keeps it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_limits: Option<RouteLimits>,
    /// What answers are packed in, for clients that take it: `gzip`. Absent: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_compression: Option<String>,
}

/// What a route lets in; what is absent is not limited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RouteLimits {
    /// So many requests in each period. All of them may come at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Absent: a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_period_ms: Option<u64>,
    /// Of a request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// Until an answer begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// Requests at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

/// On which terms one name leads to an instance, where they are not the usual ones.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteTerms {
    /// `http2`; `tcp` and `udp` beside a uri of a port; absent: HTTP/1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_service_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<RouteOptions>,
}

impl RouteTerms {
    pub fn are_usual(&self) -> bool {
        *self == RouteTerms::default()
    }
}

/// Go's clients send `null` for an empty map or list.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

super::json!(RouterStart, Registration);
