//! `/v3/organization_quotas`, `/v3/space_quotas`, and what counts against them.

use super::extract::{Asked, Body, Caller};
use super::organizations::Guid;
use super::processes::nullable;
use super::spaces::One;
use super::{Answer, Api, accepted_job, created, no_content, ok};
use crate::domain::quotas::{self, Limit, Limits, Setting};
use crate::domain::times::rfc3339;
use crate::ops::quotas::{QuotaSettings, QuotaView};
use crate::store::quotas::{OrganizationQuota, SpaceQuota};
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use proto::api::{
    GuidRef, Link, Links, OrganizationQuotaRelationships, QuotaApps, QuotaDomains, QuotaRoutes,
    QuotaServices, SpaceQuotaRelationships, ToMany, ToOne, Usage, UsageSummary,
};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/organization_quotas", get(list).post(create))
        .route(
            "/v3/organization_quotas/{guid}",
            get(show).patch(update).delete(remove),
        )
        .route(
            "/v3/organization_quotas/{guid}/relationships/organizations",
            post(apply),
        )
        .route(
            "/v3/space_quotas",
            get(list_of_spaces).post(create_of_spaces),
        )
        .route(
            "/v3/space_quotas/{guid}",
            get(show_of_spaces)
                .patch(update_of_spaces)
                .delete(remove_of_spaces),
        )
        .route(
            "/v3/space_quotas/{guid}/relationships/spaces",
            post(apply_to_spaces),
        )
        .route(
            "/v3/space_quotas/{guid}/relationships/spaces/{space}",
            delete(take_from_space),
        )
        .route(
            "/v3/organizations/{guid}/usage_summary",
            get(organization_usage),
        )
        .route("/v3/spaces/{guid}/usage_summary", get(space_usage))
}

fn many(guids: Vec<String>) -> ToMany {
    ToMany {
        data: guids.into_iter().map(|guid| GuidRef { guid }).collect(),
    }
}

fn apps(limits: &Limits) -> QuotaApps {
    QuotaApps {
        total_memory_in_mb: limits.memory_mb,
        per_process_memory_in_mb: limits.process_memory_mb,
        total_instances: limits.instances,
        per_app_tasks: limits.tasks,
        log_rate_limit_in_bytes_per_second: None,
    }
}

fn services(limits: &Limits) -> QuotaServices {
    QuotaServices {
        paid_services_allowed: limits.paid_services_allowed,
        total_service_instances: limits.services,
        total_service_keys: limits.service_keys,
    }
}

fn routes_of(limits: &Limits) -> QuotaRoutes {
    QuotaRoutes {
        total_routes: limits.routes,
        total_reserved_ports: limits.reserved_ports,
    }
}

fn own_link(address: &str) -> Links {
    BTreeMap::from([("self".to_string(), Link::to(address))])
}

fn present(api: &Api, view: QuotaView<OrganizationQuota>) -> proto::api::OrganizationQuota {
    let row = view.quota;
    proto::api::OrganizationQuota {
        links: own_link(&format!(
            "{}/v3/organization_quotas/{}",
            api.ops.public_url, row.guid
        )),
        guid: row.guid,
        name: row.name,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        apps: apps(&row.limits),
        services: services(&row.limits),
        routes: routes_of(&row.limits),
        domains: QuotaDomains {
            total_domains: row.limits.domains,
        },
        relationships: OrganizationQuotaRelationships {
            organizations: many(view.holders),
        },
    }
}

fn present_of_spaces(api: &Api, view: QuotaView<SpaceQuota>) -> proto::api::SpaceQuota {
    let base = format!("{}/v3", api.ops.public_url);
    let row = view.quota;
    let mut links = own_link(&format!("{base}/space_quotas/{}", row.guid));
    links.insert(
        "organization".to_string(),
        Link::to(format!("{base}/organizations/{}", row.organization_guid)),
    );
    proto::api::SpaceQuota {
        links,
        guid: row.guid,
        name: row.name,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        apps: apps(&row.limits),
        services: services(&row.limits),
        routes: routes_of(&row.limits),
        relationships: SpaceQuotaRelationships {
            organization: ToOne::new(row.organization_guid),
            spaces: many(view.holders),
        },
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Apps {
    #[serde(deserialize_with = "nullable")]
    total_memory_in_mb: Option<Option<i64>>,
    #[serde(deserialize_with = "nullable")]
    per_process_memory_in_mb: Option<Option<i64>>,
    #[serde(deserialize_with = "nullable")]
    total_instances: Option<Option<i64>>,
    #[serde(deserialize_with = "nullable")]
    per_app_tasks: Option<Option<i64>>,
    #[serde(deserialize_with = "nullable")]
    log_rate_limit_in_bytes_per_second: Option<Option<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Services {
    paid_services_allowed: Option<bool>,
    #[serde(deserialize_with = "nullable")]
    total_service_instances: Option<Option<i64>>,
    #[serde(deserialize_with = "nullable")]
    total_service_keys: Option<Option<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Routes {
    #[serde(deserialize_with = "nullable")]
    total_routes: Option<Option<i64>>,
    #[serde(deserialize_with = "nullable")]
    total_reserved_ports: Option<Option<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Domains {
    #[serde(deserialize_with = "nullable")]
    total_domains: Option<Option<i64>>,
}

/// What a request sets, of either kind of quota.
#[derive(Debug, Default)]
struct Sections {
    apps: Apps,
    services: Services,
    routes: Routes,
    domains: Domains,
}

impl Sections {
    fn settings(self, name: Option<String>) -> QuotaSettings {
        let Sections {
            apps,
            services,
            routes,
            domains,
        } = self;
        let all = [
            (Setting::Limit(Limit::Memory), apps.total_memory_in_mb),
            (
                Setting::Limit(Limit::ProcessMemory),
                apps.per_process_memory_in_mb,
            ),
            (Setting::Limit(Limit::Instances), apps.total_instances),
            (Setting::Limit(Limit::Tasks), apps.per_app_tasks),
            (Setting::LogRate, apps.log_rate_limit_in_bytes_per_second),
            (
                Setting::Limit(Limit::Services),
                services.total_service_instances,
            ),
            (Setting::ServiceKeys, services.total_service_keys),
            (Setting::Limit(Limit::Routes), routes.total_routes),
            (
                Setting::Limit(Limit::ReservedPorts),
                routes.total_reserved_ports,
            ),
            (Setting::Limit(Limit::Domains), domains.total_domains),
        ];
        QuotaSettings {
            name,
            limits: all
                .into_iter()
                .filter_map(|(setting, given)| Some((setting, given?)))
                .collect(),
            paid_services_allowed: services.paid_services_allowed,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Many {
    data: Vec<Guid>,
}

impl Many {
    fn guids(self) -> Vec<String> {
        self.data.into_iter().map(|one| one.guid).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: Option<String>,
    apps: Option<Apps>,
    services: Option<Services>,
    routes: Option<Routes>,
    domains: Option<Domains>,
    relationships: Option<Holders>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holders {
    organizations: Option<Many>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<String>,
    apps: Option<Apps>,
    services: Option<Services>,
    routes: Option<Routes>,
    domains: Option<Domains>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOfSpaces {
    name: Option<String>,
    apps: Option<Apps>,
    services: Option<Services>,
    routes: Option<Routes>,
    relationships: Places,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Places {
    organization: One,
    spaces: Option<Many>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeOfSpaces {
    name: Option<String>,
    apps: Option<Apps>,
    services: Option<Services>,
    routes: Option<Routes>,
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let listing = api
        .ops
        .list_organization_quotas(&actor, &asked.query)
        .await?;
    Ok(asked.page(listing, |view| present(&api, view)))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    let view = api.ops.organization_quota(&actor, &guid).await?;
    Ok(ok(present(&api, view)))
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(new): Body<New>) -> Answer {
    let sections = Sections {
        apps: new.apps.unwrap_or_default(),
        services: new.services.unwrap_or_default(),
        routes: new.routes.unwrap_or_default(),
        domains: new.domains.unwrap_or_default(),
    };
    let organizations = new
        .relationships
        .and_then(|relationships| relationships.organizations)
        .map(Many::guids)
        .unwrap_or_default();
    let view = api
        .ops
        .create_organization_quota(&actor, &sections.settings(new.name), &organizations)
        .await?;
    Ok(created(present(&api, view)))
}

async fn update(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(change): Body<Change>,
) -> Answer {
    let sections = Sections {
        apps: change.apps.unwrap_or_default(),
        services: change.services.unwrap_or_default(),
        routes: change.routes.unwrap_or_default(),
        domains: change.domains.unwrap_or_default(),
    };
    let view = api
        .ops
        .update_organization_quota(&actor, &guid, &sections.settings(change.name))
        .await?;
    Ok(ok(present(&api, view)))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_organization_quota(&actor, &guid).await?;
    Ok(accepted_job(
        &api,
        &api.ops
            .record_job("organization_quota.delete", None)
            .await?,
    ))
}

async fn apply(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<Many>,
) -> Answer {
    let holders = api
        .ops
        .apply_organization_quota(&actor, &guid, &wanted.guids())
        .await?;
    let own = format!(
        "{}/v3/organization_quotas/{guid}/relationships/organizations",
        api.ops.public_url
    );
    Ok(ok(
        json!({"data": many(holders).data, "links": own_link(&own)}),
    ))
}

async fn list_of_spaces(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let listing = api.ops.list_space_quotas(&actor, &asked.query).await?;
    Ok(asked.page(listing, |view| present_of_spaces(&api, view)))
}

async fn show_of_spaces(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let view = api.ops.space_quota(&actor, &guid).await?;
    Ok(ok(present_of_spaces(&api, view)))
}

async fn create_of_spaces(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(new): Body<NewOfSpaces>,
) -> Answer {
    let sections = Sections {
        apps: new.apps.unwrap_or_default(),
        services: new.services.unwrap_or_default(),
        routes: new.routes.unwrap_or_default(),
        domains: Domains::default(),
    };
    let spaces = new
        .relationships
        .spaces
        .map(Many::guids)
        .unwrap_or_default();
    let organization = new.relationships.organization.data.guid;
    let view = api
        .ops
        .create_space_quota(&actor, &organization, &sections.settings(new.name), &spaces)
        .await?;
    Ok(created(present_of_spaces(&api, view)))
}

async fn update_of_spaces(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(change): Body<ChangeOfSpaces>,
) -> Answer {
    let sections = Sections {
        apps: change.apps.unwrap_or_default(),
        services: change.services.unwrap_or_default(),
        routes: change.routes.unwrap_or_default(),
        domains: Domains::default(),
    };
    let view = api
        .ops
        .update_space_quota(&actor, &guid, &sections.settings(change.name))
        .await?;
    Ok(ok(present_of_spaces(&api, view)))
}

async fn remove_of_spaces(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    api.ops.delete_space_quota(&actor, &guid).await?;
    Ok(accepted_job(
        &api,
        &api.ops.record_job("space_quota.delete", None).await?,
    ))
}

async fn apply_to_spaces(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    Body(wanted): Body<Many>,
) -> Answer {
    let holders = api
        .ops
        .apply_space_quota(&actor, &guid, &wanted.guids())
        .await?;
    let own = format!(
        "{}/v3/space_quotas/{guid}/relationships/spaces",
        api.ops.public_url
    );
    Ok(ok(
        json!({"data": many(holders).data, "links": own_link(&own)}),
    ))
}

async fn take_from_space(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path((guid, space)): Path<(String, String)>,
) -> Answer {
    api.ops.remove_space_quota(&actor, &guid, &space).await?;
    Ok(no_content())
}

/// `place`: what it is called, alone and in paths.
fn summary(api: &Api, place: (&str, &str), guid: &str, usage: quotas::Usage) -> UsageSummary {
    let (noun, nouns) = place;
    let own = format!("{}/v3/{nouns}/{guid}", api.ops.public_url);
    let mut links = own_link(&format!("{own}/usage_summary"));
    links.insert(noun.to_string(), Link::to(own));
    UsageSummary {
        usage_summary: Usage {
            started_instances: usage.instances,
            memory_in_mb: usage.memory_mb,
            routes: usage.routes,
            domains: usage.domains,
            per_app_tasks: usage.tasks,
            service_instances: usage.services,
            reserved_ports: usage.reserved_ports,
            // There are none of these.
            service_keys: 0,
        },
        links,
    }
}

async fn organization_usage(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let usage = api.ops.organization_usage(&actor, &guid).await?;
    let place = ("organization", "organizations");
    Ok(ok(summary(&api, place, &guid, usage)))
}

async fn space_usage(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let usage = api.ops.space_usage(&actor, &guid).await?;
    Ok(ok(summary(&api, ("space", "spaces"), &guid, usage)))
}
