//! `/v3/domains`, and the domains of an organization.

use super::extract::{Asked, Body, Caller};
use super::organizations::{Guid, MaybeOne, MetadataChange};
use super::{Answer, Api, accepted_job, created, ok};
use crate::domain::route_terms::HTTP;
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::store::domains::Domain;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{DomainRelationships, GuidRef, Link, Metadata, RouteReservation, ToMany, ToOne};
use proto::ports::Transport;
use serde::Deserialize;
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/domains", get(list).post(create))
        .route("/v3/domains/{guid}", get(show).delete(remove))
        .route("/v3/domains/{guid}/route_reservations", get(reservations))
        .route(
            "/v3/organizations/{guid}/domains",
            get(list_of_organization),
        )
        .route(
            "/v3/organizations/{guid}/domains/default",
            get(default_of_organization),
        )
}

pub(super) fn present(api: &Api, row: Domain) -> proto::api::Domain {
    let own = format!("{}/v3/domains/{}", api.ops.public_url, row.guid);
    let protocol = row.transport().map_or(HTTP, Transport::name);
    proto::api::Domain {
        links: BTreeMap::from([
            ("self".to_string(), Link::to(own.clone())),
            (
                "route_reservations".to_string(),
                Link::to(format!("{own}/route_reservations")),
            ),
        ]),
        guid: row.guid,
        name: row.name,
        internal: row.internal,
        router_group: row.router_group_guid.map(|guid| GuidRef { guid }),
        supported_protocols: vec![protocol.to_string()],
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata::default(),
        relationships: DomainRelationships {
            organization: row.organization_guid.map(ToOne::new).unwrap_or_default(),
            shared_organizations: ToMany::default(),
        },
    }
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let listing = api.ops.list_domains(&actor, None, &asked.query).await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn list_of_organization(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    asked: Asked,
) -> Answer {
    let listing = api
        .ops
        .list_domains(&actor, Some(&guid), &asked.query)
        .await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn default_of_organization(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    Ok(ok(present(
        &api,
        api.ops.default_domain(&actor, &guid).await?,
    )))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.domain(&actor, &guid).await?)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    internal: Option<bool>,
    router_group: Option<Guid>,
    relationships: Option<Relationships>,
    metadata: Option<MetadataChange>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    organization: Option<MaybeOne>,
    shared_organizations: Option<Many>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Many {
    data: Vec<Guid>,
}

/// Refuses metadata where none is kept.
pub(super) fn no_metadata(metadata: Option<&MetadataChange>, noun: &str) -> Result<(), Refusal> {
    match metadata {
        Some(metadata) if !(metadata.labels.is_empty() && metadata.annotations.is_empty()) => {
            Refusal::unprocessable(format!(
                "Labels and annotations of {noun} are not supported"
            ))
        }
        _ => Ok(()),
    }
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(new): Body<New>) -> Answer {
    if new.internal == Some(true) && new.router_group.is_some() {
        return Refusal::unprocessable("Internal domains cannot be associated to a router group.");
    }
    if new.internal == Some(true) {
        return Refusal::unprocessable("Internal domains are not supported");
    }
    no_metadata(new.metadata.as_ref(), "domains")?;
    let relationships = new.relationships.unwrap_or_default();
    if relationships
        .shared_organizations
        .is_some_and(|shared| !shared.data.is_empty())
    {
        return Refusal::unprocessable(
            "Sharing a private domain with other organizations is not supported",
        );
    }
    let organization = relationships
        .organization
        .and_then(|owner| owner.data)
        .map(|owner| owner.guid);
    Ok(created(present(
        &api,
        api.ops
            .create_domain(
                &actor,
                &new.name,
                organization.as_deref(),
                new.router_group.as_ref().map(|group| group.guid.as_str()),
            )
            .await?,
    )))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_domain(&actor, &guid).await?;
    Ok(accepted_job(
        &api,
        &api.ops.record_job("domain.delete", None).await?,
    ))
}

/// Whether a route is taken, also by somebody the actor does not see.
async fn reservations(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    mut asked: Asked,
) -> Answer {
    let mut one = |name: &str| {
        asked
            .take(name)
            .and_then(|values| values.into_iter().next())
            .unwrap_or_default()
    };
    let (host, path, port) = (one("host"), one("path"), one("port"));
    if let Some(other) = asked.query.filters.keys().next() {
        return Err(Refusal::BadQuery(format!(
            "Unknown query parameter(s): '{other}'. Valid parameters are: 'host', 'path', 'port'"
        )));
    }
    api.ops.domain(&actor, &guid).await?;
    // (A text that is no port is none of a route.)
    let port: Option<u16> = match port.as_str() {
        "" => Some(0),
        port => port.parse().ok(),
    };
    let matching_route = match port {
        Some(port) => api.ops.route_exists(&guid, &host, &path, port).await?,
        None => false,
    };
    Ok(ok(RouteReservation { matching_route }))
}
