//! Tasks on agents that install what packs require: who has one, and how it ended.

use crate::store::query::Filter;
use crate::store::sql::{Connection, query};
use crate::store::{Json, StoreError, row};

row! {
    pub struct PackStaging in "pack_stagings", key task, versioned {
        task: String,
        pack: String,
        /// The agent that took it.
        dea: Option<String>,
        /// Null: it is not over.
        outcome: Json<serde_json::Value>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// Those that are not over, the oldest first.
pub async fn open(connection: &mut Connection, most: i64) -> Result<Vec<PackStaging>, StoreError> {
    let filter = Filter::new()
        .equals("outcome", "null")
        .order_by("created_at", "task", false)
        .window(most, 0);
    PackStaging::fetch(connection, filter, "read the stagings of packs").await
}

/// Those from before this time (Unix microseconds): whoever waited for them is gone.
pub async fn forget(connection: &mut Connection, before: i64) -> Result<(), StoreError> {
    query("DELETE FROM pack_stagings WHERE created_at < $1")
        .bind(before)
        .execute(connection)
        .await
        .map_err(StoreError::during("forget old stagings of packs"))?;
    Ok(())
}
