//! What was decided about single instances, and why.

use super::query::Filter;
use super::{StoreError, row};
use crate::store::sql::{Connection, query};

pub const STARTED: &str = "STARTED";
pub const NOT_PLACED: &str = "NOT_PLACED";
pub const NEVER_ARRIVED: &str = "NEVER_ARRIVED";
pub const STOPPED: &str = "STOPPED";

row! {
    pub struct Decision in "decisions", key guid {
        guid: String,
        app_guid: String,
        process_guid: String,
        process_type: String,
        version: String,
        instance_index: i64,
        instance: Option<String>,
        dea: Option<String>,
        /// [`STARTED`], [`NOT_PLACED`], [`NEVER_ARRIVED`], [`STOPPED`]
        kind: String,
        because: String,
        placement: Option<String>,
        /// Unix microseconds.
        created_at: i64,
    }
}

/// Writes them; one that is there already, a wait, gets its newest reason. No guid twice.
pub async fn record(connection: &mut Connection, decisions: &[Decision]) -> Result<(), StoreError> {
    let rest = "ON CONFLICT (guid) DO UPDATE SET because = excluded.because, placement = excluded.placement";
    Decision::insert_all(connection, decisions, rest).await?;
    Ok(())
}

/// The newest of an app, the newest first.
pub async fn of_app(
    connection: &mut Connection,
    app: &str,
    most: i64,
) -> Result<Vec<Decision>, StoreError> {
    let filter = Filter::new()
        .equals("app_guid", app)
        .order("created_at", true)
        .window(most, 0);
    Decision::fetch(connection, filter, "read the decisions about an app").await
}

/// Drops what is older than `before`. Returns how many.
pub async fn prune(connection: &mut Connection, before: i64) -> Result<u64, StoreError> {
    let done = query("DELETE FROM decisions WHERE created_at < $1")
        .bind(before)
        .execute(connection)
        .await
        .map_err(StoreError::during("prune decisions"))?;
    Ok(done.rows_affected())
}
