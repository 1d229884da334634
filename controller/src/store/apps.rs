//! Apps.

use super::query::Filter;
use super::{Json, StoreError, each, row};
use crate::store::sql::Connection;
use std::collections::BTreeMap;

pub const STARTED: &str = "STARTED";
pub const STOPPED: &str = "STOPPED";

row! {
    pub struct App in "apps", key guid, versioned {
        guid: String,
        name: String,
        space_guid: String,
        /// [`STARTED`] or [`STOPPED`]: what is wanted.
        state: String,
        /// Named by the user, in order; empty: detect.
        buildpacks: Json<Vec<String>>,
        stack: String,
        /// The user's variables.
        environment: Json<BTreeMap<String, String>>,
        current_droplet_guid: Option<String>,
        /// Whether developers may go inside its instances.
        ssh_enabled: bool,
        labels: Json<BTreeMap<String, String>>,
        annotations: Json<BTreeMap<String, String>>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

impl App {
    pub fn is_started(&self) -> bool {
        self.state == STARTED
    }
}

pub async fn by_name(
    connection: &mut Connection,
    space: &str,
    name: &str,
) -> Result<Option<App>, StoreError> {
    let filter = Filter::new()
        .equals("space_guid", space)
        .equals("name", name);
    Ok(App::fetch(connection, filter, "find app").await?.pop())
}

pub async fn of_space(connection: &mut Connection, space: &str) -> Result<Vec<App>, StoreError> {
    App::fetch(
        connection,
        Filter::new()
            .equals("space_guid", space)
            .order("name", false),
        "list the apps of a space",
    )
    .await
}

/// Deletes an app and everything that belongs to it; destinations go with it.
pub async fn delete_rows(connection: &mut Connection, app: &str) -> Result<(), StoreError> {
    let statements = [
        "DELETE FROM destinations WHERE app_guid = $1",
        "DELETE FROM deployments WHERE app_guid = $1",
        "DELETE FROM tasks WHERE app_guid = $1",
        "DELETE FROM task_numbers WHERE app_guid = $1",
        "DELETE FROM decisions WHERE app_guid = $1",
        "DELETE FROM revisions WHERE app_guid = $1",
        "DELETE FROM builds WHERE app_guid = $1",
        "DELETE FROM droplets WHERE app_guid = $1",
        "DELETE FROM packages WHERE app_guid = $1",
        "DELETE FROM processes WHERE app_guid = $1",
        "DELETE FROM apps WHERE guid = $1",
    ];
    each(connection, &statements, app, "delete an app").await
}
