//! Droplets: staged, runnable results. They never change once they are there; of one that is to be uploaded the
//! row comes first, and its checksums are empty.

use super::query::Filter;
use super::{Json, StoreError, row};
use crate::store::sql::Connection;
use proto::bus::staging::UsedBuildpack;
use std::collections::{BTreeMap, BTreeSet};

pub const STAGED: &str = "STAGED";
pub const AWAITING_UPLOAD: &str = "AWAITING_UPLOAD";

row! {
    /// The archive is the blob `droplets/<sha256>`.
    pub struct Droplet in "droplets", key guid {
        guid: String,
        app_guid: String,
        package_guid: Option<String>,
        build_guid: Option<String>,
        state: String,
        sha1: String,
        sha256: String,
        size_bytes: i64,
        /// Type to command.
        process_types: Json<BTreeMap<String, String>>,
        detected_buildpack: String,
        buildpacks: Json<Vec<UsedBuildpack>>,
        stack: String,
        created_at: i64,
        updated_at: i64,
    }
}

pub async fn of_app(connection: &mut Connection, app: &str) -> Result<Vec<Droplet>, StoreError> {
    let filter = Filter::new()
        .equals("app_guid", app)
        .order("created_at", true);
    Droplet::fetch(connection, filter, "list the droplets of an app").await
}

/// Which of these there are, staged.
pub async fn staged(
    connection: &mut Connection,
    guids: &[&str],
) -> Result<BTreeSet<String>, StoreError> {
    let filter = Filter::new().any("guid", guids).equals("state", STAGED);
    let found = Droplet::fetch(connection, filter, "find droplets").await?;
    Ok(found.into_iter().map(|droplet| droplet.guid).collect())
}
