//! When a loop that repeats itself has to speak: in each period, when it is nudged, when the bus
//! comes back, and (for those whose words depend on them) when the settings change.

use super::agent::Agent;
use daemon::{BusStatus, Shutdown};
use proto::config::Settings;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Why it is time to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The bus is there, for the first time or again.
    CameUp,
    Period,
    Nudged,
    SettingsChanged,
}

pub struct Rhythm<'a> {
    /// Key of the setting that says how often.
    period: &'static str,
    nudge: &'a Notify,
    status: watch::Receiver<BusStatus>,
    settings: watch::Receiver<Arc<Settings>>,
    last: Instant,
    connected: bool,
}

impl<'a> Rhythm<'a> {
    pub fn new(agent: &'a Agent, period: &'static str, nudge: &'a Notify) -> Rhythm<'a> {
        Rhythm {
            period,
            nudge,
            status: agent.bus.status(),
            settings: agent.settings.clone(),
            last: Instant::now(),
            connected: false,
        }
    }

    /// The next occasion; `None` at the daemon's end. A changed setting does not begin a period.
    pub async fn next(&mut self, shutdown: &Shutdown) -> anyhow::Result<Option<Occasion>> {
        loop {
            let connected = self.status.borrow_and_update().connected;
            let came_up = connected && !self.connected;
            self.connected = connected;
            let period = self.settings.borrow_and_update().duration(self.period);
            let occasion = if came_up {
                Occasion::CameUp
            } else {
                tokio::select! {
                    () = tokio::time::sleep_until(self.last + period) => Occasion::Period,
                    () = self.nudge.notified() => Occasion::Nudged,
                    changed = self.status.changed() => { changed?; continue }
                    changed = self.settings.changed() => { changed?; return Ok(Some(Occasion::SettingsChanged)) }
                    () = shutdown.cancelled() => return Ok(None),
                }
            };
            self.last = Instant::now();
            return Ok(Some(occasion));
        }
    }
}
