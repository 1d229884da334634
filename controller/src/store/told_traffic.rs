//! What the platform's events told of traffic, so that no leader tells it again.

use super::query::Filter;
use super::{StoreError, row};
use crate::domain::traffic::{Subject, Told};
use crate::store::sql::{Connection, query};
use std::collections::BTreeMap;

row! {
    pub struct ToldTraffic in "told_traffic", key subject {
        subject: String,
        erring: bool,
        millirequests: i64,
        /// Unix microseconds.
        updated_at: i64,
    }
}

/// Everything that was told and still stands.
pub async fn all(connection: &mut Connection) -> Result<BTreeMap<Subject, Told>, StoreError> {
    let rows =
        ToldTraffic::fetch(connection, Filter::new(), "read what was told of traffic").await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let told = Told {
                erring: row.erring,
                millirequests: u64::try_from(row.millirequests).unwrap_or_default(),
            };
            Some((Subject::parse(&row.subject)?, told))
        })
        .collect())
}

/// Notes it; a subject of which nothing stands has no row.
pub async fn put(
    connection: &mut Connection,
    subject: &Subject,
    told: Told,
    now: i64,
) -> Result<(), StoreError> {
    let statement = if told == Told::default() {
        query("DELETE FROM told_traffic WHERE subject = $1").bind(subject.to_string())
    } else {
        query(
            "INSERT INTO told_traffic (subject, erring, millirequests, updated_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (subject) DO UPDATE SET erring = $2, millirequests = $3, updated_at = $4",
        )
        .bind(subject.to_string())
        .bind(i64::from(told.erring))
        .bind(i64::try_from(told.millirequests).unwrap_or(i64::MAX))
        .bind(now)
    };
    statement
        .execute(connection)
        .await
        .map_err(StoreError::during("note what was told of traffic"))?;
    Ok(())
}
