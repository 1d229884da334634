//! Droplets: listed, handed out, copied and uploaded.

use super::list::{Columns, ListQuery, Listing};
use super::upload::blocking;
use super::{Ops, Refusal, apps, by, new_guid, now, of_apps_in_sight, on, sees_secrets};
use crate::domain::access::{Action, Actor};
use crate::domain::droplet_archive::{self, Bounds};
use crate::store::apps::App;
use crate::store::droplets::{self, Droplet};
use crate::store::jobs::Job;
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Json, audit_events};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("states", "state"),
        ("app_guids", "app_guid"),
        ("package_guids", "package_guid"),
    ],
    others: &["space_guids"],
    orders: &[],
};

/// A droplet, and whether the actor may see the start commands in it.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenDroplet {
    pub droplet: Droplet,
    pub with_secrets: bool,
}

/// Which droplets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of<'a> {
    Everything,
    App(&'a str),
    Package(&'a str),
}

/// A received droplet. The folder is removed with it.
pub struct Archive {
    pub folder: TempDir,
    pub path: PathBuf,
}

async fn droplet_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    guid: &str,
) -> Result<(Droplet, App, Space), Refusal> {
    let droplet = Droplet::find(connection, guid)
        .await?
        .ok_or(Refusal::NotFound("Droplet"))?;
    let owner = &droplet.app_guid;
    let (app, space) = apps::owner_for(connection, actor, action, owner, "Droplet").await?;
    Ok((droplet, app, space))
}

impl Ops {
    /// A droplet whose bits are still to come.
    pub async fn create_droplet(
        &self,
        actor: &Actor,
        app: &str,
        processes: BTreeMap<String, String>,
    ) -> Result<Droplet, Refusal> {
        let mut tx = self.store.write("create droplet").await?;
        let (app, space) = apps::app_to_fill(&mut tx, actor, app).await?;
        let now = now();
        let droplet = Droplet {
            guid: new_guid(),
            app_guid: app.guid.clone(),
            package_guid: None,
            build_guid: None,
            state: droplets::AWAITING_UPLOAD.to_string(),
            sha1: String::new(),
            sha256: String::new(),
            size_bytes: 0,
            process_types: Json(processes),
            detected_buildpack: String::new(),
            buildpacks: Json::default(),
            stack: app.stack.clone(),
            created_at: now,
            updated_at: now,
        };
        droplet.insert(&mut tx).await?;
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"droplet_guid": droplet.guid});
        let kind = "audit.app.droplet.create";
        audit_events::record(&mut tx, kind, by(actor), target, data, now).await?;
        tx.commit().await?;
        Ok(droplet)
    }

    /// A droplet of one app for another. Both have to be the actor's.
    pub async fn copy_droplet(
        &self,
        actor: &Actor,
        app: &str,
        source: &str,
    ) -> Result<Droplet, Refusal> {
        let mut tx = self.store.write("copy droplet").await?;
        let (source, from, _) = droplet_for(&mut tx, actor, Action::Develop, source).await?;
        if source.state != droplets::STAGED {
            return Refusal::unprocessable("Source droplet is not staged.");
        }
        let (app, space) = apps::app_to_fill(&mut tx, actor, app).await?;
        let now = now();
        let droplet = Droplet {
            guid: new_guid(),
            app_guid: app.guid.clone(),
            package_guid: None,
            build_guid: None,
            created_at: now,
            updated_at: now,
            ..source.clone()
        };
        droplet.insert(&mut tx).await?;
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"droplet_guid": droplet.guid, "request": {"source_droplet_guid": source.guid, "source_app_guid": from.guid}});
        let kind = "audit.app.droplet.create";
        audit_events::record(&mut tx, kind, by(actor), target, data, now).await?;
        tx.commit().await?;
        Ok(droplet)
    }

    /// Whether bits may be sent for it now; asked before they are read.
    pub async fn may_upload_droplet(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut reader = self.store.read().await?;
        let (droplet, _, _) = droplet_for(&mut reader, actor, Action::Develop, guid).await?;
        if droplet.state != droplets::AWAITING_UPLOAD {
            return Err(Refusal::BitsAlreadyUploaded);
        }
        Ok(())
    }

    /// Takes what was received. A droplet that cannot be run has a job that says why.
    pub async fn finish_droplet_upload(
        &self,
        actor: &Actor,
        guid: &str,
        archive: Archive,
    ) -> Result<(Droplet, Job), Refusal> {
        const OPERATION: &str = "droplet.upload";
        let settings = self.settings();
        let bounds = Bounds {
            max_entries: settings
                .integer("controller/packages/max_files")
                .unsigned_abs(),
            max_unpacked: settings.size("staging/disk"),
        };
        let path = archive.path.clone();
        let looked = blocking("looking at a droplet", move || {
            let file =
                std::fs::File::open(&path).map_err(Refusal::internal("opening a droplet"))?;
            let read = std::io::BufReader::new(file);
            Ok(droplet_archive::look_through(read, bounds))
        })
        .await?;
        let info = match looked {
            Ok(info) => info,
            Err(why) => {
                let text = format!("The droplet upload is invalid: {why}");
                let failed = Some((160_001, "CF-AppBitsUploadInvalid", text.as_str()));
                let job = self.record_job(OPERATION, failed).await?;
                return Ok((self.droplet(actor, guid).await?.droplet, job));
            }
        };
        let digests = self
            .blobs
            .keep_file(&archive.path, |sum| format!("droplets/{sum}"))
            .await?;
        let mut tx = self.store.write("finish the upload of a droplet").await?;
        let (mut droplet, app, space) = droplet_for(&mut tx, actor, Action::Develop, guid).await?;
        if droplet.state != droplets::AWAITING_UPLOAD {
            return Err(Refusal::BitsAlreadyUploaded);
        }
        let now = now();
        droplet.state = droplets::STAGED.to_string();
        droplet.sha1 = digests.sha1;
        droplet.sha256 = digests.sha256;
        droplet.size_bytes = i64::try_from(digests.size_bytes).unwrap_or(i64::MAX);
        droplet.detected_buildpack = info.detected_buildpack.clone();
        if droplet.process_types.is_empty() {
            droplet.process_types = Json(info.processes());
        }
        droplet.updated_at = now;
        // Nothing names it yet: the row is made anew.
        Droplet::delete(&mut tx, guid).await?;
        droplet.insert(&mut tx).await?;
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"droplet_guid": droplet.guid});
        let kind = "audit.app.droplet.upload";
        audit_events::record(&mut tx, kind, by(actor), target, data, now).await?;
        tx.commit().await?;
        let job = self.record_job(OPERATION, None).await?;
        Ok((droplet, job))
    }

    /// The blob of a droplet, for who may push; that it was asked for stays on record.
    pub async fn download_droplet(&self, actor: &Actor, guid: &str) -> Result<String, Refusal> {
        let mut tx = self.store.write("download a droplet").await?;
        let (droplet, app, space) = droplet_for(&mut tx, actor, Action::Develop, guid).await?;
        if droplet.state != droplets::STAGED {
            return Refusal::unprocessable("Only staged droplets can be downloaded.");
        }
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"droplet_guid": droplet.guid});
        let kind = "audit.app.droplet.download";
        audit_events::record(&mut tx, kind, by(actor), target, data, now()).await?;
        tx.commit().await?;
        Ok(format!("droplets/{}", droplet.sha256))
    }

    pub async fn droplet(&self, actor: &Actor, guid: &str) -> Result<SeenDroplet, Refusal> {
        let mut connection = self.store.read().await?;
        let (droplet, _, space) = droplet_for(&mut connection, actor, Action::Read, guid).await?;
        Ok(SeenDroplet {
            droplet,
            with_secrets: sees_secrets(actor, &space),
        })
    }

    pub async fn current_droplet(&self, actor: &Actor, app: &str) -> Result<SeenDroplet, Refusal> {
        let mut connection = self.store.read().await?;
        let (app, space) = apps::app_for(&mut connection, actor, Action::Read, app).await?;
        let guid = app
            .current_droplet_guid
            .ok_or(Refusal::NotFound("Droplet"))?;
        let droplet = Droplet::find(&mut connection, &guid)
            .await?
            .ok_or(Refusal::NotFound("Droplet"))?;
        Ok(SeenDroplet {
            droplet,
            with_secrets: sees_secrets(actor, &space),
        })
    }

    pub async fn list_droplets(
        &self,
        actor: &Actor,
        of: Of<'_>,
        query: &ListQuery,
    ) -> Result<Listing<Droplet>, Refusal> {
        let mut filter = query.filter(&COLUMNS)?;
        match of {
            Of::Everything => {}
            Of::App(app) => {
                self.app(actor, app).await?;
                filter = filter.equals("app_guid", app);
            }
            Of::Package(package) => {
                self.package(actor, package).await?;
                filter = filter.equals("package_guid", package);
            }
        }
        let mut connection = self.store.read().await?;
        filter = of_apps_in_sight(&mut connection, actor, query, filter).await?;
        Ok(Droplet::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }
}
