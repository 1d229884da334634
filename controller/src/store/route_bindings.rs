//! Which routes have their requests go to which services first.

use super::query::Filter;
use super::{Json, StoreError, row};
use crate::store::sql::Connection;
use std::collections::BTreeMap;

row! {
    pub struct RouteBinding in "route_bindings", key guid, versioned {
        guid: String,
        /// A route has one at most.
        route_guid: String,
        service_instance_guid: String,
        /// Of both.
        space_guid: String,
        labels: Json<BTreeMap<String, String>>,
        annotations: Json<BTreeMap<String, String>>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

pub async fn of_route(
    connection: &mut Connection,
    route: &str,
) -> Result<Option<RouteBinding>, StoreError> {
    let filter = Filter::new().equals("route_guid", route);
    let found = RouteBinding::fetch(connection, filter, "find the service of a route").await?;
    Ok(found.into_iter().next())
}

/// Those of a service, the oldest first.
pub async fn of_instance(
    connection: &mut Connection,
    instance: &str,
) -> Result<Vec<RouteBinding>, StoreError> {
    let filter = Filter::new()
        .equals("service_instance_guid", instance)
        .order("created_at", false);
    RouteBinding::fetch(connection, filter, "list the routes of a service").await
}
