//! What should run, as one statement over processes and apps.

use super::StoreError;
use crate::store::sql::{self, Connection, Row, query};
use proto::bus::health::DesiredProcess;
use proto::ids::{ProcessGuid, Version};

/// One process with what its app says.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredRow {
    pub id: i64,
    pub process: ProcessGuid,
    pub app: String,
    pub kind: String,
    pub version: Version,
    pub instances: u32,
    pub memory_mb: u64,
    pub disk_mb: u64,
    pub app_started: bool,
    pub has_droplet: bool,
    pub deployment: Option<String>,
    /// It sleeps, and has no instances until somebody asks for it.
    pub asleep: bool,
    /// No instance of this version was ever started: that is written down before the first.
    pub untried: bool,
    /// Unix microseconds: the later change of the two rows.
    pub updated_at: i64,
}

impl DesiredRow {
    /// Instances should run.
    pub fn runs(&self) -> bool {
        self.app_started && self.has_droplet
    }

    /// As the bulk API tells it.
    pub fn to_bulk(&self) -> DesiredProcess {
        DesiredProcess {
            id: self.process.clone(),
            instances: self.instances,
            state: if self.app_started {
                "STARTED"
            } else {
                "STOPPED"
            }
            .to_string(),
            memory: self.memory_mb,
            package_state: if self.has_droplet {
                "STAGED"
            } else {
                "PENDING"
            }
            .to_string(),
            version: self.version.clone(),
            updated_at: self.updated_at as f64 / 1e6,
        }
    }
}

const SELECT: &str = "SELECT p.id, p.guid, p.app_guid, p.type, p.version, CASE WHEN p.asleep_since IS NULL THEN p.instances ELSE 0 END, p.memory_mb, p.disk_mb, \
     a.state, p.droplet_guid, p.deployment_guid, p.updated_at, a.updated_at, v.version, p.asleep_since \
     FROM processes p JOIN apps a ON a.guid = p.app_guid \
     LEFT JOIN process_versions v ON v.version = p.version";

/// All of it, in the order of creation.
pub async fn all(connection: &mut Connection) -> Result<Vec<DesiredRow>, StoreError> {
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("{SELECT} ORDER BY p.id"));
    let rows = query(SQL.as_str())
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read what should run"))?;
    decode(&rows)
}

/// One page for the bulk API: rows with an id greater than `after`.
pub async fn page(
    connection: &mut Connection,
    after: i64,
    limit: i64,
) -> Result<Vec<DesiredRow>, StoreError> {
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("{SELECT} WHERE p.id > $1 ORDER BY p.id LIMIT $2"));
    let rows = query(SQL.as_str())
        .bind(after)
        .bind(limit)
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read a page of what should run"))?;
    decode(&rows)
}

/// One process.
pub async fn one(
    connection: &mut Connection,
    process: &str,
) -> Result<Option<DesiredRow>, StoreError> {
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("{SELECT} WHERE p.guid = $1"));
    let rows = query(SQL.as_str())
        .bind(process.to_string())
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read what should run of a process"))?;
    Ok(decode(&rows)?.pop())
}

fn decode(rows: &[Row]) -> Result<Vec<DesiredRow>, StoreError> {
    rows.iter()
        .map(decode_one)
        .collect::<Result<_, _>>()
        .map_err(StoreError::during("read what should run"))
}

fn decode_one(row: &Row) -> Result<DesiredRow, sql::Error> {
    let text = |column: usize| row.try_get::<String, _>(column);
    let number = |column: usize| row.try_get::<i64, _>(column);
    let invalid = |column, source: proto::ids::InvalidId| sql::Error::column(column, source);
    Ok(DesiredRow {
        id: number(0)?,
        process: ProcessGuid::new(text(1)?).map_err(|error| invalid("guid", error))?,
        app: text(2)?,
        kind: text(3)?,
        version: Version::new(text(4)?).map_err(|error| invalid("version", error))?,
        instances: u32::try_from(number(5)?).unwrap_or_default(),
        memory_mb: u64::try_from(number(6)?).unwrap_or_default(),
        disk_mb: u64::try_from(number(7)?).unwrap_or_default(),
        app_started: text(8)? == super::apps::STARTED,
        has_droplet: row.try_get::<Option<String>, _>(9)?.is_some(),
        deployment: row.try_get(10)?,
        updated_at: number(11)?.max(number(12)?),
        asleep: row.try_get::<Option<i64>, _>(14)?.is_some(),
        untried: row.try_get::<Option<String>, _>(13)?.is_none(),
    })
}

/// Counts for `/bulk/counts`.
pub async fn users(connection: &mut Connection) -> Result<u64, StoreError> {
    let count: i64 = query("SELECT count(*) FROM users")
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(StoreError::during("count users"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}
