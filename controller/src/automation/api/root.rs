//! The index: which version answers, and where its description is.

use super::{Answer, ok};
use crate::automation::Automation;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::json;

pub fn routes() -> Router<Automation> {
    Router::new().route("/", get(show))
}

async fn show(State(automation): State<Automation>) -> Answer {
    let url = &automation.public_url;
    Ok(ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "docs_url": format!("{url}/api/v1/openapi.json"),
    })))
}
