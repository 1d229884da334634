//! Which apps get the credentials of which services.

use super::query::Filter;
use super::service_instances::ServiceInstance;
use super::{Json, StoreError, row};
use crate::store::sql::Connection;
use std::collections::BTreeMap;

row! {
    pub struct ServiceBinding in "service_bindings", key guid, versioned {
        guid: String,
        /// What the app calls the service; unique among its bindings. None: as it is called.
        name: Option<String>,
        app_guid: String,
        service_instance_guid: String,
        labels: Json<BTreeMap<String, String>>,
        annotations: Json<BTreeMap<String, String>>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// Those of an app, the oldest first.
pub async fn of_app(
    connection: &mut Connection,
    app: &str,
) -> Result<Vec<ServiceBinding>, StoreError> {
    let filter = Filter::new()
        .equals("app_guid", app)
        .order("created_at", false);
    ServiceBinding::fetch(connection, filter, "list the service bindings of an app").await
}

/// Those of a service, the oldest first.
pub async fn of_instance(
    connection: &mut Connection,
    instance: &str,
) -> Result<Vec<ServiceBinding>, StoreError> {
    let filter = Filter::new()
        .equals("service_instance_guid", instance)
        .order("created_at", false);
    ServiceBinding::fetch(connection, filter, "list the bindings of a service").await
}

/// The bindings of an app with the services they lead to, the oldest first.
pub async fn with_instances(
    connection: &mut Connection,
    app: &str,
) -> Result<Vec<(ServiceBinding, ServiceInstance)>, StoreError> {
    let bindings = of_app(connection, app).await?;
    if bindings.is_empty() {
        return Ok(Vec::new());
    }
    let guids: Vec<&str> = bindings
        .iter()
        .map(|binding| binding.service_instance_guid.as_str())
        .collect();
    let filter = Filter::new().any("guid", &guids);
    let instances: BTreeMap<String, ServiceInstance> =
        ServiceInstance::fetch(connection, filter, "list the services bound to an app")
            .await?
            .into_iter()
            .map(|instance| (instance.guid.clone(), instance))
            .collect();
    Ok(bindings
        .into_iter()
        .filter_map(|binding| {
            let instance = instances.get(&binding.service_instance_guid)?.clone();
            Some((binding, instance))
        })
        .collect())
}
