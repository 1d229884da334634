//! The documents between the stager and the builder: what to build, and what came out.
//!
//! The stager writes a [`BuildRequest`] into the sandbox before the builder runs; the agent sends
//! the [`BuildResult`] back, also when the build failed. The exit status repeats the essential part
//! (contract §6.1), so that a result that could not be written still says which step it was.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the sandbox of a staging has its things. The agent puts the inputs there and takes the
/// outputs from there.
pub mod place {
    pub const PACKAGE: &str = "/yard/package.zip";
    pub const CACHE: &str = "/yard/cache.tgz";
    pub const REQUEST: &str = "/yard/request.json";
    pub const BUILDER: &str = "/yard/builder";
    pub const BUILDPACKS: &str = "/yard/buildpacks";
    /// Folder of the archives of uploaded buildpacks.
    pub const ARCHIVES: &str = "/yard/archives";
    pub const DROPLET_OUT: &str = "/yard/out/droplet.tgz";
    pub const CACHE_OUT: &str = "/yard/out/cache.tgz";
    pub const RESULT: &str = "/yard/out/result.json";
    /// The user's home, while staging and while running: what a buildpack writes down about its
    /// own place stays true.
    pub const HOME: &str = "/home/vcap";
}

/// `/yard/request.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    pub stack: String,
    /// Buildpacks the user named, in order; empty: the first of `order` that fits.
    pub buildpacks: Vec<String>,
    /// Order of detection.
    pub order: Vec<String>,
    /// The user gave a web command: a droplet without one is then fine.
    pub start_command_given: bool,
    /// Most bytes the package may unpack to.
    pub max_unpacked_bytes: u64,
    /// Most entries the package may hold.
    pub max_entries: u64,
    /// Needed where a buildpack is used that does not come with the agent; without it no older builder misses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_buildpacks: Option<OwnBuildpacks>,
    /// Seconds for everything; the builder ends a hanging step a little earlier, by name.
    pub timeout_seconds: u64,
}

/// Buildpacks that do not come with the agent: uploaded ones, and those that are named by their address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnBuildpacks {
    /// Uploaded ones, by name: where the archive is.
    pub archives: BTreeMap<String, PathBuf>,
    /// Ways in which addresses may be asked.
    pub schemes: Vec<String>,
    /// Longest fetch of one.
    pub fetch_seconds: u64,
    /// Most bytes of one, as an archive and unpacked.
    pub max_bytes: u64,
}

/// `/yard/out/result.json`. The upper half is Cloud Foundry's staging result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BuildResult {
    #[serde(default)]
    pub process_types: BTreeMap<String, String>,
    #[serde(default)]
    pub lifecycle_type: String,
    #[serde(default)]
    pub lifecycle_metadata: LifecycleMetadata,
    #[serde(default)]
    pub execution_metadata: String,
    /// Present when the build failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yard_failure: Option<BuildFailure>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LifecycleMetadata {
    #[serde(default)]
    pub detected_buildpack: String,
    #[serde(default)]
    pub buildpack_key: String,
    #[serde(default)]
    pub buildpacks: Vec<BuildpackMetadata>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BuildpackMetadata {
    pub key: String,
    pub name: String,
    #[serde(default)]
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildFailure {
    pub step: Step,
    /// One sentence for the user.
    pub message: String,
    /// What the failed step printed last.
    #[serde(default)]
    pub last_lines: Vec<String>,
    /// The step was ended because the time was over.
    #[serde(default)]
    pub timed_out: bool,
}

/// Steps of a build, as far as failures are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Reading the request and the package, before any buildpack runs.
    Prepare,
    Detect,
    Supply,
    Finalize,
    Compile,
    Release,
    /// Start commands and the droplet archive, after the buildpacks.
    Pack,
}

impl Step {
    /// Exit status of the builder (contract §6.1 for the five that have one).
    pub fn exit_status(self) -> i32 {
        match self {
            Step::Prepare | Step::Pack => 1,
            Step::Detect => 222,
            Step::Compile => 223,
            Step::Release => 224,
            Step::Supply => 225,
            Step::Finalize => 226,
        }
    }

    pub fn from_exit_status(status: i32) -> Option<Step> {
        [
            Step::Detect,
            Step::Compile,
            Step::Release,
            Step::Supply,
            Step::Finalize,
        ]
        .into_iter()
        .find(|step| step.exit_status() == status)
    }

    /// Cloud Foundry's name for a failure of this step.
    pub fn error_kind(self) -> &'static str {
        match self {
            Step::Detect => kind::NO_APP_DETECTED,
            Step::Supply | Step::Finalize | Step::Compile => kind::COMPILE_FAILED,
            Step::Release => kind::RELEASE_FAILED,
            Step::Prepare | Step::Pack => kind::STAGER,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Step::Prepare => "prepare",
            Step::Detect => "detect",
            Step::Supply => "supply",
            Step::Finalize => "finalize",
            Step::Compile => "compile",
            Step::Release => "release",
            Step::Pack => "pack",
        }
    }
}

/// The names of staging errors that Cloud Foundry's clients know.
pub mod kind {
    pub const NO_APP_DETECTED: &str = "NoAppDetectedError";
    pub const COMPILE_FAILED: &str = "BuildpackCompileFailed";
    pub const RELEASE_FAILED: &str = "BuildpackReleaseFailed";
    pub const TIME_EXPIRED: &str = "StagingTimeExpired";
    pub const INSUFFICIENT_RESOURCES: &str = "InsufficientResources";
    pub const STAGER: &str = "StagerError";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_tells_the_step_where_the_contract_has_one() {
        for step in [
            Step::Detect,
            Step::Compile,
            Step::Release,
            Step::Supply,
            Step::Finalize,
        ] {
            assert_eq!(Step::from_exit_status(step.exit_status()), Some(step));
        }
        assert_eq!(Step::from_exit_status(1), None);
        assert_eq!(Step::from_exit_status(0), None);
    }

    #[test]
    fn a_result_of_another_builder_decodes() {
        let text = r#"{"process_types":{"web":"run"},"lifecycle_type":"buildpack","lifecycle_metadata":{"detected_buildpack":"x","buildpack_key":"k","buildpacks":[{"key":"k","name":"n"}]},"execution_metadata":"","more":1}"#;
        let result: BuildResult = serde_json::from_str(text).expect("decodes");
        assert_eq!(result.process_types["web"], "run");
        assert_eq!(result.yard_failure, None);
    }
}
