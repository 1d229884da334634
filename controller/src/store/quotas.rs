//! Quotas of organizations and of spaces, and what counts against them.

use super::query::Filter;
use super::{Json, StoreError, each, row};
use crate::domain::quotas::{HeldDeployment, HeldProcess, HeldTask, Holdings, Limits};
use crate::store::sql::{self, Connection, query};
use std::collections::BTreeMap;

/// The quota of organizations that were given no other; the column's default, see the migration.
pub const DEFAULT_GUID: &str = "6a4f4a0e-3c4d-5d5e-8d0b-0f1f6f5c7a11";
pub const DEFAULT_NAME: &str = "default";

row! {
    pub struct OrganizationQuota in "organization_quotas", key guid, versioned {
        guid: String,
        name: String,
        limits: Json<Limits>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

row! {
    pub struct SpaceQuota in "space_quotas", key guid, versioned {
        guid: String,
        name: String,
        organization_guid: String,
        limits: Json<Limits>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// Makes the default quota if it is not there: it limits nothing.
pub async fn make_default(connection: &mut Connection, now: i64) -> Result<(), StoreError> {
    let quota = OrganizationQuota {
        guid: DEFAULT_GUID.to_string(),
        name: DEFAULT_NAME.to_string(),
        limits: Json(Limits::default()),
        created_at: now,
        updated_at: now,
        row_version: 1,
    };
    OrganizationQuota::insert_all(connection, &[quota], "ON CONFLICT DO NOTHING").await?;
    Ok(())
}

async fn lock(
    connection: &mut Connection,
    statement: &'static str,
    guid: &str,
    operation: &'static str,
) -> Result<bool, StoreError> {
    let done = query(statement)
        .bind(guid.to_string())
        .execute(connection)
        .await
        .map_err(StoreError::during(operation))?;
    Ok(done.rows_affected() == 1)
}

/// Makes others who would add to this organization wait until this transaction ends: on PostgreSQL both could
/// otherwise see room for one. Take it before any other row is written: `facts` and `processes` have rows that
/// everybody waits for.
pub async fn lock_holdings(
    connection: &mut Connection,
    organization: &str,
) -> Result<(), StoreError> {
    let statement = "UPDATE organizations SET updated_at = updated_at WHERE guid = $1";
    lock(connection, statement, organization, "lock an organization").await?;
    Ok(())
}

/// Makes others who would give this quota or delete it wait; whether it is there.
pub async fn lock_organization_quota(
    connection: &mut Connection,
    guid: &str,
) -> Result<bool, StoreError> {
    let statement = "UPDATE organization_quotas SET updated_at = updated_at WHERE guid = $1";
    lock(connection, statement, guid, "lock an organization quota").await
}

/// The same for a quota of spaces.
pub async fn lock_space_quota(connection: &mut Connection, guid: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE space_quotas SET updated_at = updated_at WHERE guid = $1";
    lock(connection, statement, guid, "lock a space quota").await
}

/// The pairs (quota, who has it) of these quotas.
async fn holders(
    connection: &mut Connection,
    select: &str,
    quotas: &[String],
) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
    let operation = "list who has a quota";
    let mut holders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Databases bound the number of values of one statement.
    for some in quotas.chunks(500) {
        let filter = Filter::new()
            .any("quota_guid", some)
            .order("created_at", false);
        let rows = filter
            .bind(query(filter.sql(select)))
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::during(operation))?;
        for row in rows {
            let quota = row.try_get(0).map_err(StoreError::during(operation))?;
            let holder = row.try_get(1).map_err(StoreError::during(operation))?;
            holders.entry(quota).or_default().push(holder);
        }
    }
    Ok(holders)
}

/// The organizations that have these quotas, by quota.
pub async fn organizations_of(
    connection: &mut Connection,
    quotas: &[String],
) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
    holders(
        connection,
        "SELECT quota_guid, guid FROM organizations",
        quotas,
    )
    .await
}

/// The spaces that have these quotas, by quota.
pub async fn spaces_of(
    connection: &mut Connection,
    quotas: &[String],
) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
    holders(connection, "SELECT quota_guid, guid FROM spaces", quotas).await
}

/// Gives an organization this quota.
pub async fn give_organization(
    connection: &mut Connection,
    organization: &str,
    quota: &str,
) -> Result<(), StoreError> {
    query(
        "UPDATE organizations SET quota_guid = $2, row_version = row_version + 1 WHERE guid = $1",
    )
    .bind(organization.to_string())
    .bind(quota.to_string())
    .execute(connection)
    .await
    .map_err(StoreError::during("give an organization a quota"))?;
    Ok(())
}

/// Gives a space this quota, or none.
pub async fn give_space(
    connection: &mut Connection,
    space: &str,
    quota: Option<&str>,
) -> Result<(), StoreError> {
    query("UPDATE spaces SET quota_guid = $2, row_version = row_version + 1 WHERE guid = $1")
        .bind(space.to_string())
        .bind(quota.map(str::to_string))
        .execute(connection)
        .await
        .map_err(StoreError::during("give a space a quota"))?;
    Ok(())
}

/// Deletes a quota of spaces; those that have it have none then.
pub async fn delete_space_quota(connection: &mut Connection, guid: &str) -> Result<(), StoreError> {
    let statements = [
        "UPDATE spaces SET quota_guid = NULL, row_version = row_version + 1 WHERE quota_guid = $1",
        "DELETE FROM told_quotas WHERE quota_guid = $1",
        "DELETE FROM space_quotas WHERE guid = $1",
    ];
    each(connection, &statements, guid, "delete a space quota").await
}

/// Deletes a quota of organizations that no organization has.
pub async fn delete_organization_quota(
    connection: &mut Connection,
    guid: &str,
) -> Result<(), StoreError> {
    let statements = [
        "DELETE FROM told_quotas WHERE quota_guid = $1",
        "DELETE FROM organization_quotas WHERE guid = $1",
    ];
    each(
        connection,
        &statements,
        guid,
        "delete an organization quota",
    )
    .await
}

/// Everything of an organization that counts against its quota and those of its spaces.
pub async fn holdings(
    connection: &mut Connection,
    organization: &str,
) -> Result<Holdings, StoreError> {
    Ok(Holdings {
        processes: processes(connection, organization).await?,
        tasks: tasks(connection, organization).await?,
        routes: by_space(connection, ROUTES, organization).await?,
        reserved_ports: by_space(connection, RESERVED_PORTS, organization).await?,
        services: by_space(connection, SERVICES, organization).await?,
        domains: Filter::new()
            .equals("organization_guid", organization)
            .count(connection, super::domains::Domain::TABLE)
            .await?,
    })
}

fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

async fn processes(
    connection: &mut Connection,
    organization: &str,
) -> Result<Vec<HeldProcess>, StoreError> {
    let operation = "read the processes of an organization";
    let rows = query(
        "SELECT a.space_guid, p.app_guid, p.type, a.state, p.instances, p.memory_mb, d.wanted_instances, d.max_in_flight, p.deployment_guid \
         FROM processes p JOIN apps a ON a.guid = p.app_guid JOIN spaces s ON s.guid = a.space_guid \
         LEFT JOIN deployments d ON d.app_guid = p.app_guid AND d.status = 'ACTIVE' AND p.type = 'web' \
         WHERE s.organization_guid = $1",
    )
    .bind(organization.to_string())
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| {
            let state: String = row.try_get(3)?;
            let (wanted, in_flight): (Option<i64>, Option<i64>) =
                (row.try_get(6)?, row.try_get(7)?);
            Ok(HeldProcess {
                space: row.try_get(0)?,
                app: row.try_get(1)?,
                kind: row.try_get(2)?,
                started: state == super::apps::STARTED,
                instances: number(row.try_get(4)?),
                memory_mb: number(row.try_get(5)?),
                deployment: wanted.map(|wanted| HeldDeployment {
                    wanted: number(wanted),
                    max_in_flight: number(in_flight.unwrap_or(1)),
                }),
                newer: row.try_get::<Option<String>, _>(8)?.is_some(),
            })
        })
        .collect::<Result<_, sql::Error>>()
        .map_err(StoreError::during(operation))
}

/// Tasks that are not over.
async fn tasks(
    connection: &mut Connection,
    organization: &str,
) -> Result<Vec<HeldTask>, StoreError> {
    let operation = "read the open tasks of an organization";
    let rows = query(
        "SELECT a.space_guid, t.guid, t.memory_mb \
         FROM tasks t JOIN apps a ON a.guid = t.app_guid JOIN spaces s ON s.guid = a.space_guid \
         WHERE s.organization_guid = $1 AND t.ended_at IS NULL",
    )
    .bind(organization.to_string())
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| {
            Ok(HeldTask {
                space: row.try_get(0)?,
                guid: row.try_get(1)?,
                memory_mb: number(row.try_get(2)?),
            })
        })
        .collect::<Result<_, sql::Error>>()
        .map_err(StoreError::during(operation))
}

const ROUTES: &str = "SELECT r.space_guid, count(*) FROM routes r JOIN spaces s ON s.guid = r.space_guid \
     WHERE s.organization_guid = $1 GROUP BY r.space_guid";
const RESERVED_PORTS: &str = "SELECT r.space_guid, count(*) FROM routes r JOIN spaces s ON s.guid = r.space_guid \
     WHERE s.organization_guid = $1 AND r.port > 0 GROUP BY r.space_guid";
const SERVICES: &str = "SELECT i.space_guid, count(*) FROM service_instances i JOIN spaces s ON s.guid = i.space_guid \
     WHERE s.organization_guid = $1 GROUP BY i.space_guid";

/// How many each space of the organization has of what the statement counts.
async fn by_space(
    connection: &mut Connection,
    statement: &'static str,
    organization: &str,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let operation = "count what the spaces of an organization have";
    let rows = query(statement)
        .bind(organization.to_string())
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, number(row.try_get(1)?))))
        .collect::<Result<_, sql::Error>>()
        .map_err(StoreError::during(operation))
}

/// Notes that rules are told of a limit of a quota, unless they were after `since`. Whether they are to be told.
pub async fn note_told(
    connection: &mut Connection,
    quota: &str,
    exceeded: &str,
    since: i64,
    now: i64,
) -> Result<bool, StoreError> {
    let done = query(
        "INSERT INTO told_quotas (quota_guid, exceeded, told_at) VALUES ($1, $2, $3) \
         ON CONFLICT (quota_guid, exceeded) DO UPDATE SET told_at = $3 WHERE told_quotas.told_at <= $4",
    )
    .bind(quota.to_string())
    .bind(exceeded.to_string())
    .bind(now)
    .bind(since)
    .execute(connection)
    .await
    .map_err(StoreError::during("note what was told of a quota"))?;
    Ok(done.rows_affected() > 0)
}
