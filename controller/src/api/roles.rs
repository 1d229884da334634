//! `/v3/roles`

use super::extract::{Asked, Body, Caller};
use super::spaces::{One, included};
use super::{Answer, Api, accepted_job, created, ok, users};
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::list::ListQuery;
use crate::ops::roles::Whom;
use crate::store::roles::Role;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{Included, Link, RoleRelationships, ToOne};
use serde::Deserialize;
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/roles", get(list).post(create))
        .route("/v3/roles/{guid}", get(show).delete(remove))
}

pub(super) fn present(api: &Api, row: Role) -> proto::api::Role {
    let base = format!("{}/v3", api.ops.public_url);
    let mut links = BTreeMap::from([
        (
            "self".to_string(),
            Link::to(format!("{base}/roles/{}", row.guid)),
        ),
        (
            "user".to_string(),
            Link::to(format!("{base}/users/{}", row.user_guid)),
        ),
    ]);
    if let Some(organization) = &row.organization_guid {
        links.insert(
            "organization".into(),
            Link::to(format!("{base}/organizations/{organization}")),
        );
    }
    if let Some(space) = &row.space_guid {
        links.insert("space".into(), Link::to(format!("{base}/spaces/{space}")));
    }
    proto::api::Role {
        guid: row.guid,
        kind: row.kind,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        relationships: RoleRelationships {
            user: ToOne::new(row.user_guid),
            organization: row.organization_guid.map(ToOne::new).unwrap_or_default(),
            space: row.space_guid.map(ToOne::new).unwrap_or_default(),
        },
        links,
    }
}

async fn list(State(api): State<Api>, Caller(actor): Caller, mut asked: Asked) -> Answer {
    let include = included(&mut asked, &["user"])?;
    let mut query = asked.query.clone();
    if !include.is_empty() {
        query = query.with("include", &["user"]);
    }
    let (listing, people) = api.ops.list_roles(&actor, &query).await?;
    let mut page = asked.document(listing, |row| present(&api, row));
    if !include.is_empty() {
        let users = people
            .into_iter()
            .map(|row| users::present(&api, row))
            .collect();
        page.included = Some(Included {
            users,
            ..Included::default()
        });
    }
    Ok(ok(page))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    let query = ListQuery::all().with("guids", &[&guid]);
    let role = api
        .ops
        .list_roles(&actor, &query)
        .await?
        .0
        .rows
        .pop()
        .ok_or(Refusal::NotFound("Role"))?;
    Ok(ok(present(&api, role)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    #[serde(rename = "type")]
    kind: String,
    relationships: Relationships,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    user: ToUser,
    organization: Option<One>,
    space: Option<One>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToUser {
    data: UserName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserName {
    guid: Option<String>,
    username: Option<String>,
    origin: Option<String>,
}

async fn create(State(api): State<Api>, Caller(actor): Caller, Body(new): Body<New>) -> Answer {
    let whom = match new.relationships.user.data {
        UserName {
            guid: Some(guid),
            username: None,
            origin: None,
        } => Whom::Guid(guid),
        UserName {
            guid: None,
            username: Some(username),
            origin,
        } => Whom::Name { username, origin },
        _ => {
            return Refusal::unprocessable(
                "relationships.user.data takes 'guid', or 'username' and perhaps 'origin'",
            );
        }
    };
    let guid = |place: &Option<One>| place.as_ref().map(|place| place.data.guid.clone());
    let (organization, space) = (
        guid(&new.relationships.organization),
        guid(&new.relationships.space),
    );
    let role = api
        .ops
        .create_role(
            &actor,
            &new.kind,
            &whom,
            organization.as_deref(),
            space.as_deref(),
        )
        .await?;
    Ok(created(present(&api, role)))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_role(&actor, &guid).await?;
    Ok(accepted_job(
        &api,
        &api.ops.record_job("role.delete", None).await?,
    ))
}
