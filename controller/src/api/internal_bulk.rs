//! The bulk API (contract §2.4): the whole desired state in pages, for the health manager.
//!
//! `GET /bulk/apps?batch_size=N&bulk_token={"id":last}` with Basic authentication answers the
//! processes after `last`, in the order of their ids; a page without results is the end.
//! `GET /bulk/counts?model=user` answers how many there are.
//! `GET /bulk/crashes?since=<unix seconds>` is ours: what crashed since then, newest first.

use crate::runtime::{Runtime, crashes as recorded};
use crate::store::{StoreError, desired};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use http::{HeaderMap, StatusCode, header};
use proto::bus::health::{BulkCrashes, BulkPage, BulkToken};
use serde::Deserialize;
use sha2::Digest;
use std::collections::BTreeMap;

/// Rows of a page when the client does not say.
const DEFAULT_BATCH: i64 = 500;
const LARGEST_BATCH: i64 = 5000;

/// These addresses, for the address components use.
pub fn routes() -> Router<Runtime> {
    Router::new()
        .route("/bulk/apps", get(apps))
        .route("/bulk/counts", get(counts))
        .route("/bulk/crashes", get(crashes))
}

pub fn router(runtime: Runtime) -> Router {
    routes().with_state(runtime)
}

#[derive(Debug, Deserialize)]
struct AppsQuery {
    batch_size: Option<i64>,
    /// JSON: `{"id": 17}`, or `{}`.
    bulk_token: Option<String>,
}

async fn apps(
    State(runtime): State<Runtime>,
    headers: HeaderMap,
    Query(query): Query<AppsQuery>,
) -> Response {
    if !permitted(&runtime, &headers) {
        return unauthorized();
    }
    let Some(after) = token(query.bulk_token.as_deref()) else {
        return (
            StatusCode::BAD_REQUEST,
            "bulk_token is a JSON object like {\"id\":17}\n",
        )
            .into_response();
    };
    let limit = query
        .batch_size
        .unwrap_or(DEFAULT_BATCH)
        .clamp(1, LARGEST_BATCH);
    let page = async {
        let mut reader = runtime.store().read().await?;
        desired::page(&mut reader, after, limit).await
    };
    match page.await {
        Ok(rows) => {
            let last = rows.last().map_or(after, |row| row.id);
            let results: BTreeMap<_, _> = rows
                .iter()
                .map(|row| (row.id.to_string(), row.to_bulk()))
                .collect();
            Json(BulkPage {
                results,
                bulk_token: BulkToken { id: last },
            })
            .into_response()
        }
        Err(error) => unavailable(&error),
    }
}

#[derive(Debug, Deserialize)]
struct CountsQuery {
    model: Option<String>,
}

async fn counts(
    State(runtime): State<Runtime>,
    headers: HeaderMap,
    Query(query): Query<CountsQuery>,
) -> Response {
    if !permitted(&runtime, &headers) {
        return unauthorized();
    }
    if query.model.as_deref() != Some("user") {
        return (StatusCode::BAD_REQUEST, "only model=user is counted\n").into_response();
    }
    let users = async {
        let mut reader = runtime.store().read().await?;
        desired::users(&mut reader).await
    };
    match users.await {
        Ok(users) => Json(serde_json::json!({"counts": {"user": users}})).into_response(),
        Err(error) => unavailable(&error),
    }
}

#[derive(Debug, Deserialize)]
struct CrashesQuery {
    /// Unix seconds.
    since: i64,
}

async fn crashes(
    State(runtime): State<Runtime>,
    headers: HeaderMap,
    Query(query): Query<CrashesQuery>,
) -> Response {
    if !permitted(&runtime, &headers) {
        return unauthorized();
    }
    match recorded::recorded(runtime.store(), query.since.saturating_mul(1_000_000)).await {
        Ok(crashes) => Json(BulkCrashes { crashes }).into_response(),
        Err(error) => unavailable(&error),
    }
}

/// The id to go on after; an absent or empty token is the beginning.
fn token(text: Option<&str>) -> Option<i64> {
    #[derive(Deserialize)]
    struct Token {
        #[serde(default)]
        id: i64,
    }
    match text.map(str::trim) {
        None | Some("") => Some(0),
        Some(text) => serde_json::from_str::<Token>(text)
            .ok()
            .map(|token| token.id),
    }
}

fn permitted(runtime: &Runtime, headers: &HeaderMap) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| {
            base64::engine::general_purpose::STANDARD
                .decode(encoded.trim())
                .ok()
        });
    let Some(given) = given else { return false };
    let config = runtime.config();
    let expected = format!("{}:{}", config.bulk_user, config.bulk_password);
    // Digests are compared, so that the time taken tells nothing about the password.
    sha2::Sha256::digest(&given) == sha2::Sha256::digest(expected.as_bytes())
}

fn unauthorized() -> Response {
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, "Basic realm=\"bulk\"")],
        "",
    )
        .into_response()
}

fn unavailable(error: &StoreError) -> Response {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "the desired state could not be read"
    );
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "the desired state cannot be read now\n",
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test]
    fn a_token_is_an_object_with_an_id() {
        assert_eq!(token(None), Some(0));
        assert_eq!(token(Some("{}")), Some(0));
        assert_eq!(token(Some("{\"id\":17}")), Some(17));
        assert_eq!(token(Some("17")), None);
    }
}
