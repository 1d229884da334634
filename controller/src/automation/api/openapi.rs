//! The description of this API (OpenAPI 3.1). It is a committed file that a test writes and holds to the
//! routes (`tests/openapi`).

use crate::automation::Automation;
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;

/// `docs/openapi-automation.json`
const DOCUMENT: &str = include_str!("../../../../docs/openapi-automation.json");

pub fn routes() -> Router<Automation> {
    Router::new().route("/openapi.json", get(show))
}

async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
