//! Subjects every component has (contract §2.1).

use serde::{Deserialize, Serialize};

/// `vcap.component.announce`, and the answer to `vcap.component.discover`.
/// `credentials` (for `/varz`) stay empty in announcements that everybody may read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// `Router`, `DEA`, `CloudController`, `HealthManager`, `Stager`.
    #[serde(rename = "type")]
    pub kind: String,
    pub index: u32,
    /// `<index>-<hex>`
    pub uuid: String,
    /// `ip:port` of the status server.
    pub host: String,
    #[serde(default)]
    pub credentials: Vec<String>,
    /// `YYYY-MM-DD HH:MM:SS +0000`
    pub start: String,
    /// `0d:0h:1m:2s`
    pub uptime: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_id: Option<String>,
    /// What befell its machine: of each disk the present or the last want of room, and the last jumps of the clock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mishaps: Vec<Mishap>,
}

/// Something that befell the machine of a component, as the component itself saw it. Times in Unix seconds, by the
/// component's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mishap {
    /// Little room is left, or was, on the filesystem of a folder.
    DiskLow {
        folder: String,
        free_bytes: u64,
        total_bytes: u64,
        since: f64,
        /// Absent: it still is so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<f64>,
    },
    /// The wall clock went on by so many seconds more (or fewer) than passed.
    ClockJumped { at: f64, seconds: f64 },
}

super::json!(Component);
