//! The public API over HTTP, shaped as Cloud Foundry's v3, with the token endpoints beside it and
//! `/yard/v1` for what Cloud Foundry has no word for.
//!
//! A handler extracts ([`extract`]), calls one operation, and presents what it gives back: it
//! decides nothing. One file per noun, each with the table of its addresses and the document of its
//! rows; how a refusal is told stands in one table ([`errors`]). The hosts `api.`, `uaa.` and `login.`
//! are served by the same routes: their paths do not collide. `st2.` has routes of its own
//! ([`hosts`]).

pub mod admin_commands;
pub mod announce;
pub mod apps;
pub mod audit_events;
pub mod buildpacks;
pub mod builds;
pub mod catalogue;
pub mod certificates;
pub mod config;
pub mod deployments;
pub mod domains;
pub mod downloads;
pub mod droplets;
pub(crate) mod errors;
pub mod extract;
pub mod hosts;
pub mod internal;
pub mod internal_bulk;
pub mod jobs;
pub mod manifest;
pub mod nodes;
pub mod openapi;
pub mod organizations;
pub mod packages;
pub mod processes;
pub mod quotas;
pub mod resource_matches;
pub mod revisions;
pub mod roles;
pub mod root;
pub mod route_bindings;
pub mod router_groups;
pub mod routers;
pub mod routes;
pub mod service_bindings;
pub mod service_instances;
pub mod spaces;
pub mod ssh;
pub mod tasks;
pub mod uaa;
mod uploads;
pub mod users;
pub mod variable_groups;
pub mod why;
pub mod yard;

use crate::ops::{Ops, Refusal};
use crate::store::jobs::Job;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use std::sync::Arc;

/// Largest JSON or YAML body; uploads have their own bound.
const LARGEST_DOCUMENT: usize = 8 << 20;

/// What handlers work with.
#[derive(Clone)]
pub struct Api {
    pub ops: Ops,
    /// None: an API without a cluster behind it; what needs one is refused.
    pub cluster: Option<daemon::Cluster>,
    pub domain: Arc<str>,
    /// None: there is no SSH proxy.
    pub ssh: Option<Arc<ssh::SshConfig>>,
}

/// What a handler gives back.
pub type Answer = Result<Response, Refusal>;

/// Every address of the API.
pub fn routes() -> Router<Api> {
    Router::new()
        .merge(root::routes())
        .merge(apps::routes())
        .merge(processes::routes())
        .merge(packages::routes())
        .merge(resource_matches::routes())
        .merge(builds::routes())
        .merge(droplets::routes())
        .merge(deployments::routes())
        .merge(revisions::routes())
        .merge(jobs::routes())
        .merge(tasks::routes())
        .merge(manifest::routes())
        .merge(organizations::routes())
        .merge(spaces::routes())
        .merge(quotas::routes())
        .merge(users::routes())
        .merge(roles::routes())
        .merge(domains::routes())
        .merge(routes::routes())
        .merge(routers::routes())
        .merge(certificates::routes())
        .merge(router_groups::routes())
        .merge(service_instances::routes())
        .merge(service_bindings::routes())
        .merge(route_bindings::routes())
        .merge(audit_events::routes())
        .merge(buildpacks::routes())
        .merge(catalogue::routes())
        .merge(variable_groups::routes())
        .merge(uaa::routes())
        .merge(config::routes())
        .merge(admin_commands::routes())
        .merge(why::routes())
        .merge(yard::routes())
        .merge(nodes::routes())
        .merge(openapi::routes())
        .merge(internal::routes())
        .merge(ssh::routes())
}

/// The API, with answers for what it does not know.
pub fn router(api: Api) -> Router {
    routes()
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(LARGEST_DOCUMENT))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(panicked))
        .with_state(api)
}

async fn unknown() -> Refusal {
    Refusal::UnknownRequest
}

/// A program error in one request ends this request only.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Refusal::Internal {
        operation: "answering the request",
        source: "the handler panicked".into(),
    }
    .into_response()
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
pub fn accepted_document<T: Serialize>(document: T) -> Response {
    (StatusCode::ACCEPTED, axum::Json(document)).into_response()
}

/// 204
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 202 with the address of a job.
pub fn accepted_job(api: &Api, job: &Job) -> Response {
    accepted_job_with(api, job, serde_json::json!({}))
}

/// The same with a document.
pub fn accepted_job_with<T: Serialize>(api: &Api, job: &Job, document: T) -> Response {
    let mut response = accepted_document(document);
    let address = format!("{}/v3/jobs/{}", api.ops.public_url, job.guid);
    if let Ok(value) = HeaderValue::from_str(&address) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}
