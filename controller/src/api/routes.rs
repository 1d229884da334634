//! `/v3/routes` and their destinations, and the routes of an app and of a space.

use super::domains::no_metadata;
use super::extract::{Asked, Body, Caller};
use super::organizations::MetadataChange;
use super::spaces::{One, included, places};
use super::{Answer, Api, accepted_job, created, no_content, ok};
use crate::domain::access::Actor;
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::routes::{NewDestination, RouteView, Wanted};
use crate::store::routes;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, patch};
use proto::api::{
    DestinationApp, DestinationProcess, Destinations, Link, Metadata, RouteRelationships, ToOne,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/routes", get(list).post(create))
        .route("/v3/routes/{guid}", get(show).patch(update).delete(remove))
        .route(
            "/v3/routes/{guid}/destinations",
            get(destinations).post(insert).patch(replace),
        )
        .route(
            "/v3/routes/{guid}/destinations/{destination}",
            delete(unmap).merge(patch(update_destination)),
        )
        .route("/v3/routes/{guid}/relationships/space", patch(move_to))
        .route(
            "/v3/routes/{guid}/relationships/shared_spaces",
            get(shared_spaces).post(refuse_to_share),
        )
        .route(
            "/v3/routes/{guid}/relationships/shared_spaces/{space}",
            delete(refuse_to_share),
        )
        .route("/v3/apps/{guid}/routes", get(list_of_app))
        .route("/v3/spaces/{guid}/routes", delete(remove_unmapped))
}

pub(super) fn present(api: &Api, view: RouteView) -> proto::api::Route {
    let base = format!("{}/v3", api.ops.public_url);
    let url = view.url();
    let row = view.route;
    let own = format!("{base}/routes/{}", row.guid);
    proto::api::Route {
        links: BTreeMap::from([
            ("self".to_string(), Link::to(own.clone())),
            (
                "destinations".to_string(),
                Link::to(format!("{own}/destinations")),
            ),
            (
                "domain".to_string(),
                Link::to(format!("{base}/domains/{}", row.domain_guid)),
            ),
            (
                "space".to_string(),
                Link::to(format!("{base}/spaces/{}", row.space_guid)),
            ),
        ]),
        guid: row.guid,
        protocol: row.protocol,
        host: row.host,
        path: row.path,
        port: port(row.port),
        url,
        destinations: view
            .destinations
            .into_iter()
            .map(present_destination)
            .collect(),
        options: Value::Object(row.options.0),
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata::default(),
        relationships: RouteRelationships {
            space: ToOne::new(row.space_guid),
            domain: ToOne::new(row.domain_guid),
        },
    }
}

/// 0 stands for none.
fn port(port: i64) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn present_destination(row: routes::Destination) -> proto::api::Destination {
    let at = rfc3339(row.created_at);
    proto::api::Destination {
        guid: Some(row.guid),
        app: DestinationApp {
            guid: row.app_guid,
            process: Some(DestinationProcess {
                kind: row.process_type,
            }),
        },
        weight: None,
        port: Some(row.port.and_then(port).unwrap_or(8080)),
        protocol: Some(row.protocol),
        created_at: Some(at.clone()),
        updated_at: Some(at),
    }
}

fn present_destinations(api: &Api, view: RouteView) -> Destinations {
    let route = format!("{}/v3/routes/{}", api.ops.public_url, view.route.guid);
    Destinations {
        destinations: view
            .destinations
            .into_iter()
            .map(present_destination)
            .collect(),
        links: BTreeMap::from([
            (
                "self".to_string(),
                Link::to(format!("{route}/destinations")),
            ),
            ("route".to_string(), Link::to(route)),
        ]),
    }
}

async fn page(api: &Api, actor: &Actor, app: Option<&str>, mut asked: Asked) -> Answer {
    let include = included(&mut asked, &["space"])?;
    let listing = api.ops.list_routes(actor, app, &asked.query).await?;
    let guids: BTreeSet<String> = listing
        .rows
        .iter()
        .map(|view| view.route.space_guid.clone())
        .collect();
    let mut page = asked.document(listing, |view| present(api, view));
    page.included = places(api, actor, (!include.is_empty(), false), &guids).await?;
    Ok(ok(page))
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    page(&api, &actor, None, asked).await
}

async fn list_of_app(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    asked: Asked,
) -> Answer {
    page(&api, &actor, Some(&guid), asked).await
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.route(&actor, &guid).await?)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    host: Option<String>,
    path: Option<String>,
    port: Option<i64>,
    options: Option<Map<String, Value>>,
    metadata: Option<MetadataChange>,
    relationships: Relationships,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    space: One,
    domain: One,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    options: Option<Map<String, Value>>,
    metadata: Option<MetadataChange>,
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(new): Body<New>) -> Answer {
    let port = match new.port.map(u16::try_from) {
        None => None,
        Some(Ok(port)) => Some(port),
        Some(Err(_)) => {
            return Refusal::unprocessable(
                "Port must be greater than or equal to 0 and less than or equal to 65535",
            );
        }
    };
    no_metadata(new.metadata.as_ref(), "routes")?;
    let (host, path) = (new.host.unwrap_or_default(), new.path.unwrap_or_default());
    let (space, domain) = (
        new.relationships.space.data.guid,
        new.relationships.domain.data.guid,
    );
    let view = api
        .ops
        .create_route(
            &actor,
            &space,
            &domain,
            Wanted {
                host: &host,
                path: &path,
                port,
                options: new.options.as_ref(),
            },
        )
        .await?;
    Ok(created(present(&api, view)))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(change): Body<Change>,
) -> Answer {
    no_metadata(change.metadata.as_ref(), "routes")?;
    let view = match &change.options {
        Some(options) => api.ops.update_route(&actor, &guid, options).await?,
        None => api.ops.route(&actor, &guid).await?,
    };
    Ok(ok(present(&api, view)))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_route(&actor, &guid).await?;
    Ok(accepted_job(
        &api,
        &api.ops.record_job("route.delete", None).await?,
    ))
}

async fn remove_unmapped(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    mut asked: Asked,
) -> Answer {
    let unmapped = asked.take("unmapped").unwrap_or_default();
    if unmapped.first().map(String::as_str) != Some("true") {
        return Refusal::unprocessable(
            "Mass delete not supported for routes. Use 'unmapped=true' parameter to delete all unmapped routes.",
        );
    }
    api.ops.delete_unmapped_routes(&actor, &guid).await?;
    Ok(accepted_job(
        &api,
        &api.ops
            .record_job("space.delete_unmapped_routes", None)
            .await?,
    ))
}

async fn destinations(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    Ok(ok(present_destinations(
        &api,
        api.ops.route(&actor, &guid).await?,
    )))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDestinations {
    destinations: Vec<NewOne>,
    /// Sent back by those who change what they read.
    #[serde(rename = "links", default)]
    _links: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOne {
    app: ToApp,
    weight: Option<u32>,
    port: Option<u16>,
    protocol: Option<String>,
    #[serde(rename = "guid", default)]
    _guid: Value,
    #[serde(rename = "created_at", default)]
    _created_at: Value,
    #[serde(rename = "updated_at", default)]
    _updated_at: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToApp {
    guid: String,
    process: Option<OfType>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfType {
    #[serde(rename = "type")]
    kind: String,
}

async fn map(api: &Api, actor: &Actor, route: &str, new: NewDestinations, replace: bool) -> Answer {
    if new.destinations.iter().any(|one| one.weight.is_some()) {
        return Refusal::unprocessable("Destinations: weights are not supported");
    }
    let destinations: Vec<NewDestination> = new
        .destinations
        .into_iter()
        .map(|one| NewDestination {
            app: one.app.guid,
            process_type: one.app.process.map(|process| process.kind),
            port: one.port,
            protocol: one.protocol,
        })
        .collect();
    let view = api
        .ops
        .map_route(actor, route, &destinations, replace)
        .await?;
    Ok(ok(present_destinations(api, view)))
}

async fn insert(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(new): Body<NewDestinations>,
) -> Answer {
    map(&api, &actor, &guid, new, false).await
}

async fn replace(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(new): Body<NewDestinations>,
) -> Answer {
    map(&api, &actor, &guid, new, true).await
}

async fn unmap(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((guid, destination)): Path<(String, String)>,
) -> Answer {
    api.ops.unmap_route(&actor, &guid, &destination).await?;
    Ok(no_content())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationChange {
    protocol: Option<String>,
}

async fn update_destination(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((guid, destination)): Path<(String, String)>,
    Body(change): Body<DestinationChange>,
) -> Answer {
    let protocol = change.protocol.as_deref();
    let changed = api
        .ops
        .update_destination(&actor, &guid, &destination, protocol)
        .await?;
    Ok(ok(present_destination(changed)))
}

/// Not a route more, but another owner.
async fn move_to(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<One>,
) -> Answer {
    let moved = api.ops.move_route(&actor, &guid, &wanted.data.guid).await?;
    let route = format!("{}/v3/routes/{guid}", api.ops.public_url);
    Ok(ok(json!({
        "data": {"guid": moved.route.space_guid},
        "links": {"self": {"href": format!("{route}/relationships/space")}},
    })))
}

/// A route is in one space.
async fn shared_spaces(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let own = api.ops.route(&actor, &guid).await?.route.guid;
    let own = format!(
        "{}/v3/routes/{own}/relationships/shared_spaces",
        api.ops.public_url
    );
    Ok(ok(json!({"data": [], "links": {"self": {"href": own}}})))
}

async fn refuse_to_share(_: Caller) -> Refusal {
    Refusal::FeatureDisabled("route_sharing")
}
