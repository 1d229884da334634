//! `/v3/users`. Accounts are made and given passwords by the token endpoints ([`super::uaa`]): both
//! faces show the same row.

use super::extract::{Asked, Body, Caller};
use super::{Answer, Api, accepted_job, created, ok};
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::list::ListQuery;
use crate::ops::tokens::ORIGIN;
use crate::store::users::User;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{Link, Metadata};
use serde::Deserialize;
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/users", get(list).post(create))
        .route("/v3/users/{guid}", get(show).delete(remove))
}

pub(super) fn present(api: &Api, row: User) -> proto::api::User {
    proto::api::User {
        links: BTreeMap::from([(
            "self".to_string(),
            Link::to(format!("{}/v3/users/{}", api.ops.public_url, row.guid)),
        )]),
        guid: row.guid,
        presentation_name: row.username.clone(),
        username: Some(row.username),
        origin: Some(row.origin),
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata::default(),
    }
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let listing = api.ops.list_users(&actor, &asked.query).await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.user(&actor, &guid).await?)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    guid: Option<String>,
    username: Option<String>,
    origin: Option<String>,
}

/// Clients introduce to the platform the account they have just made with the token endpoints. Here
/// that is the same row: it is found rather than made, as often as they like.
async fn create(State(api): State<Api>, Caller(actor): Caller, Body(new): Body<New>) -> Answer {
    if !actor.is_admin {
        return Err(Refusal::NotAuthorized);
    }
    let unknown = |who: &str| {
        Refusal::Unprocessable(format!(
            "There is no account '{who}': make it with POST /Users first, which sets its password"
        ))
    };
    let user = match (new.guid, new.username) {
        (Some(guid), None) => {
            api.ops
                .user(&actor, &guid)
                .await
                .map_err(|refusal| match refusal {
                    Refusal::NotFound(_) => unknown(&guid),
                    refusal => refusal,
                })?
        }
        (None, Some(username)) => {
            let origin = new.origin.as_deref().unwrap_or(ORIGIN);
            let query = ListQuery::all()
                .with("usernames", &[&username])
                .with("origins", &[origin]);
            api.ops
                .list_users(&actor, &query)
                .await?
                .rows
                .pop()
                .ok_or_else(|| unknown(&username))?
        }
        _ => return Refusal::unprocessable("Either 'guid' or 'username' is needed"),
    };
    Ok(created(present(&api, user)))
}

async fn remove(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    api.ops.delete_user(&actor, &guid).await?;
    Ok(accepted_job(
        &api,
        &api.ops.record_job("user.delete", None).await?,
    ))
}
