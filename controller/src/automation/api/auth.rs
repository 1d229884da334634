//! Authentication (contract §1.4, §11): `POST tokens` with a password, `tokens/validate`, and the
//! answers of an installation without single sign-on.

use super::extract::Body;
use super::{Answer, created, ok};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use serde_json::{Value, json};

const API_URL: HeaderName = HeaderName::from_static("x-api-url");

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/tokens", post(log_in))
        .route("/tokens/validate", post(validate))
        .route("/sso", get(sso))
        .route("/sso/request", get(no_sso))
        .route("/sso/callback", post(no_sso))
}

#[derive(Debug, Default, Deserialize)]
struct Wanted {
    ttl: Option<i64>,
    /// Only service accounts of StackStorm may ask for somebody else's token.
    user: Option<String>,
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()?;
    let (user, password) = String::from_utf8(decoded)
        .ok()?
        .split_once(':')
        .map(|(user, password)| (user.to_string(), password.to_string()))?;
    Some((user, password))
}

async fn log_in(
    State(automation): State<Automation>,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Answer {
    let (user, password) = basic(&headers)
        .ok_or_else(|| Fault::BadCredentials("Invalid or missing credentials".into()))?;
    if wanted.user.is_some_and(|other| other != user) {
        return Err(Fault::Invalid(
            "A token can be made for the account that logs in only: use an API key for another user.".into(),
        ));
    }
    let token = automation.log_in(&user, &password, wanted.ttl).await?;
    let mut response = created(json!({
        "id": token.row.id,
        "user": token.row.username,
        "token": token.text,
        "expiry": super::timestamp(token.row.expires_at),
        "metadata": token.row.metadata.0,
    }));
    let url = format!("{}/api/v1", automation.public_url);
    if let Ok(value) = HeaderValue::from_str(&url) {
        response.headers_mut().insert(API_URL, value);
    }
    Ok(response)
}

#[derive(Debug, Deserialize)]
struct Validate {
    token: Option<String>,
}

async fn validate(State(automation): State<Automation>, Body(body): Body<Validate>) -> Answer {
    let token = body.token.ok_or_else(|| {
        Fault::Invalid("The body must name the token: {\"token\": \"...\"}".into())
    })?;
    Ok(ok(
        json!({ "valid": automation.token_is_valid(&token).await? }),
    ))
}

async fn sso() -> axum::Json<Value> {
    axum::Json(json!({ "enabled": false }))
}

async fn no_sso() -> Fault {
    Fault::NotSupported("Single sign-on is not configured: log in with a password.".into())
}
