//! Rolling deployments and canaries.

use super::process_versions::{self, RunSettings};
use super::processes::Process;
use super::query::Filter;
use super::{Json, StoreError, row};
use crate::domain::deployment::stops;
use crate::store::sql::Connection;
use proto::api::Scale;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const ROLLING: &str = "rolling";
pub const CANARY: &str = "canary";

pub const ACTIVE: &str = "ACTIVE";
pub const FINALIZED: &str = "FINALIZED";

pub const DEPLOYING: &str = "DEPLOYING";
pub const PAUSED: &str = "PAUSED";
pub const DEPLOYED: &str = "DEPLOYED";
pub const CANCELING: &str = "CANCELING";
pub const CANCELED: &str = "CANCELED";
pub const SUPERSEDED: &str = "SUPERSEDED";

row! {
    pub struct Deployment in "deployments", key guid, versioned {
        guid: String,
        app_guid: String,
        /// [`ROLLING`] or [`CANARY`]
        strategy: String,
        /// [`ACTIVE`] or [`FINALIZED`]
        status: String,
        /// [`DEPLOYING`], [`PAUSED`], [`DEPLOYED`], [`CANCELING`], [`CANCELED`], [`SUPERSEDED`]
        reason: String,
        /// Why it was taken back.
        error: Option<String>,
        droplet_guid: String,
        /// The droplet to go back to.
        previous_droplet_guid: Option<String>,
        /// The process to go back to.
        old_process_guid: Option<String>,
        /// Each process of the app as it was before, by guid.
        previous: Json<BTreeMap<String, Previous>>,
        new_process_guid: String,
        wanted_instances: i64,
        max_in_flight: i64,
        /// Of a canary: percents of the wanted instances, as they were given.
        weights: Json<Vec<u32>>,
        /// How many of its pauses somebody has continued.
        stops_passed: i64,
        /// What the new process is to have in place of what the one before it had.
        options: Json<Scale>,
        /// What it brings.
        revision_guid: Option<String>,
        revision_number: Option<i64>,
        /// The app's variables before one that goes back to a revision, which brings its own.
        environment_before: Json<Option<BTreeMap<String, String>>>,
        /// Unix microseconds: when the running step began.
        step_since: i64,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

/// A process before a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    pub droplet_guid: Option<String>,
    pub instances: i64,
    #[serde(default)]
    pub revision: Option<String>,
    /// What its instances ran with; None: none had been started.
    pub settings: Option<RunSettings>,
}

impl Previous {
    /// What `process` goes back to: not its row, in which a manifest has already written what the
    /// deployment is to bring, but what its version runs with.
    pub async fn of(
        connection: &mut Connection,
        process: &Process,
    ) -> Result<Previous, StoreError> {
        Ok(Previous {
            droplet_guid: process.droplet_guid.clone(),
            revision: process.revision_guid.clone(),
            instances: process.scaled_from.unwrap_or(process.instances),
            settings: process_versions::run_settings(connection, &process.version).await?,
        })
    }
}

/// Where to go back to when a deployment is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackTo {
    pub process: Option<String>,
    pub droplet: Option<String>,
    pub previous: BTreeMap<String, Previous>,
}

impl Deployment {
    /// After how many new instances it pauses; nowhere, if it is no canary.
    pub fn stops(&self) -> Vec<u32> {
        let wanted = u32::try_from(self.wanted_instances).unwrap_or_default();
        match self.strategy == CANARY {
            true => stops(&self.weights, wanted),
            false => Vec::new(),
        }
    }

    /// The next of these; None: it goes through.
    pub fn next_stop(&self) -> Option<u32> {
        let passed = usize::try_from(self.stops_passed).unwrap_or_default();
        self.stops().get(passed).copied()
    }

    pub fn is_active(&self) -> bool {
        self.status == ACTIVE
    }
}

pub async fn active(connection: &mut Connection) -> Result<Vec<Deployment>, StoreError> {
    let filter = Filter::new()
        .equals("status", ACTIVE)
        .order("created_at", false);
    Deployment::fetch(connection, filter, "list active deployments").await
}

/// The active ones of an app; more than one only inside the transaction that supersedes.
pub async fn active_of_app(
    connection: &mut Connection,
    app: &str,
) -> Result<Vec<Deployment>, StoreError> {
    let filter = Filter::new()
        .equals("app_guid", app)
        .equals("status", ACTIVE)
        .order("created_at", false);
    Deployment::fetch(connection, filter, "list the active deployments of an app").await
}

/// Ends the active deployments of an app because a newer one begins. Their new processes stay as
/// they are: the newer deployment scales them in like any older process. Returns where to go back to:
/// what ran before the first of them, if there was one.
pub async fn supersede(
    connection: &mut Connection,
    app: &str,
    now: i64,
) -> Result<Option<BackTo>, StoreError> {
    let mut back_to = None;
    for mut deployment in active_of_app(connection, app).await? {
        deployment.status = FINALIZED.to_string();
        deployment.reason = SUPERSEDED.to_string();
        deployment.update(connection, now).await?;
        back_to.get_or_insert(BackTo {
            process: deployment.old_process_guid,
            droplet: deployment.previous_droplet_guid,
            previous: deployment.previous.0,
        });
    }
    Ok(back_to)
}
