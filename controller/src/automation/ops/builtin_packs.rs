//! What every cluster has before anybody installs anything: runner types, trigger types, built-in packs.
//!
//! The leader looks once when its term begins. A built-in pack is registered when its folder differs from
//! what was registered last, so that what users changed meanwhile (a rule switched off) stays until the
//! pack itself changes.

use super::callers::{SYSTEM_GUID, SYSTEM_NAME};
use super::fault::Fault;
use super::pack_content::PackContent;
use super::packs::{ADDED, FOLDER_SUM, NewPack, carry_over_added, examine, no_errors, write_pack};
use super::registration::Kind;
use super::triggers::register_builtin;
use crate::automation::Automation;
use crate::blobs::hex;
use crate::ops::now;
use crate::store::automation::packs::Pack;
use crate::store::automation::runner_types::RunnerType;
use automation::runners::{self, Runner};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

impl Automation {
    /// Registers what is built in. Doing it again changes nothing.
    pub async fn register_builtin(&self) -> Result<(), Fault> {
        self.register_builtin_types().await?;
        self.service_account(SYSTEM_GUID, SYSTEM_NAME).await?;
        for folder in folders(&self.builtin_packs).await? {
            match self.register_builtin_pack(&folder).await {
                Ok(()) => {}
                // It would be the same the next time, and everything else waits for this.
                Err(Fault::Invalid(text)) => {
                    tracing::error!(folder = %folder.display(), text, "a built-in pack cannot be registered");
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    async fn register_builtin_types(&self) -> Result<(), Fault> {
        let now = now();
        let mut tx = self.fenced("register built-in types").await?;
        for runner in Runner::ALL {
            if RunnerType::find(&mut tx, runner.name()).await?.is_some() {
                continue;
            }
            let document = runners::document(runner);
            let row = RunnerType {
                name: runner.name().to_string(),
                id: document["id"].as_str().unwrap_or_default().to_string(),
                enabled: runner.refusal().is_none(),
                created_at: now,
                updated_at: now,
                row_version: 1,
            };
            row.insert(&mut tx).await?;
        }
        register_builtin(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn register_builtin_pack(&self, folder: &Path) -> Result<(), Fault> {
        let source = folder.to_path_buf();
        let (mut content, bytes) = tokio::task::spawn_blocking(move || {
            let content = PackContent::of_folder(&source)?;
            let bytes = content
                .archive()
                .map_err(Fault::internal("archiving a built-in pack"))?;
            Ok::<_, Fault>((content, bytes))
        })
        .await
        .map_err(Fault::internal("reading a built-in pack"))??;
        let sum = hex(&Sha256::digest(&bytes));
        let name = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let before = Pack::find(&mut *self.ops.store.read().await?, &name).await?;
        let registered = before
            .as_ref()
            .and_then(|row| row.document.get(FOLDER_SUM))
            .and_then(Value::as_str);
        if registered == Some(sum.as_str()) {
            return Ok(());
        }
        let mut notes = Map::from_iter([(FOLDER_SUM.to_string(), json!(sum))]);
        let mut bytes = bytes;
        if let Some(before) = &before {
            let mut connection = self.ops.store.read().await?;
            let added = carry_over_added(&mut connection, before, &mut content).await?;
            if !added.is_empty() {
                bytes = content
                    .archive()
                    .map_err(Fault::internal("archiving a built-in pack"))?;
            }
            notes.insert(ADDED.into(), json!(added));
        }
        let inspection = examine(&content.files, Some(&name));
        no_errors(&format!("The built-in pack \"{name}\""), &inspection)?;
        let archive = self.store_archive(bytes).await?;
        let switches = self.switches(&name).await?;
        let mut tx = self.fenced("register a built-in pack").await?;
        let new = NewPack {
            content: &content,
            inspection: &inspection,
            archive: &archive,
            builtin: true,
            kinds: &BTreeSet::from(Kind::ALL),
            notes,
        };
        let (row, counts) = write_pack(&mut tx, &new, &switches, now()).await?;
        tx.commit().await?;
        tracing::info!(
            pack = row.reference,
            version = row.version,
            ?counts,
            "a built-in pack was registered"
        );
        Ok(())
    }
}

/// The folders of packs, by name.
async fn folders(root: &Path) -> Result<Vec<PathBuf>, Fault> {
    let failed = || Fault::internal("listing the built-in packs");
    let mut entries = tokio::fs::read_dir(root).await.map_err(failed())?;
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(failed())? {
        if entry.path().join("pack.yaml").is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
