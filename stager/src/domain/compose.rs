//! From a staging request to the task that an agent runs.
//!
//! What can be refused without a container is refused here (unknown buildpack, no time, no memory):
//! the user learns it at once instead of after the sandbox was made.

use super::build::{BuildRequest, OwnBuildpacks, kind, place};
use super::buildpacks;
use proto::buildpacks::{SHIPPED, is_address};
use proto::bus::staging::{StagingError, StagingRequest};
use proto::bus::stream::{RunTask, TaskInput, TaskOutput, task_input::Source};
use proto::log::SOURCE_STAGING;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Values of the cluster configuration that a staging needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub max_unpacked_bytes: u64,
    pub max_entries: u64,
    /// The operator's environment of every staging; the request's own entries win.
    pub environment: BTreeMap<String, String>,
    /// Ways in which a buildpack may be fetched from its address.
    pub schemes: Vec<String>,
    /// Longest fetch of a buildpack.
    pub fetch_seconds: u64,
    pub max_buildpack_bytes: u64,
}

/// Travels with the task and comes back with its end: the stager itself remembers nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Context {
    pub app: String,
    /// MB
    pub memory: u64,
    /// MB
    pub disk: u64,
    /// Seconds.
    pub timeout: u64,
}

/// Least sensible limits: below them the builder itself does not run.
const LEAST_MEMORY_MB: u64 = 32;
const LEAST_TIMEOUT_SECONDS: u64 = 5;

fn refused(message: impl Into<String>) -> StagingError {
    StagingError {
        kind: kind::STAGER.to_string(),
        message: message.into(),
        last_lines: Vec::new(),
    }
}

/// The task for `request`, or the reason why there is none.
pub fn compose(request: &StagingRequest, policy: &Policy) -> Result<RunTask, StagingError> {
    if request.memory_limit < LEAST_MEMORY_MB {
        return Err(refused(format!(
            "staging with {} MB of memory cannot work; it needs at least {LEAST_MEMORY_MB} MB",
            request.memory_limit
        )));
    }
    if request.yard_timeout < LEAST_TIMEOUT_SECONDS {
        return Err(refused(format!(
            "no time is left for staging ({} s)",
            request.yard_timeout
        )));
    }
    let order = order(request);
    let chosen = request
        .properties
        .buildpacks
        .iter()
        .map(|name| buildpacks::resolve(name, &order, &policy.schemes))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(error.to_string()))?;

    let archives = archives(request, &chosen);
    let has_own = !archives.is_empty() || chosen.iter().any(|name| is_address(name));
    let own_buildpacks = has_own.then(|| OwnBuildpacks {
        archives: archives
            .iter()
            .map(|archive| (archive.name.to_string(), archive.place.clone().into()))
            .collect(),
        schemes: policy.schemes.clone(),
        fetch_seconds: policy.fetch_seconds,
        max_bytes: policy.max_buildpack_bytes,
    });
    let build = BuildRequest {
        stack: request.stack.clone(),
        own_buildpacks,
        buildpacks: chosen,
        order,
        start_command_given: request
            .properties
            .start_command
            .as_deref()
            .is_some_and(|command| !command.trim().is_empty()),
        max_unpacked_bytes: policy.max_unpacked_bytes,
        max_entries: policy.max_entries,
        timeout_seconds: request.yard_timeout,
    };
    let context = Context {
        app: request.app_id.to_string(),
        memory: request.memory_limit,
        disk: request.disk_limit,
        timeout: request.yard_timeout,
    };
    Ok(RunTask {
        task: request.task_id.to_string(),
        kind: "staging".to_string(),
        app: request.app_id.to_string(),
        app_name: String::new(),
        stack: request.stack.clone(),
        command: [place::BUILDER, "builder", "--request", place::REQUEST]
            .map(String::from)
            .to_vec(),
        environment: environment(request, policy),
        working_directory: place::HOME.to_string(),
        memory_mb: request.memory_limit,
        disk_mb: request.disk_limit,
        timeout_seconds: u32::try_from(request.yard_timeout).unwrap_or(u32::MAX),
        inputs: inputs(request, &build, &archives),
        outputs: outputs(request),
        log_source_type: SOURCE_STAGING.to_string(),
        context: serde_json::to_vec(&context).expect("a struct of texts and numbers serializes"),
        result_file: place::RESULT.to_string(),
        droplet: None,
        log_instance: String::new(),
        epoch: request.yard_epoch.unwrap_or(0),
    })
}

/// The order of detection. A controller that knows nothing of buildpacks sends none: then those that come with
/// the agents.
fn order(request: &StagingRequest) -> Vec<String> {
    if request.admin_buildpacks.is_empty() {
        return SHIPPED.map(String::from).to_vec();
    }
    let names = request.admin_buildpacks.iter().map(|one| one.key.clone());
    names.collect()
}

/// An uploaded buildpack that goes into the sandbox.
struct Archive<'a> {
    name: &'a str,
    place: String,
    url: &'a str,
    sha256: Option<&'a str>,
}

/// The archives that a build may need: those of `chosen`, or all if none is.
fn archives<'a>(request: &'a StagingRequest, chosen: &[String]) -> Vec<Archive<'a>> {
    let uploaded = request.admin_buildpacks.iter().filter_map(|one| {
        let is_needed = chosen.is_empty() || chosen.contains(&one.key);
        let url = one.url.as_deref().filter(|_| is_needed)?;
        Some((one, url))
    });
    uploaded
        .enumerate()
        .map(|(number, (one, url))| Archive {
            name: &one.key,
            place: format!("{}/{number}.zip", place::ARCHIVES),
            url,
            sha256: one.yard_sha256.as_deref(),
        })
        .collect()
}

/// The request's environment, then what staging adds; the first entry of a name wins.
fn environment(request: &StagingRequest, policy: &Policy) -> Vec<String> {
    let services = &request.properties.services;
    let mut environment = request.properties.environment.clone();
    // The bindings are the truth, whatever was written down about them.
    environment.retain(|entry| !entry.starts_with("VCAP_SERVICES="));
    let mut add = |name: &str, value: String| {
        let taken = environment.iter().any(|entry| {
            entry
                .split_once('=')
                .is_some_and(|(taken, _)| taken == name)
        });
        if !taken {
            environment.push(format!("{name}={value}"));
        }
    };
    for (name, value) in &policy.environment {
        add(name, value.clone());
    }
    add("CF_STACK", request.stack.clone());
    add("STAGING_TIMEOUT", request.yard_timeout.to_string());
    add("MEMORY_LIMIT", format!("{}m", request.memory_limit));
    add("VCAP_APPLICATION", vcap_application(request));
    add(
        "VCAP_SERVICES",
        proto::services::vcap_services(services).to_string(),
    );
    for (name, value) in proto::services::variables(services) {
        add(&name, value);
    }
    environment
}

fn vcap_application(request: &StagingRequest) -> String {
    serde_json::json!({
        "application_id": request.app_id,
        "limits": { "mem": request.memory_limit, "disk": request.disk_limit },
    })
    .to_string()
}

fn inputs(
    request: &StagingRequest,
    build: &BuildRequest,
    archives: &[Archive<'_>],
) -> Vec<TaskInput> {
    let input = |path: &str, source: Source| TaskInput {
        path: path.to_string(),
        source: Some(source),
        sha256: String::new(),
        optional: false,
        mode: 0,
    };
    let document =
        serde_json::to_vec_pretty(build).expect("a struct of texts and numbers serializes");
    let mut inputs = vec![
        TaskInput {
            sha256: request.yard_package_sha256.clone().unwrap_or_default(),
            ..input(place::PACKAGE, Source::Url(request.download_uri.clone()))
        },
        input(place::REQUEST, Source::Content(document)),
        input(place::BUILDER, Source::Builtin("builder".to_string())),
        input(place::BUILDPACKS, Source::Builtin("buildpacks".to_string())),
    ];
    inputs.extend(archives.iter().map(|archive| TaskInput {
        sha256: archive.sha256.unwrap_or_default().to_string(),
        ..input(&archive.place, Source::Url(archive.url.to_string()))
    }));
    if let Some(url) = &request.buildpack_cache_download_uri {
        // A first push has none, and a lost one must never fail a push.
        inputs.push(TaskInput {
            optional: true,
            ..input(place::CACHE, Source::Url(url.clone()))
        });
    }
    let bound = proto::services::files(&request.properties.services);
    inputs.extend(bound.into_iter().map(|file| TaskInput {
        mode: proto::services::FILE_MODE,
        ..input(&file.path, Source::Content(file.content))
    }));
    inputs
}

fn outputs(request: &StagingRequest) -> Vec<TaskOutput> {
    let mut outputs = vec![TaskOutput {
        path: place::DROPLET_OUT.to_string(),
        url: request.upload_uri.clone(),
        required: true,
    }];
    if let Some(url) = &request.buildpack_cache_upload_uri {
        outputs.push(TaskOutput {
            path: place::CACHE_OUT.to_string(),
            url: url.clone(),
            required: false,
        });
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::bus::staging::{AdminBuildpack, StagingProperties};
    use proto::ids::{AppGuid, DeaId, TaskId};

    fn request() -> StagingRequest {
        StagingRequest {
            app_id: AppGuid::new("app-1").expect("id"),
            task_id: TaskId::new("build-1").expect("id"),
            stack: "host".into(),
            properties: StagingProperties {
                environment: vec!["A=1".into(), "PIP_INDEX_URL=user".into()],
                ..Default::default()
            },
            download_uri: "http://c/p".into(),
            upload_uri: "http://c/d".into(),
            buildpack_cache_download_uri: Some("http://c/cache?get".into()),
            buildpack_cache_upload_uri: Some("http://c/cache?put".into()),
            admin_buildpacks: vec![],
            memory_limit: 1024,
            disk_limit: 4096,
            yard_dea: DeaId::new("dea-1").expect("id"),
            yard_timeout: 900,
            yard_package_sha256: Some("ab".into()),
            yard_epoch: Some(7),
        }
    }

    fn policy() -> Policy {
        Policy {
            max_unpacked_bytes: 1 << 30,
            max_entries: 1000,
            environment: BTreeMap::from([
                ("PIP_INDEX_URL".to_string(), "operator".to_string()),
                ("HTTP_PROXY".to_string(), "p".to_string()),
            ]),
            schemes: vec!["https".into()],
            fetch_seconds: 60,
            max_buildpack_bytes: 1 << 20,
        }
    }

    fn build_of(task: &RunTask) -> BuildRequest {
        let input = task
            .inputs
            .iter()
            .find(|input| input.path == place::REQUEST)
            .expect("the request is an input");
        match &input.source {
            Some(Source::Content(bytes)) => serde_json::from_slice(bytes).expect("a build request"),
            other => panic!("not content: {other:?}"),
        }
    }

    #[test]
    fn given_a_request_the_task_has_all_the_builder_needs() {
        let task = compose(&request(), &policy()).expect("composed");
        assert_eq!(task.task, "build-1");
        assert_eq!(
            task.command,
            [
                "/yard/builder",
                "builder",
                "--request",
                "/yard/request.json"
            ]
        );
        assert_eq!(task.epoch, 7);
        assert_eq!(task.timeout_seconds, 900);
        let paths: Vec<_> = task
            .inputs
            .iter()
            .map(|input| (input.path.as_str(), input.optional))
            .collect();
        assert_eq!(
            paths,
            [
                ("/yard/package.zip", false),
                ("/yard/request.json", false),
                ("/yard/builder", false),
                ("/yard/buildpacks", false),
                ("/yard/cache.tgz", true)
            ]
        );
        assert_eq!(task.inputs[0].sha256, "ab");
        let outputs: Vec<_> = task
            .outputs
            .iter()
            .map(|output| (output.path.as_str(), output.required))
            .collect();
        assert_eq!(
            outputs,
            [
                ("/yard/out/droplet.tgz", true),
                ("/yard/out/cache.tgz", false)
            ]
        );
        assert_eq!(
            build_of(&task).order,
            ["staticfile", "nodejs", "python", "binary"]
        );
    }

    #[test]
    fn the_users_environment_wins_over_the_operators_and_over_ours() {
        let task = compose(&request(), &policy()).expect("composed");
        assert!(task.environment.contains(&"PIP_INDEX_URL=user".to_string()));
        assert!(
            !task
                .environment
                .contains(&"PIP_INDEX_URL=operator".to_string())
        );
        assert!(task.environment.contains(&"HTTP_PROXY=p".to_string()));
        assert!(task.environment.contains(&"CF_STACK=host".to_string()));
        assert!(task.environment.contains(&"VCAP_SERVICES={}".to_string()));
    }

    #[test]
    fn bindings_are_told_whatever_was_written_down_about_them() {
        let mut request = request();
        request
            .properties
            .environment
            .push("VCAP_SERVICES={}".into());
        request.properties.services = vec![
            serde_json::json!({"label": "pg", "name": "a", "credentials": {"uri": "postgres://h/a"}}),
        ];
        let task = compose(&request, &policy()).expect("composed");
        let told: Vec<&str> = task
            .environment
            .iter()
            .filter_map(|entry| entry.strip_prefix("VCAP_SERVICES="))
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let services: serde_json::Value = serde_json::from_str(told[0]).expect("JSON");
        assert_eq!(services["pg"][0]["name"], "a");
        assert!(
            task.environment
                .contains(&"DATABASE_URL=postgres://h/a".to_string())
        );
        let file = task
            .inputs
            .iter()
            .find(|input| input.path == "/etc/cf-service-bindings/a/uri")
            .expect("a file");
        assert_eq!(
            (&file.source, file.mode),
            (&Some(Source::Content(b"postgres://h/a".to_vec())), 0o400)
        );
    }

    #[test]
    fn what_cannot_work_is_refused_before_a_container_is_made() {
        let with = |change: fn(&mut StagingRequest)| {
            let mut request = request();
            change(&mut request);
            compose(&request, &policy()).expect_err("refused").message
        };
        assert!(
            with(|r| r.properties.buildpacks = vec!["ruby".into()])
                .contains("there is no buildpack ruby")
        );
        for address in ["git@x:y.git", "http://x/y.git"] {
            let mut request = request();
            request.properties.buildpacks = vec![address.into()];
            let refused = compose(&request, &policy()).expect_err("refused");
            assert!(refused.message.contains("cannot be fetched"), "{refused:?}");
        }
        assert!(with(|r| r.memory_limit = 8).contains("at least 32 MB"));
        assert!(with(|r| r.yard_timeout = 0).contains("no time is left"));
    }

    #[test]
    fn uploaded_buildpacks_go_into_the_sandbox_as_far_as_they_are_needed() {
        let uploaded = |key: &str| AdminBuildpack {
            key: key.into(),
            url: Some(format!("http://c/{key}")),
            yard_sha256: Some(format!("sum of {key}")),
        };
        let shipped = AdminBuildpack {
            key: "python".into(),
            url: None,
            yard_sha256: None,
        };
        let mut request = request();
        request.admin_buildpacks = vec![uploaded("one"), shipped, uploaded("two")];
        let composed = |named: &[&str]| {
            let mut request = request.clone();
            request.properties.buildpacks = named.iter().map(|name| name.to_string()).collect();
            let task = compose(&request, &policy()).expect("composed");
            let sums: Vec<(String, String)> = task
                .inputs
                .iter()
                .filter(|input| input.path.starts_with(place::ARCHIVES))
                .map(|input| (input.path.clone(), input.sha256.clone()))
                .collect();
            (build_of(&task), sums)
        };
        let sum = |number: u32, key: &str| {
            let path = format!("/yard/archives/{number}.zip");
            (path, format!("sum of {key}"))
        };
        let (build, sums) = composed(&[]);
        assert_eq!(build.order, ["one", "python", "two"]);
        assert_eq!(sums, [sum(0, "one"), sum(1, "two")]);
        let own = build.own_buildpacks.expect("archives");
        assert_eq!(own.archives["two"].to_str(), Some("/yard/archives/1.zip"));
        assert_eq!(own.max_bytes, 1 << 20);
        let (build, sums) = composed(&["two", "python_buildpack"]);
        assert_eq!(build.buildpacks, ["two", "python"]);
        assert_eq!(sums, [sum(0, "two")]);
        let (build, sums) = composed(&["python"]);
        assert!(build.own_buildpacks.is_none() && sums.is_empty());
        let (build, sums) = composed(&["https://x/y.git"]);
        let own = build.own_buildpacks.expect("what bounds the fetch");
        assert_eq!((own.fetch_seconds, own.archives.len()), (60, 0));
        assert!(sums.is_empty());
    }

    #[test]
    fn only_a_command_that_says_something_counts_as_given() {
        let mut request = request();
        request.properties.start_command = Some("  ".into());
        assert!(!build_of(&compose(&request, &policy()).expect("composed")).start_command_given);
        request.properties.start_command = Some("./run".into());
        assert!(build_of(&compose(&request, &policy()).expect("composed")).start_command_given);
    }
}
