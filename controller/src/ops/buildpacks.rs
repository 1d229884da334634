//! Buildpacks that every app may use: listed by anybody, made and changed by administrators.
//!
//! A new one has no scripts until its archive is uploaded. What is uploaded is judged by its table of
//! contents, as the bits of apps are, and kept under its checksum; how it ended stands in a job, by whose code
//! clients tell a broken archive from one that is no buildpack.

use super::apps::{lay_annotations, lay_labels};
use super::list::{Columns, LABEL_SELECTOR, ListQuery, Listing};
use super::upload::{blocking, open, table_of_contents};
use super::{Ops, Refusal, STACKS, authorize, by, new_guid, now};
use crate::domain::access::{Action, Actor, Object};
use crate::domain::archive::{self, Bounds};
use crate::domain::buildpacks::{self as rules, Offered};
use crate::store::StoreError;
use crate::store::audit_events::{self, On};
use crate::store::buildpacks::{self, Buildpack};
use crate::store::jobs::Job;
use crate::store::query::Filter;
use crate::store::sql::Connection;
use proto::buildpacks::allowed_schemes;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

const COLUMNS: Columns = Columns {
    filters: &[("guids", "guid"), ("names", "name"), ("stacks", "stack")],
    others: &["lifecycle", LABEL_SELECTOR],
    orders: &[("position", "position"), ("name", "name")],
};

const NOUN: &str = "Buildpack";
/// The only kind there is.
const LIFECYCLE: &str = "buildpack";
/// Most entries of an archive.
const MOST_ENTRIES: u64 = 100_000;
/// What bounds an archive, packed and unpacked.
pub const LARGEST: &str = "staging/buildpacks/max_size";

/// Codes and titles of jobs, as clients of Cloud Foundry know them.
const NO_ZIP: (i64, &str) = (390_013, "CF-BuildpackZipError");
const NO_BUILDPACK: (i64, &str) = (290_003, "CF-BuildpackBitsUploadInvalid");

/// What a buildpack is made of, or changed to. None: as it is, or the default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuildpackSettings {
    pub name: Option<String>,
    pub stack: Option<String>,
    pub position: Option<i64>,
    pub enabled: Option<bool>,
    pub locked: Option<bool>,
    /// None as a value takes the key away.
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
}

/// What was received. The folder is removed with it.
pub struct Archive {
    pub folder: TempDir,
    pub zip: PathBuf,
    /// What the sender calls it.
    pub filename: String,
}

/// Buildpacks as apps keep them, by name or by address.
pub async fn check_named(
    ops: &Ops,
    connection: &mut Connection,
    names: &[String],
) -> Result<Vec<String>, Refusal> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let rows = buildpacks::in_order(connection).await?;
    let offered: Vec<Offered<'_>> = rows
        .iter()
        .map(|row| Offered {
            name: &row.name,
            enabled: row.enabled,
            ready: row.is_ready(),
        })
        .collect();
    let schemes = allowed_schemes(&ops.settings().text("staging/buildpacks/schemes"));
    let resolved = names
        .iter()
        .map(|name| rules::resolve(name, &offered, &schemes));
    resolved
        .collect::<Result<_, _>>()
        .map_err(Refusal::Unprocessable)
}

fn check_stack(stack: &str) -> Result<(), Refusal> {
    if STACKS.contains(&stack) {
        return Ok(());
    }
    Refusal::unprocessable(format!("Stack '{stack}' does not exist"))
}

fn check_position(position: i64) -> Result<(), Refusal> {
    if position >= 1 {
        return Ok(());
    }
    Refusal::unprocessable("Position must be greater than or equal to 1")
}

fn taken(name: &str) -> Refusal {
    Refusal::Unprocessable(format!("Buildpack with name '{name}' already exists"))
}

fn on(buildpack: &Buildpack) -> On<'_> {
    On {
        guid: &buildpack.guid,
        kind: "buildpack",
        name: &buildpack.name,
        space: None,
        organization: None,
    }
}

async fn find(connection: &mut Connection, guid: &str) -> Result<Buildpack, Refusal> {
    Buildpack::find(connection, guid)
        .await?
        .ok_or(Refusal::NotFound(NOUN))
}

/// The guids in the order of detection.
async fn order(connection: &mut Connection) -> Result<Vec<String>, StoreError> {
    let rows = buildpacks::in_order(connection).await?;
    Ok(rows.into_iter().map(|row| row.guid).collect())
}

fn may_administer(actor: &Actor) -> Result<(), Refusal> {
    authorize(actor, Action::Administer, &Object::Platform, NOUN)
}

/// Those that come with the agents have no archive that could be replaced.
fn may_replace(buildpack: &Buildpack) -> Result<(), Refusal> {
    if buildpack.shipped {
        return Refusal::unprocessable(format!(
            "The buildpack '{}' comes with the cluster: upload another one and disable this",
            buildpack.name
        ));
    }
    if buildpack.locked {
        return Refusal::unprocessable(format!(
            "The buildpack '{}' is locked: unlock it to upload another archive",
            buildpack.name
        ));
    }
    Ok(())
}

/// Why an archive was not taken.
struct Unfit {
    told: (i64, &'static str),
    why: String,
}

impl Ops {
    pub async fn list_buildpacks(&self, query: &ListQuery) -> Result<Listing<Buildpack>, Refusal> {
        let query = ListQuery {
            order_by: query.order_by.clone().or(Some("position".into())),
            ..query.clone()
        };
        let mut filter: Filter = query.filter(&COLUMNS)?;
        if let Some(kinds) = query.list("lifecycle")
            && !kinds.iter().any(|kind| kind == LIFECYCLE)
        {
            filter = filter.only("1 = 0");
        }
        let mut connection = self.store.read().await?;
        let (limit, offset) = (query.window.limit(), query.window.offset());
        let page = Buildpack::page(&mut connection, filter, limit, offset).await?;
        Ok(page.into())
    }

    pub async fn buildpack(&self, guid: &str) -> Result<Buildpack, Refusal> {
        find(&mut *self.store.read().await?, guid).await
    }

    pub async fn create_buildpack(
        &self,
        actor: &Actor,
        settings: &BuildpackSettings,
    ) -> Result<Buildpack, Refusal> {
        may_administer(actor)?;
        let name = settings
            .name
            .clone()
            .ok_or_else(|| Refusal::Unprocessable("Name must be a string".into()))?;
        rules::check_name(&name).map_err(Refusal::Unprocessable)?;
        settings.stack.as_deref().map_or(Ok(()), check_stack)?;
        let position = settings.position.unwrap_or(1);
        check_position(position)?;
        let mut tx = self.store.write("create buildpack").await?;
        buildpacks::lock_order(&mut tx).await?;
        let now = now();
        let stack = settings.stack.clone();
        let mut buildpack = Buildpack::new(new_guid(), name, stack, position, now);
        buildpack.enabled = settings.enabled.unwrap_or(buildpack.enabled);
        buildpack.locked = settings.locked.unwrap_or(buildpack.locked);
        lay_labels(&mut buildpack.labels, &settings.labels)?;
        lay_annotations(&mut buildpack.annotations, &settings.annotations)?;
        let before = order(&mut tx).await?;
        let inserted = buildpack.insert(&mut tx).await;
        inserted.map_err(|error| match error {
            StoreError::Taken { .. } => taken(&buildpack.name),
            error => error.into(),
        })?;
        let after = rules::moved(before, &buildpack.guid, position);
        buildpacks::put_in_order(&mut tx, &after).await?;
        let data = json!({"request": {"position": position, "enabled": buildpack.enabled, "stack": buildpack.stack}});
        let kind = "audit.buildpack.create";
        audit_events::record(&mut tx, kind, by(actor), on(&buildpack), data, now).await?;
        let made = find(&mut tx, &buildpack.guid).await?;
        tx.commit().await?;
        Ok(made)
    }

    pub async fn update_buildpack(
        &self,
        actor: &Actor,
        guid: &str,
        settings: &BuildpackSettings,
    ) -> Result<Buildpack, Refusal> {
        let mut tx = self.store.write("update buildpack").await?;
        buildpacks::lock_order(&mut tx).await?;
        let mut buildpack = find(&mut tx, guid).await?;
        may_administer(actor)?;
        if let Some(name) = settings.name.as_ref().filter(|it| **it != buildpack.name) {
            if buildpack.shipped {
                return Refusal::unprocessable(format!(
                    "The buildpack '{}' comes with the cluster and keeps its name",
                    buildpack.name
                ));
            }
            rules::check_name(name).map_err(Refusal::Unprocessable)?;
            buildpack.name = name.clone();
        }
        if let Some(stack) = &settings.stack {
            check_stack(stack)?;
            if buildpack.stack.as_ref().is_some_and(|now| now != stack) {
                return Refusal::unprocessable("Buildpack stack can not be changed");
            }
            buildpack.stack = Some(stack.clone());
        }
        buildpack.enabled = settings.enabled.unwrap_or(buildpack.enabled);
        buildpack.locked = settings.locked.unwrap_or(buildpack.locked);
        lay_labels(&mut buildpack.labels, &settings.labels)?;
        lay_annotations(&mut buildpack.annotations, &settings.annotations)?;
        let now = now();
        let updated = buildpack.update(&mut tx, now).await;
        updated.map_err(|error| match error {
            StoreError::Taken { .. } => taken(&buildpack.name),
            error => error.into(),
        })?;
        if let Some(position) = settings.position {
            check_position(position)?;
            let after = rules::moved(order(&mut tx).await?, guid, position);
            buildpacks::put_in_order(&mut tx, &after).await?;
        }
        let changed = find(&mut tx, guid).await?;
        let data = json!({"request": {
            "name": changed.name, "position": changed.position, "enabled": changed.enabled, "locked": changed.locked, "stack": changed.stack,
        }});
        let kind = "audit.buildpack.update";
        audit_events::record(&mut tx, kind, by(actor), on(&changed), data, now).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Apps that name it keep the name: their next staging says that there is none.
    pub async fn delete_buildpack(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("delete buildpack").await?;
        buildpacks::lock_order(&mut tx).await?;
        let buildpack = find(&mut tx, guid).await?;
        may_administer(actor)?;
        if buildpack.shipped {
            return Refusal::unprocessable(format!(
                "The buildpack '{}' comes with the cluster: disable it",
                buildpack.name
            ));
        }
        Buildpack::delete(&mut tx, guid).await?;
        let left = order(&mut tx).await?;
        buildpacks::put_in_order(&mut tx, &left).await?;
        let kind = "audit.buildpack.delete";
        audit_events::record(&mut tx, kind, by(actor), on(&buildpack), json!({}), now()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Asked before the bits are received: whoever may not learns it at once.
    pub async fn may_upload_buildpack(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let buildpack = self.buildpack(guid).await?;
        may_administer(actor)?;
        may_replace(&buildpack)
    }

    /// Judges what was received, and makes it the buildpack's archive if it is one.
    pub async fn finish_buildpack_upload(
        &self,
        actor: &Actor,
        guid: &str,
        archive: Archive,
    ) -> Result<(Buildpack, Job), Refusal> {
        if let Err(unfit) = self.check_archive(archive.zip.clone()).await? {
            let (code, title) = unfit.told;
            let failed = Some((code, title, unfit.why.as_str()));
            let job = self.record_job("buildpack.upload", failed).await?;
            return Ok((self.buildpack(guid).await?, job));
        }
        let digests = self.blobs.keep_file(&archive.zip, buildpacks::key).await?;
        let mut tx = self.store.write("finish the upload of a buildpack").await?;
        let mut buildpack = find(&mut tx, guid).await?;
        may_administer(actor)?;
        may_replace(&buildpack)?;
        buildpack.sha256 = Some(digests.sha256);
        buildpack.filename = Some(archive.filename);
        let now = now();
        buildpack.update(&mut tx, now).await?;
        let data = json!({"filename": buildpack.filename, "sha256": buildpack.sha256});
        let kind = "audit.buildpack.upload";
        audit_events::record(&mut tx, kind, by(actor), on(&buildpack), data, now).await?;
        tx.commit().await?;
        let job = self.record_job("buildpack.upload", None).await?;
        Ok((buildpack, job))
    }

    async fn check_archive(&self, zip: PathBuf) -> Result<Result<(), Unfit>, Refusal> {
        let bounds = Bounds {
            max_entries: MOST_ENTRIES,
            max_unpacked: self.settings().size(LARGEST),
            setting: Some(LARGEST),
        };
        let unfit = |told, refusal: Refusal| match refusal {
            Refusal::InvalidBits(why) => Ok(Err(Unfit { told, why })),
            refusal => Err(refusal),
        };
        blocking("looking at a buildpack", move || {
            let mut source = match open(&zip) {
                Ok(source) => source,
                Err(refusal) => return unfit(NO_ZIP, refusal),
            };
            let entries = match table_of_contents(&mut source, bounds) {
                Ok(entries) => entries,
                Err(refusal) => return unfit(NO_BUILDPACK, refusal),
            };
            let checked = archive::check(&entries, bounds)
                .map(drop)
                .and_then(|()| rules::check_scripts(&entries));
            Ok(checked.map_err(|error| Unfit {
                told: NO_BUILDPACK,
                why: format!("The buildpack upload is invalid: {error}"),
            }))
        })
        .await
    }
}
