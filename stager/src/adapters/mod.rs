//! The stager's two conversations on the bus: [`requests`] from the controller, [`ends`] of tasks
//! from the agents. What is said in them is decided in `domain`.

pub(crate) mod ends;
pub(crate) mod requests;

use daemon::{Bus, Cluster, ComponentId, LogSender, Readiness, Supervisor};
use proto::bus::stream::LogLine;
use proto::log::SOURCE_STAGING;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What both conversations need.
pub(crate) struct Stager {
    pub bus: Bus,
    /// Held for the daemon's life: the settings are live only as long as the connection is.
    pub cluster: Cluster,
    pub tasks: Supervisor,
    pub logs: LogSender,
    pub component: ComponentId,
    pub readiness: Readiness,
    pub counters: Arc<Counters>,
}

impl Stager {
    /// A line in the app's log, as the builder's own.
    pub fn say(&self, app: &str, text: &str) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.logs.send(LogLine {
            timestamp: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
            source: app.to_string(),
            instance: "0".to_string(),
            source_type: SOURCE_STAGING.to_string(),
            stderr: false,
            payload: text.as_bytes().to_vec(),
            tags: [("origin".to_string(), self.component.to_string())].into(),
        });
    }
}

/// What `/varz` shows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub taken: AtomicU64,
    pub refused: AtomicU64,
    pub staged: AtomicU64,
    pub failed: AtomicU64,
}

impl Counters {
    pub fn count(counter: &AtomicU64, outcome: &'static str) {
        counter.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("stager_stagings_total", "outcome" => outcome).increment(1);
    }

    pub fn document(&self) -> serde_json::Value {
        let counts = [
            ("taken", &self.taken),
            ("refused", &self.refused),
            ("staged", &self.staged),
            ("failed", &self.failed),
        ];
        serde_json::json!(
            counts
                .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
                .into_iter()
                .collect::<BTreeMap<_, _>>()
        )
    }
}
