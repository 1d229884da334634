//! `keys`: the datastore. A write or a deletion fires the triggers of the datastore.

use super::extract::{Body, Caller};
use super::listing::Asked;
use super::{Answer, no_content, ok};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::keys::{KeyWrite, KeysAsked, document};
use automation::datastore::{Scope, ScopeFilter};
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde::Deserialize;
use serde_json::Value;

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/keys", get(list))
        .route("/keys/{name}", get(show).put(write).delete(remove))
}

fn scope(asked: &Asked) -> Result<Scope, Fault> {
    Ok(asked.text("scope").unwrap_or("system").parse()?)
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let wanted = KeysAsked {
        scope: asked
            .text("scope")
            .unwrap_or("system")
            .parse::<ScopeFilter>()?,
        user: asked.text("user").map(str::to_string),
        prefix: asked.text("prefix").map(str::to_string),
        decrypt: asked.flag("decrypt")?.unwrap_or(false),
        limit: window.limit,
        offset: window.offset,
    };
    let rows = automation.list_keys(&caller, &wanted).await?;
    Ok(ok(rows.iter().map(document).collect::<Vec<_>>()))
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(name): Path<String>,
    asked: Asked,
) -> Answer {
    let decrypt = asked.flag("decrypt")?.unwrap_or(false);
    let row = automation
        .key_value(&caller, &name, scope(&asked)?, asked.text("user"), decrypt)
        .await?;
    Ok(ok(document(&row)))
}

#[derive(Debug, Deserialize)]
struct Written {
    name: Option<String>,
    value: Value,
    scope: Option<String>,
    user: Option<String>,
    #[serde(default)]
    secret: Option<bool>,
    #[serde(default)]
    encrypted: Option<bool>,
    ttl: Option<i64>,
}

async fn write(
    State(automation): State<Automation>,
    caller: Caller,
    Path(name): Path<String>,
    asked: Asked,
    Body(written): Body<Written>,
) -> Answer {
    if written.name.is_some_and(|other| other != name) {
        return Err(Fault::Invalid(format!(
            "The name in the body must be that of the address, \"{name}\"."
        )));
    }
    let Value::String(value) = written.value else {
        return Err(Fault::Invalid(
            "The value of a key is a text: encode lists, objects and numbers as JSON (st2 key set --convert does).".into(),
        ));
    };
    let wanted = written
        .scope
        .as_deref()
        .or(asked.text("scope"))
        .unwrap_or("system");
    let user = written
        .user
        .as_deref()
        .filter(|user| !user.is_empty())
        .or(asked.text("user"));
    let row = automation
        .write_key(
            &caller,
            &name,
            wanted.parse()?,
            user,
            &KeyWrite {
                value,
                secret: written.secret.unwrap_or(false),
                encrypted: written.encrypted.unwrap_or(false),
                ttl: written.ttl,
            },
        )
        .await?;
    Ok(ok(document(&row)))
}

async fn remove(
    State(automation): State<Automation>,
    caller: Caller,
    Path(name): Path<String>,
    asked: Asked,
) -> Answer {
    automation
        .delete_key(&caller, &name, scope(&asked)?, asked.text("user"))
        .await?;
    Ok(no_content())
}
