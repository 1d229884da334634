//! `user`: who the caller is.

use super::extract::{Caller, Credential};
use super::{Answer, ok};
use crate::automation::Automation;
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};

pub fn routes() -> Router<Automation> {
    Router::new().route("/user", get(show))
}

async fn show(caller: Caller) -> Answer {
    let (method, location, expires) = match &caller.by {
        Credential::Token {
            expires_at,
            from_query,
            ..
        } => (
            "authentication token",
            if *from_query { "query param" } else { "header" },
            json!(super::timestamp(*expires_at)),
        ),
        Credential::ApiKey => ("API key", "header", Value::Null),
        Credential::Bearer => ("bearer token", "header", Value::Null),
    };
    Ok(ok(json!({
        "username": caller.actor.name,
        "authentication": {"method": method, "location": location, "token_expire": expires},
        "rbac": {"enabled": true, "roles": caller.all_roles(), "is_admin": caller.is_admin()},
    })))
}
