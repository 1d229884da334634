//! Builds: package to droplet.

use super::query::Filter;
use super::{Json, StoreError, row};
use crate::store::sql::Connection;

pub const STAGING: &str = "STAGING";
pub const STAGED: &str = "STAGED";
pub const FAILED: &str = "FAILED";

row! {
    pub struct Build in "builds", key guid, versioned {
        guid: String,
        app_guid: String,
        package_guid: String,
        droplet_guid: Option<String>,
        /// [`STAGING`], [`STAGED`], [`FAILED`]
        state: String,
        /// `NoAppDetectedError`, `BuildpackCompileFailed`, `StagingTimeExpired`…
        error_type: Option<String>,
        /// One sentence for the user.
        error: Option<String>,
        /// Named by the user; empty: detect.
        buildpacks: Json<Vec<String>>,
        stack: String,
        /// The agent it was placed on.
        dea: Option<String>,
        memory_mb: i64,
        disk_mb: i64,
        /// Unix microseconds; past it the build failed.
        deadline: i64,
        created_by_guid: String,
        created_by_name: String,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

impl Build {
    pub fn is_staging(&self) -> bool {
        self.state == STAGING
    }

    /// Ends it as failed; the caller updates the row.
    pub fn fail(&mut self, kind: &str, message: &str) {
        self.state = FAILED.to_string();
        self.error_type = Some(kind.to_string());
        self.error = Some(message.to_string());
    }
}

/// Those not ended, the oldest first.
pub async fn staging(connection: &mut Connection) -> Result<Vec<Build>, StoreError> {
    Build::fetch(
        connection,
        Filter::new()
            .equals("state", STAGING)
            .order("created_at", false),
        "list running builds",
    )
    .await
}

/// Whether a build of this app is not over.
pub async fn is_staged_now(connection: &mut Connection, app: &str) -> Result<bool, StoreError> {
    let filter = Filter::new()
        .equals("app_guid", app)
        .equals("state", STAGING);
    Ok(filter.count(connection, Build::TABLE).await? > 0)
}
