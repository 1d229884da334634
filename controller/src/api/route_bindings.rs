//! `/v3/service_route_bindings`: which routes have their requests go to which services first.

use super::extract::{Asked, Body, Caller};
use super::organizations::{MetadataChange, OnlyMetadata};
use super::service_instances::{self, last_operation};
use super::spaces::{One, included, these, with_included};
use super::{Answer, Api, created, no_content, ok};
use crate::domain::access::Actor;
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::route_bindings::NewRouteBinding;
use crate::store::route_bindings::RouteBinding;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{
    Included, Link, Metadata, ServiceRouteBinding, ServiceRouteBindingRelationships, ToOne,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/service_route_bindings", get(list).post(create))
        .route(
            "/v3/service_route_bindings/{guid}",
            get(show).patch(update).delete(remove),
        )
        .route(
            "/v3/service_route_bindings/{guid}/parameters",
            get(parameters),
        )
}

fn present(api: &Api, row: RouteBinding, url: Option<String>) -> ServiceRouteBinding {
    let base = format!("{}/v3", api.ops.public_url);
    let own = format!("{base}/service_route_bindings/{}", row.guid);
    let instance = format!("{base}/service_instances/{}", row.service_instance_guid);
    ServiceRouteBinding {
        links: BTreeMap::from([
            ("self".to_string(), Link::to(own)),
            ("service_instance".to_string(), Link::to(instance)),
            (
                "route".to_string(),
                Link::to(format!("{base}/routes/{}", row.route_guid)),
            ),
        ]),
        last_operation: last_operation(row.created_at, row.updated_at, row.row_version),
        guid: row.guid,
        route_service_url: url,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata {
            labels: row.labels.0,
            annotations: row.annotations.0,
        },
        relationships: ServiceRouteBindingRelationships {
            route: ToOne::new(row.route_guid),
            service_instance: ToOne::new(row.service_instance_guid),
        },
    }
}

const INCLUDES: &[&str] = &["route", "service_instance"];

/// Addresses by service.
type Urls = BTreeMap<String, Option<String>>;

/// What is asked for besides, and the addresses.
async fn besides(
    api: &Api,
    actor: &Actor,
    include: &[String],
    rows: &[RouteBinding],
) -> Result<(Option<Included>, Urls), Refusal> {
    // Each names the address of its own.
    let services = rows.iter().map(|row| row.service_instance_guid.clone());
    let services = service_instances::named(api, actor, services).await?;
    let urls = services
        .iter()
        .map(|service| (service.guid.clone(), service.route_service_url.clone()))
        .collect();
    if include.is_empty() {
        return Ok((None, urls));
    }
    let wants = |name: &str| include.iter().any(|wanted| wanted == name);
    let mut found = Included::default();
    if wants("service_instance") {
        found.service_instances = services
            .into_iter()
            .map(|row| service_instances::present(api, row))
            .collect();
    }
    if wants("route") {
        let guids: BTreeSet<String> = rows.iter().map(|row| row.route_guid.clone()).collect();
        let routes = api.ops.list_routes(actor, None, &these(&guids)).await?.rows;
        found.routes = routes
            .into_iter()
            .map(|view| super::routes::present(api, view))
            .collect();
    }
    Ok((Some(found), urls))
}

async fn list(State(api): State<Api>, Caller(actor): Caller, mut asked: Asked) -> Answer {
    let include = included(&mut asked, INCLUDES)?;
    let listing = api.ops.list_route_bindings(&actor, &asked.query).await?;
    let (found, urls) = besides(&api, &actor, &include, &listing.rows).await?;
    let mut page = asked.document(listing, |row| {
        let url = urls.get(&row.service_instance_guid).cloned().flatten();
        present(&api, row, url)
    });
    page.included = found;
    Ok(ok(page))
}

async fn shown(
    api: &Api,
    actor: &Actor,
    include: &[String],
    row: RouteBinding,
) -> Result<(ServiceRouteBinding, Option<Included>), Refusal> {
    let (found, mut urls) = besides(api, actor, include, std::slice::from_ref(&row)).await?;
    let url = urls.remove(&row.service_instance_guid).flatten();
    Ok((present(api, row, url), found))
}

async fn show(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    mut asked: Asked,
) -> Answer {
    let include = included(&mut asked, INCLUDES)?;
    let row = api.ops.route_binding(&actor, &guid).await?;
    let (shown, found) = shown(&api, &actor, &include, row).await?;
    with_included(shown, found)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    parameters: Option<Map<String, Value>>,
    metadata: Option<MetadataChange>,
    relationships: Relationships,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    service_instance: One,
    route: One,
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(wanted): Body<New>) -> Answer {
    if wanted
        .parameters
        .is_some_and(|parameters| !parameters.is_empty())
    {
        return Refusal::unprocessable(
            "Binding parameters are not supported for user-provided service instances",
        );
    }
    let metadata = wanted.metadata.unwrap_or_default();
    let wanted = NewRouteBinding {
        route: wanted.relationships.route.data.guid,
        instance: wanted.relationships.service_instance.data.guid,
        labels: metadata.labels,
        annotations: metadata.annotations,
    };
    let row = api.ops.create_route_binding(&actor, &wanted).await?;
    Ok(created(shown(&api, &actor, &[], row).await?.0))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<OnlyMetadata>,
) -> Answer {
    let metadata = wanted.metadata.unwrap_or_default();
    let row = api
        .ops
        .update_route_binding(&actor, &guid, &metadata.labels, &metadata.annotations)
        .await?;
    Ok(ok(shown(&api, &actor, &[], row).await?.0))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_route_binding(&actor, &guid).await?;
    Ok(no_content())
}

async fn parameters(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    api.ops.route_binding(&actor, &guid).await?;
    Err(Refusal::BadRequest(
        "This service does not support fetching route bindings parameters.".into(),
    ))
}
