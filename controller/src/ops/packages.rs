//! Packages: uploaded sources.

use super::apps::{app_for, app_to_fill, owner_for};
use super::list::{Columns, ListQuery, Listing};
use super::sweep::AT_WORK;
use super::upload::{self, Upload};
use super::{Ops, Refusal, by, new_guid, now, of_apps_in_sight, on};
use crate::blobs::Digests;
use crate::domain::access::{Action, Actor};
use crate::store::apps::App;
use crate::store::audit_events;
use crate::store::packages::{self, Package};
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use proto::api::PackageFile;
use serde_json::json;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("states", "state"),
        ("types", "type"),
        ("app_guids", "app_guid"),
    ],
    others: &["space_guids"],
    orders: &[],
};

async fn package_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    guid: &str,
) -> Result<(Package, App, Space), Refusal> {
    let package = Package::find(connection, guid)
        .await?
        .ok_or(Refusal::NotFound("Package"))?;
    let (app, space) = owner_for(connection, actor, action, &package.app_guid, "Package").await?;
    Ok((package, app, space))
}

impl Ops {
    pub async fn create_package(
        &self,
        actor: &Actor,
        app: &str,
        kind: &str,
    ) -> Result<Package, Refusal> {
        if kind != "bits" {
            return Refusal::unprocessable(format!(
                "Type must be 'bits': {kind:?} packages are not supported"
            ));
        }
        let mut tx = self.store.write("create package").await?;
        let (app, space) = app_to_fill(&mut tx, actor, app).await?;
        let now = now();
        let package = Package {
            guid: new_guid(),
            app_guid: app.guid.clone(),
            kind: kind.to_string(),
            state: packages::AWAITING_UPLOAD.to_string(),
            error: None,
            sha1: None,
            sha256: None,
            size_bytes: None,
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        package.insert(&mut tx).await?;
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"package_guid": package.guid});
        audit_events::record(
            &mut tx,
            "audit.app.package.create",
            by(actor),
            target,
            data,
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(package)
    }

    /// Whether bits may be sent for it now; asked before they are read.
    pub async fn may_upload(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let (package, _, _) =
            package_for(&mut *self.store.read().await?, actor, Action::Develop, guid).await?;
        if package.state != packages::AWAITING_UPLOAD {
            return Err(Refusal::BitsAlreadyUploaded);
        }
        Ok(())
    }

    /// Takes what was received, completes it with the files we have, and makes the package ready. A package
    /// that is not acceptable is refused, and its row says why.
    pub async fn finish_upload(
        &self,
        actor: &Actor,
        guid: &str,
        upload: Upload,
    ) -> Result<Package, Refusal> {
        let mut tx = self.store.write("begin to process a package").await?;
        let (mut package, _, _) = package_for(&mut tx, actor, Action::Develop, guid).await?;
        if package.state != packages::AWAITING_UPLOAD {
            return Err(Refusal::BitsAlreadyUploaded);
        }
        package.state = packages::PROCESSING_UPLOAD.to_string();
        package.update(&mut tx, now()).await?;
        tx.commit().await?;

        let outcome = self.process_upload(guid, &upload).await;

        let mut tx = self.store.write("finish a package").await?;
        let (mut package, app, space) = package_for(&mut tx, actor, Action::Develop, guid).await?;
        let now = now();
        match &outcome {
            Ok(digests) => {
                package.state = packages::READY.to_string();
                package.error = None;
                package.sha1 = Some(digests.sha1.clone());
                package.sha256 = Some(digests.sha256.clone());
                package.size_bytes = Some(digests.size_bytes as i64);
            }
            Err(refusal) => {
                package.state = packages::FAILED.to_string();
                package.error = Some(refusal.to_string());
            }
        }
        package.update(&mut tx, now).await?;
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"package_guid": package.guid, "state": package.state});
        audit_events::record(
            &mut tx,
            "audit.app.package.upload",
            by(actor),
            target,
            data,
            now,
        )
        .await?;
        tx.commit().await?;
        match outcome {
            Ok(_) => {
                upload::keep_resources(self, upload);
                Ok(package)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Takes its time for a large one, and says meanwhile that it is at work.
    async fn process_upload(&self, guid: &str, upload: &Upload) -> Result<Digests, Refusal> {
        let mut processing = std::pin::pin!(upload::process(self, upload));
        loop {
            tokio::select! {
                outcome = &mut processing => return outcome,
                () = tokio::time::sleep(AT_WORK) => self.at_work(guid).await,
            }
        }
    }

    /// A package with the bits of another, for copying sources from app to app. Both have to be the actor's.
    pub async fn copy_package(
        &self,
        actor: &Actor,
        app: &str,
        source: &str,
    ) -> Result<Package, Refusal> {
        let mut tx = self.store.write("copy package").await?;
        let (source, from, _) = package_for(&mut tx, actor, Action::Develop, source)
            .await
            .map_err(|refusal| {
                refusal.if_missing(
                    "Source package is invalid. Ensure it exists and you have access to it.",
                )
            })?;
        if source.state != packages::READY {
            return Refusal::unprocessable(format!(
                "Source package cannot be copied: it is {}, not READY",
                source.state
            ));
        }
        let (app, space) = app_to_fill(&mut tx, actor, app).await?;
        let now = now();
        let package = Package {
            guid: new_guid(),
            app_guid: app.guid.clone(),
            created_at: now,
            updated_at: now,
            row_version: 1,
            ..source.clone()
        };
        package.insert(&mut tx).await?;
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"package_guid": package.guid, "request": {"source_package_guid": source.guid, "source_app_guid": from.guid}});
        let kind = "audit.app.package.create";
        audit_events::record(&mut tx, kind, by(actor), target, data, now).await?;
        tx.commit().await?;
        Ok(package)
    }

    /// The blob of a package, for who may push; that it was asked for stays on record.
    pub async fn download_package(&self, actor: &Actor, guid: &str) -> Result<String, Refusal> {
        let mut tx = self.store.write("download a package").await?;
        let (package, app, space) = package_for(&mut tx, actor, Action::Develop, guid).await?;
        let Some(sha256) = &package.sha256 else {
            return Refusal::unprocessable("Package has no bits to download.");
        };
        let key = format!("packages/{sha256}");
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"package_guid": package.guid});
        let kind = "audit.app.package.download";
        audit_events::record(&mut tx, kind, by(actor), target, data, now()).await?;
        tx.commit().await?;
        Ok(key)
    }

    pub async fn package(&self, actor: &Actor, guid: &str) -> Result<Package, Refusal> {
        Ok(
            package_for(&mut *self.store.read().await?, actor, Action::Read, guid)
                .await?
                .0,
        )
    }

    /// The files of a package: names tell something of what is in it, so only to who may push.
    pub async fn package_files(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<Vec<PackageFile>, Refusal> {
        let (package, _, _) =
            package_for(&mut *self.store.read().await?, actor, Action::Develop, guid).await?;
        let folder = self.upload_folder()?;
        let path = folder.path().join("package.zip");
        let key = match &package.sha256 {
            Some(sha256) => format!("packages/{sha256}"),
            None => return Refusal::unprocessable("Package has no bits yet."),
        };
        if !self.blobs.fetch(&key, &path).await? {
            return Err(Refusal::NotFound("Package"));
        }
        upload::files_of(path).await
    }

    pub async fn list_packages(
        &self,
        actor: &Actor,
        app: Option<&str>,
        query: &ListQuery,
    ) -> Result<Listing<Package>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        if let Some(app) = app {
            app_for(&mut connection, actor, Action::Read, app).await?;
            filter = filter.equals("app_guid", app);
        }
        filter = of_apps_in_sight(&mut connection, actor, query, filter).await?;
        Ok(Package::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }
}
