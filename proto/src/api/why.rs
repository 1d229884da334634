//! Why an app is as it is.

use serde::{Deserialize, Serialize};

/// `GET /yard/v1/apps/<guid>/why`: the last things that happened to an app, the newest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Why {
    pub app: WhyApp,
    #[serde(default)]
    pub outcomes: Vec<WhyOutcome>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyApp {
    pub guid: String,
    pub name: String,
}

/// One thing that happened, and what led to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyOutcome {
    pub at: String,
    /// `started`, `restarted`, `not_placed`, `crashed`, `stopped`, `staging_failed`, `deployment_failed`
    pub kind: String,
    pub text: String,
    /// Absent where it is about the whole app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Why on that agent, or why on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// The nearest first: each was led to by the next.
    #[serde(default)]
    pub causes: Vec<WhyCause>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyCause {
    pub at: String,
    /// `waited`, `crash`, `agent_lost`, `agent_drained`, `never_arrived`, `act`, `deployment`, `build`, `package`,
    /// `change`, `said` (nothing else was recorded)
    pub kind: String,
    pub text: String,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
