//! For the cluster's own components: blobs by signed URLs, and who may read a log.
//!
//! Agents hold no account: what they may get or put is in the URL they were given, with its
//! signature. The signature is all that protects a blob, so nothing of the query is looked at before it.

use super::errors::is_disk_full;
use super::extract::Caller;
use super::{Answer, Api, ok};
use crate::blobs::BlobError;
use crate::ops::{Refusal, now};
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{Method, StatusCode, header};
use serde::Deserialize;

pub fn routes() -> Router<Api> {
    // HEAD before GET: axum answers HEAD with GET otherwise, and would open the file for nothing.
    Router::new()
        .route(
            "/internal/blobs/{*key}",
            axum::routing::head(size_of_blob)
                .get(get_blob)
                .put(put_blob),
        )
        .route("/internal/log_access/{app_guid}", get(log_access))
}

#[derive(Debug, Deserialize)]
struct Signed {
    expires: i64,
    signature: String,
}

/// A query without a signature is answered like one with a wrong one.
type Signature = Result<Query<Signed>, QueryRejection>;

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}

fn is_permitted(api: &Api, method: &Method, key: &str, signed: &Signature) -> bool {
    signed.as_ref().is_ok_and(|Query(signed)| {
        api.ops.blobs.permits(
            method,
            key,
            signed.expires,
            &signed.signature,
            now().div_euclid(1_000_000),
        )
    })
}

const FORBIDDEN: &str = "the URL is not signed for this, or has expired\n";

async fn get_blob(State(api): State<Api>, Path(key): Path<String>, signed: Signature) -> Response {
    if !is_permitted(&api, &Method::GET, &key, &signed) {
        return plain(StatusCode::FORBIDDEN, FORBIDDEN);
    }
    match api.ops.blobs.get(&key).await {
        Ok(Some((size, stream))) => (
            [
                (header::CONTENT_TYPE, "application/octet-stream".to_string()),
                (header::CONTENT_LENGTH, size.to_string()),
            ],
            Body::from_stream(stream),
        )
            .into_response(),
        Ok(None) => plain(StatusCode::NOT_FOUND, "there is no such blob\n"),
        Err(error) => failed(&error),
    }
}

/// A URL that lets its holder read also lets it ask.
async fn size_of_blob(
    State(api): State<Api>,
    Path(key): Path<String>,
    signed: Signature,
) -> Response {
    if !is_permitted(&api, &Method::GET, &key, &signed) {
        return plain(StatusCode::FORBIDDEN, "");
    }
    match api.ops.blobs.size(&key).await {
        Ok(Some(size)) => {
            ([(header::CONTENT_LENGTH, size.to_string())], Body::empty()).into_response()
        }
        Ok(None) => plain(StatusCode::NOT_FOUND, ""),
        Err(error) => failed(&error),
    }
}

async fn put_blob(
    State(api): State<Api>,
    Path(key): Path<String>,
    signed: Signature,
    body: Body,
) -> Response {
    if !is_permitted(&api, &Method::PUT, &key, &signed) {
        return plain(StatusCode::FORBIDDEN, FORBIDDEN);
    }
    // What a staging sends was made on its disk: nothing larger can be genuine.
    let limit = api.ops.settings().size("staging/disk");
    match api
        .ops
        .blobs
        .put(&key, body.into_data_stream(), limit)
        .await
    {
        Ok(digests) => ok(serde_json::json!({
            "sha1": digests.sha1, "sha256": digests.sha256, "size_in_bytes": digests.size_bytes,
        })),
        Err(error) => failed(&error),
    }
}

fn failed(error: &BlobError) -> Response {
    let (status, text) = match error {
        BlobError::Key(_) => (StatusCode::NOT_FOUND, "this is no key of a blob\n"),
        BlobError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "the blob is too large\n"),
        BlobError::BrokenOff { .. } => (StatusCode::BAD_REQUEST, "the upload broke off\n"),
        BlobError::Store { .. } | BlobError::File { .. } if is_disk_full(error) => {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "a blob was refused: the disk of the blob store is full"
            );
            let text = "the disk of the blob store is full\n";
            (StatusCode::INSUFFICIENT_STORAGE, text)
        }
        BlobError::Store { .. } | BlobError::File { .. } => {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "a blob could not be moved"
            );
            (StatusCode::INTERNAL_SERVER_ERROR, "the blob store failed\n")
        }
    };
    plain(status, text)
}

/// 200 if the bearer of the token may read the log of an app, else 401 or 404.
async fn log_access(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Answer {
    match api.ops.check_log_access(&actor, &app).await {
        Ok(()) => Ok(ok(serde_json::json!({}))),
        // Whoever may not read it need not know that it is there.
        Err(Refusal::NotAuthorized) => Err(Refusal::NotFound("App")),
        Err(refusal) => Err(refusal),
    }
}
