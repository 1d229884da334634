//! The API of StackStorm (contract §1), on the host `st2.<domain>`: `/api/v1`, `/v1` and the bare
//! paths for the API, `/auth/v1` and `/tokens` for authentication, `/stream/v1` for events.
//!
//! A handler extracts ([`extract`]), calls one operation, and presents what it gives back. One file
//! per noun, each with its table of addresses, written without prefix: [`router`] serves every path
//! under all the prefixes that clients use.

pub mod apikeys;
pub mod auth;
pub mod enforcements;
pub mod extract;
mod faults;
pub mod keys;
pub mod listing;
pub mod resources;
pub mod rules;
pub mod traces;
pub mod triggers;
pub mod users;
pub mod webhooks;

use super::Automation;
use crate::automation::ops::{Fault, Permission};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

/// Largest JSON body.
const LARGEST_DOCUMENT: usize = 8 << 20;

/// What a handler gives back.
pub type Answer = Result<Response, Fault>;

/// Every operation but authentication and the stream.
fn operations() -> Router<Automation> {
    Router::new()
        .merge(apikeys::routes())
        .merge(enforcements::routes())
        .merge(keys::routes())
        .merge(rules::routes())
        .merge(traces::routes())
        .merge(triggers::routes())
        .merge(users::routes())
        .merge(webhooks::routes())
}

/// The whole face. Each path is known under every prefix clients use for it.
pub fn router(automation: Automation) -> Router {
    let operations = operations();
    Router::new()
        .nest("/api/v1", operations.clone())
        .nest("/v1", operations.clone())
        .merge(operations)
        .nest("/auth/v1", auth::routes())
        .merge(auth::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(LARGEST_DOCUMENT))
        .layer(middleware::from_fn(common_headers))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(panicked))
        .with_state(automation)
}

async fn unknown(request: Request) -> Fault {
    Fault::NotFound(format!(
        "The resource \"{}\" could not be found.",
        request.uri().path()
    ))
}

/// A program error in one request ends this request only.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Fault::Internal {
        operation: "answering the request",
        source: "the handler panicked".into(),
    }
    .into_response()
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The request's id, its own or a new one, on every answer.
async fn common_headers(request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(REQUEST_ID)
        .cloned()
        .or_else(|| HeaderValue::from_str(&crate::ops::new_guid()).ok());
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.headers_mut().insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Content-Type,X-Limit,X-Total-Count,X-Request-ID"),
    );
    response
}

/// 200 with a document.
pub fn ok<T: Serialize>(document: T) -> Response {
    axum::Json(document).into_response()
}

/// 201 with a document.
pub fn created<T: Serialize>(document: T) -> Response {
    (StatusCode::CREATED, axum::Json(document)).into_response()
}

/// 202 with a document.
pub fn accepted<T: Serialize>(document: T) -> Response {
    (StatusCode::ACCEPTED, axum::Json(document)).into_response()
}

/// 204
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Unix microseconds as every document shows them.
pub fn timestamp(micros: i64) -> String {
    crate::domain::times::rfc3339_micros(micros)
}

/// Whether secrets are to be shown in the clear: only an administrator may ask for it.
pub fn shows_secrets(caller: &extract::Caller, asked: &listing::Asked) -> Result<bool, Fault> {
    let wanted = asked.flag("show_secrets")?.unwrap_or(false);
    if wanted {
        caller.allow(Permission::Administer, "show_secrets")?;
    }
    Ok(wanted)
}
