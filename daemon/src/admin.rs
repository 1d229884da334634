//! The status server of every daemon, on loopback.
//!
//! `/healthz` says that the process is alive ("ok"), `/readyz` whether it can do its work and
//! what it waits for, `/varz` (Basic login) what it is and its counters (contract §2.1),
//! `/metrics` everything measured in Prometheus' text format, and a daemon adds documents of its
//! own. Only reads: nothing is changed through this port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use serde_json::{Value, json};

use crate::bootstrap::AdminConfig;
use crate::bus::Bus;
use crate::component::Identity;
use crate::supervise::{Policy, Supervisor};
use crate::telemetry::Telemetry;

type Counters = Arc<dyn Fn() -> Value + Send + Sync>;
/// Told what the query of the request says.
type Document = Arc<dyn Fn(&BTreeMap<String, String>) -> Value + Send + Sync>;

/// What the daemon waits for. It is ready when every part is.
#[derive(Clone, Default)]
pub struct Readiness {
    parts: Arc<RwLock<BTreeMap<&'static str, (bool, String)>>>,
}

impl Readiness {
    /// Says whether a part is ready, and if not, what it waits for.
    pub fn set(&self, part: &'static str, ready: bool, detail: &str) {
        let mut parts = self
            .parts
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        parts.insert(part, (ready, detail.to_string()));
    }

    pub fn is_ready(&self) -> bool {
        self.waiting().is_empty()
    }

    /// The parts that are not ready.
    pub fn waiting(&self) -> BTreeMap<&'static str, String> {
        let parts = self
            .parts
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        parts
            .iter()
            .filter(|(_, (ready, _))| !ready)
            .map(|(part, (_, detail))| (*part, detail.clone()))
            .collect()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the status server cannot listen on {address}")]
pub struct AdminError {
    pub address: std::net::SocketAddr,
    #[source]
    pub source: std::io::Error,
}

struct Inner {
    config: AdminConfig,
    identity: Identity,
    bus: Bus,
    telemetry: Telemetry,
    readiness: Readiness,
    varz: Mutex<Vec<Counters>>,
    documents: RwLock<BTreeMap<&'static str, Document>>,
}

/// The server; cheap to clone.
#[derive(Clone)]
pub struct AdminPort {
    inner: Arc<Inner>,
}

/// A predecessor that is just dying may still hold the port.
const BIND_DEADLINE: Duration = Duration::from_secs(5);

impl AdminPort {
    pub(crate) async fn start(
        config: AdminConfig,
        identity: Identity,
        bus: Bus,
        telemetry: Telemetry,
        tasks: &Supervisor,
    ) -> Result<AdminPort, AdminError> {
        let address = config.address;
        let begun = Instant::now();
        let listener = loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error)
                    if error.kind() == std::io::ErrorKind::AddrInUse
                        && begun.elapsed() < BIND_DEADLINE =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(source) => return Err(AdminError { address, source }),
            }
        };
        let port = AdminPort {
            inner: Arc::new(Inner {
                config,
                identity,
                bus,
                telemetry,
                readiness: Readiness::default(),
                varz: Mutex::default(),
                documents: RwLock::default(),
            }),
        };
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/varz", get(varz))
            .route("/metrics", get(metrics_text))
            .fallback(get(document))
            .with_state(port.clone());
        let listener = Arc::new(listener);
        tasks.spawn("admin-port", Policy::Restart, move |shutdown| {
            let (router, listener) = (router.clone(), listener.clone());
            async move {
                tokio::select! {
                    served = axum::serve(Shared(listener), router) => served.map_err(anyhow::Error::from),
                    () = shutdown.cancelled() => Ok(()),
                }
            }
        });
        Ok(port)
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.inner.readiness.clone()
    }

    pub(crate) fn add_varz(&self, counters: Counters) {
        self.inner
            .varz
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push(counters);
    }

    pub(crate) fn add_document(&self, path: &'static str, content: Document) {
        self.inner
            .documents
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .insert(path, content);
    }
}

/// A listener that outlives the task that serves it.
struct Shared(Arc<tokio::net::TcpListener>);

impl axum::serve::Listener for Shared {
    type Io = tokio::net::TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                // Out of descriptors, or the peer was faster: neither is cured by haste.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

async fn readyz(State(port): State<AdminPort>) -> Response {
    let waiting = port.inner.readiness.waiting();
    let status = if waiting.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        axum::Json(json!({ "ready": waiting.is_empty(), "waiting": waiting })),
    )
        .into_response()
}

async fn varz(State(port): State<AdminPort>, headers: HeaderMap) -> Response {
    if !authorized(&port.inner.config, &headers) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"status\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "a login is needed\n").into_response();
    }
    let component = port.inner.identity.component();
    let mut document = serde_json::to_value(&component).unwrap_or_default();
    if let Value::Object(fields) = &mut document {
        let usage = usage();
        fields.insert(
            "num_cores".to_string(),
            std::thread::available_parallelism()
                .map_or(1, usize::from)
                .into(),
        );
        fields.insert("mem".to_string(), usage.memory_kib.into());
        fields.insert(
            "cpu".to_string(),
            usage.cpu_percent(port.inner.identity.started()).into(),
        );
        fields.insert("cpu_seconds".to_string(), usage.cpu_seconds.into());
        fields.insert(
            "bus".to_string(),
            json!({
                "connected": port.inner.bus.status().borrow().connected,
                "reconnects": port.inner.bus.status().borrow().reconnects,
                "counts": port.inner.bus.counts(),
            }),
        );
        fields.insert("waiting".to_string(), json!(port.inner.readiness.waiting()));
        let own: Vec<Counters> = port
            .inner
            .varz
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone();
        for counters in own {
            if let Value::Object(counters) = counters() {
                fields.extend(counters);
            }
        }
    }
    axum::Json(document).into_response()
}

async fn metrics_text(State(port): State<AdminPort>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        port.inner.telemetry.render_metrics(),
    )
        .into_response()
}

/// A daemon's own documents.
async fn document(State(port): State<AdminPort>, request: Request) -> Response {
    let content = {
        let documents = port
            .inner
            .documents
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        documents.get(request.uri().path()).cloned()
    };
    match content {
        Some(content) => match Query::try_from_uri(request.uri()) {
            Ok(Query(asked)) => axum::Json(content(&asked)).into_response(),
            Err(error) => error.into_response(),
        },
        None => (
            StatusCode::NOT_FOUND,
            "there is /healthz, /readyz, /varz and /metrics\n",
        )
            .into_response(),
    }
}

fn authorized(config: &AdminConfig, headers: &HeaderMap) -> bool {
    let expected = format!("{}:{}", config.user, config.password);
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|encoded| {
            base64::engine::general_purpose::STANDARD
                .decode(encoded.trim())
                .ok()
        });
    given.is_some_and(|given| same(&given, expected.as_bytes()))
}

/// Compares in a time that does not tell how much was right.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

struct Usage {
    memory_kib: u64,
    cpu_seconds: f64,
}

impl Usage {
    /// Average since the start.
    fn cpu_percent(&self, started: Instant) -> f64 {
        let alive = started.elapsed().as_secs_f64().max(0.001);
        (self.cpu_seconds / alive * 1000.0).round() / 10.0
    }
}

/// From /proc; zeros where it cannot be read.
fn usage() -> Usage {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory_kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15, counted after the name in parentheses, in ticks of 10 ms.
    let ticks: u64 = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_whitespace()
                .skip(11)
                .take(2)
                .filter_map(|field| field.parse::<u64>().ok())
                .sum()
        })
        .unwrap_or(0);
    Usage {
        memory_kib,
        cpu_seconds: ticks as f64 / 100.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_has_no_part_that_waits() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        readiness.set("bus", false, "not connected");
        readiness.set("table", true, "");
        assert_eq!(
            readiness.waiting(),
            BTreeMap::from([("bus", "not connected".to_string())])
        );
        readiness.set("bus", true, "");
        assert!(readiness.is_ready());
    }

    #[test]
    fn the_login_is_checked_whole() {
        assert!(same(b"a:b", b"a:b"));
        assert!(!same(b"a:b", b"a:c"));
        assert!(!same(b"a:b", b"a:bb"));
    }
}
