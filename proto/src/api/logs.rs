//! The collector's live stream: `GET /yard/v1/logs/:app/stream?recent=N`, server-sent events.

use serde::{Deserialize, Serialize};

/// One line; the `data` of an event without a name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// Unix nanoseconds.
    pub timestamp: i64,
    /// `APP/PROC/WEB`, `STG`, `API`, `CELL`…
    pub source_type: String,
    /// Index of the instance.
    #[serde(default)]
    pub instance: String,
    #[serde(default)]
    pub stderr: bool,
    pub text: String,
}

/// `event: lost`: lines that were dropped, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLoss {
    pub lines: u64,
    pub place: String,
}
