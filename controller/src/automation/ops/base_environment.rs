//! The Python libraries that every pack may import (contract §9.7), staged once for the cluster.
//!
//! They are the staged content of a pack of their own, which brings nothing else and which nobody sees. The
//! leader stages them as soon as there is an agent, and again when the list changes. Until then, and if it
//! fails, packs that need none of them run all the same; why it failed is in the row, for `yard status`.

use super::fault::Fault;
use super::pack_content::PackContent;
use super::pack_sources::blocking;
use super::pack_staging::{BASE_PLACE, StagingAsked};
use super::packs::{FOLDER_SUM, Stored};
use crate::automation::Automation;
use crate::automation::ids::new_id;
use crate::blobs::hex;
use crate::ops::now;
use crate::store::automation::packs::Pack;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError};
use daemon::Shutdown;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// The pack whose staged content they are: it brings nothing else.
pub const PACK: &str = "_base";
/// How often an agent is looked for.
const LOOK: Duration = Duration::from_secs(2);
/// After a staging that failed; doubles while they keep failing.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(1800);

/// In the document of the row: why the wanted libraries are not there, and since when (Unix microseconds).
const PROBLEM: &str = "problem";
const SINCE: &str = "problem_since";

/// Why the libraries that every pack may import are not staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub because: String,
    pub since: Duration,
}

/// None: they are there, or nobody tried yet.
pub async fn missing(connection: &mut Connection) -> Result<Option<Missing>, StoreError> {
    let Some(row) = Pack::find(connection, PACK).await? else {
        return Ok(None);
    };
    let Some(because) = row.document.get(PROBLEM).and_then(Value::as_str) else {
        return Ok(None);
    };
    let since = row.document.get(SINCE).and_then(Value::as_i64);
    let waited = now().saturating_sub(since.unwrap_or(row.updated_at));
    Ok(Some(Missing {
        because: ends_of(because),
        since: Duration::from_micros(u64::try_from(waited).unwrap_or_default()),
    }))
}

/// The first line and the last, which is what `pip` says the matter is.
fn ends_of(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(first), Some(last)) => format!("{first} … {last}"),
        (Some(only), None) => only.to_string(),
        (None, _) => String::new(),
    }
}

impl Automation {
    /// Sees to it, whenever this controller leads, that the libraries are those of the list.
    pub async fn keep_base_environment(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Some(list) = self.base_requirements() else {
            tracing::info!("there is no list of libraries for all packs");
            shutdown.draining().await;
            return Ok(());
        };
        let mut wait = FIRST_WAIT;
        let mut attempt = 0_u32;
        let mut pause = LOOK;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.draining() => return Ok(()),
            }
            pause = LOOK;
            if self.epoch.borrow().is_none() || self.agents.known().is_empty() {
                continue;
            }
            attempt += 1;
            match self.stage_base_environment(&list, attempt).await {
                // The list changes with the platform: the next controller looks again.
                Ok(()) => {
                    let mut term = self.epoch.clone();
                    tokio::select! {
                        changed = term.changed() => changed?,
                        () = shutdown.draining() => return Ok(()),
                    }
                    wait = FIRST_WAIT;
                }
                Err(fault) => {
                    if let Err(error) = self.note_base_problem(&fault.to_string()).await {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "why the libraries of all packs are not staged could not be written down"
                        );
                    }
                    tracing::warn!(
                        error = &fault as &dyn std::error::Error,
                        next_seconds = wait.as_secs(),
                        "the libraries of all packs are not staged; packs that need them do not work yet"
                    );
                    pause = wait;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// The list, which is installed beside the built-in packs.
    fn base_requirements(&self) -> Option<PathBuf> {
        let list = self.builtin_packs.parent()?.join("python/requirements.txt");
        list.is_file().then_some(list)
    }

    /// Stages the list unless that is done. `attempt`: this leader's, from 1.
    async fn stage_base_environment(
        &self,
        list: &std::path::Path,
        mut attempt: u32,
    ) -> Result<(), Fault> {
        let text = tokio::fs::read(list)
            .await
            .map_err(Fault::internal("reading the list of libraries"))?;
        let sum = hex(&Sha256::digest(&text));
        let known = Pack::find(&mut *self.ops.store.read().await?, PACK).await?;
        if let Some(row) = known.filter(|row| row.document.get(FOLDER_SUM) == Some(&json!(sum))) {
            if row.document.get(PROBLEM).is_some() {
                // Of another list, which is not wanted any more.
                self.write_base(json!({ FOLDER_SUM: sum }), None).await?;
            }
            return Ok(());
        }
        let bytes = blocking(move || {
            let content = PackContent {
                files: BTreeMap::from([("requirements.txt".to_string(), text)]),
                executable: BTreeSet::new(),
            };
            content
                .archive()
                .map_err(Fault::internal("archiving the list of libraries"))
        })
        .await?;
        let content = self.store_archive(bytes).await?;
        let environment = BTreeMap::new();
        // Named by number, not by leader: what an earlier leader began is waited for. A leader that is
        // killed often would fill an agent with stagings of the same.
        let archive = loop {
            let execution = format!("base-{attempt}");
            let asked = StagingAsked {
                execution: &execution,
                pack: PACK,
                content: &content,
                environment: &environment,
            };
            if !self.staging_has_failed(&asked).await? {
                break self.stage_at(&asked, BASE_PLACE).await?;
            }
            attempt += 1;
        };
        self.write_base(json!({ FOLDER_SUM: sum }), Some(&archive))
            .await?;
        tracing::info!(
            size = archive.size,
            "the libraries that all packs may import are staged"
        );
        Ok(())
    }

    /// Writes down why they are not staged, beside those that were there before.
    async fn note_base_problem(&self, why: &str) -> Result<(), Fault> {
        let known = Pack::find(&mut *self.ops.store.read().await?, PACK).await?;
        let mut document = known.map_or_else(|| json!({}), |row| row.document.0);
        let since = document.get(SINCE).cloned().unwrap_or(json!(now()));
        document[PROBLEM] = json!(why);
        document[SINCE] = since;
        self.write_base(document, None).await
    }

    /// `archive`: None, it stays as it is.
    async fn write_base(&self, document: Value, archive: Option<&Stored>) -> Result<(), Fault> {
        let now = now();
        let mut tx = self.fenced("note the libraries of all packs").await?;
        let document = Json(document);
        match Pack::find(&mut tx, PACK).await? {
            Some(mut row) => {
                row.document = document;
                if let Some(archive) = archive {
                    row.archive_sha256 = Some(archive.sha256.clone());
                    row.archive_size = Some(archive.size);
                }
                row.update(&mut tx, now).await?;
            }
            None => {
                let row = Pack {
                    reference: PACK.into(),
                    id: new_id(),
                    name: PACK.into(),
                    version: "0.0.0".into(),
                    document,
                    config_schema: Json(Value::Null),
                    archive_sha256: archive.map(|archive| archive.sha256.clone()),
                    archive_size: archive.map(|archive| archive.size),
                    builtin: true,
                    created_at: now,
                    updated_at: now,
                    row_version: 1,
                };
                row.insert(&mut tx).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_reason_its_ends_are_told() {
        assert_eq!(ends_of("a\nb\n\nERROR: no six\n"), "a … ERROR: no six");
        assert_eq!(ends_of("only\n"), "only");
        assert_eq!(ends_of(""), "");
    }
}
