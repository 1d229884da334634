//! Installing packs and removing them.
//!
//! ```text
//!   sources ─► fetch ─► examine ─► dependencies first (depth ≤ 10) ─► plan
//!   plan ─► pack by pack: turn ─► stage (virtual environment) ─► one transaction: rows, files, archive
//! ```
//!
//! Everything is fetched and examined before anything is written: a dependency that is missing leaves
//! nothing half installed. A pack is replaced whole; executions under way keep the content they began with.

use super::base_environment;
use super::fault::Fault;
use super::pack_content::PackContent;
use super::pack_sources::{Place, Source, blocking};
use super::pack_staging::StagingAsked;
use super::packs::{
    ADDED, NewPack, RegisterAsked, Stored, carry_over_added, examine, find_pack, no_errors,
    write_pack,
};
use super::registration::{self, Kind};
use super::sensor_types::restart_of_pack;
use crate::automation::Automation;
use crate::automation::engine::dispatch::content_key;
use crate::ops::now;
use crate::store::Tx;
use crate::store::automation::executions::Execution;
use crate::store::automation::packs::Pack;
use crate::store::sql::Connection;
use automation::execution::Status;
use automation::spec::{Inspection, Severity, VersionRange};
use semver::Version;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The version of StackStorm that packs find here.
const COMPATIBLE: Version = Version::new(3, 9, 0);
/// How many packs may need each other in a row.
const DEEPEST: usize = 10;

/// What an installation is asked for.
#[derive(Debug, Clone, Default)]
struct Asked {
    packs: Vec<String>,
    force: bool,
    skip_dependencies: bool,
    /// What is registered.
    kinds: BTreeSet<Kind>,
    /// For the installation of requirements.
    environment: BTreeMap<String, String>,
    /// Whether requirements are installed.
    stages: bool,
}

/// A pack that is ready to be written.
struct Fetched {
    reference: String,
    content: PackContent,
    inspection: Inspection,
}

#[derive(Default)]
struct Plan {
    /// Dependencies before those that need them.
    order: Vec<Fetched>,
    warnings: Vec<String>,
    conflicts: Vec<String>,
}

impl Plan {
    fn has(&self, reference: &str) -> bool {
        self.order.iter().any(|pack| pack.reference == reference)
    }
}

fn invalid<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Invalid(text.into()))
}

/// A list of texts; one alone may stand without the list.
fn texts(parameters: &Map<String, Value>, name: &str) -> Result<Vec<String>, Fault> {
    let list = match parameters.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(one)) => return Ok(vec![one.clone()]),
        Some(Value::Array(list)) => list,
        Some(_) => return invalid(format!("{name}: this is no list")),
    };
    list.iter()
        .map(|one| match one.as_str() {
            Some(text) => Ok(text.to_string()),
            None => invalid(format!("{name}: {one} is no text")),
        })
        .collect()
}

fn flag(parameters: &Map<String, Value>, name: &str) -> bool {
    parameters.get(name).and_then(Value::as_bool) == Some(true)
}

fn environment(parameters: &Map<String, Value>) -> Result<BTreeMap<String, String>, Fault> {
    let given = parameters.get("env").and_then(Value::as_object);
    given
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return invalid(format!("env: the value of {name} is no text"));
                }
            };
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return invalid(format!("env: {name:?} is no name of a variable"));
            }
            Ok((name.clone(), value))
        })
        .collect()
}

/// `all`, or names separated by commas.
fn kinds(parameters: &Map<String, Value>) -> Result<BTreeSet<Kind>, Fault> {
    let text = parameters
        .get("register")
        .and_then(Value::as_str)
        .unwrap_or("all");
    let mut kinds = BTreeSet::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        if name == "all" {
            return Ok(BTreeSet::from(Kind::ALL));
        }
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let Some(kind) = kind else {
            return invalid(format!("register: there is nothing of type \"{name}\""));
        };
        kinds.insert(kind);
    }
    Ok(kinds)
}

/// What the platform asks of a pack besides well-formed files.
fn compatible(reference: &str, inspection: &Inspection) -> Result<(), String> {
    let Some(pack) = &inspection.pack else {
        return Ok(());
    };
    if let Some(written) = &pack.stackstorm_version
        && VersionRange::parse(written).is_ok_and(|range| !range.admits(&COMPATIBLE))
    {
        return Err(format!(
            "Pack \"{reference}\" requires StackStorm \"{written}\", and this is like \"{COMPATIBLE}\". You can override this restriction with the \"force\" parameter."
        ));
    }
    if !pack.python_versions.is_empty() && !pack.python_versions.iter().any(|one| one == "3") {
        return Err(format!(
            "Pack \"{reference}\" says that it only runs on Python 2, which is not offered. You can override this restriction with the \"force\" parameter."
        ));
    }
    Ok(())
}

/// A pack that may not be replaced by this one.
fn clash(before: Option<&Pack>, fetched: &Fetched, force: bool) -> Result<(), Fault> {
    let reference = &fetched.reference;
    if reference == base_environment::PACK {
        return invalid(format!(
            "\"{reference}\" cannot be a pack's ref: the platform uses it."
        ));
    }
    let Some(before) = before else { return Ok(()) };
    if before.builtin {
        return invalid(format!(
            "Pack \"{reference}\" comes with the platform and cannot be replaced."
        ));
    }
    let name = fetched.inspection.pack.as_ref().map(|pack| &pack.name);
    if !force && name.is_some_and(|name| *name != before.name) {
        return invalid(format!(
            "Another pack with the ref \"{reference}\" is installed: \"{}\" {}. Replace it with the \"force\" parameter, or remove it first.",
            before.name, before.version
        ));
    }
    Ok(())
}

fn plain_version(text: &str) -> &str {
    text.strip_prefix('v').unwrap_or(text)
}

impl Automation {
    /// `packs.install`
    pub(super) async fn install_packs(
        &self,
        execution: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Value, Fault> {
        let asked = Asked {
            packs: texts(parameters, "packs")?,
            force: flag(parameters, "force"),
            skip_dependencies: flag(parameters, "skip_dependencies"),
            kinds: kinds(parameters)?,
            environment: environment(parameters)?,
            stages: true,
        };
        let plan = self.install(execution, &asked).await?;
        let names: Vec<&str> = plan
            .order
            .iter()
            .map(|one| one.reference.as_str())
            .collect();
        let message = if plan.conflicts.is_empty() {
            String::new()
        } else {
            format!(
                "Installed packs have other versions than are asked for: {}.",
                plan.conflicts.join(", ")
            )
        };
        Ok(json!({
            "packs_list": names,
            "warning_list": plan.warnings,
            "conflict_list": plan.conflicts,
            "message": message,
        }))
    }

    /// `packs.download`: the files only. `load` registers them, `setup_virtualenv` installs what they need.
    pub(super) async fn download_packs(
        &self,
        execution: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Value, Fault> {
        if parameters.get("verifyssl") == Some(&Value::Bool(false)) {
            return invalid(
                "verifyssl: certificates are always checked; give the controller's machine the certificate of the host instead.",
            );
        }
        let mut packs = texts(parameters, "packs")?;
        packs.extend(texts(parameters, "dependency_list")?);
        let asked = Asked {
            packs,
            force: flag(parameters, "force"),
            skip_dependencies: true,
            ..Asked::default()
        };
        let plan = self.install(execution, &asked).await?;
        let done: Map<String, Value> = plan
            .order
            .into_iter()
            .map(|one| (one.reference, json!("Success.")))
            .collect();
        Ok(Value::Object(done))
    }

    async fn install(&self, execution: &str, asked: &Asked) -> Result<Plan, Fault> {
        if asked.packs.is_empty() {
            return invalid("No packs are named.");
        }
        let mut plan = Plan::default();
        for text in &asked.packs {
            let source = Source::parse(text)?;
            self.plan(&source, asked, &mut Vec::new(), &mut plan)
                .await?;
        }
        for fetched in &mut plan.order {
            self.install_one(execution, asked, fetched).await?;
        }
        self.nudge();
        Ok(plan)
    }

    /// Fetches a pack and, before it, what it needs. `path`: the packs that led here.
    async fn plan(
        &self,
        source: &Source,
        asked: &Asked,
        path: &mut Vec<String>,
        plan: &mut Plan,
    ) -> Result<(), Fault> {
        let content = self.fetch_pack(source).await?;
        let folder = source.likely_name();
        let (content, inspection) = {
            let folder = folder.clone();
            blocking(move || {
                let inspection = examine(&content.files, folder.as_deref());
                Ok((content, inspection))
            })
            .await?
        };
        let what = match (&inspection.pack, folder) {
            (Some(pack), _) => format!("Pack \"{}\"", pack.reference),
            (None, Some(folder)) => format!("Pack \"{folder}\""),
            (None, None) => "The pack".to_string(),
        };
        no_errors(&what, &inspection)?;
        let Some(pack) = &inspection.pack else {
            return invalid(format!("{what} has no pack.yaml that can be read."));
        };
        let reference = pack.reference.clone();
        if path.contains(&reference) {
            path.push(reference);
            return invalid(format!("Packs need each other: {}.", path.join(" → ")));
        }
        if path.len() >= DEEPEST {
            return invalid(format!(
                "More than {DEEPEST} packs need each other in a row: {}.",
                path.join(" → ")
            ));
        }
        if plan.has(&reference) {
            return Ok(());
        }
        if let Err(text) = compatible(&reference, &inspection)
            && !asked.force
        {
            return Err(Fault::Invalid(text));
        }
        let dependencies = pack.dependencies.clone();
        let fetched = Fetched {
            reference: reference.clone(),
            content,
            inspection,
        };
        let before = {
            let mut connection = self.ops.store.read().await?;
            Pack::find(&mut connection, &reference).await?
        };
        clash(before.as_ref(), &fetched, asked.force)?;
        for problem in &fetched.inspection.problems {
            if problem.severity == Severity::Warning {
                plan.warnings.push(format!("{reference}: {problem}"));
            }
        }
        path.push(reference.clone());
        if !asked.skip_dependencies {
            for text in dependencies {
                self.plan_dependency(&text, asked, path, plan).await?;
            }
        }
        path.pop();
        plan.order.push(fetched);
        Ok(())
    }

    async fn plan_dependency(
        &self,
        text: &str,
        asked: &Asked,
        path: &mut Vec<String>,
        plan: &mut Plan,
    ) -> Result<(), Fault> {
        let needed_by = path.last().cloned().unwrap_or_default();
        let explained = |fault| match fault {
            Fault::Invalid(why) => Fault::Invalid(format!(
                "Pack \"{needed_by}\" needs \"{text}\", which cannot be installed: {why}"
            )),
            fault => fault,
        };
        let source = Source::parse(text).map_err(explained)?;
        if matches!(source.place, Place::Upload(_)) {
            return invalid(format!("Pack \"{needed_by}\" needs an upload, \"{text}\"."));
        }
        let name = source.likely_name().unwrap_or_default();
        if path.contains(&name) {
            path.push(name);
            return invalid(format!("Packs need each other: {}.", path.join(" → ")));
        }
        if plan.has(&name) {
            return Ok(());
        }
        let installed = {
            let mut connection = self.ops.store.read().await?;
            Pack::find(&mut connection, &name).await?
        };
        if let Some(installed) = installed {
            let fits = source
                .version
                .as_deref()
                .is_none_or(|wanted| plain_version(wanted) == plain_version(&installed.version));
            if !fits && !plan.conflicts.iter().any(|one| one == text) {
                plan.conflicts.push(text.to_string());
            }
            return Ok(());
        }
        Box::pin(self.plan(&source, asked, path, plan))
            .await
            .map_err(explained)
    }

    async fn install_one(
        &self,
        execution: &str,
        asked: &Asked,
        fetched: &mut Fetched,
    ) -> Result<(), Fault> {
        let _turn = self.packs_at_work.turn(&fetched.reference).await;
        let added = {
            let mut connection = self.ops.store.read().await?;
            match Pack::find(&mut connection, &fetched.reference).await? {
                Some(before) => {
                    carry_over_added(&mut connection, &before, &mut fetched.content).await?
                }
                None => Vec::new(),
            }
        };
        let archive = self
            .staged(
                execution,
                &fetched.reference,
                &fetched.content,
                asked.stages.then_some(&asked.environment),
            )
            .await?;
        let switches = self.switches(&fetched.reference).await?;
        let mut tx = self.begin_change(execution, "install a pack").await?;
        let before = Pack::find(&mut tx, &fetched.reference).await?;
        clash(before.as_ref(), fetched, asked.force)?;
        let new = NewPack {
            content: &fetched.content,
            inspection: &fetched.inspection,
            archive: &archive,
            builtin: false,
            kinds: &asked.kinds,
            notes: Map::from_iter([(ADDED.to_string(), json!(added))]),
        };
        let (row, counts) = write_pack(&mut tx, &new, &switches, now()).await?;
        self.seal_config_again(&mut tx, &row).await?;
        tx.commit().await?;
        tracing::info!(
            pack = row.reference,
            version = row.version,
            ?counts,
            "a pack was installed"
        );
        Ok(())
    }

    /// The archive of content, with the virtual environment it needs if `environment` says how.
    async fn staged(
        &self,
        execution: &str,
        pack: &str,
        content: &PackContent,
        environment: Option<&BTreeMap<String, String>>,
    ) -> Result<Stored, Fault> {
        let copy = content.clone();
        let bytes = blocking(move || {
            copy.archive()
                .map_err(Fault::internal("archiving the files of a pack"))
        })
        .await?;
        let plain = self.store_archive(bytes).await?;
        match environment {
            Some(environment) if needs_virtualenv(content) => {
                self.stage_pack(&StagingAsked {
                    execution,
                    pack,
                    content: &plain,
                    environment,
                })
                .await
            }
            _ => Ok(plain),
        }
    }

    /// A transaction for a change that an execution makes, if it is still to make it.
    async fn begin_change(&self, execution: &str, operation: &'static str) -> Result<Tx, Fault> {
        let mut tx = self.fenced(operation).await?;
        let row = Execution::find(&mut tx, execution).await?;
        let goes_on = row.is_some_and(|row| {
            matches!(
                row.life.status,
                Status::Running | Status::Pausing | Status::Paused | Status::Resuming
            )
        });
        if goes_on {
            Ok(tx)
        } else {
            invalid("The execution was canceled.")
        }
    }

    /// The named packs, or a sentence about the one that is not there or may not be changed.
    async fn packs_to_remove(
        &self,
        connection: &mut Connection,
        names: &[String],
    ) -> Result<Vec<Pack>, Fault> {
        if names.is_empty() {
            return invalid("No packs are named.");
        }
        let mut packs = Vec::new();
        for name in names {
            let Some(pack) = find_pack(connection, name).await? else {
                return invalid(format!("Pack \"{name}\" is not installed."));
            };
            if pack.builtin {
                return invalid(format!(
                    "Pack \"{name}\" comes with the platform and cannot be removed."
                ));
            }
            packs.push(pack);
        }
        Ok(packs)
    }

    async fn remove(
        &self,
        execution: &str,
        parameters: &Map<String, Value>,
        what: Removal,
    ) -> Result<Value, Fault> {
        let names = texts(parameters, "packs")?;
        let mut turns = Vec::new();
        // In one order, so that two who remove the same packs do not wait for each other.
        for name in names.iter().collect::<BTreeSet<_>>() {
            turns.push(self.packs_at_work.turn(name).await);
        }
        let mut tx = self.begin_change(execution, "remove packs").await?;
        let packs = self.packs_to_remove(&mut tx, &names).await?;
        for pack in &packs {
            if what != Removal::Files {
                registration::unregister(&mut tx, &pack.reference).await?;
            }
            if what != Removal::Resources {
                Pack::delete(&mut tx, &pack.reference).await?;
            }
        }
        tx.commit().await?;
        drop(turns);
        self.nudge();
        let done: Vec<&str> = packs.iter().map(|pack| pack.reference.as_str()).collect();
        tracing::info!(packs = ?done, ?what, "packs were removed");
        Ok(json!({"packs_list": done}))
    }

    /// `packs.uninstall`. The configuration stays, as in StackStorm.
    pub(super) async fn uninstall_packs(
        &self,
        execution: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Value, Fault> {
        self.remove(execution, parameters, Removal::All).await
    }

    /// `packs.unload`: what packs registered.
    pub(super) async fn unload_packs(
        &self,
        execution: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Value, Fault> {
        self.remove(execution, parameters, Removal::Resources).await
    }

    /// `packs.delete`: the files. What is registered has nothing to run any more.
    pub(super) async fn delete_packs(
        &self,
        execution: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Value, Fault> {
        if parameters.get("delete_env") == Some(&Value::Bool(false)) {
            return invalid(
                "delete_env: the virtual environment is part of the pack's archive and goes with it.",
            );
        }
        self.remove(execution, parameters, Removal::Files).await
    }

    /// `packs.load`
    pub(super) async fn load_packs(&self, parameters: &Map<String, Value>) -> Result<Value, Fault> {
        let types = parameters
            .get("register")
            .and_then(Value::as_str)
            .unwrap_or("all");
        let packs = texts(parameters, "packs")?;
        let counts = self
            .register_again(&RegisterAsked {
                types: Some(
                    types
                        .split(',')
                        .map(|name| name.trim().to_string())
                        .collect(),
                ),
                packs: Some(packs),
                fail_on_failure: Some(true),
            })
            .await?;
        Ok(json!(counts))
    }

    /// `packs.setup_virtualenv`, `packs.update_virtualenv`: made anew from the requirements, either way.
    pub(super) async fn setup_virtualenvs(
        &self,
        execution: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Value, Fault> {
        let environment = environment(parameters)?;
        let names = texts(parameters, "packs")?;
        let mut done = Vec::new();
        for name in &names {
            let _turn = self.packs_at_work.turn(name).await;
            let pack = {
                let mut connection = self.ops.store.read().await?;
                find_pack(&mut connection, name).await?
            };
            let Some(pack) = pack else {
                return invalid(format!("Pack \"{name}\" is not installed."));
            };
            let content = self.content_of_pack(&pack).await?;
            if !needs_virtualenv(&content) {
                continue;
            }
            let archive = self
                .staged(execution, &pack.reference, &content, Some(&environment))
                .await?;
            let mut tx = self
                .begin_change(execution, "renew a virtual environment")
                .await?;
            let Some(mut row) = Pack::find(&mut tx, &pack.reference).await? else {
                return invalid(format!("Pack \"{name}\" was removed meanwhile."));
            };
            row.archive_sha256 = Some(archive.sha256);
            row.archive_size = Some(archive.size);
            let now = now();
            row.update(&mut tx, now).await?;
            restart_of_pack(&mut tx, &row.reference, now).await?;
            tx.commit().await?;
            done.push(pack.reference);
        }
        self.nudge();
        Ok(json!({"packs_list": done}))
    }

    /// All files of a pack that is here.
    async fn content_of_pack(&self, pack: &Pack) -> Result<PackContent, Fault> {
        let folder = self.ops.upload_folder()?;
        let path = folder.path().join("pack.tgz");
        let sum = pack.archive_sha256.clone().unwrap_or_default();
        if sum.is_empty() || !self.ops.blobs.fetch(&content_key(&sum), &path).await? {
            return Err(Fault::Unavailable(format!(
                "The archive of pack \"{}\" is not in the blob store; install the pack again.",
                pack.reference
            )));
        }
        let content = blocking(move || Ok(PackContent::of_archive(&path)?)).await;
        drop(folder);
        content
    }
}

/// What is removed of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    All,
    Resources,
    Files,
}

/// Whether the pack names libraries of its own.
fn needs_virtualenv(content: &PackContent) -> bool {
    content.files.get("requirements.txt").is_some_and(|bytes| {
        String::from_utf8_lossy(bytes)
            .lines()
            .map(str::trim)
            .any(|line| !line.is_empty() && !line.starts_with('#'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_needs_libraries_when_its_file_names_some() {
        let needs = |text: &str| {
            needs_virtualenv(&PackContent {
                files: BTreeMap::from([("requirements.txt".to_string(), text.as_bytes().to_vec())]),
                executable: BTreeSet::new(),
            })
        };
        assert!(needs("# for the API\nrequests\n"));
        assert!(!needs("\n# none\n"));
        assert!(!needs_virtualenv(&PackContent::default()));
    }

    #[test]
    fn versions_of_the_platform_are_checked() {
        let check = |lines: &str| {
            let text = format!("name: p\ndescription: d\nversion: 1.0.0\nauthor: a\n{lines}");
            let files = BTreeMap::from([("pack.yaml".to_string(), text.into_bytes())]);
            compatible("p", &examine(&files, Some("p")))
        };
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("stackstorm_version: \">=3.1.0, <4.0.0\""), Ok(()));
        assert!(check("stackstorm_version: \"<3.0.0\"").is_err());
        assert_eq!(check("python_versions: [\"2\", \"3\"]"), Ok(()));
        assert!(check("python_versions: [\"2\"]").is_err());
    }
}
