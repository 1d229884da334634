//! Nodes as the platform's events told of them, so that no leader tells it again.

use super::{StoreError, row};
use crate::store::sql::{Connection, query};

row! {
    pub struct KnownNode in "known_nodes", key dea {
        dea: String,
        present: bool,
        /// Unix microseconds of the last news.
        seen_at: i64,
    }
}

pub async fn put(connection: &mut Connection, node: &KnownNode) -> Result<(), StoreError> {
    query(
        "INSERT INTO known_nodes (dea, present, seen_at) VALUES ($1, $2, $3) \
         ON CONFLICT (dea) DO UPDATE SET present = $2, seen_at = $3",
    )
    .bind(node.dea.clone())
    .bind(i64::from(node.present))
    .bind(node.seen_at)
    .execute(connection)
    .await
    .map_err(StoreError::during("note a node"))?;
    Ok(())
}
