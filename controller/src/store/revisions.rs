//! Revisions: what an app ran with, each time that changed.

use super::query::Filter;
use super::{Json, StoreError, row};
use crate::store::sql::{Connection, query};
use std::collections::BTreeMap;

row! {
    pub struct Revision in "revisions", key guid, versioned {
        guid: String,
        app_guid: String,
        /// Counted per app, from 1.
        number: i64,
        droplet_guid: String,
        /// The app's own variables.
        environment: Json<BTreeMap<String, String>>,
        /// The user's start commands by type of process; None: the droplet's.
        commands: Json<BTreeMap<String, Option<String>>>,
        description: String,
        labels: Json<BTreeMap<String, String>>,
        annotations: Json<BTreeMap<String, String>>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// How many revisions of an app are kept.
const KEPT: i64 = 100;

pub async fn newest(
    connection: &mut Connection,
    app: &str,
) -> Result<Option<Revision>, StoreError> {
    let filter = Filter::new()
        .equals("app_guid", app)
        .order("number", true)
        .window(1, 0);
    let found = Revision::fetch(connection, filter, "find the newest revision of an app").await?;
    Ok(found.into_iter().next())
}

/// Removes those that are too many, unless a process runs one.
pub async fn forget(connection: &mut Connection, app: &str, newest: i64) -> Result<(), StoreError> {
    query(
        "DELETE FROM revisions WHERE app_guid = $1 AND number <= $2 AND guid NOT IN \
         (SELECT revision_guid FROM processes WHERE revision_guid IS NOT NULL)",
    )
    .bind(app.to_string())
    .bind(newest - KEPT)
    .execute(connection)
    .await
    .map_err(StoreError::during("forget old revisions"))?;
    Ok(())
}
