//! A registration, read: what it says about an endpoint, and under which names.

use super::balance::Algorithm;
use super::route_rules::RouteRules;
use super::route_service::ServiceUrl;
use super::table::Millis;
use super::tags::Tags;
use super::uri::RouteName;
use http::header::HeaderName;
use proto::bus::router::{Registration, RouteOptions};
use rustls::pki_types::ServerName;

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub host: Box<str>,
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a registration says about an endpoint, apart from its names.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    pub address: Address,
    pub app: Option<Box<str>>,
    pub instance_id: Option<Box<str>>,
    pub instance_index: Option<Box<str>>,
    pub tags: Tags,
    pub zone: Option<Box<str>>,
    pub isolation_segment: Option<Box<str>>,
    pub algorithm: Option<Algorithm>,
    /// What [`Algorithm::Hash`] goes by.
    pub hash: Option<HashBy>,
    /// What its routes let in, and how answers are sent.
    pub rules: Option<Box<RouteRules>>,
    /// Own, shorter time to live.
    pub stale_after: Option<Millis>,
    /// It is to be reached over TLS, and proves to be this.
    pub tls: Option<TlsIdentity>,
    /// It speaks HTTP/2.
    pub http2: bool,
    /// Requests go to this service first.
    pub route_service: Option<Box<str>>,
    /// Somebody else's server: a route service, not an instance of an app.
    pub outside: bool,
}

/// A header whose value chooses the instance.
#[derive(Debug, Clone, PartialEq)]
pub struct HashBy {
    pub header: HeaderName,
    /// How many times the average of requests an instance may have; 0: any.
    pub balance: f64,
}

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

/// Who an instance proves to be by its certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsIdentity {
    /// The name its certificate has to be valid for.
    pub name: ServerName<'static>,
    /// The same as registered; without it the name is the address's host.
    pub registered: Option<Box<str>>,
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
        let text = |value: &Option<String>| {
            value
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(Box::from)
        };
        Ok(Announcement {
            names,
            identity: Identity {
                address: Address {
                    host: message.host.to_ascii_lowercase().into(),
                    port,
                },
                app: text(&message.app)
                    .or_else(|| message.tags.get("app_id").map(|app| app.as_str().into())),
                instance_id: text(&message.private_instance_id),
                instance_index: text(&message.private_instance_index),
                tags: Tags::from(&message.tags),
                zone: text(&message.availability_zone),
                isolation_segment: text(&message.isolation_segment),
                algorithm: message
                    .options
                    .as_ref()
                    .and_then(|options| options.loadbalancing.as_deref())
                    .and_then(Algorithm::parse),
                hash: message.options.as_ref().and_then(HashBy::read),
                rules: message
                    .options
                    .as_ref()
                    .and_then(RouteRules::read)
                    .map(Box::new),
                stale_after: message
                    .stale_threshold_in_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .filter(|seconds| *seconds > 0)
                    .map(|seconds| seconds.saturating_mul(1000)),
                tls,
                // Anything else is HTTP/1 (contract §2.2).
                http2: message.protocol.as_deref() == Some("http2"),
                route_service,
                outside: false,
            },
            updated_at_ns: message
                .endpoint_updated_at_ns
                .and_then(|ns| u64::try_from(ns).ok())
                .unwrap_or(0),
            invalid,
            returns: message.yard_returns.unwrap_or(false),
            wakes: text(&message.yard_wakes),
        })
    }
}

impl Identity {
    /// The instance, if it is one of an app: it has its address for itself.
    pub fn tenant(&self) -> Option<&str> {
        self.app.as_ref()?;
        self.instance_id.as_deref()
    }

    /// What it is spoken to in under a name.
    pub fn protocol(&self, name: &RouteName) -> &'static str {
        match name.port() {
            Some(port) => port.transport.name(),
            None if self.http2 => "http2",
            None => "http1",
        }
    }

    /// The server of a route service. `None` if its host is no name that a certificate could have.
    pub fn of_service(url: &ServiceUrl) -> Option<Identity> {
        Some(Identity {
            address: Address {
                host: url.host.clone(),
                port: url.port,
            },
            app: None,
            instance_id: None,
            instance_index: None,
            tags: Tags::default(),
            zone: None,
            isolation_segment: None,
            algorithm: None,
            hash: None,
            rules: None,
            stale_after: None,
            tls: Some(TlsIdentity {
                name: ServerName::try_from(url.host.to_string()).ok()?,
                registered: None,
            }),
            http2: false,
            route_service: None,
            outside: true,
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
