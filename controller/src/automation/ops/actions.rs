//! Actions that come and go through the API, with the files they bring (`data_files`).
//!
//! Files go into the pack's rows and into its archive, so that agents run what the API shows. An archive is
//! changed as a new one under its own checksum: executions under way keep what they began with.

use super::callers::Permission;
use super::fault::Fault;
use super::pack_content::{Changes, change_archive, is_kept};
use super::packs::{ADDED, Stored, find_pack, names_in};
use super::registration::{action_row, metadata_file, put};
use super::resources;
use super::sensor_types::restart_of_pack;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::engine::dispatch::content_key;
use crate::domain::archive;
use crate::ops::now;
use crate::store::automation::actions::Action;
use crate::store::automation::pack_files;
use crate::store::automation::packs::Pack;
use crate::store::sql::Connection;
use automation::runners::Runner;
use automation::spec::yaml::Document;
use automation::spec::{self, Report};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The pack of what names none.
const DEFAULT_PACK: &str = "default";
/// What documents from the API carry and metadata does not.
const DERIVED: [&str; 5] = ["id", "uid", "ref", "metadata_file", "data_files"];

/// A file that comes with an action; its path is relative to the pack's folder.
#[derive(Debug, Clone, Deserialize)]
pub struct DataFile {
    pub file_path: String,
    pub content: String,
}

/// What a copy of an action is asked for.
#[derive(Debug, Clone, Deserialize)]
pub struct CloneAsked {
    pub dest_pack: String,
    pub dest_action: String,
    #[serde(default)]
    pub overwrite: bool,
}

/// Reads an action as a client wrote it down.
fn read(document: &Map<String, Value>) -> Result<spec::Action, Fault> {
    let mut given = document.clone();
    for derived in DERIVED {
        given.remove(derived);
    }
    let pack = match given.get("pack") {
        None | Some(Value::Null) => DEFAULT_PACK.to_string(),
        Some(Value::String(name)) if name.is_empty() => DEFAULT_PACK.to_string(),
        Some(Value::String(name)) => name.clone(),
        Some(_) => return Err(Fault::Invalid("pack: this is no text".into())),
    };
    given.insert("pack".into(), json!(pack));
    let document = Document::of(Value::Object(given));
    let mut report = Report::new("action", &document);
    let action = spec::action::read(&document, &pack, "", &mut report);
    let failed = report.has_errors();
    let problems = report.into_problems();
    if failed {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(Fault::Invalid(texts.join("\n")));
    }
    let runner = Runner::from_name(&action.runner_type).ok_or_else(|| {
        let known: Vec<&str> = Runner::ALL.iter().map(|runner| runner.name()).collect();
        Fault::Invalid(format!(
            "RunnerType \"{}\" is not found; there are: {}",
            action.runner_type,
            known.join(", ")
        ))
    })?;
    let parameters = json!({"parameters": action.parameters});
    super::executions::schema_of(&action.reference, runner, &parameters)?;
    Ok(action)
}

/// Files as they are asked to be written, with plain paths.
fn files_of(document: &Map<String, Value>) -> Result<Changes, Fault> {
    let mut changes = Changes::default();
    let Some(given) = document.get("data_files").filter(|files| !files.is_null()) else {
        return Ok(changes);
    };
    let files: Vec<DataFile> = serde_json::from_value(given.clone())
        .map_err(|error| Fault::Invalid(format!("data_files: {error}")))?;
    for file in files {
        let parts = archive::parts(&file.file_path).map_err(|error| Fault::Invalid(error.0))?;
        let path = parts.join("/");
        if path.is_empty() || path == "pack.yaml" {
            return Err(Fault::Invalid(format!(
                "data_files: \"{}\" is no file that an action may bring",
                file.file_path
            )));
        }
        let bytes = file.content.into_bytes();
        if !is_kept(&path, &bytes) {
            return Err(Fault::Invalid(format!(
                "data_files: {path} is larger than 256 KiB, or no text"
            )));
        }
        changes.written.insert(path, bytes);
    }
    Ok(changes)
}

async fn pack_of(connection: &mut Connection, name: &str) -> Result<Pack, Fault> {
    find_pack(connection, name)
        .await?
        .ok_or_else(|| Fault::Invalid(format!("Pack \"{name}\" is not installed.")))
}

/// Path in the pack of an action's code.
fn entry_point(row: &Action) -> Option<String> {
    let name = row.document.get("entry_point").and_then(Value::as_str)?;
    let parts = archive::parts(name).ok()?;
    (!parts.is_empty()).then(|| format!("actions/{}", parts.join("/")))
}

fn missing_entry_point(reference: &str) -> Fault {
    Fault::NotFound(format!(
        "Action ref_or_id=\"{reference}\" has no entry_point to output"
    ))
}

/// What was changed is refused when it belongs to a built-in pack.
fn refuse_builtin(pack: &Pack, row: &Action) -> Result<(), Fault> {
    if pack.builtin && metadata_file(&row.document).is_some() {
        return Err(Fault::Invalid(format!(
            "Resources belonging to system level packs can't be manipulated: \"{}\" comes with the platform; it can only be enabled and disabled.",
            row.reference
        )));
    }
    Ok(())
}

/// What becomes of the row of an action.
enum Step {
    Create(Action),
    Update(Action),
    Copy { row: Action, overwrite: bool },
    Delete(String),
}

impl Step {
    async fn take(
        &self,
        connection: &mut Connection,
        pack: &Pack,
        changes: &Changes,
    ) -> Result<(), Fault> {
        match self {
            Step::Create(row) => {
                free(connection, &row.reference).await?;
                row.insert(connection).await?;
            }
            Step::Update(row) => {
                let before = resources::get::<Action>(connection, &row.reference).await?;
                let only_enabled = before.document == row.document
                    && before.runner_type == row.runner_type
                    && changes.is_empty();
                if !only_enabled {
                    refuse_builtin(pack, &before)?;
                }
                put(connection, row.clone(), now()).await?;
            }
            Step::Copy { row, overwrite } => {
                if let Some(before) = Action::find(connection, &row.reference).await? {
                    if !overwrite {
                        return Err(Fault::Invalid(format!(
                            "The requested destination action already exists: \"{}\" is only written over with overwrite.",
                            row.reference
                        )));
                    }
                    refuse_builtin(pack, &before)?;
                }
                put(connection, row.clone(), now()).await?;
            }
            Step::Delete(reference) => {
                Action::delete(connection, reference).await?;
            }
        }
        Ok(())
    }
}

impl Automation {
    pub async fn create_action(
        &self,
        caller: &Caller,
        document: &Map<String, Value>,
    ) -> Result<Action, Fault> {
        caller.allow(Permission::Modify, "action_create")?;
        let action = read(document)?;
        let changes = files_of(document)?;
        let row = action_row(&action, now())?;
        {
            let mut connection = self.ops.store.read().await?;
            free(&mut connection, &row.reference).await?;
        }
        self.change_files(&action.pack, &changes, &Step::Create(row.clone()))
            .await?;
        self.nudge();
        Ok(row)
    }

    /// Takes the whole document. Pack and name stay.
    pub async fn update_action(
        &self,
        caller: &Caller,
        ref_or_id: &str,
        document: &Map<String, Value>,
    ) -> Result<Action, Fault> {
        caller.allow(Permission::Modify, "action_modify")?;
        let before = {
            let mut connection = self.ops.store.read().await?;
            resources::get::<Action>(&mut connection, ref_or_id).await?
        };
        let mut document = document.clone();
        for (name, value) in [("pack", &before.pack), ("name", &before.name)] {
            document.entry(name).or_insert_with(|| json!(value));
        }
        let mut action = read(&document)?;
        if action.reference != before.reference {
            return Err(Fault::Invalid(format!(
                "Action \"{}\" cannot become \"{}\": clone it under the other name.",
                before.reference, action.reference
            )));
        }
        if let Some(file) = metadata_file(&before.document) {
            action.metadata_file = file.to_string();
        }
        let changes = files_of(&document)?;
        let fresh = action_row(&action, now())?;
        self.change_files(&action.pack, &changes, &Step::Update(fresh.clone()))
            .await?;
        self.nudge();
        self.written_action(&fresh.reference).await
    }

    pub async fn delete_action(
        &self,
        caller: &Caller,
        ref_or_id: &str,
        remove_files: bool,
    ) -> Result<(), Fault> {
        caller.allow(Permission::Modify, "action_delete")?;
        let row = {
            let mut connection = self.ops.store.read().await?;
            let row = resources::get::<Action>(&mut connection, ref_or_id).await?;
            if let Some(pack) = find_pack(&mut connection, &row.pack).await? {
                refuse_builtin(&pack, &row)?;
            }
            row
        };
        let mut changes = Changes::default();
        if remove_files {
            let metadata = metadata_file(&row.document).map(str::to_string);
            changes
                .removed
                .extend(metadata.into_iter().chain(entry_point(&row)));
        }
        self.change_files(&row.pack, &changes, &Step::Delete(row.reference.clone()))
            .await?;
        self.nudge();
        Ok(())
    }

    /// The same action under another name, with a copy of its code.
    pub async fn clone_action(
        &self,
        caller: &Caller,
        ref_or_id: &str,
        asked: &CloneAsked,
    ) -> Result<Action, Fault> {
        caller.allow(Permission::Modify, "action_create")?;
        let source = {
            let mut connection = self.ops.store.read().await?;
            resources::get::<Action>(&mut connection, ref_or_id).await?
        };
        let mut document = resources::present(&source)
            .as_object()
            .cloned()
            .unwrap_or_default();
        document.insert("pack".into(), json!(asked.dest_pack));
        document.insert("name".into(), json!(asked.dest_action));
        let mut changes = Changes::default();
        if let Some(path) = entry_point(&source) {
            let mut connection = self.ops.store.read().await?;
            let bytes = pack_files::get(&mut connection, &source.pack, &path)
                .await?
                .ok_or_else(|| {
                    Fault::Invalid(format!(
                        "The code of \"{}\", {path}, is too large to be copied.",
                        source.reference
                    ))
                })?;
            let copy = copied_entry_point(&path, &asked.dest_action);
            document.insert("entry_point".into(), json!(copy));
            changes.written.insert(format!("actions/{copy}"), bytes);
        }
        let action = read(&document)?;
        let row = action_row(&action, now())?;
        let step = Step::Copy {
            row: row.clone(),
            overwrite: asked.overwrite,
        };
        self.change_files(&action.pack, &changes, &step).await?;
        self.nudge();
        self.written_action(&row.reference).await
    }

    /// The code of an action, as text.
    pub async fn entry_point_of(&self, caller: &Caller, ref_or_id: &str) -> Result<Vec<u8>, Fault> {
        let row = self.resource::<Action>(caller, ref_or_id).await?;
        let path = entry_point(&row).ok_or_else(|| missing_entry_point(&row.reference))?;
        pack_files::get(&mut *self.ops.store.read().await?, &row.pack, &path)
            .await?
            .ok_or_else(|| missing_entry_point(&row.reference))
    }

    async fn written_action(&self, reference: &str) -> Result<Action, Fault> {
        resources::get::<Action>(&mut *self.ops.store.read().await?, reference).await
    }

    /// Changes the files of a pack and, in the same transaction, the row of an action. The archive is
    /// written before, outside the transaction; if the pack got another one meanwhile it is begun anew.
    async fn change_files(&self, pack: &str, changes: &Changes, step: &Step) -> Result<(), Fault> {
        /// Others who change the same pack at the same time, each of whom makes us begin anew.
        const ATTEMPTS: usize = 5;
        for _ in 0..ATTEMPTS {
            let found = {
                let mut connection = self.ops.store.read().await?;
                pack_of(&mut connection, pack).await?
            };
            let archive = match &found.archive_sha256 {
                Some(sum) if !changes.is_empty() => Some(self.changed_archive(sum, changes).await?),
                _ => None,
            };
            let mut tx = self.ops.store.write("change the files of a pack").await?;
            let mut row = pack_of(&mut tx, pack).await?;
            if row.archive_sha256 != found.archive_sha256 {
                continue;
            }
            step.take(&mut tx, &row, changes).await?;
            if let Some(archive) = archive {
                apply(&mut tx, &mut row, changes, &archive).await?;
            }
            return Ok(tx.commit().await?);
        }
        Err(Fault::Unavailable(format!(
            "The files of pack \"{pack}\" are being changed by others; try again."
        )))
    }

    async fn changed_archive(&self, sum: &str, changes: &Changes) -> Result<Stored, Fault> {
        let folder = self.ops.upload_folder()?;
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        if !self.ops.blobs.fetch(&content_key(sum), &from).await? {
            return Err(Fault::Unavailable(
                "The archive of the pack is not in the blob store; install the pack again.".into(),
            ));
        }
        let changes = changes.clone();
        let target = to.clone();
        tokio::task::spawn_blocking(move || change_archive(&from, &target, &changes))
            .await
            .map_err(Fault::internal("changing the archive of a pack"))?
            .map_err(Fault::internal("changing the archive of a pack"))?;
        self.store_archive_file(&to).await
    }
}

async fn free(connection: &mut Connection, reference: &str) -> Result<(), Fault> {
    match Action::find(connection, reference).await? {
        Some(row) => Err(Fault::duplicate("Action", reference, row.id)),
        None => Ok(()),
    }
}

/// The changes in the rows of the pack.
async fn apply(
    connection: &mut Connection,
    row: &mut Pack,
    changes: &Changes,
    archive: &Stored,
) -> Result<(), Fault> {
    for (path, bytes) in &changes.written {
        pack_files::put(connection, &row.reference, path, bytes).await?;
    }
    for path in &changes.removed {
        pack_files::remove(connection, &row.reference, path).await?;
    }
    let changed = |entry: &str| -> Value {
        let mut names: BTreeSet<String> = names_in(&row.document, entry).into_iter().collect();
        names.extend(changes.written.keys().cloned());
        names.retain(|name| !changes.removed.contains(name));
        json!(names)
    };
    let (files, added) = (changed("files"), changed(ADDED));
    row.document.0["files"] = files;
    row.document.0[ADDED] = added;
    row.archive_sha256 = Some(archive.sha256.clone());
    row.archive_size = Some(archive.size);
    let now = now();
    row.update(connection, now).await?;
    restart_of_pack(connection, &row.reference, now).await
}

/// `workflows/old.yaml` becomes `workflows/NEW.yaml`, beside the other.
fn copied_entry_point(path: &str, name: &str) -> String {
    let inner = path.strip_prefix("actions/").unwrap_or(path);
    let (folder, file) = match inner.rsplit_once('/') {
        Some((folder, file)) => (format!("{folder}/"), file),
        None => (String::new(), inner),
    };
    match file.rsplit_once('.') {
        Some((_, extension)) => format!("{folder}{name}.{extension}"),
        None => format!("{folder}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_copied_beside_the_other_under_the_new_name() {
        for (path, expected) in [
            ("actions/a.py", "b.py"),
            ("actions/workflows/a.yaml", "workflows/b.yaml"),
            ("actions/run", "b"),
        ] {
            assert_eq!(copied_entry_point(path, "b"), expected);
        }
    }

    #[test]
    fn files_may_not_leave_the_pack() {
        let files = |path: &str| {
            let document = json!({"data_files": [{"file_path": path, "content": "x"}]});
            files_of(document.as_object().unwrap())
        };
        assert!(
            files("actions/x.sh")
                .unwrap()
                .written
                .contains_key("actions/x.sh")
        );
        for path in ["../x", "/x", "pack.yaml", ".", "actions/../pack.yaml"] {
            assert!(files(path).is_err(), "{path}");
        }
    }

    #[test]
    fn documents_from_the_api_are_read() {
        let document = json!({
            "id": "1", "uid": "action:p:n", "ref": "p.n", "pack": "p", "name": "n", "metadata_file": "actions/n.yaml",
            "runner_type": "local-shell-cmd", "enabled": true, "entry_point": "", "tags": [], "notify": {},
            "output_schema": null, "output_key": null, "description": null,
            "parameters": {"cmd": {"default": "date"}},
        });
        let action = read(document.as_object().unwrap()).unwrap();
        assert_eq!(action.reference, "p.n");
        let wrong = json!({"name": "n", "runner_type": "run-local"});
        assert!(
            read(wrong.as_object().unwrap())
                .unwrap_err()
                .to_string()
                .contains("run-local")
        );
    }
}
