//! From the end of a staging task to what the controller records and the user reads.
//!
//! The builder's own result is believed first, because it knows the step and its output. The
//! agent's view (memory, disk, time, sandbox) explains what the builder could not: it was killed.

use super::build::{BuildFailure, BuildResult, Step, kind, place};
use super::compose::Context;
use proto::bus::staging::{
    StagedDroplet, StagingCompleted, StagingError, StagingOutcome, UsedBuildpack,
};
use proto::bus::stream::{TaskEnd, TaskExited};
use proto::ids::{AppGuid, InvalidId, TaskId};

/// A task's end that belongs to no build: nothing can be told to anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("the task id {0:?} is no identifier")]
    Task(String, #[source] InvalidId),
    #[error("the app id {0:?} is no identifier")]
    App(String, #[source] InvalidId),
}

const LAST_LINES: usize = 20;

/// What `exited` means.
pub fn interpret(exited: &TaskExited) -> Result<StagingCompleted, Unusable> {
    let context: Option<Context> = serde_json::from_slice(&exited.context).ok();
    let app = context
        .as_ref()
        .map_or(exited.app.as_str(), |context| context.app.as_str());
    let app_id = AppGuid::new(app).map_err(|error| Unusable::App(app.to_string(), error))?;
    let task_id = TaskId::new(exited.task.as_str())
        .map_err(|error| Unusable::Task(exited.task.clone(), error))?;
    let result: Option<BuildResult> = serde_json::from_slice(&exited.result).ok();
    let outcome = match outcome(exited, context.as_ref(), result) {
        Ok(droplet) => StagingOutcome::Staged(droplet),
        Err(error) => StagingOutcome::Failed(error),
    };
    Ok(StagingCompleted {
        task_id,
        app_id,
        outcome,
    })
}

fn outcome(
    exited: &TaskExited,
    context: Option<&Context>,
    result: Option<BuildResult>,
) -> Result<StagedDroplet, StagingError> {
    let fail = |kind: &str, message: String| {
        Err(StagingError {
            kind: kind.to_string(),
            message,
            last_lines: tail(&exited.last_lines),
        })
    };
    match exited.end() {
        TaskEnd::Exited if exited.exit_status == 0 && exited.signal.is_empty() => {
            staged(exited, result)
        }
        TaskEnd::Exited => Err(failed_build(exited, context, result)),
        TaskEnd::OutOfMemory => fail(
            kind::INSUFFICIENT_RESOURCES,
            match context {
                Some(context) => format!(
                    "Staging ran out of memory: its limit is {} MB. Give staging more memory (setting staging/memory).",
                    context.memory
                ),
                None => "Staging ran out of memory.".to_string(),
            },
        ),
        TaskEnd::DiskFull => fail(
            kind::INSUFFICIENT_RESOURCES,
            match context {
                Some(context) => format!(
                    "Staging ran out of disk: its limit is {} MB. Give staging more disk (setting staging/disk).",
                    context.disk
                ),
                None => "Staging ran out of disk.".to_string(),
            },
        ),
        TaskEnd::Timeout => fail(
            kind::TIME_EXPIRED,
            match context {
                Some(context) => format!(
                    "Staging did not end within {} s and was stopped.",
                    context.timeout
                ),
                None => "Staging did not end in time and was stopped.".to_string(),
            },
        ),
        TaskEnd::Stopped => fail(
            kind::STAGER,
            with_detail("Staging was stopped", &exited.description),
        ),
        TaskEnd::NotStarted => fail(
            kind::STAGER,
            with_detail(
                &format!("The agent {} could not start staging", exited.dea),
                &exited.description,
            ),
        ),
        TaskEnd::UploadFailed => fail(
            kind::STAGER,
            with_detail(
                "The app was staged, but its droplet could not be stored",
                &exited.description,
            ),
        ),
        TaskEnd::AgentLostIt => fail(
            kind::STAGER,
            with_detail(
                &format!("The agent {} lost the staging; push again", exited.dea),
                &exited.description,
            ),
        ),
        TaskEnd::Unknown => fail(
            kind::STAGER,
            with_detail(
                "Staging ended in a way that this version does not know",
                &exited.description,
            ),
        ),
    }
}

fn staged(exited: &TaskExited, result: Option<BuildResult>) -> Result<StagedDroplet, StagingError> {
    let broken = |what: &str| StagingError {
        kind: kind::STAGER.to_string(),
        message: what.to_string(),
        last_lines: tail(&exited.last_lines),
    };
    let result = result.ok_or_else(|| broken("Staging ended without a readable result."))?;
    let droplet = exited
        .uploaded
        .iter()
        .find(|output| output.path == place::DROPLET_OUT)
        .ok_or_else(|| broken("Staging ended without a droplet."))?;
    if let Some(failure) = result.yard_failure {
        return Err(broken(&format!(
            "Staging said both that it succeeded and that it failed: {}",
            failure.message
        )));
    }
    let metadata = result.lifecycle_metadata;
    Ok(StagedDroplet {
        buildpacks: metadata
            .buildpacks
            .into_iter()
            .map(|buildpack| UsedBuildpack {
                detect_output: if buildpack.key == metadata.buildpack_key {
                    metadata.detected_buildpack.clone()
                } else {
                    String::new()
                },
                name: buildpack.name,
                version: buildpack.version,
            })
            .collect(),
        detected_buildpack: metadata.detected_buildpack,
        process_types: result.process_types,
        sha1: droplet.sha1.clone(),
        sha256: droplet.sha256.clone(),
        size_bytes: droplet.size_bytes,
    })
}

fn failed_build(
    exited: &TaskExited,
    context: Option<&Context>,
    result: Option<BuildResult>,
) -> StagingError {
    let error = failed_step(exited, result);
    // Scripts that meet a full disk end like any that fails, and the disk may have room again by the
    // time the agent looks.
    let full = |line: &String| line.contains("No space left on device");
    if full(&error.message) || error.last_lines.iter().any(full) {
        let limit = context.map_or(String::new(), |context| format!(" of {} MB", context.disk));
        return StagingError {
            kind: kind::INSUFFICIENT_RESOURCES.to_string(),
            message: format!(
                "{} The disk{limit} was full. Give staging more disk (setting staging/disk).",
                error.message
            ),
            ..error
        };
    }
    error
}

fn failed_step(exited: &TaskExited, result: Option<BuildResult>) -> StagingError {
    if let Some(failure) = result.and_then(|result| result.yard_failure) {
        let BuildFailure {
            step,
            message,
            last_lines,
            timed_out,
        } = failure;
        let kind = if timed_out {
            kind::TIME_EXPIRED
        } else {
            step.error_kind()
        };
        let lines = if last_lines.is_empty() {
            &exited.last_lines
        } else {
            &last_lines
        };
        return StagingError {
            kind: kind.to_string(),
            message,
            last_lines: tail(lines),
        };
    }
    let how = if exited.signal.is_empty() {
        format!("with exit status {}", exited.exit_status)
    } else {
        format!("by signal {}", exited.signal)
    };
    let (kind, message) = match Step::from_exit_status(exited.exit_status) {
        Some(step) => (
            step.error_kind(),
            format!("The step {} failed ({how}).", step.name()),
        ),
        None => (
            kind::STAGER,
            with_detail(&format!("Staging ended {how}"), &exited.description),
        ),
    };
    StagingError {
        kind: kind.to_string(),
        message,
        last_lines: tail(&exited.last_lines),
    }
}

fn with_detail(sentence: &str, detail: &str) -> String {
    match detail.trim().trim_end_matches('.') {
        "" => format!("{sentence}."),
        detail => format!("{sentence}: {detail}."),
    }
}

fn tail(lines: &[String]) -> Vec<String> {
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::build::{BuildpackMetadata, LifecycleMetadata};
    use super::*;
    use proto::bus::stream::UploadedOutput;
    use std::collections::BTreeMap;

    fn exited(end: TaskEnd, status: i32) -> TaskExited {
        TaskExited {
            task: "build-1".into(),
            kind: "staging".into(),
            dea: "dea-1".into(),
            app: "app-1".into(),
            end: end.into(),
            exit_status: status,
            context: serde_json::to_vec(&Context {
                app: "app-1".into(),
                memory: 1024,
                disk: 4096,
                timeout: 900,
            })
            .expect("JSON"),
            last_lines: (0..30).map(|n| format!("line {n}")).collect(),
            ..Default::default()
        }
    }

    fn result() -> BuildResult {
        BuildResult {
            process_types: BTreeMap::from([("web".to_string(), "run".to_string())]),
            lifecycle_type: "buildpack".into(),
            lifecycle_metadata: LifecycleMetadata {
                detected_buildpack: "python 3.11".into(),
                buildpack_key: "python".into(),
                buildpacks: vec![BuildpackMetadata {
                    key: "python".into(),
                    name: "python".into(),
                    version: "1.0".into(),
                }],
            },
            ..Default::default()
        }
    }

    fn error_of(exited: &TaskExited) -> StagingError {
        match interpret(exited).expect("usable").outcome {
            StagingOutcome::Failed(error) => error,
            StagingOutcome::Staged(droplet) => panic!("staged: {droplet:?}"),
        }
    }

    #[test]
    fn given_a_result_and_an_uploaded_droplet_it_is_staged() {
        let mut exited = exited(TaskEnd::Exited, 0);
        exited.result = serde_json::to_vec(&result()).expect("JSON");
        exited.uploaded = vec![UploadedOutput {
            path: place::DROPLET_OUT.into(),
            sha256: "cc".into(),
            sha1: "aa".into(),
            size_bytes: 12,
        }];
        let completed = interpret(&exited).expect("usable");
        assert_eq!(completed.task_id.as_str(), "build-1");
        match completed.outcome {
            StagingOutcome::Staged(droplet) => {
                assert_eq!(droplet.detected_buildpack, "python 3.11");
                assert_eq!(droplet.buildpacks[0].detect_output, "python 3.11");
                assert_eq!(droplet.process_types["web"], "run");
                assert_eq!(
                    (
                        droplet.sha1.as_str(),
                        droplet.sha256.as_str(),
                        droplet.size_bytes
                    ),
                    ("aa", "cc", 12)
                );
            }
            StagingOutcome::Failed(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn success_without_droplet_or_result_is_no_success() {
        let mut exited = exited(TaskEnd::Exited, 0);
        assert!(
            error_of(&exited)
                .message
                .contains("without a readable result")
        );
        exited.result = serde_json::to_vec(&result()).expect("JSON");
        assert!(error_of(&exited).message.contains("without a droplet"));
    }

    #[test]
    fn the_builders_own_words_are_used_with_the_lines_of_the_step() {
        let mut exited = exited(TaskEnd::Exited, 225);
        exited.result = serde_json::to_vec(&BuildResult {
            yard_failure: Some(BuildFailure {
                step: Step::Supply,
                message: "The script bin/supply of the buildpack python failed with exit status 1."
                    .into(),
                last_lines: vec!["no matching distribution".into()],
                timed_out: false,
            }),
            ..Default::default()
        })
        .expect("JSON");
        let error = error_of(&exited);
        assert_eq!(error.kind, "BuildpackCompileFailed");
        assert!(error.message.contains("bin/supply of the buildpack python"));
        assert_eq!(error.last_lines, ["no matching distribution"]);
    }

    #[test]
    fn each_end_has_its_kind_and_says_the_limit() {
        let check = |end, status, kind: &str, part: &str| {
            let error = error_of(&exited(end, status));
            assert_eq!(error.kind, kind, "{end:?}");
            assert!(error.message.contains(part), "{end:?}: {}", error.message);
            assert_eq!(error.last_lines.len(), LAST_LINES);
        };
        check(
            TaskEnd::OutOfMemory,
            137,
            "InsufficientResources",
            "1024 MB",
        );
        check(TaskEnd::DiskFull, 1, "InsufficientResources", "4096 MB");
        check(TaskEnd::Timeout, 137, "StagingTimeExpired", "900 s");
        check(TaskEnd::Exited, 222, "NoAppDetectedError", "detect");
        check(TaskEnd::Exited, 224, "BuildpackReleaseFailed", "release");
        check(TaskEnd::Exited, 3, "StagerError", "exit status 3");
        check(
            TaskEnd::NotStarted,
            0,
            "StagerError",
            "dea-1 could not start",
        );
        check(TaskEnd::AgentLostIt, 0, "StagerError", "push again");
        check(
            TaskEnd::UploadFailed,
            0,
            "StagerError",
            "could not be stored",
        );
        check(TaskEnd::Unknown, 0, "StagerError", "does not know");
    }

    #[test]
    fn a_disk_that_was_full_is_told_from_what_the_script_printed() {
        let mut exited = exited(TaskEnd::Exited, 225);
        exited
            .last_lines
            .push("tar: write error: No space left on device".into());
        let error = error_of(&exited);
        assert_eq!(error.kind, "InsufficientResources");
        assert!(
            error.message.contains("The disk of 4096 MB was full"),
            "{}",
            error.message
        );
    }

    #[test]
    fn an_exit_that_belongs_to_nobody_is_unusable_and_a_lost_context_is_not() {
        let mut lost = exited(TaskEnd::Timeout, 0);
        lost.context = vec![1, 2];
        assert_eq!(
            error_of(&lost).message,
            "Staging did not end in time and was stopped."
        );
        lost.app = "a.b".into();
        assert!(matches!(interpret(&lost), Err(Unusable::App(..))));
    }
}
