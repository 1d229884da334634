//! Web processes that may sleep, and whether they do.

use super::StoreError;
use crate::store::sql::{self, Connection, Row, query};

/// A process that may sleep, with what its app says. Times in Unix microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sleeper {
    pub process: String,
    pub app: String,
    pub kind: String,
    pub sleep_after_seconds: i64,
    pub asleep_since: Option<i64>,
    /// The later change of the two rows.
    pub updated_at: i64,
    /// Its app is started and there is a droplet to run.
    pub runs: bool,
    pub deploying: bool,
}

pub async fn all(connection: &mut Connection) -> Result<Vec<Sleeper>, StoreError> {
    const DURING: &str = "read which processes may sleep";
    let rows = query(
        "SELECT p.guid, p.app_guid, p.type, p.sleep_after, p.asleep_since, p.updated_at, a.updated_at, a.state, p.droplet_guid, \
         (SELECT COUNT(*) FROM deployments d WHERE d.app_guid = p.app_guid AND d.status = 'ACTIVE') \
         FROM processes p JOIN apps a ON a.guid = p.app_guid \
         WHERE p.sleep_after IS NOT NULL AND p.deployment_guid IS NULL ORDER BY p.id",
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(DURING))?;
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(StoreError::during(DURING))
}

fn decode(row: &Row) -> Result<Sleeper, sql::Error> {
    let started = row.try_get::<String, _>(7)? == super::apps::STARTED;
    let droplet = row.try_get::<Option<String>, _>(8)?;
    Ok(Sleeper {
        process: row.try_get(0)?,
        app: row.try_get(1)?,
        kind: row.try_get(2)?,
        sleep_after_seconds: row.try_get(3)?,
        asleep_since: row.try_get(4)?,
        updated_at: row.try_get::<i64, _>(5)?.max(row.try_get(6)?),
        runs: started && droplet.is_some(),
        deploying: row.try_get::<i64, _>(9)? > 0,
    })
}
