//! What each version of a process runs with, kept as it was at the version's first start.
//!
//! Memory, command, environment and health check change in the rows at once, but take effect with
//! the next version only. An instance of a version that is already running (one that crashed, one
//! more of a scaled process, one that is taken back to by a deployment) must start as the others
//! of its version did.

use super::apps::App;
use super::processes::Process;
use super::{Json, StoreError, row};
use crate::store::sql::{Connection, query};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The settings of a process that take effect with a new version only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSettings {
    pub memory_mb: i64,
    pub disk_mb: i64,
    pub command: Option<String>,
    pub health_check_type: String,
    pub health_check_endpoint: Option<String>,
    pub health_check_timeout: Option<i64>,
    pub health_check_invocation_timeout: Option<i64>,
    pub health_check_interval: Option<i64>,
}

impl RunSettings {
    pub fn of(process: &Process) -> RunSettings {
        RunSettings {
            memory_mb: process.memory_mb,
            disk_mb: process.disk_mb,
            command: process.command.clone(),
            health_check_type: process.health_check_type.clone(),
            health_check_endpoint: process.health_check_endpoint.clone(),
            health_check_timeout: process.health_check_timeout,
            health_check_invocation_timeout: process.health_check_invocation_timeout,
            health_check_interval: process.health_check_interval,
        }
    }

    /// Puts the row back to this.
    pub fn lay_over(self, process: &mut Process) {
        process.memory_mb = self.memory_mb;
        process.disk_mb = self.disk_mb;
        process.command = self.command;
        process.health_check_type = self.health_check_type;
        process.health_check_endpoint = self.health_check_endpoint;
        process.health_check_timeout = self.health_check_timeout;
        process.health_check_invocation_timeout = self.health_check_invocation_timeout;
        process.health_check_interval = self.health_check_interval;
    }
}

/// The same with what the app gives to all of its processes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VersionSettings {
    #[serde(flatten)]
    pub process: RunSettings,
    pub environment: BTreeMap<String, String>,
    /// What is bound, as it travels to agents; sealed, see [`crate::vault`]. None: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<String>,
}

impl VersionSettings {
    pub fn of(process: &Process, app: &App, services: Option<String>) -> VersionSettings {
        VersionSettings {
            process: RunSettings::of(process),
            environment: app.environment.0.clone(),
            services,
        }
    }

    /// Puts the rows back to what this version runs with.
    pub fn lay_over(self, process: &mut Process, app: &mut App) {
        self.process.lay_over(process);
        app.environment = Json(self.environment);
    }
}

row! {
    pub struct ProcessVersion in "process_versions", key version {
        version: String,
        process_guid: String,
        settings: Json<VersionSettings>,
        created_at: i64,
    }
}

/// Keeps it, unless somebody was first.
pub async fn keep(connection: &mut Connection, kept: &ProcessVersion) -> Result<(), StoreError> {
    if ProcessVersion::find(connection, &kept.version)
        .await?
        .is_none()
    {
        kept.insert(connection).await?;
    }
    Ok(())
}

/// What instances of a version run with; None: none was ever started.
pub async fn run_settings(
    connection: &mut Connection,
    version: &str,
) -> Result<Option<RunSettings>, StoreError> {
    let kept = ProcessVersion::find(connection, version).await?;
    Ok(kept.map(|kept| kept.settings.0.process))
}

/// Forgets those that no process has any more.
pub async fn forget(connection: &mut Connection) -> Result<(), StoreError> {
    query("DELETE FROM process_versions WHERE version NOT IN (SELECT version FROM processes)")
        .execute(connection)
        .await
        .map_err(StoreError::during("forget old versions of processes"))?;
    Ok(())
}
