//! Bits that users get back: packages and droplets.

use super::Api;
use crate::ops::Refusal;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header;

/// The blob of this key, as a file of this name.
pub async fn send(
    api: &Api,
    key: &str,
    name: &str,
    gone: &'static str,
) -> Result<Response, Refusal> {
    let Some((size, stream)) = api.ops.blobs.get(key).await? else {
        return Err(Refusal::NotFound(gone));
    };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_string()),
        (header::CONTENT_LENGTH, size.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}
