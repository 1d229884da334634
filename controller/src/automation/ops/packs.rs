//! Packs that are installed: what they are, what files they have, and registering them again.

use super::base_environment;
use super::callers::Permission;
use super::fault::Fault;
use super::pack_content::{ContentError, PackContent, is_kept};
use super::pack_sources::blocking;
use super::registration::{self, Counts, Kind, Switches};
use super::sensor_types::restart_of_pack;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::engine::dispatch::{CONTENT, content_key};
use crate::automation::ids::{is_id, new_id};
use crate::blobs::hex;
use crate::ops::now;
use crate::runtime::LEADERSHIP;
use crate::store::automation::pack_configs::PackConfig;
use crate::store::automation::pack_files;
use crate::store::automation::packs::Pack;
use crate::store::query::Filter;
use crate::store::sql::Connection;
use crate::store::{Json, Tx, leadership};
use automation::policies;
use automation::runners::Runner;
use automation::spec::overrides::{Overrides, Reach};
use automation::spec::{self, Inspection, PolicyTypes, Report, Severity, Surroundings, inspect};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Files that were written through the API: they stay when the pack comes anew.
pub const ADDED: &str = "added_files";
/// Checksum of what a built-in pack's folder was when it was registered.
pub const FOLDER_SUM: &str = "folder_sha256";
/// Entries of a pack's document that are no business of clients.
const INTERNAL: [&str; 2] = [ADDED, FOLDER_SUM];

impl From<ContentError> for Fault {
    fn from(error: ContentError) -> Fault {
        match error {
            ContentError::Unacceptable(text) => Fault::Invalid(text),
            error @ ContentError::Read { .. } => {
                Fault::internal("reading the files of a pack")(error)
            }
        }
    }
}

/// An archive in the blob store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub sha256: String,
    pub size: i64,
}

/// A pack to be written down.
pub struct NewPack<'a> {
    pub content: &'a PackContent,
    pub inspection: &'a Inspection,
    pub archive: &'a Stored,
    pub builtin: bool,
    /// What of it is registered.
    pub kinds: &'a BTreeSet<Kind>,
    /// More of its document.
    pub notes: Map<String, Value>,
}

/// Checks what a pack's files say. `folder`: its name, the ref of a pack that gives none.
pub fn examine(files: &BTreeMap<String, Vec<u8>>, folder: Option<&str>) -> Inspection {
    let runners: BTreeSet<String> = Runner::ALL
        .into_iter()
        .flat_map(|runner| std::iter::once(runner.name()).chain(runner.aliases().iter().copied()))
        .map(str::to_string)
        .collect();
    let policy_types: PolicyTypes = policies::types()
        .into_iter()
        .map(|kind| {
            let parameters = kind.parameters().as_object().cloned().unwrap_or_default();
            (kind.reference(), parameters)
        })
        .collect();
    let surroundings = Surroundings {
        folder,
        runners: &runners,
        policy_types: &policy_types,
    };
    inspect(files, surroundings)
}

/// All errors with their places, or nothing.
pub fn no_errors(what: &str, inspection: &Inspection) -> Result<(), Fault> {
    if !inspection.has_errors() {
        return Ok(());
    }
    let texts: Vec<String> = inspection
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    Err(Fault::Invalid(format!(
        "{what} cannot be registered:\n{}",
        texts.join("\n")
    )))
}

/// Writes a pack with all it brings, over an older one of its name.
pub async fn write_pack(
    connection: &mut Connection,
    new: &NewPack<'_>,
    switches: &Switches,
    now: i64,
) -> Result<(Pack, Counts), Fault> {
    let Some(spec) = &new.inspection.pack else {
        return Err(Fault::Invalid("pack.yaml cannot be read.".into()));
    };
    let before = Pack::find(connection, &spec.reference).await?;
    let mut document =
        serde_json::to_value(spec).map_err(Fault::internal("writing down a pack"))?;
    if let Some(entries) = document.as_object_mut() {
        let names: Vec<&String> = new.content.files.keys().collect();
        entries.insert("files".into(), json!(names));
        entries.insert("path".into(), json!(CONTENT));
        entries.extend(new.notes.clone());
    }
    let schema = match &new.inspection.config_schema {
        Some(schema) => Value::Object(schema.clone()),
        None => Value::Null,
    };
    let fresh = Pack {
        reference: spec.reference.clone(),
        id: before.as_ref().map_or_else(new_id, |row| row.id.clone()),
        name: spec.name.clone(),
        version: spec.version.clone(),
        document: Json(document),
        config_schema: Json(schema),
        archive_sha256: Some(new.archive.sha256.clone()),
        archive_size: Some(new.archive.size),
        builtin: new.builtin,
        created_at: before.as_ref().map_or(now, |row| row.created_at),
        updated_at: before.as_ref().map_or(now, |row| row.updated_at),
        row_version: before.as_ref().map_or(1, |row| row.row_version),
    };
    // Sensors run the code they were started with.
    let renewed = before
        .as_ref()
        .is_some_and(|before| before.archive_sha256 != fresh.archive_sha256);
    let row = match before {
        None => {
            fresh.insert(connection).await?;
            fresh
        }
        Some(_) => {
            let mut row = fresh;
            row.update(connection, now).await?;
            row
        }
    };
    pack_files::remove_all(connection, &row.reference).await?;
    for (path, bytes) in new.content.texts() {
        pack_files::put(connection, &row.reference, path, bytes).await?;
    }
    let counts = registration::register(
        connection,
        &row.reference,
        new.inspection,
        registration::Terms {
            kinds: new.kinds,
            switches,
            lenient: false,
            now,
        },
    )
    .await?;
    if renewed {
        restart_of_pack(connection, &row.reference, now).await?;
    }
    Ok((row, counts))
}

/// By reference or id. The cluster's libraries are no pack to anybody.
pub async fn find_pack(
    connection: &mut Connection,
    ref_or_id: &str,
) -> Result<Option<Pack>, Fault> {
    let found = match Pack::find(connection, ref_or_id).await? {
        None if is_id(ref_or_id) => {
            let filter = Filter::new().equals("id", ref_or_id);
            Pack::fetch(connection, filter, "find a pack").await?.pop()
        }
        found => found,
    };
    Ok(found.filter(|row| row.reference != base_environment::PACK))
}

pub async fn get_pack(connection: &mut Connection, ref_or_id: &str) -> Result<Pack, Fault> {
    find_pack(connection, ref_or_id).await?.ok_or_else(|| {
        Fault::NotFound(format!(
            "Resource with a reference or id \"{ref_or_id}\" not found"
        ))
    })
}

/// The API's view (contract §1.8).
pub fn present_pack(row: &Pack) -> Value {
    let mut document = row.document.as_object().cloned().unwrap_or_default();
    for internal in INTERNAL {
        document.remove(internal);
    }
    document.insert("id".into(), json!(row.id));
    document.insert("ref".into(), json!(row.reference));
    document.insert("name".into(), json!(row.name));
    document.insert("version".into(), json!(row.version));
    document.insert("uid".into(), json!(format!("pack:{}", row.reference)));
    Value::Object(document)
}

/// What a registration is asked for.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub struct RegisterAsked {
    #[serde(default)]
    pub types: Option<Vec<String>>,
    #[serde(default)]
    pub packs: Option<Vec<String>>,
    #[serde(default)]
    pub fail_on_failure: Option<bool>,
}

/// The types of a registration besides what packs bring.
const FIXED_TYPES: [&str; 4] = ["runners", "rule_types", "policy_types", "configs"];

/// `rule` and `rules` are the same; what a type needs comes with it, as in StackStorm.
fn asked_types(types: &[String]) -> Result<BTreeSet<&'static str>, Fault> {
    let known = || {
        Kind::ALL
            .into_iter()
            .map(Kind::name)
            .chain(FIXED_TYPES)
            .collect::<BTreeSet<&'static str>>()
    };
    let mut asked = BTreeSet::new();
    // The stock client sends its comma list as one word.
    for name in types.iter().flat_map(|names| names.split(',')) {
        let plural = match name {
            "all" => return Ok(known()),
            "policy" => "policies".to_string(),
            "policy_type" => "policy_types".to_string(),
            "alias" => "aliases".to_string(),
            name if name.ends_with('s') => name.to_string(),
            name => format!("{name}s"),
        };
        let found = known().into_iter().find(|one| *one == plural);
        let Some(found) = found else {
            let all: Vec<&str> = known().into_iter().collect();
            return Err(Fault::Invalid(format!(
                "There is nothing of type \"{name}\" to register; use all, {}.",
                all.join(", ")
            )));
        };
        asked.insert(found);
        match found {
            "actions" => asked.insert("runners"),
            "rules" => asked.insert("rule_types"),
            "policies" => asked.insert("policy_types"),
            _ => false,
        };
    }
    if asked.is_empty() {
        return Ok(known());
    }
    Ok(asked)
}

impl Automation {
    /// A transaction that a former leader cannot commit.
    pub(super) async fn fenced(&self, operation: &'static str) -> Result<Tx, Fault> {
        let mut tx = self.ops.store.write(operation).await?;
        let epoch = *self.epoch.borrow();
        if let Some(epoch) = epoch {
            leadership::fence(&mut tx, LEADERSHIP, epoch).await?;
        }
        Ok(tx)
    }

    /// Puts an archive of content into the blob store under its checksum.
    pub(super) async fn store_archive(&self, bytes: Vec<u8>) -> Result<Stored, Fault> {
        let stored = Stored {
            sha256: hex(&Sha256::digest(&bytes)),
            size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        };
        // Also what is there already: to the sweep it is young again.
        let stream = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(
            bytes::Bytes::from(bytes),
        )]);
        self.ops
            .blobs
            .put(&content_key(&stored.sha256), stream, u64::MAX)
            .await?;
        Ok(stored)
    }

    /// The same of a file.
    pub(super) async fn store_archive_file(&self, path: &std::path::Path) -> Result<Stored, Fault> {
        let digests = self.ops.blobs.keep_file(path, content_key).await?;
        Ok(Stored {
            sha256: digests.sha256,
            size: i64::try_from(digests.size_bytes).unwrap_or(i64::MAX),
        })
    }

    /// The operator's word on what is enabled in a pack: files `_global.yaml` and `PACK.yaml` in the folder
    /// that the setting names.
    pub(super) async fn switches(&self, pack: &str) -> Result<Switches, Fault> {
        let folder = self.ops.settings().text("automation/pack/overrides");
        if folder.is_empty() {
            return Ok(Switches::default());
        }
        let read = async |name: &str, reach| {
            let path = std::path::Path::new(&folder).join(format!("{name}.yaml"));
            let shown = path.display().to_string();
            let text = match tokio::fs::read_to_string(&path).await {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(Overrides::default());
                }
                Err(error) => return Err(Fault::internal("reading overrides of packs")(error)),
            };
            let document = spec::yaml::load(&text, spec::yaml::Limits::default())
                .map_err(|error| Fault::Invalid(error.in_file(shown.clone()).to_string()))?;
            let mut report = Report::new(&shown, &document);
            let overrides = Overrides::read(&document, reach, &mut report);
            let problems = report.into_problems();
            if problems.is_empty() {
                return Ok(overrides);
            }
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(Fault::Invalid(texts.join("\n")))
        };
        Ok(Switches {
            all_packs: read("_global", Reach::AllPacks).await?,
            this_pack: read(pack, Reach::OnePack).await?,
        })
    }

    pub async fn pack(&self, caller: &Caller, ref_or_id: &str) -> Result<Pack, Fault> {
        caller.allow(Permission::View, "pack_view")?;
        get_pack(&mut *self.ops.store.read().await?, ref_or_id).await
    }

    pub async fn list_packs(
        &self,
        caller: &Caller,
        filter: Filter,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<Pack>, u64), Fault> {
        caller.allow(Permission::View, "pack_list")?;
        let mut connection = self.ops.store.read().await?;
        let filter = filter.only("reference <> '_base'");
        Ok(Pack::page(&mut connection, filter, limit, offset).await?)
    }

    /// The files that are kept as rows, by path.
    pub async fn files_of_pack(
        &self,
        caller: &Caller,
        ref_or_id: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        caller.allow(Permission::View, "pack_view")?;
        let mut connection = self.ops.store.read().await?;
        let pack = get_pack(&mut connection, ref_or_id).await?;
        Ok(pack_files::of_pack(&mut connection, &pack.reference).await?)
    }

    /// One file, and when the pack last changed (Unix microseconds).
    pub async fn file_of_pack(
        &self,
        caller: &Caller,
        ref_or_id: &str,
        path: &str,
    ) -> Result<(Vec<u8>, i64), Fault> {
        caller.allow(Permission::View, "pack_view")?;
        let mut connection = self.ops.store.read().await?;
        let pack = get_pack(&mut connection, ref_or_id).await?;
        let bytes = pack_files::get(&mut connection, &pack.reference, path)
            .await?
            .ok_or_else(|| {
                Fault::NotFound(format!(
                    "Pack \"{}\" has no file \"{path}\" that can be shown: only texts of up to 256 KiB are.",
                    pack.reference
                ))
            })?;
        Ok((bytes, pack.updated_at))
    }

    /// Keeps an uploaded pack in the blob store, if it is one that can be registered; gives back the source
    /// to install it from.
    pub async fn keep_upload(&self, caller: &Caller, path: PathBuf) -> Result<String, Fault> {
        caller.allow(Permission::Modify, "pack_install")?;
        let (inspection, bytes) = blocking(move || {
            let content = PackContent::of_upload(&path)?;
            let bytes = content
                .archive()
                .map_err(Fault::internal("archiving an uploaded pack"))?;
            Ok((examine(&content.files, None), bytes))
        })
        .await?;
        no_errors("The uploaded pack", &inspection)?;
        Ok(format!(
            "upload:{}",
            self.store_archive(bytes).await?.sha256
        ))
    }

    /// Registers packs again from the files they have.
    pub async fn register_packs(
        &self,
        caller: &Caller,
        asked: &RegisterAsked,
    ) -> Result<Counts, Fault> {
        caller.allow(Permission::Modify, "pack_register")?;
        self.register_again(asked).await
    }

    pub(super) async fn register_again(&self, asked: &RegisterAsked) -> Result<Counts, Fault> {
        let types = asked_types(asked.types.as_deref().unwrap_or_default())?;
        let kinds: BTreeSet<Kind> = Kind::ALL
            .into_iter()
            .filter(|kind| types.contains(kind.name()))
            .collect();
        let strict = asked.fail_on_failure.unwrap_or(true);
        let packs = {
            let mut connection = self.ops.store.read().await?;
            match asked.packs.as_deref() {
                Some(names) if !names.is_empty() => {
                    let mut packs = Vec::new();
                    for name in names {
                        let found = find_pack(&mut connection, name).await?;
                        packs.push(found.ok_or_else(|| {
                            Fault::Invalid(format!("Pack \"{name}\" is not installed."))
                        })?);
                    }
                    packs
                }
                _ => {
                    let all = Filter::new().only("reference <> '_base'");
                    Pack::fetch(&mut connection, all, "list packs").await?
                }
            }
        };
        let mut counts: Counts = types.iter().map(|name| (name.to_string(), 0)).collect();
        for pack in &packs {
            for (name, number) in self.register_pack_again(pack, &kinds, strict).await? {
                *counts.entry(name).or_default() += number;
            }
        }
        let mut fixed = |name: &str, number: usize| {
            if let Some(count) = counts.get_mut(name) {
                *count = number as u64;
            }
        };
        fixed("runners", Runner::ALL.len());
        fixed("policy_types", policies::types().len());
        // standard, backstop
        fixed("rule_types", 2);
        if types.contains("configs") {
            let names: Vec<&str> = packs.iter().map(|pack| pack.reference.as_str()).collect();
            let filter = Filter::new().any("pack", &names);
            let mut connection = self.ops.store.read().await?;
            let configs = PackConfig::fetch(&mut connection, filter, "count configs").await?;
            fixed("configs", configs.len());
        }
        self.nudge();
        Ok(counts)
    }

    async fn register_pack_again(
        &self,
        pack: &Pack,
        kinds: &BTreeSet<Kind>,
        strict: bool,
    ) -> Result<Counts, Fault> {
        let files = {
            let mut connection = self.ops.store.read().await?;
            files_to_examine(&mut connection, pack).await?
        };
        let inspection = examine(&files, Some(&pack.reference));
        if strict {
            no_errors(&format!("Pack \"{}\"", pack.reference), &inspection)?;
        }
        let switches = self.switches(&pack.reference).await?;
        let mut tx = self.ops.store.write("register a pack again").await?;
        let terms = registration::Terms {
            kinds,
            switches: &switches,
            lenient: !strict,
            now: now(),
        };
        let counts = registration::register(&mut tx, &pack.reference, &inspection, terms).await?;
        tx.commit().await?;
        Ok(counts)
    }
}

/// What registration needs of a pack that is here: the texts, and the names of all other files.
async fn files_to_examine(
    connection: &mut Connection,
    pack: &Pack,
) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let mut files: BTreeMap<String, Vec<u8>> = pack_files::of_pack(connection, &pack.reference)
        .await?
        .into_iter()
        .collect();
    for name in names_in(&pack.document, "files") {
        files.entry(name).or_default();
    }
    Ok(files)
}

/// A list of texts in a pack's document.
pub fn names_in(document: &Value, entry: &str) -> Vec<String> {
    document
        .get(entry)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_string)
        .collect()
}

/// Files of the pack that were written through the API and that its new content does not bring itself.
pub async fn carry_over_added(
    connection: &mut Connection,
    before: &Pack,
    content: &mut PackContent,
) -> Result<Vec<String>, Fault> {
    let mut carried = Vec::new();
    for name in names_in(&before.document, ADDED) {
        if content.files.contains_key(&name) {
            continue;
        }
        if let Some(bytes) = pack_files::get(connection, &before.reference, &name).await?
            && is_kept(&name, &bytes)
        {
            content.files.insert(name.clone(), bytes);
            carried.push(name);
        }
    }
    Ok(carried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_a_registration_are_named_in_singular_or_plural() {
        let asked = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            asked_types(&names).map(|types| types.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(asked(&["rule"]).unwrap(), ["rule_types", "rules"]);
        assert_eq!(
            asked(&["alias", "policy"]).unwrap(),
            ["aliases", "policies", "policy_types"]
        );
        assert_eq!(asked(&[]).unwrap().len(), 10);
        assert_eq!(asked(&["all"]).unwrap().len(), 10);
        assert!(
            asked(&["colours"])
                .unwrap_err()
                .to_string()
                .contains("colours")
        );
    }
}
