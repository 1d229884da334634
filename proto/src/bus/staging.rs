//! Staging (contract §2.5, shapes of the `vcap.stager` dialect with guids).
//!
//! The controller chooses an agent and asks a stager; the stager runs a task on that agent
//! ([`super::stream::RunTask`]); the agent reports the task's end to any stager; that stager tells
//! the controller ([`StagingCompleted`]). Each hop is repeated until acknowledged, so that any one
//! of them may die in between.

use crate::ids::{AppGuid, DeaId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `vcap.stager.{queue}`: turn a package into a droplet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagingRequest {
    pub app_id: AppGuid,
    /// Guid of the build.
    pub task_id: TaskId,
    pub stack: String,
    pub properties: StagingProperties,
    /// Signed URL of the package (a zip).
    pub download_uri: String,
    /// Signed URL for the droplet (PUT).
    pub upload_uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buildpack_cache_download_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buildpack_cache_upload_uri: Option<String>,
    /// The cluster's buildpacks in the order of detection, by their names; those that come with the agents have
    /// no URL.
    #[serde(default)]
    pub admin_buildpacks: Vec<AdminBuildpack>,
    /// MB
    pub memory_limit: u64,
    /// MB
    pub disk_limit: u64,
    /// The agent the controller chose and debited.
    pub yard_dea: DeaId,
    /// Seconds.
    pub yard_timeout: u64,
    /// SHA-256 of the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_package_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_epoch: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StagingProperties {
    #[serde(default)]
    pub services: Vec<serde_json::Value>,
    /// `NAME=value`: the user's, and the operator's staging group.
    #[serde(default)]
    pub environment: Vec<String>,
    /// Buildpacks the user named, in order, by name or by address; empty: detect.
    #[serde(default)]
    pub buildpacks: Vec<String>,
    /// The web command the user gave, if any: a droplet without a start command is then fine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_command: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdminBuildpack {
    pub key: String,
    /// Signed URL of an uploaded archive (a zip).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SHA-256 of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_sha256: Option<String>,
}

/// Answer of the stager: taken, or why not. It comes within seconds, not when staging is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagingReply {
    pub task_id: TaskId,
    #[serde(default)]
    pub task_log: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StagingError>,
}

/// `yard.staging.completed`: how a staging ended. A request; the controller's answer
/// ([`Acknowledged`]) says it is committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagingCompleted {
    pub task_id: TaskId,
    pub app_id: AppGuid,
    pub outcome: StagingOutcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StagingOutcome {
    Staged(StagedDroplet),
    Failed(StagingError),
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StagedDroplet {
    /// What detect printed, or the buildpack's name.
    pub detected_buildpack: String,
    pub buildpacks: Vec<UsedBuildpack>,
    /// Process type to command: release, launch.yml and Procfile merged.
    pub process_types: BTreeMap<String, String>,
    /// Hex digests of the droplet archive as uploaded.
    pub sha1: String,
    pub sha256: String,
    pub size_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct UsedBuildpack {
    pub name: String,
    #[serde(default)]
    pub detect_output: String,
    #[serde(default)]
    pub version: String,
}

/// Why a staging failed. `kind` is one of Cloud Foundry's names: `NoAppDetectedError`,
/// `BuildpackCompileFailed`, `BuildpackReleaseFailed`, `StagingTimeExpired`,
/// `InsufficientResources`, `StagerError`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagingError {
    #[serde(rename = "type")]
    pub kind: String,
    /// One sentence for the user: the step, its exit status, what to do.
    pub message: String,
    /// Last lines the failed step printed.
    #[serde(default)]
    pub last_lines: Vec<String>,
}

/// "I have it": the sender may forget.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Acknowledged {
    #[serde(default)]
    pub ok: bool,
}

super::json!(StagingRequest, StagingReply, StagingCompleted, Acknowledged);
