//! What the services bound to an app come to, with their credentials: for the API, which shows it, and for
//! the runtime, which sends it.

use crate::domain::services::Bound;
use crate::store::service_bindings::{self, ServiceBinding};
use crate::store::service_instances::ServiceInstance;
use crate::store::sql::Connection;
use crate::store::{StoreError, apps::App};
use crate::vault::{Vault, VaultError};
use serde_json::{Map, Value};

#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("reading the credentials of the service {service}")]
    Sealed {
        service: String,
        #[source]
        source: VaultError,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The credentials of a service.
pub fn credentials(
    vault: &Vault,
    instance: &ServiceInstance,
) -> Result<Map<String, Value>, Unreadable> {
    vault
        .open(&instance.credentials)
        .map_err(|source| Unreadable::Sealed {
            service: instance.name.clone(),
            source,
        })
}

/// A binding as it stands in `VCAP_SERVICES`.
pub fn document(
    vault: &Vault,
    binding: &ServiceBinding,
    instance: &ServiceInstance,
) -> Result<Value, Unreadable> {
    Ok(Bound {
        binding_guid: &binding.guid,
        binding_name: binding.name.as_deref(),
        instance_guid: &instance.guid,
        instance_name: &instance.name,
        tags: &instance.tags,
        credentials: &credentials(vault, instance)?,
    }
    .document())
}

/// All that is bound to an app, the oldest binding first.
pub async fn of_app(
    vault: &Vault,
    connection: &mut Connection,
    app: &App,
) -> Result<Vec<Value>, Unreadable> {
    service_bindings::with_instances(connection, &app.guid)
        .await?
        .iter()
        .map(|(binding, instance)| document(vault, binding, instance))
        .collect()
}
