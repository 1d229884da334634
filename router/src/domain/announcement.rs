//! A registration, read: what it says about an endpoint, and under which names.

use super::balance::Algorithm;
use super::identity::{HashBy, Identity, Parts, Terms, TlsIdentity};
use super::route_rules::RouteRules;
use super::route_service::ServiceUrl;
use super::uri::{RouteName, lower};
use proto::bus::router::{Registration, RouteOptions};
use rustls::pki_types::ServerName;

impl HashBy {
    fn read(options: &RouteOptions) -> Option<HashBy> {
        if options.loadbalancing.as_deref() != Some(Algorithm::Hash.name()) {
            return None;
        }
        Some(HashBy {
            header: options.hash_header.as_deref()?.parse().ok()?,
            balance: options.hash_balance.unwrap_or(0.0),
        })
    }
}

/// Why a registration is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejected {
    #[error("it names no port that this router can reach without TLS")]
    NoPort,
    #[error("it names no host")]
    NoHost,
    #[error("the name of its certificate is no name")]
    Identity,
    #[error("its route service is no https URL")]
    RouteService,
    #[error("what it says of its instance is longer than 64 KiB")]
    TooLong,
}

/// A registration, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    pub names: Vec<RouteName>,
    pub identity: Identity,
    pub updated_at_ns: u64,
    /// Uris that name no route.
    pub invalid: usize,
    /// An unregistration that expects a successor.
    pub returns: bool,
    /// It is no endpoint: this process sleeps, and a request wakes it.
    pub wakes: Option<Box<str>>,
}

impl Announcement {
    /// `tls` says whether instances can be reached over TLS: then that is preferred.
    pub fn read(message: &Registration, tls: bool) -> Result<Announcement, Rejected> {
        let mut names: Vec<RouteName> = message
            .uris
            .iter()
            .filter_map(|uri| RouteName::parse(uri).ok())
            .collect();
        // What is carried to a port's instances is theirs as it is, TLS of their clients too.
        let only_ports = !names.is_empty() && names.iter().all(|name| name.port().is_some());
        let tls_port = message
            .tls_port
            .filter(|port| tls && *port != 0 && !only_ports);
        if tls_port.is_some() {
            names.retain(|name| name.port().is_none());
        }
        let port = match tls_port.or(message.port) {
            Some(port) if port != 0 => port,
            _ => return Err(Rejected::NoPort),
        };
        if message.host.is_empty() || message.host.len() > 255 {
            return Err(Rejected::NoHost);
        }
        let tls = match tls_port {
            Some(_) => Some(TlsIdentity::read(message)?),
            None => None,
        };
        let route_service = match message.route_service_url.as_deref() {
            None | Some("") => None,
            Some(url) if ServiceUrl::parse(url).is_some() => Some(url.into()),
            Some(_) => return Err(Rejected::RouteService),
        };
        let invalid = message.uris.len() - names.len();
        names.sort_unstable();
        names.dedup();
        let app = match text(&message.app) {
            "" => message.tags.get("app_id").map_or("", String::as_str),
            app => app,
        };
        let options = message.options.as_ref();
        let host = lower(&message.host);
        let parts = Parts {
            host: &host,
            port,
            app,
            instance_id: text(&message.private_instance_id),
            instance_index: text(&message.private_instance_index),
            zone: text(&message.availability_zone),
            isolation_segment: text(&message.isolation_segment),
            tags: Some(&message.tags),
            // Anything else is HTTP/1 (contract §2.2).
            http2: message.protocol.as_deref() == Some("http2"),
            outside: false,
            terms: Terms {
                algorithm: options
                    .and_then(|options| options.loadbalancing.as_deref())
                    .and_then(Algorithm::parse),
                hash: options.and_then(HashBy::read),
                rules: options.and_then(RouteRules::read),
                stale_after: message
                    .stale_threshold_in_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .filter(|seconds| *seconds > 0)
                    .map(|seconds| seconds.saturating_mul(1000)),
                tls,
                route_service,
            },
        };
        Ok(Announcement {
            names,
            identity: Identity::of(parts).ok_or(Rejected::TooLong)?,
            updated_at_ns: message
                .endpoint_updated_at_ns
                .and_then(|ns| u64::try_from(ns).ok())
                .unwrap_or(0),
            invalid,
            returns: message.yard_returns.unwrap_or(false),
            wakes: Some(text(&message.yard_wakes))
                .filter(|process| !process.is_empty())
                .map(Box::from),
        })
    }
}

impl TlsIdentity {
    fn read(message: &Registration) -> Result<TlsIdentity, Rejected> {
        let san = message.server_cert_domain_san.as_deref();
        let registered = san.filter(|name| !name.is_empty());
        let name = registered.unwrap_or(&message.host).to_string();
        Ok(TlsIdentity {
            name: ServerName::try_from(name).map_err(|_| Rejected::Identity)?,
            registered: registered.map(Box::from),
        })
    }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}
