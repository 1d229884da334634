//! For the SSH proxy: a code becomes a permit, a permit becomes the way into an instance. What users see of it
//! are the switches of apps and spaces, and the code ([`super::uaa`]).

use super::extract::{Body, bearer};
use super::{Answer, Api, ok};
use crate::ops::Refusal;
use crate::ops::ssh::Target;
use crate::ops::tokens::Denied;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;

/// How users find the proxy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshConfig {
    /// Under the name `ssh.<domain>`.
    pub port: u16,
    /// Where the proxy leaves the fingerprint of its key.
    pub fingerprint_file: PathBuf,
}

impl SshConfig {
    /// None: no proxy has been there yet.
    pub(super) fn fingerprint(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.fingerprint_file).ok()?;
        Some(text.trim().to_string()).filter(|text| !text.is_empty())
    }
}

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/internal/ssh/permits", post(permit))
        .route("/internal/ssh/entries", post(entry))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    code: String,
    process: String,
    index: Option<u32>,
    crashed: bool,
}

/// The code is what lets in; whoever has none gets the same answer whatever it asks for.
async fn permit(State(api): State<Api>, Body(login): Body<Login>) -> Answer {
    let target = Target {
        process: login.process,
        index: login.index,
        crashed: login.crashed,
    };
    match api.ops.ssh_permit(&login.code, &target).await {
        Ok(permit) => Ok(ok(json!({"permit": permit}))),
        Err(Denied::BadCredentials | Denied::InvalidGrant(_)) => Err(Refusal::InvalidToken),
        Err(Denied::Refused(refusal)) => Err(refusal),
    }
}

async fn entry(State(api): State<Api>, headers: HeaderMap) -> Answer {
    let permit = bearer(&headers).ok_or(Refusal::NotAuthenticated)?;
    let entry = api.ops.ssh_entry(permit).await?;
    Ok(ok(
        json!({"address": entry.address, "ticket": entry.ticket}),
    ))
}
