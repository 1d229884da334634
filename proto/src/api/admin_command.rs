//! Administrative commands, as the audit events tell them.

use serde::{Deserialize, Serialize};

/// `GET /yard/v1/history`: one command, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdminCommand {
    /// Of the audit event.
    pub guid: String,
    #[serde(default)]
    pub at: String,
    #[serde(default)]
    pub user: String,
    /// What it is about: `config`, `user`, `role`, `organization`, `space`, `domain`, `node`.
    #[serde(default)]
    pub noun: String,
    /// `config set router/limits/max_attempts 5`
    #[serde(default)]
    pub command: String,
    #[serde(default)]
    pub target: String,
    /// The audit event's own data.
    #[serde(default)]
    pub data: serde_json::Value,
}
