//! Organizations.

use super::query::Filter;
use super::{Json, StoreError, each, row};
use crate::store::sql::Connection;
use std::collections::BTreeMap;

row! {
    pub struct Organization in "organizations", key guid, versioned {
        guid: String,
        name: String,
        suspended: bool,
        quota_guid: String,
        labels: Json<BTreeMap<String, String>>,
        annotations: Json<BTreeMap<String, String>>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

pub async fn by_name(
    connection: &mut Connection,
    name: &str,
) -> Result<Option<Organization>, StoreError> {
    Ok(Organization::fetch(
        connection,
        Filter::new().equals("name", name),
        "find organization",
    )
    .await?
    .pop())
}

/// Deletes an organization whose spaces are gone, with its private domains and the quotas for its spaces.
pub async fn delete_rows(
    connection: &mut Connection,
    organization: &str,
) -> Result<(), StoreError> {
    let statements = [
        "DELETE FROM domains WHERE organization_guid = $1",
        "DELETE FROM told_quotas WHERE quota_guid IN (SELECT guid FROM space_quotas WHERE organization_guid = $1)",
        "DELETE FROM space_quotas WHERE organization_guid = $1",
        "DELETE FROM organizations WHERE guid = $1",
    ];
    each(
        connection,
        &statements,
        organization,
        "delete an organization",
    )
    .await
}
