//! The token endpoint (`POST /oauth/token`, form encoded, Basic `cf:`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenResponse {
    pub access_token: String,
    /// Each use gives a new one; the used one is spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// `bearer`
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
    #[serde(default)]
    pub scope: String,
    #[serde(default)]
    pub jti: String,
}

/// The payload of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Claims {
    pub jti: String,
    pub sub: String,
    pub user_id: String,
    pub user_name: String,
    pub origin: String,
    #[serde(default)]
    pub email: String,
    pub client_id: String,
    pub cid: String,
    pub scope: Vec<String>,
    pub iss: String,
    pub aud: Vec<String>,
    pub grant_type: String,
    pub revocable: bool,
    /// Unix seconds.
    pub iat: i64,
    /// Unix seconds.
    pub exp: i64,
}

/// `GET /login`: what to ask a person for, as `[kind, caption]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoginInfo {
    #[serde(default)]
    pub app: BTreeMap<String, String>,
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    #[serde(default)]
    pub prompts: BTreeMap<String, Vec<String>>,
}
