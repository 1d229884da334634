//! `/yard/v1/router/routes`: what each router knows of routes, and why it does with them what it does.

use serde::{Deserialize, Serialize};

/// `GET /yard/v1/router/routes`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouterTables {
    pub resources: Vec<RouterTable>,
}

/// The table of one router.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouterTable {
    pub router: String,
    #[serde(default)]
    pub routes: Vec<RoutedName>,
    /// Routes that were asked for and are not here because of the limit.
    #[serde(default)]
    pub left_off: u64,
    /// Why nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a router tells of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ToldTable {
    pub routes: Vec<RoutedName>,
    pub left_off: u64,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoutedName {
    /// `host/path`; of a route with a port, `tcp://host:port` or `udp://host:port`
    pub route: String,
    /// `serving`; `asleep`: the first request starts an instance; `empty`: answered 503, its instances are gone or all full; `unknown`: answered 404, it is here for
    /// what it was; `closed`: its port is not open on this router
    pub state: String,
    /// Why its port is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The route service that its requests go to first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_service_url: Option<String>,
    #[serde(default)]
    pub endpoints: Vec<RoutedEndpoint>,
    /// Those that left in the last ten minutes, the newest first.
    #[serde(default)]
    pub departed: Vec<DepartedEndpoint>,
}

/// Where requests of a route go.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoutedEndpoint {
    /// `host:port`
    pub address: String,
    /// Null: of the cluster itself, or a stranger's.
    #[serde(default)]
    pub app: Option<String>,
    #[serde(default)]
    pub instance: Option<String>,
    #[serde(default)]
    pub index: Option<String>,
    /// `http1`, `http2`, `tcp` or `udp`
    pub protocol: String,
    /// Whether it is reached over TLS.
    pub tls: bool,
    /// `serving`; `set_aside`: others are tried first, after it failed; `full`: it has as many requests as it may;
    /// `overdue`: others are tried first, because its agent has not registered it again; `stale`: it is kept because
    /// the bus is away; `leaving`: nobody is sent there any more
    pub state: String,
    /// Why it is not serving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// How long it is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside_seconds: Option<f64>,
    /// Requests it is serving, and connections and clients of ports, of any route.
    pub in_flight: u64,
    /// Until it is stale unless it is registered again; null: it never is, over TLS.
    #[serde(default)]
    pub ttl_seconds: Option<f64>,
    /// In the last ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<EndpointFailure>,
}

/// What went wrong with an endpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndpointFailure {
    pub seconds_ago: f64,
    pub why: String,
}

/// An endpoint that a route had.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DepartedEndpoint {
    pub address: String,
    #[serde(default)]
    pub app: Option<String>,
    #[serde(default)]
    pub instance: Option<String>,
    pub seconds_ago: f64,
    pub because: String,
}

/// `GET /yard/v1/router/certificates`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouterCertificates {
    /// By domain.
    pub resources: Vec<RouterCertificate>,
}

/// A certificate of the entrance for TLS, or one that is wanted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouterCertificate {
    /// The name it is for; of a file, the first of several.
    pub domain: String,
    /// `listed`: an operator wants it; `route`: a route of an app has the domain; `file`: an operator put it in place
    pub source: String,
    /// `valid`; `expired`; `ordering`: it is being ordered; `due`: it is about to be ordered; `waiting`: it is tried
    /// again later; `refused`: it cannot be ordered; `unwanted`: it is not renewed; `unusable`: the file
    pub state: String,
    /// Why it is in that state.
    #[serde(default)]
    pub because: Option<String>,
    #[serde(default)]
    pub not_after: Option<String>,
    /// When it is renewed, or tried again.
    #[serde(default)]
    pub next_attempt_at: Option<String>,
    /// Attempts in a row that failed.
    #[serde(default)]
    pub failures: u64,
    #[serde(default)]
    pub last_error: Option<String>,
    #[serde(default)]
    pub last_error_at: Option<String>,
    /// The directory it was ordered from.
    #[serde(default)]
    pub directory: Option<String>,
    /// The file, if an operator put it in place.
    #[serde(default)]
    pub file: Option<String>,
    /// The routers that have it.
    #[serde(default)]
    pub routers: Vec<String>,
}

/// What a router tells of one of its certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToldCertificate {
    /// `file`, or `ordered` by the cluster.
    pub source: String,
    #[serde(default)]
    pub names: Vec<String>,
    /// Unix seconds.
    #[serde(default)]
    pub not_after: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
