//! Log lines and metrics.
//!
//! Lines go to stderr, `time LEVEL target: message field=value`; the node appends them to the
//! daemon's log file. The level follows the setting `cluster/log/level` within a second, without
//! a restart; libraries below us stay at warn, or they would drown our lines. Metrics are
//! collected in the process and rendered by `/metrics`.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use proto::config::Settings;
use std::sync::Arc;
use tokio::sync::watch;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::supervise::{Policy, Supervisor};

/// The process's telemetry; there is one, also when a test runs several daemons.
#[derive(Clone)]
pub struct Telemetry {
    level: reload::Handle<EnvFilter, Registry>,
    metrics: PrometheusHandle,
}

static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();

/// Libraries whose lines below warn help nobody.
const QUIET: &[&str] = &[
    "async_nats",
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "sqlx",
    "tonic",
    "tower",
    "tower_http",
];

fn filter(level: &str) -> EnvFilter {
    let quiet = if level == "error" { "error" } else { "warn" };
    let libraries: Vec<String> = QUIET.iter().map(|name| format!("{name}={quiet}")).collect();
    EnvFilter::new(format!("{level},{}", libraries.join(",")))
}

/// Sets up both, once per process; later calls return the first one's.
pub fn init(initial_level: &str) -> Telemetry {
    TELEMETRY
        .get_or_init(|| {
            let (layer, level) = reload::Layer::new(filter(initial_level));
            let lines = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(std::io::stderr);
            // A test harness may have set its own subscriber: then its choice stands.
            let _ = tracing_subscriber::registry()
                .with(layer)
                .with(lines)
                .try_init();
            let recorder = PrometheusBuilder::new().build_recorder();
            let metrics = recorder.handle();
            let _ = metrics::set_global_recorder(recorder);
            Telemetry { level, metrics }
        })
        .clone()
}

impl Telemetry {
    /// Everything measured so far, in Prometheus' text format.
    pub fn render_metrics(&self) -> String {
        self.metrics.render()
    }

    /// Changes the log level from now on.
    pub fn set_level(&self, level: &str) {
        if let Err(error) = self.level.reload(filter(level)) {
            tracing::warn!(%error, level, "the log level could not be changed");
        }
    }

    /// Keeps the level as the settings say, and the metrics' memory small.
    pub fn follow(&self, settings: watch::Receiver<Arc<Settings>>, tasks: &Supervisor) {
        let telemetry = self.clone();
        tasks.spawn("telemetry", Policy::Restart, move |shutdown| {
            let telemetry = telemetry.clone();
            let mut settings = settings.clone();
            async move {
                let mut current = String::new();
                let mut upkeep = tokio::time::interval(std::time::Duration::from_secs(5));
                loop {
                    let wanted = settings.borrow_and_update().text("cluster/log/level");
                    if wanted != current {
                        telemetry.set_level(&wanted);
                        if !current.is_empty() {
                            tracing::info!(level = %wanted, "the log level changed");
                        }
                        current = wanted;
                    }
                    tokio::select! {
                        changed = settings.changed() => if changed.is_err() { shutdown.cancelled().await; return Ok(()) },
                        _ = upkeep.tick() => telemetry.metrics.run_upkeep(),
                        () = shutdown.cancelled() => return Ok(()),
                    }
                }
            }
        });
    }
}
