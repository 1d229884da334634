//! The API of StackStorm (contract §1), on the host `st2.<domain>`: `/api/v1`, `/v1` and the bare
//! paths for the API, `/auth/v1` and `/tokens` for authentication, `/stream/v1` for events.
//!
//! A handler extracts ([`extract`]), calls one operation, and presents what it gives back. One file
//! per noun, each with its table of addresses, written without prefix: [`router`] serves every path
//! under all the prefixes that clients use.

pub mod actions;
pub mod aliases;
pub mod apikeys;
pub mod auth;
pub mod configs;
pub mod enforcements;
pub mod executions;
pub mod extract;
mod faults;
pub mod inquiries;
pub mod keys;
pub mod listing;
mod openapi;
mod origins;
pub mod pack_views;
pub mod packs;
pub mod policies;
pub mod resources;
pub mod roles;
mod root;
pub mod rules;
pub mod runnertypes;
pub mod sensortypes;
pub mod service_registry;
pub mod stream;
pub mod traces;
pub mod triggers;
pub mod users;
pub mod webhooks;
pub mod workflows;

use super::Automation;
use crate::automation::ops::{Fault, Permission};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use serde::Serialize;
use tower::ServiceExt as _;

/// Largest JSON body.
const LARGEST_DOCUMENT: usize = 8 << 20;

/// What a handler gives back.
pub type Answer = Result<Response, Fault>;

/// Every operation but authentication and the stream.
fn operations() -> Router<Automation> {
    Router::new()
        .merge(actions::routes())
        .merge(aliases::routes())
        .merge(apikeys::routes())
        .merge(configs::routes())
        .merge(enforcements::routes())
        .merge(executions::routes())
        .merge(inquiries::routes())
        .merge(keys::routes())
        .merge(openapi::routes())
        .merge(pack_views::routes())
        .merge(packs::routes())
        .merge(policies::routes())
        .merge(roles::routes())
        .merge(root::routes())
        .merge(rules::routes())
        .merge(runnertypes::routes())
        .merge(sensortypes::routes())
        .merge(service_registry::routes())
        .merge(traces::routes())
        .merge(triggers::routes())
        .merge(workflows::routes())
        .merge(users::routes())
        .merge(webhooks::routes())
}

/// The whole face. Each path is known under every prefix clients use for it.
pub fn router(automation: Automation) -> Router {
    let operations = operations().merge(stream::at_the_api());
    let routes = Router::new()
        .nest("/api/v1", operations.clone())
        .nest("/v1", operations.clone())
        .merge(operations)
        .nest("/auth/v1", auth::routes())
        .merge(auth::routes())
        .nest("/stream/v1", stream::routes());
    dressed(routes, automation)
}

/// The stream at a port of its own, where old clients look for it.
pub fn stream_router(automation: Automation) -> Router {
    let routes = Router::new()
        .nest("/v1", stream::routes())
        .nest("/stream/v1", stream::routes())
        .merge(stream::routes());
    dressed(routes, automation)
}

/// Routes as tests compare them with the description: without prefixes.
pub fn described() -> [(&'static str, Router<Automation>); 3] {
    [
        ("/api/v1", operations()),
        ("/auth/v1", auth::routes()),
        ("/stream/v1", stream::routes()),
    ]
}

/// What every answer has, whatever is asked for.
fn dressed(routes: Router<Automation>, automation: Automation) -> Router {
    let routes = routes
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(LARGEST_DOCUMENT))
        .layer(middleware::from_fn_with_state(
            automation.clone(),
            origins::allow,
        ))
        .layer(middleware::from_fn(common_headers))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(panicked))
        .with_state(automation);
    // Clients end some addresses with a slash: it is taken away before a route is looked for.
    Router::new().fallback(move |mut request: Request| {
        if let Some(uri) = without_slash(request.uri()) {
            *request.uri_mut() = uri;
        }
        routes.clone().oneshot(request)
    })
}

/// The same address without slashes at its end; None if it has none.
fn without_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/')?.trim_end_matches('/');
    let path = if path.is_empty() { "/" } else { path };
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_string(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text.parse().ok()?);
    Uri::from_parts(parts).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_at_the_end_are_taken_away() {
        for (address, expected) in [
            ("/v1/executions/?limit=5", Some("/v1/executions?limit=5")),
            ("/v1/executions", None),
            ("/", Some("/")),
            ("http://st2.x:1/keys//", Some("http://st2.x:1/keys")),
        ] {
            let uri: Uri = address.parse().unwrap();
            let found = without_slash(&uri).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{address}");
        }
    }
}
