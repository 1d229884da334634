//! `/yard/v1/nodes`: the machines of the cluster and their roles.

use super::extract::{Body, Caller};
use super::{Answer, Api, config::cluster, ok};
use crate::ops::Refusal;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use proto::api::{NodeList, RoleChanges};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/yard/v1/nodes", get(list))
        .route("/yard/v1/nodes/{machine}", get(show))
        .route("/yard/v1/nodes/{machine}/roles", post(change))
}

async fn list(State(api): State<Api>, Caller(_): Caller) -> Answer {
    Ok(ok(NodeList {
        resources: api.ops.nodes(cluster(&api)?).await?,
    }))
}

async fn show(State(api): State<Api>, Caller(_): Caller, Path(machine): Path<String>) -> Answer {
    let nodes = api.ops.nodes(cluster(&api)?).await?;
    let node = nodes.into_iter().find(|node| node.machine == machine);
    Ok(ok(node.ok_or(Refusal::NotFound("Node"))?))
}

async fn change(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(machine): Path<String>,
    Body(changes): Body<RoleChanges>,
) -> Answer {
    // What cannot be right is told before anything is reached.
    let wishes = api.ops.check_roles(&actor, &changes)?;
    let store = cluster(&api)?;
    api.ops
        .change_roles(&actor, store, &machine, &wishes, changes.force)
        .await?;
    show(State(api), Caller(actor), Path(machine)).await
}
