//! The conversation with buildpacks (contract §6.1): detection, and the scripts in their order.

use super::console::Console;
use super::environment::{self, Dependency};
use super::fetch::{self, Fetch};
use super::layout::{Layout, folder_name};
use super::processes::{self, Processes};
use super::script::{self, Finished, Script};
use super::unpack::Bounds;
use super::{fail, failure};
use crate::domain::build::{BuildFailure, BuildRequest, BuildpackMetadata, OwnBuildpacks, Step};
use nix::unistd::{AccessFlags, access};
use proto::buildpacks::{Address, is_address};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the buildpacks did.
#[derive(Debug, Default)]
pub struct Built {
    /// What detect printed, or the last buildpack's name.
    pub detected: String,
    pub buildpacks: Vec<BuildpackMetadata>,
    pub released: Processes,
}

/// Longest run of a script that only looks or prints.
const SHORT: Duration = Duration::from_secs(60);
/// Most entries of the archive of a buildpack.
const MOST_ENTRIES: u64 = 100_000;

struct Session<'a> {
    layout: &'a Layout,
    own: OwnBuildpacks,
    deadline: Instant,
    inherited: BTreeMap<String, String>,
    fixed: BTreeMap<String, String>,
    dependencies: Vec<Dependency>,
    console: &'a mut Console,
}

/// Chooses the buildpacks and runs them.
pub fn run_all(
    layout: &Layout,
    request: &BuildRequest,
    deadline: Instant,
    console: &mut Console,
) -> Result<Built, BuildFailure> {
    let mut session = Session {
        layout,
        own: request.own_buildpacks.clone().unwrap_or_default(),
        deadline,
        inherited: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        fixed: fixed_environment(layout, request),
        dependencies: Vec::new(),
        console,
    };
    let (chosen, detected) = if request.buildpacks.is_empty() {
        let (name, detected) = session.detect(&request.order)?;
        (vec![name], detected)
    } else {
        (
            request.buildpacks.clone(),
            request.buildpacks.last().cloned().unwrap_or_default(),
        )
    };
    for name in &chosen {
        session.provide(name)?;
    }
    session.require_all(&chosen)?;
    session.supply_and_finalize(&chosen)?;
    let released = match chosen.last() {
        Some(last) => session.release(last)?,
        None => Processes::new(),
    };
    session.write_profile()?;
    let buildpacks = chosen
        .iter()
        .map(|name| BuildpackMetadata {
            key: name.clone(),
            name: name.clone(),
            version: version(&session.folder(name)),
        })
        .collect();
    Ok(Built {
        detected,
        buildpacks,
        released,
    })
}

fn fixed_environment(layout: &Layout, request: &BuildRequest) -> BTreeMap<String, String> {
    let text = |path: PathBuf| path.display().to_string();
    let mut fixed = BTreeMap::from([
        ("HOME", text(layout.home.clone())),
        ("USER", "vcap".to_string()),
        ("TMPDIR", text(layout.temporary())),
        ("DEPS_DIR", text(layout.deps())),
        ("BUILDPACK_CACHE", text(layout.cache())),
        ("CF_STACK", request.stack.clone()),
        ("STAGING_TIMEOUT", request.timeout_seconds.to_string()),
    ]);
    if request.start_command_given {
        // Lets a buildpack that needs nothing but a command say that it fits.
        fixed.insert("STACKYARD_START_COMMAND_GIVEN", "1".to_string());
    }
    fixed
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

fn version(folder: &Path) -> String {
    fs::read_to_string(folder.join("VERSION"))
        .map(|text| text.trim().to_string())
        .unwrap_or_default()
}

impl Session<'_> {
    fn is_own(&self, buildpack: &str) -> bool {
        is_address(buildpack) || self.own.archives.contains_key(buildpack)
    }

    fn folder(&self, buildpack: &str) -> PathBuf {
        match self.is_own(buildpack) {
            true => self.layout.own_buildpack(buildpack),
            false => self.layout.buildpack(buildpack),
        }
    }

    fn has(&self, buildpack: &str, script: &str) -> bool {
        self.folder(buildpack).join("bin").join(script).is_file()
    }

    /// Unpacks or fetches one that does not come with the agent, once.
    fn provide(&mut self, name: &str) -> Result<(), BuildFailure> {
        let target = self.folder(name);
        if !self.is_own(name) || target.exists() {
            return Ok(());
        }
        let bounds = Bounds {
            bytes: self.own.max_bytes,
            entries: MOST_ENTRIES,
        };
        let temporary = self.layout.temporary();
        if let Some(archive) = self.own.archives.get(name) {
            return fetch::unpack(archive, &temporary, &target, bounds).map_err(|why| {
                failure(
                    Step::Prepare,
                    format!("The archive of the buildpack {name} is unusable: {why}"),
                )
            });
        }
        let address = Address::parse_allowed(name, &self.own.schemes).map_err(|error| {
            failure(
                Step::Prepare,
                format!("The buildpack {name} cannot be fetched: {error}"),
            )
        })?;
        self.console
            .phase(&format!("Fetching the buildpack {address}..."));
        let environment = environment::of_script(&self.inherited, &self.fixed, &[]);
        let fetch = Fetch {
            address: &address,
            target: &target,
            temporary: &temporary,
            environment: &environment,
            deadline: self.deadline,
            within: Duration::from_secs(self.own.fetch_seconds),
            bounds,
            schemes: &self.own.schemes,
        };
        fetch.run(self.console)
    }

    /// Every chosen buildpack must be there with the scripts that its place in the list needs.
    fn require_all(&self, chosen: &[String]) -> Result<(), BuildFailure> {
        for (index, name) in chosen.iter().enumerate() {
            if !self.folder(name).is_dir() {
                return Err(failure(
                    Step::Prepare,
                    format!("the buildpack {name} is not installed on this agent"),
                ));
            }
            let last = index + 1 == chosen.len();
            if last && !self.has(name, "finalize") && !self.has(name, "compile") {
                return Err(failure(
                    Step::Finalize,
                    format!(
                        "the buildpack {name} cannot be the last one: it has neither bin/finalize nor bin/compile"
                    ),
                ));
            }
            if !last && !self.has(name, "supply") {
                return Err(failure(
                    Step::Supply,
                    format!("the buildpack {name} can only be the last one: it has no bin/supply"),
                ));
            }
        }
        Ok(())
    }

    fn detect(&mut self, order: &[String]) -> Result<(String, String), BuildFailure> {
        self.console.phase("Detecting the buildpack...");
        let mut looked_for = Vec::new();
        for name in order {
            self.provide(name)?;
            if !self.has(name, "detect") {
                let why = match self.folder(name).is_dir() {
                    true => "it has no bin/detect, name it to use it",
                    false => "not installed on this agent",
                };
                self.console.detail(&format!("{name}: {why}"));
                looked_for.push(format!("{name}: {why}"));
                continue;
            }
            let finished =
                self.script(name, "detect", Step::Detect, vec![self.layout.app()], true)?;
            if finished.success() {
                let shown = String::from_utf8_lossy(&finished.stdout)
                    .trim()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_string();
                let shown = if shown.is_empty() {
                    name.clone()
                } else {
                    shown
                };
                self.console.detail(&format!("{name}: fits ({shown})"));
                return Ok((name.clone(), shown));
            }
            let why = String::from_utf8_lossy(&finished.stderr)
                .trim()
                .replace('\n', " ");
            let why = match (finished.status, why.is_empty()) {
                (None, _) => format!("bin/detect did not end within {} s", SHORT.as_secs()),
                (_, true) => "does not fit".to_string(),
                (_, false) => why,
            };
            self.console.detail(&format!("{name}: {why}"));
            looked_for.push(format!("{name}: {why}"));
        }
        let list = order.join(", ");
        Err(failure(
            Step::Detect,
            format!(
                "An app was not successfully detected by any available buildpack. Looked for: {}. Name a buildpack (-b NAME, or `buildpacks:` in the manifest; there are {list}), or push the folder that holds the app.",
                looked_for.join("; ")
            ),
        ))
    }

    fn supply_and_finalize(&mut self, chosen: &[String]) -> Result<(), BuildFailure> {
        for (index, name) in chosen.iter().enumerate() {
            let last = index + 1 == chosen.len();
            let folder = self.layout.dep(index);
            let cache = self.layout.cache().join(if last {
                "final".to_string()
            } else {
                folder_name(name)
            });
            for folder in [&folder, &cache] {
                fs::create_dir_all(folder).map_err(|error| fail(Step::Prepare, error))?;
            }
            let common = vec![
                self.layout.app(),
                cache.clone(),
                self.layout.deps(),
                index.to_string().into(),
            ];
            let modern = !last || self.has(name, "finalize");
            if modern && self.has(name, "supply") {
                self.console
                    .phase(&format!("Running supply of the buildpack {name}..."));
                self.script(name, "supply", Step::Supply, common.clone(), false)?;
                self.look_at(index)?;
            }
            if last && modern {
                self.console
                    .phase(&format!("Running finalize of the buildpack {name}..."));
                let mut arguments = common;
                arguments.push(self.layout.profile());
                self.script(name, "finalize", Step::Finalize, arguments, false)?;
            } else if last {
                self.console
                    .phase(&format!("Running compile of the buildpack {name}..."));
                self.script(
                    name,
                    "compile",
                    Step::Compile,
                    vec![self.layout.app(), cache],
                    false,
                )?;
            }
            self.look_at(index)?;
        }
        Ok(())
    }

    /// Takes note of what a buildpack left, for those that follow and for the running app.
    fn look_at(&mut self, index: usize) -> Result<(), BuildFailure> {
        let dependency = environment::inspect(&self.layout.dep(index)).map_err(|error| {
            failure(
                Step::Pack,
                format!(
                    "what the buildpack left in {} cannot be read: {error}",
                    self.layout.dep(index).display()
                ),
            )
        })?;
        self.dependencies.truncate(index);
        self.dependencies.push(dependency);
        Ok(())
    }

    fn release(&mut self, name: &str) -> Result<Processes, BuildFailure> {
        if !self.has(name, "release") {
            return Ok(Processes::new());
        }
        let finished = self.script(
            name,
            "release",
            Step::Release,
            vec![self.layout.app()],
            true,
        )?;
        processes::release(&String::from_utf8_lossy(&finished.stdout))
            .map_err(|error| fail(Step::Release, error))
    }

    fn write_profile(&self) -> Result<(), BuildFailure> {
        let path = self.layout.profile().join("000_deps.sh");
        fs::write(
            &path,
            environment::profile_script(&self.layout.deps(), &self.dependencies),
        )
        .map_err(|error| {
            failure(
                Step::Pack,
                format!("{} cannot be written: {error}", path.display()),
            )
        })
    }

    /// Runs one script. A script of detection may fail; any other failure ends the build.
    fn script(
        &mut self,
        buildpack: &str,
        name: &str,
        step: Step,
        arguments: Vec<PathBuf>,
        quiet: bool,
    ) -> Result<Finished, BuildFailure> {
        let program = self.folder(buildpack).join("bin").join(name);
        if access(&program, AccessFlags::X_OK).is_err() {
            return Err(failure(
                step,
                format!("The script bin/{name} of the buildpack {buildpack} is not executable."),
            ));
        }
        let environment = environment::of_script(&self.inherited, &self.fixed, &self.dependencies);
        let app = self.layout.app();
        let short = Instant::now() + SHORT;
        let script = Script {
            program,
            arguments,
            environment: &environment,
            directory: &app,
            deadline: if quiet {
                self.deadline.min(short)
            } else {
                self.deadline
            },
            quiet,
        };
        let finished = script::run(&script, self.console).map_err(|error| {
            failure(
                step,
                format!(
                    "The script bin/{name} of the buildpack {buildpack} cannot be run: {error}."
                ),
            )
        })?;
        let overall = Instant::now() >= self.deadline;
        if finished.success() || (step == Step::Detect && !overall) {
            return Ok(finished);
        }
        if quiet {
            for line in finished
                .stderr
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                self.console.stderr(line);
            }
        }
        let message = match finished.status {
            None => format!(
                "The script bin/{name} of the buildpack {buildpack} did not end in time and was stopped."
            ),
            Some(_) => format!(
                "The script bin/{name} of the buildpack {buildpack} failed with {}.",
                finished.describe()
            ),
        };
        Err(BuildFailure {
            step,
            message,
            timed_out: finished.status.is_none(),
            last_lines: finished.last_lines,
        })
    }
}
