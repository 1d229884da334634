//! The settings as the request path reads them: read once per change, not once per request.

use super::balance::Algorithm;
use super::table::{Endpoint, Millis};
use proto::config::Settings;
use std::time::Duration;

/// A snapshot of what an operator set.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub access_log: bool,
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
    /// 0 for what the limit of open files allows.
    pub max_clients: usize,
    pub sweep: Duration,
    pub stale_after: Millis,
    pub algorithm: Algorithm,
    /// How often is told what was answered.
    pub report_period: Duration,
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

impl Policy {
    pub fn read(settings: &Settings) -> Policy {
        let count = |path| usize::try_from(settings.integer(path)).unwrap_or(0);
        Policy {
            access_log: settings.bool("router/access_log/enabled"),
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
            max_clients: count("router/limits/max_client_connections"),
            sweep: settings.duration("router/prune/sweep"),
            stale_after: settings.duration("router/prune/stale_after").as_millis() as Millis,
            algorithm: Algorithm::parse(&settings.text("router/balancing/algorithm"))
                .unwrap_or(Algorithm::RandomOfTwo),
            report_period: settings.duration("router/traffic/period"),
        }
    }

    /// Whether the endpoint serves as many requests as it may.
    pub fn is_full(&self, endpoint: &Endpoint) -> bool {
        self.max_per_endpoint != 0 && endpoint.in_flight() >= self.max_per_endpoint
    }

    /// How long an endpoint that failed is set aside (contract §3 row 11).
    pub fn set_aside_for(&self) -> Millis {
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
    }
}
