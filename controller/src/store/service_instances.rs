//! Services that users provide themselves.

use super::query::Filter;
use super::{Json, StoreError, row};
use crate::store::sql::Connection;
use std::collections::BTreeMap;

row! {
    pub struct ServiceInstance in "service_instances", key guid, versioned {
        guid: String,
        /// Unique in its space.
        name: String,
        space_guid: String,
        /// Sealed: see [`crate::vault`].
        credentials: String,
        tags: Json<Vec<String>>,
        labels: Json<BTreeMap<String, String>>,
        annotations: Json<BTreeMap<String, String>>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
        /// Where requests of routes go that are bound to it.
        route_service_url: Option<String>,
    }
}

pub async fn by_name(
    connection: &mut Connection,
    space: &str,
    name: &str,
) -> Result<Option<ServiceInstance>, StoreError> {
    let filter = Filter::new()
        .equals("space_guid", space)
        .equals("name", name);
    let found = ServiceInstance::fetch(connection, filter, "find service instance").await?;
    Ok(found.into_iter().next())
}

pub async fn of_space(
    connection: &mut Connection,
    space: &str,
) -> Result<Vec<ServiceInstance>, StoreError> {
    let filter = Filter::new()
        .equals("space_guid", space)
        .order("name", false);
    ServiceInstance::fetch(connection, filter, "list the services of a space").await
}
