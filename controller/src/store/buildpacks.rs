//! Buildpacks that every app may use, in the order of detection.

use super::query::Filter;
use super::{Json, StoreError, row};
use crate::store::sql::{Connection, query};
use proto::buildpacks::SHIPPED;
use std::collections::BTreeMap;

pub const AWAITING_UPLOAD: &str = "AWAITING_UPLOAD";
pub const READY: &str = "READY";

row! {
    pub struct Buildpack in "buildpacks", key guid, versioned {
        guid: String,
        name: String,
        /// None: any.
        stack: Option<String>,
        /// From 1.
        position: i64,
        /// Only these are used by stagings.
        enabled: bool,
        /// Its archive may not be replaced.
        locked: bool,
        /// It comes with the agents: there is no archive.
        shipped: bool,
        /// What the archive was called where it came from.
        filename: Option<String>,
        /// Of the archive: it is `buildpacks/<sha256>` in the blob store.
        sha256: Option<String>,
        labels: Json<BTreeMap<String, String>>,
        annotations: Json<BTreeMap<String, String>>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// Where an archive is in the blob store.
pub fn key(sha256: &str) -> String {
    format!("buildpacks/{sha256}")
}

impl Buildpack {
    /// A new one, in use and without an archive, that anybody may replace who may change buildpacks.
    pub fn new(guid: String, name: String, stack: Option<String>, position: i64, now: i64) -> Self {
        Buildpack {
            guid,
            name,
            stack,
            position,
            enabled: true,
            locked: false,
            shipped: false,
            filename: None,
            sha256: None,
            labels: Json::default(),
            annotations: Json::default(),
            created_at: now,
            updated_at: now,
            row_version: 1,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.shipped || self.sha256.is_some()
    }

    pub fn state(&self) -> &'static str {
        match self.is_ready() {
            true => READY,
            false => AWAITING_UPLOAD,
        }
    }
}

/// All, in the order of detection.
pub async fn in_order(connection: &mut Connection) -> Result<Vec<Buildpack>, StoreError> {
    let filter = Filter::new().order("position", false);
    Buildpack::fetch(connection, filter, "list buildpacks").await
}

/// Makes others who would change the order wait until this transaction ends: on PostgreSQL both could otherwise
/// give the same position away. Those that are shipped always have a row.
pub async fn lock_order(connection: &mut Connection) -> Result<(), StoreError> {
    query("UPDATE buildpacks SET position = position WHERE shipped = 1")
        .execute(connection)
        .await
        .map_err(StoreError::during("lock the order of buildpacks"))?;
    Ok(())
}

/// Gives each its place in the list, from 1.
pub async fn put_in_order(connection: &mut Connection, guids: &[String]) -> Result<(), StoreError> {
    for (place, guid) in (1_i64..).zip(guids) {
        query(
            "UPDATE buildpacks SET position = $1, row_version = row_version + 1 WHERE guid = $2 AND position <> $1",
        )
        .bind(place)
        .bind(guid.clone())
        .execute(&mut *connection)
        .await
        .map_err(StoreError::during("put buildpacks in order"))?;
    }
    Ok(())
}

/// Makes the rows of those that come with this version, after those that are there. `guid` names one.
pub async fn make_shipped(
    connection: &mut Connection,
    stack: &str,
    guid: fn(&str) -> String,
    now: i64,
) -> Result<(), StoreError> {
    let present = in_order(connection).await?;
    let missing = SHIPPED
        .iter()
        .filter(|name| !present.iter().any(|one| one.name == **name));
    let first = present.last().map_or(1, |last| last.position + 1);
    let rows: Vec<Buildpack> = (first..)
        .zip(missing)
        .map(|(position, name)| {
            let (guid, stack) = (guid(name), Some(stack.to_string()));
            Buildpack {
                locked: true,
                shipped: true,
                ..Buildpack::new(guid, name.to_string(), stack, position, now)
            }
        })
        .collect();
    Buildpack::insert_all(connection, &rows, "ON CONFLICT DO NOTHING").await?;
    Ok(())
}
