//! Revisions: kept as apps are started, shown, and gone back to by deployments.

use super::apps::{app_for, lay_annotations, lay_labels, owner_for};
use super::list::{Columns, LABEL_SELECTOR, ListQuery, Listing};
use super::{Ops, Refusal, new_guid, now, sees_secrets};
use crate::domain::access::{Action, Actor};
use crate::domain::revisions::{Content, changes};
use crate::store::apps::App;
use crate::store::droplets::{self, Droplet, STAGED};
use crate::store::processes::{self, Process};
use crate::store::revisions::{self, Revision};
use crate::store::sql::Connection;
use crate::store::{Json, StoreError};
use std::collections::{BTreeMap, BTreeSet};

const COLUMNS: Columns = Columns {
    filters: &[("guids", "guid")],
    others: &["versions", LABEL_SELECTOR],
    orders: &[("version", "number")],
};

/// A revision with what is known beside its row.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRevision {
    pub revision: Revision,
    /// Its droplet is still there.
    pub deployable: bool,
    /// The caller may see start commands.
    pub with_commands: bool,
}

pub(super) fn content(revision: &Revision) -> Content {
    Content {
        droplet: revision.droplet_guid.clone(),
        environment: revision.environment.0.clone(),
        commands: revision.commands.0.clone(),
    }
}

/// What an app would run with if it were started now; None: it has nothing to run.
pub(super) async fn content_of(
    connection: &mut Connection,
    app: &App,
) -> Result<Option<Content>, StoreError> {
    let Some(droplet) = app.current_droplet_guid.clone() else {
        return Ok(None);
    };
    let mut commands = BTreeMap::new();
    for process in processes::of_app(connection, &app.guid).await? {
        // The newer process of a deployment is what its own revision says.
        if process.deployment_guid.is_none() {
            commands.insert(process.kind, process.command);
        }
    }
    Ok(Some(Content {
        droplet,
        environment: app.environment.0.clone(),
        commands,
    }))
}

/// Keeps what an app runs with from now on, if that is not what its newest revision says. Returns
/// the revision it runs then.
pub(super) async fn keep(
    connection: &mut Connection,
    app: &str,
    content_now: Content,
    back_to: Option<&Revision>,
    now: i64,
) -> Result<Revision, StoreError> {
    let newest = revisions::newest(connection, app).await?;
    let said = changes(newest.as_ref().map(content).as_ref(), &content_now);
    let number = newest.as_ref().map_or(1, |newest| newest.number + 1);
    let description = match (said, newest) {
        (None, Some(newest)) => return Ok(newest),
        (said, _) => {
            let back = back_to.map(|back| format!("Rolled back to revision {}.", back.number));
            let said: Vec<String> = said.into_iter().chain(back).collect();
            said.join(" ")
        }
    };
    let revision = Revision {
        guid: new_guid(),
        app_guid: app.to_string(),
        number,
        droplet_guid: content_now.droplet,
        environment: Json(content_now.environment),
        commands: Json(content_now.commands),
        description,
        labels: Json::default(),
        annotations: Json::default(),
        created_at: now,
        updated_at: now,
        row_version: 1,
    };
    revision.insert(connection).await?;
    revisions::forget(connection, app, number).await?;
    Ok(revision)
}

/// The revision that a deployment is to go back to, with its droplet.
pub(super) async fn to_go_back_to(
    connection: &mut Connection,
    app: &App,
    guid: &str,
) -> Result<(Revision, Droplet), Refusal> {
    let revision = Revision::find(connection, guid)
        .await?
        .filter(|revision| revision.app_guid == app.guid)
        .ok_or_else(|| {
            Refusal::Unprocessable(
                "The revision does not exist, or belongs to another app: see the app's revisions"
                    .into(),
            )
        })?;
    let droplet = Droplet::find(connection, &revision.droplet_guid)
        .await?
        .filter(|droplet| droplet.state == STAGED)
        .ok_or_else(|| {
            Refusal::Unprocessable(
                "Unable to deploy this revision, the droplet for this revision no longer exists."
                    .into(),
            )
        })?;
    if content_of(connection, app).await?.as_ref() == Some(&content(&revision)) {
        return Refusal::unprocessable(
            "Unable to rollback. The code and configuration you are rolling back to is the same as the deployed revision.",
        );
    }
    Ok((revision, droplet))
}

/// Gives a process the command it has in a revision.
pub(super) fn lay_command(process: &mut Process, revision: &Revision) {
    process.command = revision.commands.get(&process.kind).cloned().flatten();
}

impl Ops {
    pub async fn list_revisions(
        &self,
        actor: &Actor,
        app: &str,
        query: &ListQuery,
    ) -> Result<Listing<SeenRevision>, Refusal> {
        let mut connection = self.store.read().await?;
        let (app, space) = app_for(&mut connection, actor, Action::Read, app).await?;
        let mut filter = query.filter(&COLUMNS)?.equals("app_guid", &app.guid);
        if let Some(numbers) = query.list("versions") {
            let numbers: Option<Vec<i64>> =
                numbers.iter().map(|number| number.parse().ok()).collect();
            let numbers = numbers.ok_or_else(|| {
                Refusal::BadQuery("'versions' must be a list of numbers".to_string())
            })?;
            filter = filter.any_number("number", &numbers);
        }
        let (rows, total) = Revision::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?;
        let rows = seen(&mut connection, rows, sees_secrets(actor, &space)).await?;
        Ok(Listing { rows, total })
    }

    /// Those that instances of the app run now.
    pub async fn deployed_revisions(
        &self,
        actor: &Actor,
        app: &str,
        query: &ListQuery,
    ) -> Result<Listing<SeenRevision>, Refusal> {
        // They are few, and all of them are told.
        query.filter(&Columns {
            filters: &[],
            others: &[],
            orders: &[],
        })?;
        let mut connection = self.store.read().await?;
        let (app, space) = app_for(&mut connection, actor, Action::Read, app).await?;
        let mut running = BTreeSet::new();
        if app.is_started() {
            for process in processes::of_app(&mut connection, &app.guid).await? {
                running.extend(process.revision_guid.filter(|_| process.instances > 0));
            }
        }
        let mut rows = Vec::new();
        for guid in running {
            rows.extend(Revision::find(&mut connection, &guid).await?);
        }
        rows.sort_by_key(|revision| revision.number);
        let rows = seen(&mut connection, rows, sees_secrets(actor, &space)).await?;
        let total = rows.len() as u64;
        Ok(Listing { rows, total })
    }

    pub async fn revision(&self, actor: &Actor, guid: &str) -> Result<SeenRevision, Refusal> {
        let mut connection = self.store.read().await?;
        let revision = Revision::find(&mut connection, guid)
            .await?
            .ok_or(Refusal::NotFound("Revision"))?;
        let owner = &revision.app_guid;
        let (_, space) = owner_for(&mut connection, actor, Action::Read, owner, "Revision").await?;
        let one = seen(&mut connection, vec![revision], sees_secrets(actor, &space)).await?;
        one.into_iter().next().ok_or(Refusal::NotFound("Revision"))
    }

    /// The variables it was started with: only for those who may see these of the app.
    pub async fn environment_of_revision(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<Revision, Refusal> {
        let mut connection = self.store.read().await?;
        let revision = Revision::find(&mut connection, guid)
            .await?
            .ok_or(Refusal::NotFound("Revision"))?;
        let (owner, action) = (&revision.app_guid, Action::ReadSecrets);
        owner_for(&mut connection, actor, action, owner, "Revision").await?;
        Ok(revision)
    }

    pub async fn label_revision(
        &self,
        actor: &Actor,
        guid: &str,
        labels: &BTreeMap<String, Option<String>>,
        annotations: &BTreeMap<String, Option<String>>,
    ) -> Result<SeenRevision, Refusal> {
        let mut tx = self.store.write("label a revision").await?;
        let mut revision = Revision::find(&mut tx, guid)
            .await?
            .ok_or(Refusal::NotFound("Revision"))?;
        let owner = revision.app_guid.clone();
        let (_, space) = owner_for(&mut tx, actor, Action::Develop, &owner, "Revision").await?;
        lay_labels(&mut revision.labels, labels)?;
        lay_annotations(&mut revision.annotations, annotations)?;
        revision.update(&mut tx, now()).await?;
        let one = seen(&mut tx, vec![revision], sees_secrets(actor, &space)).await?;
        tx.commit().await?;
        one.into_iter().next().ok_or(Refusal::NotFound("Revision"))
    }
}

async fn seen(
    connection: &mut Connection,
    rows: Vec<Revision>,
    with_commands: bool,
) -> Result<Vec<SeenRevision>, StoreError> {
    let named: Vec<&str> = rows.iter().map(|row| row.droplet_guid.as_str()).collect();
    let there = droplets::staged(connection, &named).await?;
    let all = rows.into_iter().map(|revision| SeenRevision {
        deployable: there.contains(&revision.droplet_guid),
        revision,
        with_commands,
    });
    Ok(all.collect())
}
