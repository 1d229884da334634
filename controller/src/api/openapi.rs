//! The description of this API (OpenAPI 3.1), for tools that generate clients. It is a committed file
//! that a test writes and holds to the routes (`tests/openapi`), so that no daemon has to put it together.

use super::Api;
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;

/// `docs/openapi.json`
pub const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

pub fn routes() -> Router<Api> {
    Router::new().route("/yard/v1/openapi.json", get(show))
}

async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
