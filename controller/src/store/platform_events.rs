//! What the platform tells rules: one fact each, in the transaction of what happened. Automation's
//! leader makes trigger instances of them, each once.

use super::StoreError;
use super::apps::App;
use super::facts::{self, Kind};
use super::organizations::Organization;
use super::spaces::Space;
use crate::store::sql::Connection;
use automation::triggers::yard::{AppPlace, Named, PlatformEvent};
use serde_json::{Value, json};

/// Tells it. Late in the transaction, like every fact; `object`: the guid of what it is about.
pub async fn tell(
    connection: &mut Connection,
    event: impl Into<PlatformEvent>,
    object: &str,
    now: i64,
) -> Result<(), StoreError> {
    let event = event.into();
    let payload = json!({"name": event.name(), "payload": event.payload()});
    facts::append(connection, Kind::PlatformEvent, object, payload, now).await?;
    Ok(())
}

/// The trigger and the payload of such a fact.
pub fn read(payload: &Value) -> Option<(String, Value)> {
    let name = payload.get("name")?.as_str()?;
    Some((format!("yard.{name}"), payload.get("payload")?.clone()))
}

/// An app with its space and organization; None while one of them is being deleted.
pub async fn place(connection: &mut Connection, app: &App) -> Result<Option<AppPlace>, StoreError> {
    let Some(space) = Space::find(connection, &app.space_guid).await? else {
        return Ok(None);
    };
    let Some(organization) = organization_of(connection, &space).await? else {
        return Ok(None);
    };
    Ok(Some(AppPlace {
        app: Named {
            guid: app.guid.clone(),
            name: app.name.clone(),
        },
        space: Named {
            guid: space.guid,
            name: space.name,
        },
        organization,
    }))
}

/// The organization of a space; None while it is being deleted.
pub async fn organization_of(
    connection: &mut Connection,
    space: &Space,
) -> Result<Option<Named>, StoreError> {
    let organization = Organization::find(connection, &space.organization_guid).await?;
    Ok(organization.map(|organization| Named {
        guid: organization.guid,
        name: organization.name,
    }))
}
