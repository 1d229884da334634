//! `apikeys`. The key itself is in the answer of its creation only.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::{Answer, created, no_content, ok};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::store::automation::api_keys::ApiKey;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

const MASK: &str = automation::documents::MASK;

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/apikeys", get(list).post(create))
        .route("/apikeys/{id_or_key}", get(show).put(update).delete(remove))
}

fn present(row: &ApiKey, show_hash: bool) -> Value {
    json!({
        "id": row.id,
        "uid": format!("api_key:{}", if show_hash { &row.key_hash } else { MASK }),
        "user": row.username,
        "key_hash": if show_hash { &row.key_hash } else { MASK },
        "metadata": row.metadata.0,
        "enabled": row.enabled,
        "created_at": super::timestamp(row.created_at),
    })
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let show = super::shows_secrets(&caller, &asked)?;
    let window = asked.window(caller.is_admin())?;
    let (rows, total) = automation
        .list_api_keys(&caller, asked.text("user"), window.limit, window.offset)
        .await?;
    let documents = rows.iter().map(|row| present(row, show)).collect();
    Ok(page(documents, total, window))
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id_or_key): Path<String>,
    asked: Asked,
) -> Answer {
    let show = super::shows_secrets(&caller, &asked)?;
    let row = automation.api_key(&caller, &id_or_key).await?;
    Ok(ok(present(&row, show)))
}

/// The whole document comes back on an update; what is derived is not looked at.
#[derive(Debug, Default, Deserialize)]
struct Written {
    user: Option<String>,
    metadata: Option<Value>,
    enabled: Option<bool>,
    key_hash: Option<String>,
}

async fn create(
    State(automation): State<Automation>,
    caller: Caller,
    Body(new): Body<Written>,
) -> Answer {
    if new.key_hash.is_some() {
        return Err(Fault::Invalid(
            "A key cannot be brought along: leave \"key_hash\" out and one is made.".into(),
        ));
    }
    let (row, key) = automation
        .create_api_key(
            &caller,
            new.user.as_deref(),
            new.metadata.unwrap_or_else(|| json!({})),
            new.enabled.unwrap_or(true),
        )
        .await?;
    let mut document = present(&row, false);
    document["key"] = json!(key);
    Ok(created(document))
}

async fn update(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id_or_key): Path<String>,
    Body(change): Body<Written>,
) -> Answer {
    let row = automation.api_key(&caller, &id_or_key).await?;
    let changes_hash = change
        .key_hash
        .is_some_and(|hash| hash != MASK && hash != row.key_hash);
    if changes_hash {
        return Err(Fault::Invalid(
            "Changing of key_hash is not supported.".into(),
        ));
    }
    if change.user.is_some_and(|user| user != row.username) {
        return Err(Fault::Invalid(
            "A key cannot be given to another user: create one for him.".into(),
        ));
    }
    let row = automation
        .update_api_key(&caller, &row.id, change.metadata, change.enabled)
        .await?;
    Ok(ok(present(&row, false)))
}

async fn remove(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id_or_key): Path<String>,
) -> Answer {
    automation.delete_api_key(&caller, &id_or_key).await?;
    Ok(no_content())
}
