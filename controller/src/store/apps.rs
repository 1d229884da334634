//! Apps.

use super::query::Filter;
use super::{Json, StoreError, row};
use sqlx::AnyConnection;
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

pub async fn by_name(connection: &mut AnyConnection, space: &str, name: &str) -> Result<Option<App>, StoreError> {
    let filter = Filter::new().equals("space_guid", space).equals("name", name);
    Ok(App::fetch(connection, filter, "find app").await?.pop())
}

pub async fn of_space(connection: &mut AnyConnection, space: &str) -> Result<Vec<App>, StoreError> {
    App::fetch(connection, Filter::new().equals("space_guid", space).order("name", false), "list the apps of a space").await
}
