//! Processes: the runnable types of apps. `guid` is what the bus calls `droplet`.

use super::query::Filter;
use super::{StoreError, row};
use crate::store::sql::Connection;

row! {
    pub struct Process in "processes", key guid, versioned {
        /// Grows with creation; pages of the bulk API.
        id: i64,
        guid: String,
        app_guid: String,
        kind => "type": String,
        /// The user's; None: the droplet's.
        command: Option<String>,
        instances: i64,
        /// How many it had before a manifest changed that, while the app ran: what a deployment of
        /// the same push goes back to.
        scaled_from: Option<i64>,
        memory_mb: i64,
        disk_mb: i64,
        /// `port`, `http`, `process`
        health_check_type: String,
        health_check_endpoint: Option<String>,
        /// Seconds an instance may take to become healthy.
        health_check_timeout: Option<i64>,
        health_check_invocation_timeout: Option<i64>,
        health_check_interval: Option<i64>,
        /// Seconds without a request after which it sleeps; None: never.
        sleep_after: Option<i64>,
        /// Unix microseconds; None: it does not sleep.
        asleep_since: Option<i64>,
        /// Changes with whatever needs new instances.
        version: String,
        /// What this version runs.
        droplet_guid: Option<String>,
        /// Set on the newer web process of a rolling deployment.
        deployment_guid: Option<String>,
        /// What it runs; None: it was never started.
        revision_guid: Option<String>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// The next `id`.
pub async fn next_id(connection: &mut Connection) -> Result<i64, StoreError> {
    super::next_number(connection, "processes").await
}

pub async fn of_app(connection: &mut Connection, app: &str) -> Result<Vec<Process>, StoreError> {
    let filter = Filter::new().equals("app_guid", app).order("id", false);
    Process::fetch(connection, filter, "list the processes of an app").await
}

/// The process of a type that users mean: during a deployment the one being replaced, whose guid
/// and settings stay.
pub async fn of_type(
    connection: &mut Connection,
    app: &str,
    kind: &str,
) -> Result<Option<Process>, StoreError> {
    let filter = Filter::new()
        .equals("app_guid", app)
        .equals("type", kind)
        .only("deployment_guid IS NULL")
        .order("id", false);
    Ok(
        Process::fetch(connection, filter, "find a process of an app")
            .await?
            .into_iter()
            .next(),
    )
}
