//! Where everything is: `/`, `/v3`, `/v3/info` (contract §1.1). Clients learn every other host from
//! here and cache the version, so both are promises: a link is only given for what is served, and
//! the version is one whose features we have.

use super::{Api, ok};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use proto::api::{Info, Link, Links, Root};
use serde_json::json;
use std::collections::BTreeMap;

/// The version of the v3 API we speak: options of routes (3.183), steps of canaries (3.189), embedded
/// instances (3.211). Newer ones would make clients look for policies of routes (3.224).
pub const VERSION: &str = "3.211.0";

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(root))
        .route("/v3", get(v3))
        .route("/v3/", get(v3))
        .route("/v3/info", get(info))
}

/// The other hosts of the cluster, made of its domain and of scheme and port of the API's address.
pub(super) struct Hosts {
    scheme: String,
    port: String,
    domain: String,
}

impl Hosts {
    pub(super) fn of(api: &Api) -> Hosts {
        let public: Option<http::Uri> = api.ops.public_url.parse().ok();
        let scheme = public
            .as_ref()
            .and_then(http::Uri::scheme_str)
            .unwrap_or("http")
            .to_string();
        let port = public
            .as_ref()
            .and_then(http::Uri::port_u16)
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        Hosts {
            scheme,
            port,
            domain: api.domain.to_string(),
        }
    }

    pub(super) fn url(&self, host: &str) -> String {
        format!("{}://{host}.{}{}", self.scheme, self.domain, self.port)
    }
}

async fn root(State(api): State<Api>) -> Response {
    let hosts = Hosts::of(&api);
    let public = &api.ops.public_url;
    let v3 = Link {
        meta: Some(json!({"version": VERSION})),
        ..Link::to(format!("{public}/v3"))
    };
    let links = [
        ("self", Some(Link::to(public.to_string()))),
        ("cloud_controller_v2", None),
        ("cloud_controller_v3", Some(v3)),
        ("uaa", Some(Link::to(hosts.url("uaa")))),
        ("login", Some(Link::to(hosts.url("login")))),
        ("log_cache", Some(Link::to(hosts.url("log-cache")))),
        ("yard", Some(Link::to(format!("{public}/yard/v1")))),
        ("network_policy_v1", None),
        ("routing", Some(Link::to(format!("{public}/routing")))),
        ("logging", None),
        ("log_stream", None),
        ("credhub", None),
        ("app_ssh", ssh_link(&api)),
    ];
    ok(Root {
        links: links
            .into_iter()
            .map(|(name, link)| (name.to_string(), link))
            .collect(),
    })
}

/// A place, not an URL: so Cloud Foundry's clients want it.
fn ssh_link(api: &Api) -> Option<Link> {
    let ssh = api.ssh.as_ref()?;
    Some(Link {
        meta: Some(json!({
            "host_key_fingerprint": ssh.fingerprint()?,
            "oauth_client": crate::ops::ssh::CLIENT,
        })),
        ..Link::to(format!("ssh.{}:{}", api.domain, ssh.port))
    })
}

async fn v3(State(api): State<Api>) -> Response {
    let base = format!("{}/v3", api.ops.public_url);
    let nouns = [
        "apps",
        "audit_events",
        "builds",
        "buildpacks",
        "deployments",
        "domains",
        "droplets",
        "feature_flags",
        "info",
        "jobs",
        "organizations",
        "packages",
        "processes",
        "resource_matches",
        "roles",
        "routes",
        "spaces",
        "stacks",
        "users",
    ];
    let mut links: Links = nouns
        .iter()
        .map(|noun| (noun.to_string(), Link::to(format!("{base}/{noun}"))))
        .collect();
    links.insert("self".into(), Link::to(base));
    ok(json!({"links": links}))
}

async fn info(State(api): State<Api>) -> Response {
    ok(Info {
        build: env!("CARGO_PKG_VERSION").to_string(),
        name: "stackyard".to_string(),
        version: 0,
        description: format!("Stackyard at {}", api.domain),
        custom: json!(BTreeMap::from([("api_version", VERSION)])),
    })
}
