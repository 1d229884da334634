//! The settings as the request path reads them: read once per change, not once per request.

use super::balance::Algorithm;
use super::header_rules::{HeaderRules, elements};
use super::log_rules::LogRules;
use super::sticky::StickyRules;
use super::table::{Endpoint, Millis};
use proto::config::Settings;
use proto::ports::{Port, PortRanges, Transport};
use std::time::Duration;

/// A snapshot of what an operator set.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub log: LogRules,
    pub headers: HeaderRules,
    pub sticky: StickyRules,
    pub max_header_bytes: usize,
    /// 0 for no limit.
    pub max_per_endpoint: usize,
    pub max_attempts: usize,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    /// Between two pieces of a request's body.
    pub body_timeout: Duration,
    /// Between two moments at which a client takes some of its answer.
    pub send_timeout: Duration,
    /// Send clients without TLS to the entrance for TLS, if there is one.
    pub tls_redirect: bool,
    /// A connection may begin with the address of its client.
    pub proxy_protocol: bool,
    pub http2: Http2,
    pub route_services: RouteServices,
    pub tcp: PortRules,
    pub udp: PortRules,
    /// 0 for what the limit of open files allows.
    pub max_clients: usize,
    pub sweep: Duration,
    pub stale_after: Millis,
    pub algorithm: Algorithm,
    /// Where this router is, if instances there are tried first.
    pub zone: Option<Box<str>>,
    pub isolation: Isolation,
    /// Who is answered about the router itself where no route is asked for; none: nobody.
    pub health_agent: Option<Box<str>>,
    /// The page for refusals; none: plain text.
    pub error_page: Option<Box<str>>,
    pub client_certificates: ClientCertificates,
    /// How many apps have their latency measured each by itself.
    pub measured_apps: usize,
    /// How often is told what was answered.
    pub report_period: Duration,
    /// How long a request to an app that sleeps is held, and how many of one app are.
    pub hold: Duration,
    pub max_held: usize,
}

/// What is said about route services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteServices {
    pub enabled: bool,
    /// Until the headers of an answer.
    pub timeout: Duration,
    /// How long a request may take to come back.
    pub valid_for: Duration,
    /// A service whose host is a route of the cluster is asked there.
    pub internal_lookup: bool,
    /// Addresses of the router's own machine will do.
    pub loopback: bool,
}

/// What is said about the routes that have ports of one transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRules {
    /// The ports that may be opened.
    pub allowed: PortRanges,
    /// Clients of one route at a time.
    pub max_clients: usize,
    pub idle_timeout: Duration,
}

/// Whether clients over TLS are to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    None,
    /// They may; one that nobody here believes is refused.
    Request,
    Require,
}

/// Which instances' registrations are taken (contract §3 row 31).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    All,
    Segments(Vec<String>),
    /// And those of no segment.
    SharedAndSegments(Vec<String>),
}

impl Isolation {
    fn read(settings: &Settings) -> Isolation {
        let segments = elements(&settings.text("router/isolation/segments"), ',')
            .map(str::to_string)
            .collect();
        match settings.text("router/isolation/mode").as_str() {
            "segments" => Isolation::Segments(segments),
            "shared-and-segments" => Isolation::SharedAndSegments(segments),
            _ => Isolation::All,
        }
    }

    pub fn takes(&self, segment: Option<&str>) -> bool {
        match (self, segment) {
            (Isolation::All, _) | (Isolation::SharedAndSegments(_), None) => true,
            (Isolation::Segments(_), None) => false,
            (Isolation::Segments(own) | Isolation::SharedAndSegments(own), Some(segment)) => {
                own.iter().any(|known| known == segment)
            }
        }
    }
}

/// What is said about HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// With clients over TLS, and with instances that ask for it.
    pub enabled: bool,
    /// With clients that begin with it, without TLS.
    pub plain: bool,
    pub max_streams: u32,
    pub max_header_bytes: u32,
}

/// The key that says which ports may be opened.
pub fn ports_key(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "router/tcp/ports",
        Transport::Udp => "router/udp/ports",
    }
}

impl Policy {
    pub fn read(settings: &Settings) -> Policy {
        let text = |path| match settings.text(path) {
            text if text.is_empty() => None,
            text => Some(Box::from(text)),
        };
        let count = |path| usize::try_from(settings.integer(path)).unwrap_or(0);
        Policy {
            log: LogRules::read(settings),
            headers: HeaderRules::read(settings),
            sticky: StickyRules {
                cookies: elements(&settings.text("router/sticky/cookies"), ',')
                    .map(str::to_string)
                    .collect(),
                negotiate: settings.bool("router/sticky/negotiate"),
            },
            max_header_bytes: settings.size("router/limits/max_header_bytes") as usize,
            max_per_endpoint: count("router/limits/max_connections_per_endpoint"),
            max_attempts: count("router/limits/max_attempts").max(1),
            connect_timeout: settings.duration("router/timeouts/connect"),
            response_timeout: settings.duration("router/timeouts/response"),
            header_timeout: settings.duration("router/timeouts/request_header"),
            idle_timeout: settings.duration("router/timeouts/idle"),
            body_timeout: settings.duration("router/timeouts/request_body"),
            send_timeout: settings.duration("router/timeouts/send"),
            tls_redirect: settings.bool("router/tls/redirect"),
            proxy_protocol: settings.bool("router/proxy_protocol/enabled"),
            http2: Http2 {
                enabled: settings.bool("router/http2/enabled"),
                plain: settings.bool("router/http2/plain"),
                max_streams: count("router/http2/max_streams").max(1) as u32,
                max_header_bytes: settings.size("router/http2/max_header_bytes") as u32,
            },
            route_services: RouteServices {
                enabled: settings.bool("router/route_services/enabled"),
                timeout: settings.duration("router/route_services/timeout"),
                valid_for: settings.duration("router/route_services/valid_for"),
                internal_lookup: settings.bool("router/route_services/internal_lookup"),
                loopback: settings.bool("router/route_services/loopback"),
            },
            tcp: PortRules {
                allowed: PortRanges::read(&settings.text(ports_key(Transport::Tcp))),
                max_clients: count("router/tcp/max_connections_per_route").max(1),
                idle_timeout: settings.duration("router/tcp/idle_timeout"),
            },
            udp: PortRules {
                allowed: PortRanges::read(&settings.text(ports_key(Transport::Udp))),
                max_clients: count("router/udp/max_sessions_per_route").max(1),
                idle_timeout: settings.duration("router/udp/idle_timeout"),
            },
            max_clients: count("router/limits/max_client_connections"),
            sweep: settings.duration("router/prune/sweep"),
            stale_after: settings.duration("router/prune/stale_after").as_millis() as Millis,
            algorithm: Algorithm::parse(&settings.text("router/balancing/algorithm"))
                .unwrap_or(Algorithm::RandomOfTwo),
            zone: text("router/balancing/zone").filter(|_| {
                settings.text("router/balancing/zone_preference") == "locally-optimistic"
            }),
            isolation: Isolation::read(settings),
            health_agent: text("router/health/user_agent"),
            error_page: text("router/errors/html_file"),
            client_certificates: match settings.text("router/tls/client_certificates").as_str() {
                "request" => ClientCertificates::Request,
                "require" => ClientCertificates::Require,
                _ => ClientCertificates::None,
            },
            measured_apps: count("router/metrics/apps"),
            report_period: settings.duration("router/traffic/period"),
            hold: settings.duration("router/sleepers/hold"),
            max_held: count("router/sleepers/max_held"),
        }
    }

    pub fn of_ports(&self, transport: Transport) -> &PortRules {
        match transport {
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        }
    }

    /// Whether this router may open the port.
    pub fn allows(&self, port: Port) -> bool {
        self.of_ports(port.transport).allowed.contains(port.number)
    }

    /// Whether the endpoint serves as many requests as it may.
    pub fn is_full(&self, endpoint: &Endpoint) -> bool {
        self.max_per_endpoint != 0 && endpoint.in_flight() >= self.max_per_endpoint
    }

    /// How long an endpoint that failed is set aside (contract §3 row 11).
    pub fn set_aside_for(&self) -> Millis {
        self.stale_after / 4
    }

    /// After this long without a registration an endpoint is chosen last: one and a half of the periods at which
    /// agents register.
    pub fn overdue_after(&self) -> Millis {
        self.stale_after / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_contract() {
        let policy = Policy::read(&Settings::default());
        assert_eq!(policy.max_attempts, 3);
        assert_eq!(policy.stale_after, 120_000);
        assert_eq!(policy.set_aside_for(), 30_000);
        assert_eq!(policy.algorithm, Algorithm::RandomOfTwo);
        assert_eq!(policy.max_header_bytes, 1 << 20);
        assert!(policy.http2.enabled && !policy.http2.plain);
        assert_eq!(policy.sticky.cookies, ["JSESSIONID"]);
        assert_eq!(policy.isolation, Isolation::All);
    }

    #[test]
    fn a_router_of_segments_takes_their_instances() {
        let own = vec!["gold".to_string()];
        let cases = [
            (Isolation::All, [true, true, true]),
            (Isolation::Segments(own.clone()), [false, true, false]),
            (Isolation::SharedAndSegments(own), [true, true, false]),
        ];
        for (isolation, taken) in cases {
            let takes = [None, Some("gold"), Some("other")].map(|of| isolation.takes(of));
            assert_eq!(takes, taken, "{isolation:?}");
        }
    }
}
