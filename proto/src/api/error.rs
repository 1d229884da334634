//! Error documents.

use serde::{Deserialize, Serialize};

/// `{"errors":[…]}`: clients act on the status and the exact text of the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorDocument {
    pub errors: Vec<ApiError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiError {
    pub code: i64,
    /// `CF-…`
    pub title: String,
    pub detail: String,
}

/// What the token endpoints answer instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenError {
    /// `unauthorized`, `invalid_token`, `invalid_grant`…
    pub error: String,
    #[serde(default)]
    pub error_description: String,
}
