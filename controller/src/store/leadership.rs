//! The fence of leaders: the highest epoch that ever wrote, checked and raised by each of a
//! leader's transactions.
//!
//! Holding a lease proves nothing: a leader may sleep through its loss and write afterwards. Its
//! epoch (the create revision of the key it won) only grows from leader to leader, so a write of
//! an older one is recognized here, in the same transaction, and refused. The row is locked until the
//! commit, so two leaders' transactions cannot pass each other.

use super::StoreError;
use crate::store::sql::{Connection, query};

/// What a [`StoreError::Stale`] of [`fence`] is about.
pub const NOUN: &str = "leadership of";

/// Refuses with [`StoreError::Stale`] if a newer leader has written. The first statement of every
/// transaction a leader writes in.
pub async fn fence(connection: &mut Connection, name: &str, epoch: i64) -> Result<(), StoreError> {
    let done = query(
        "INSERT INTO leadership (name, epoch) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET epoch = $2 WHERE leadership.epoch <= $2",
    )
    .bind(name.to_string())
    .bind(epoch)
    .execute(connection)
    .await
    .map_err(StoreError::during("check leadership"))?;
    if done.rows_affected() == 0 {
        return Err(StoreError::Stale {
            operation: "check leadership",
            noun: NOUN,
            guid: name.to_string(),
        });
    }
    Ok(())
}
