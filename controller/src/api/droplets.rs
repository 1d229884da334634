//! `/v3/droplets`, and the droplets of an app or a package.

use super::extract::{Asked, Caller};
use super::{Answer, Api, ok};
use crate::domain::times::rfc3339;
use crate::ops::droplets::{Of, SeenDroplet};
use crate::ops::{HIDDEN, HIDDEN_IN_LISTS};
use crate::store::droplets::Droplet;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{
    Checksum, DropletBuildpack, DropletRelationships, Lifecycle, Link, Metadata, ToOne,
};
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/droplets", get(list))
        .route("/v3/droplets/{guid}", get(show))
        .route("/v3/apps/{guid}/droplets", get(list_of_app))
        .route("/v3/apps/{guid}/droplets/current", get(current))
        .route("/v3/packages/{guid}/droplets", get(list_of_package))
}

pub(super) fn present(api: &Api, row: Droplet) -> proto::api::Droplet {
    let base = format!("{}/v3", api.ops.public_url);
    let app = format!("{base}/apps/{}", row.app_guid);
    let mut links = BTreeMap::from([
        (
            "self".to_string(),
            Link::to(format!("{base}/droplets/{}", row.guid)),
        ),
        (
            "assign_current_droplet".to_string(),
            Link {
                method: Some("PATCH".into()),
                ..Link::to(format!("{app}/relationships/current_droplet"))
            },
        ),
        ("app".to_string(), Link::to(app)),
    ]);
    if let Some(package) = &row.package_guid {
        links.insert(
            "package".to_string(),
            Link::to(format!("{base}/packages/{package}")),
        );
    }
    let buildpacks: Vec<DropletBuildpack> = row
        .buildpacks
        .0
        .into_iter()
        .map(|used| DropletBuildpack {
            buildpack_name: Some(used.name.clone()),
            name: used.name,
            detect_output: Some(used.detect_output).filter(|text| !text.is_empty()),
            version: Some(used.version).filter(|text| !text.is_empty()),
        })
        .collect();
    proto::api::Droplet {
        guid: row.guid,
        state: row.state,
        error: None,
        lifecycle: Lifecycle::buildpack(
            buildpacks.iter().map(|used| used.name.clone()).collect(),
            row.stack.clone(),
        ),
        execution_metadata: String::new(),
        process_types: row.process_types.0,
        checksum: Checksum {
            kind: "sha256".into(),
            value: Some(row.sha256),
        },
        buildpacks,
        stack: Some(row.stack),
        image: None,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata::default(),
        relationships: DropletRelationships {
            app: ToOne::new(row.app_guid),
        },
        links,
    }
}

/// Without the start commands, which may hold passwords.
fn hidden(mut document: proto::api::Droplet, instead: &str) -> proto::api::Droplet {
    document.execution_metadata = instead.to_string();
    document.process_types =
        BTreeMap::from([("redacted_message".to_string(), instead.to_string())]);
    document
}

fn present_one(api: &Api, seen: SeenDroplet) -> proto::api::Droplet {
    let document = present(api, seen.droplet);
    if seen.with_secrets {
        document
    } else {
        hidden(document, HIDDEN)
    }
}

async fn listed(api: &Api, caller: Caller, of: Of<'_>, asked: Asked) -> Answer {
    let listing = api.ops.list_droplets(&caller.0, of, &asked.query).await?;
    Ok(asked.page(listing, |row| hidden(present(api, row), HIDDEN_IN_LISTS)))
}

async fn list(State(api): State<Api>, caller: Caller, asked: Asked) -> Answer {
    listed(&api, caller, Of::Everything, asked).await
}

async fn list_of_app(
    State(api): State<Api>,
    caller: Caller,
    Path(app): Path<String>,
    asked: Asked,
) -> Answer {
    listed(&api, caller, Of::App(&app), asked).await
}

async fn list_of_package(
    State(api): State<Api>,
    caller: Caller,
    Path(package): Path<String>,
    asked: Asked,
) -> Answer {
    listed(&api, caller, Of::Package(&package), asked).await
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present_one(&api, api.ops.droplet(&actor, &guid).await?)))
}

async fn current(State(api): State<Api>, Caller(actor): Caller, Path(app): Path<String>) -> Answer {
    Ok(ok(present_one(
        &api,
        api.ops.current_droplet(&actor, &app).await?,
    )))
}
