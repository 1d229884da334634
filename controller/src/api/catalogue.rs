//! What the platform offers and cannot be changed by its users: feature flags, stacks;
//! and the lists that clients read on their way and that are always empty here.
//!
//! Clients ask for plans of services or security groups in the middle of other work and fail if the
//! address is not there. Reading them is honest (there are none); making one is refused by name.

use super::extract::{Asked, Caller};
use super::{Answer, Api, ok};
use crate::ops::list::Listing;
use crate::ops::{Refusal, STACKS, guid_of};
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json};

pub fn routes() -> Router<Api> {
    let mut router = Router::new()
        .route("/v3/feature_flags", get(list_flags))
        .route(
            "/v3/feature_flags/{name}",
            get(show_flag).patch(change_flag),
        )
        .route("/v3/stacks", get(list_stacks).post(refuse_stack))
        .route("/v3/stacks/{guid}", get(show_stack).patch(refuse_change))
        .route("/v3/processes/{guid}/sidecars", get(sidecars_of_process))
        .route("/v3/apps/{guid}/sidecars", get(sidecars_of_app));
    for (path, one, what) in ABSENT {
        router = router.route(path, absent(what)).route(
            &format!("{path}/{{guid}}"),
            get(move || async move { Refusal::NotFound(one) }),
        );
    }
    router
}

/// Address, one of them, and why none can be made.
const ABSENT: &[(&str, &str, &str)] = &[
    (
        "/v3/service_offerings",
        "Service offering",
        "Services of brokers",
    ),
    ("/v3/service_plans", "Service plan", "Services of brokers"),
    ("/v3/service_brokers", "Service broker", "Service brokers"),
    ("/v3/security_groups", "Security group", "Security groups"),
    (
        "/v3/isolation_segments",
        "Isolation segment",
        "Isolation segments",
    ),
];

fn absent(what: &'static str) -> MethodRouter<Api> {
    get(empty_list).post(move |_: Caller| async move { refuse(what) })
}

/// Clients take 422 of some of these for "it exists already", and go on.
fn refuse(what: &str) -> Refusal {
    Refusal::BadRequest(format!("{what} are not supported by this platform"))
}

async fn sidecars_of_app(
    State(api): State<Api>,
    caller: Caller,
    Path(guid): Path<String>,
    asked: Asked,
) -> Answer {
    api.ops.app(&caller.0, &guid).await?;
    empty_list(caller, asked).await
}

async fn sidecars_of_process(
    State(api): State<Api>,
    caller: Caller,
    Path(guid): Path<String>,
    asked: Asked,
) -> Answer {
    api.ops.process(&caller.0, &guid).await?;
    empty_list(caller, asked).await
}

/// Whatever is asked of nothing, the answer is nothing.
async fn empty_list(_: Caller, asked: Asked) -> Answer {
    Ok(asked.page(
        Listing {
            rows: Vec::<Value>::new(),
            total: 0,
        },
        |row| row,
    ))
}

/// A page of a list that is known whole. `filters`: parameter and field of the documents.
fn page(asked: &Asked, mut all: Vec<Value>, filters: &[(&str, &str)], orders: &[&str]) -> Answer {
    for (parameter, values) in &asked.query.filters {
        let Some((_, field)) = filters.iter().find(|(known, _)| known == parameter) else {
            let valid: Vec<String> = filters
                .iter()
                .map(|(name, _)| format!("'{name}'"))
                .collect();
            return Err(Refusal::BadQuery(format!(
                "Unknown query parameter(s): '{parameter}'. Valid parameters are: {}",
                valid.join(", ")
            )));
        };
        all.retain(|one| {
            one[field]
                .as_str()
                .is_some_and(|value| values.iter().any(|wanted| wanted == value))
        });
    }
    if let Some(order) = asked.query.order_by.as_deref() {
        let name = order.trim_start_matches(['-', '+']);
        if !orders.contains(&name) {
            return Err(Refusal::BadQuery(format!(
                "Order by can only be: '{}'",
                orders.join("', '")
            )));
        }
        if name == "name" {
            all.sort_by_key(|one| one["name"].as_str().unwrap_or_default().to_string());
        }
        if order.starts_with('-') {
            all.reverse();
        }
    }
    let total = all.len() as u64;
    let (skip, take) = (
        asked.query.window.offset() as usize,
        asked.query.window.limit() as usize,
    );
    let rows: Vec<Value> = all.into_iter().skip(skip).take(take).collect();
    Ok(asked.page(Listing { rows, total }, |row| row))
}

/// Name, and whether what it stands for can be done. Nobody switches them: they say how it is.
const FLAGS: &[(&str, bool)] = &[
    ("app_bits_upload", true),
    ("app_scaling", true),
    ("diego_cnb", false),
    ("diego_docker", false),
    ("env_var_visibility", true),
    ("hide_marketplace_from_unauthenticated_users", true),
    ("private_domain_creation", true),
    ("resource_matching", true),
    ("route_creation", true),
    ("route_sharing", false),
    ("service_instance_creation", true),
    ("service_instance_sharing", false),
    ("set_roles_by_username", true),
    ("space_developer_env_var_visibility", true),
    ("space_scoped_private_broker_creation", false),
    ("task_creation", true),
    ("unset_roles_by_username", true),
    ("user_org_creation", false),
];

fn present_flag(api: &Api, name: &str, enabled: bool) -> Value {
    json!({
        "name": name, "enabled": enabled, "updated_at": null, "custom_error_message": null,
        "links": {"self": {"href": format!("{}/v3/feature_flags/{name}", api.ops.public_url)}},
    })
}

async fn list_flags(State(api): State<Api>, _: Caller, asked: Asked) -> Answer {
    let all = FLAGS
        .iter()
        .map(|(name, enabled)| present_flag(&api, name, *enabled))
        .collect();
    page(&asked, all, &[], &["name"])
}

async fn show_flag(State(api): State<Api>, _: Caller, Path(name): Path<String>) -> Answer {
    let (name, enabled) = FLAGS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or(Refusal::NotFound("Feature flag"))?;
    Ok(ok(present_flag(&api, name, *enabled)))
}

async fn change_flag(_: Caller, Path(name): Path<String>) -> Answer {
    FLAGS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or(Refusal::NotFound("Feature flag"))?;
    Refusal::unprocessable("Feature flags cannot be changed: they say what this platform can do")
}

fn stacks(api: &Api) -> Vec<Value> {
    let present = |name: &&str| {
        let guid = guid_of("stack", name);
        json!({
            "name": name, "description": "The operating system of the machines of this cluster, read-only",
            "default": *name == STACKS[0], "state": "ACTIVE", "state_reason": null,
            "metadata": {"labels": {}, "annotations": {}},
            "links": {"self": {"href": format!("{}/v3/stacks/{guid}", api.ops.public_url)}},
            "guid": guid,
        })
    };
    STACKS.iter().map(present).collect()
}

async fn list_stacks(State(api): State<Api>, _: Caller, asked: Asked) -> Answer {
    page(
        &asked,
        stacks(&api),
        &[("guids", "guid"), ("names", "name")],
        &["name"],
    )
}

async fn show_stack(State(api): State<Api>, _: Caller, Path(guid): Path<String>) -> Answer {
    let stack = stacks(&api)
        .into_iter()
        .find(|stack| stack["guid"] == guid.as_str());
    Ok(ok(stack.ok_or(Refusal::NotFound("Stack"))?))
}

async fn refuse_change(_: Caller) -> Answer {
    Refusal::unprocessable("A stack cannot be changed: it is the operating system of the machines")
}

async fn refuse_stack(_: Caller) -> Refusal {
    refuse("Stacks of one's own")
}
