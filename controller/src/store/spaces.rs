//! Spaces.

use super::query::Filter;
use super::{Json, StoreError, row};
use crate::store::sql::Connection;
use std::collections::BTreeMap;

row! {
    pub struct Space in "spaces", key guid, versioned {
        guid: String,
        name: String,
        organization_guid: String,
        /// Whether it is allowed for any app here.
        ssh_allowed: bool,
        quota_guid: Option<String>,
        labels: Json<BTreeMap<String, String>>,
        annotations: Json<BTreeMap<String, String>>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

pub async fn of_organization(
    connection: &mut Connection,
    organization: &str,
) -> Result<Vec<Space>, StoreError> {
    let filter = Filter::new()
        .equals("organization_guid", organization)
        .order("name", false);
    Space::fetch(connection, filter, "list the spaces of an organization").await
}
