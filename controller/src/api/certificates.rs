//! `/yard/v1/router/certificates`, and the answers to authorities that ask whether a domain leads here.

use super::extract::Caller;
use super::{Answer, Api, ok};
use crate::runtime::CHALLENGES;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use proto::api::RouterCertificates;

pub fn routes() -> Router<Api> {
    Router::new().route("/yard/v1/router/certificates", get(list))
}

async fn list(State(api): State<Api>, Caller(actor): Caller) -> Answer {
    let resources = api.ops.router_certificates(&actor).await?;
    Ok(ok(RouterCertificates { resources }))
}

/// What authorities ask, without a login (RFC 8555 §8.3).
pub fn challenges(api: Api) -> Router {
    Router::new()
        .route(&format!("{CHALLENGES}{{token}}"), get(answer))
        .with_state(api)
}

async fn answer(State(api): State<Api>, Path(token): Path<String>) -> Response {
    match (api.ops.live.challenge)(&token) {
        Some(answer) => {
            let kind = (header::CONTENT_TYPE, "application/octet-stream");
            ([kind], answer).into_response()
        }
        None => (StatusCode::NOT_FOUND, "nobody waits for this token\n").into_response(),
    }
}
