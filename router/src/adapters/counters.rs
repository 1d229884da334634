//! Counters of the request path: plain atomics read by `/varz`, and handles for `/metrics` made once,
//! so that a request pays for additions only.

use metrics::{Counter, Histogram};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Latency buckets double from 2^7 µs (128 µs) on; the last takes the rest.
const BUCKETS: usize = 24;

pub struct Counters {
    requests: AtomicU64,
    responses: [AtomicU64; 6],
    bad_requests: AtomicU64,
    bad_gateways: AtomicU64,
    retries: AtomicU64,
    upgrades: AtomicU64,
    latency: [AtomicU64; BUCKETS],
    requests_metric: Counter,
    responses_metric: [Counter; 6],
    bad_requests_metric: Counter,
    bad_gateways_metric: Counter,
    retries_metric: Counter,
    upgrades_metric: Counter,
    exhausted_metric: Counter,
    latency_metric: Histogram,
    pub log_lost_metric: Counter,
    pub connections_metric: Counter,
    pub tls_failures_metric: Counter,
}

const GROUPS: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "xxx"];

impl Default for Counters {
    fn default() -> Self {
        Counters {
            requests: AtomicU64::new(0),
            responses: Default::default(),
            bad_requests: AtomicU64::new(0),
            bad_gateways: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            upgrades: AtomicU64::new(0),
            latency: Default::default(),
            requests_metric: metrics::counter!("total_requests"),
            responses_metric: GROUPS
                .map(|group| metrics::counter!("responses", "status_group" => group)),
            bad_requests_metric: metrics::counter!("rejected_requests"),
            bad_gateways_metric: metrics::counter!("bad_gateways"),
            retries_metric: metrics::counter!("retries_total"),
            upgrades_metric: metrics::counter!("websocket_upgrades"),
            exhausted_metric: metrics::counter!("backend_exhausted_conns"),
            latency_metric: metrics::histogram!("latency_seconds"),
            log_lost_metric: metrics::counter!("access_log_lost_total"),
            connections_metric: metrics::counter!("client_connections_total"),
            tls_failures_metric: metrics::counter!("tls_handshake_failures_total"),
        }
    }
}

impl Counters {
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.requests_metric.increment(1);
    }

    /// A request is over. Status 0: the client went away before there was one.
    pub fn response(&self, status: u16, took: Duration) {
        let group = match status / 100 {
            class @ 1..=5 => usize::from(class) - 1,
            _ => 5,
        };
        self.responses[group].fetch_add(1, Ordering::Relaxed);
        self.responses_metric[group].increment(1);
        let micros = took.as_micros().max(1) as u64;
        let bucket = (63 - micros.leading_zeros() as usize)
            .saturating_sub(6)
            .min(BUCKETS - 1);
        self.latency[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_metric.record(took.as_secs_f64());
    }

    pub fn bad_request(&self) {
        self.bad_requests.fetch_add(1, Ordering::Relaxed);
        self.bad_requests_metric.increment(1);
    }

    pub fn bad_gateway(&self) {
        self.bad_gateways.fetch_add(1, Ordering::Relaxed);
        self.bad_gateways_metric.increment(1);
    }

    pub fn exhausted(&self) {
        self.exhausted_metric.increment(1);
    }

    pub fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.retries_metric.increment(1);
    }

    pub fn upgrade(&self) {
        self.upgrades.fetch_add(1, Ordering::Relaxed);
        self.upgrades_metric.increment(1);
    }

    /// The keys that Cloud Foundry's router has in `/varz` (contract §3).
    pub fn varz(&self) -> serde_json::Value {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let samples: Vec<u64> = self.latency.iter().map(load).collect();
        let total: u64 = samples.iter().sum();
        let percentile = |percent: u64| {
            let wanted = (total * percent).div_ceil(100);
            let mut sum = 0;
            for (bucket, count) in samples.iter().enumerate() {
                sum += count;
                if sum >= wanted && sum > 0 {
                    return 2f64.powi(bucket as i32 + 7) / 1e6;
                }
            }
            0.0
        };
        serde_json::json!({
            "requests": load(&self.requests),
            "bad_requests": load(&self.bad_requests),
            "bad_gateways": load(&self.bad_gateways),
            "retries": load(&self.retries),
            "websocket_upgrades": load(&self.upgrades),
            "responses_2xx": load(&self.responses[1]),
            "responses_3xx": load(&self.responses[2]),
            "responses_4xx": load(&self.responses[3]),
            "responses_5xx": load(&self.responses[4]),
            "responses_xxx": load(&self.responses[0]) + load(&self.responses[5]),
            "latency": {
                "50": percentile(50), "75": percentile(75), "90": percentile(90),
                "95": percentile(95), "99": percentile(99), "samples": total,
            },
        })
    }
}
