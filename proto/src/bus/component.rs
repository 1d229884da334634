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
}

super::json!(Component);
