//! `/v3/resource_matches`

use super::extract::{Body, Caller};
use super::{Answer, Api, created};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use proto::api::{Resource, ResourceMatches};

pub fn routes() -> Router<Api> {
    Router::new().route("/v3/resource_matches", post(create))
}

pub(super) fn present(resources: Vec<Resource>) -> ResourceMatches {
    ResourceMatches { resources }
}

async fn create(State(api): State<Api>, _: Caller, Body(asked): Body<ResourceMatches>) -> Answer {
    Ok(created(present(
        api.ops.match_resources(asked.resources).await?,
    )))
}
