//! Builds: asking for a package to be staged.

use super::list::{Columns, ListQuery, Listing};
use super::{Ops, Refusal, apps, by, new_guid, now, of_apps_in_sight, on};
use crate::domain::access::{Action, Actor};
use crate::store::builds::{self, Build};
use crate::store::packages::{self, Package};
use crate::store::{Json, StoreError, audit_events, facts};
use serde_json::json;

const COLUMNS: Columns = Columns {
    filters: &[
        ("states", "state"),
        ("app_guids", "app_guid"),
        ("package_guids", "package_guid"),
        ("guids", "guid"),
    ],
    others: &[],
    orders: &[],
};

/// What a build may differ in from its app's settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuildRequest {
    pub package: String,
    pub buildpacks: Option<Vec<String>>,
    pub stack: Option<String>,
    pub memory_mb: Option<u64>,
    pub disk_mb: Option<u64>,
}

impl Ops {
    pub async fn create_build(
        &self,
        actor: &Actor,
        request: &BuildRequest,
    ) -> Result<Build, Refusal> {
        let mut tx = self.store.write("create build").await?;
        let no_package = || {
            Refusal::Unprocessable(
                "Unable to use package. Ensure that the package exists and you have access to it."
                    .into(),
            )
        };
        let package = Package::find(&mut tx, &request.package)
            .await?
            .ok_or_else(no_package)?;
        let (app, space) = apps::owner_for(
            &mut tx,
            actor,
            Action::Develop,
            &package.app_guid,
            "Package",
        )
        .await
        .map_err(|refusal| match refusal {
            Refusal::NotFound(_) => no_package(),
            refusal => refusal,
        })?;
        if package.state != packages::READY {
            return Err(Refusal::BadRequest(
                "Cannot stage package whose state is not ready.".into(),
            ));
        }
        let busy = || {
            Refusal::Unprocessable(
                "Only one build can be STAGING at a time per application.".into(),
            )
        };
        if builds::is_staged_now(&mut tx, &app.guid).await? {
            return Err(busy());
        }
        let buildpacks = match &request.buildpacks {
            Some(names) => super::buildpacks::check_named(self, &mut tx, names).await?,
            None => app.buildpacks.0.clone(),
        };
        let stack = request.stack.clone().unwrap_or_else(|| app.stack.clone());
        apps::check_stack(&stack)?;
        let settings = self.settings();
        let megabytes = |key: &str| settings.size(key).div_ceil(1 << 20);
        let now = now();
        let build = Build {
            guid: new_guid(),
            app_guid: app.guid.clone(),
            package_guid: package.guid.clone(),
            droplet_guid: None,
            state: builds::STAGING.to_string(),
            error_type: None,
            error: None,
            buildpacks: Json(buildpacks),
            stack,
            dea: None,
            memory_mb: request
                .memory_mb
                .unwrap_or_else(|| megabytes("staging/memory"))
                .clamp(1, 1 << 30) as i64,
            disk_mb: request
                .disk_mb
                .unwrap_or_else(|| megabytes("staging/disk"))
                .clamp(1, 1 << 30) as i64,
            deadline: now + settings.duration("staging/timeout").as_micros() as i64,
            created_by_guid: actor.guid.clone(),
            created_by_name: actor.name.clone(),
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        build.insert(&mut tx).await.map_err(|error| match error {
            // Two were asked for at once (PostgreSQL): the other was first.
            StoreError::Taken { .. } => busy(),
            error => error.into(),
        })?;
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"build_guid": build.guid, "package_guid": package.guid});
        audit_events::record(
            &mut tx,
            "audit.app.build.create",
            by(actor),
            target,
            data,
            now,
        )
        .await?;
        facts::append(
            &mut tx,
            facts::Kind::BuildRequested,
            &build.guid,
            json!({}),
            now,
        )
        .await?;
        tx.commit().await?;
        self.nudge();
        Ok(build)
    }

    pub async fn build(&self, actor: &Actor, guid: &str) -> Result<Build, Refusal> {
        let mut connection = self.store.read().await?;
        let build = Build::find(&mut connection, guid)
            .await?
            .ok_or(Refusal::NotFound("Build"))?;
        apps::owner_for(
            &mut connection,
            actor,
            Action::Read,
            &build.app_guid,
            "Build",
        )
        .await?;
        Ok(build)
    }

    pub async fn list_builds(
        &self,
        actor: &Actor,
        app: Option<&str>,
        query: &ListQuery,
    ) -> Result<Listing<Build>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        if let Some(app) = app {
            apps::app_for(&mut connection, actor, Action::Read, app).await?;
            filter = filter.equals("app_guid", app);
        }
        filter = of_apps_in_sight(&mut connection, actor, query, filter).await?;
        Ok(Build::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }
}
