//! Rolling deployments and canaries, as rows: the runtime drives them.

use super::apps::{app_for, owner_for};
use super::list::{Columns, ListQuery, Listing};
use super::quotas::Account;
use super::{Ops, Refusal, by, new_guid, now, of_apps_in_sight, on, revisions};
use crate::domain::access::{Action, Actor};
use crate::domain::quotas::Purpose;
use crate::store::apps::{App, STARTED};
use crate::store::deployments::{self, BackTo, Deployment, Previous};
use crate::store::droplets::{Droplet, STAGED};
use crate::store::processes::{self, Process};
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError, audit_events, facts};
use proto::api::Scale;
use serde_json::json;
use std::collections::BTreeMap;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("app_guids", "app_guid"),
        ("states", "status"),
        ("status_values", "status"),
        ("status_reasons", "reason"),
    ],
    others: &[],
    orders: &[],
};

async fn deployment_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    guid: &str,
) -> Result<(Deployment, App, Space), Refusal> {
    let deployment = Deployment::find(connection, guid)
        .await?
        .ok_or(Refusal::NotFound("Deployment"))?;
    let (app, space) = owner_for(
        connection,
        actor,
        action,
        &deployment.app_guid,
        "Deployment",
    )
    .await?;
    Ok((deployment, app, space))
}

/// Every process of an app as it is before a deployment.
async fn previous_of(
    connection: &mut Connection,
    app: &App,
) -> Result<BTreeMap<String, Previous>, StoreError> {
    let mut previous = BTreeMap::new();
    for process in processes::of_app(connection, &app.guid).await? {
        let before = Previous::of(connection, &process).await?;
        previous.insert(process.guid, before);
    }
    Ok(previous)
}

/// What a deployment is to bring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Brings {
    /// New instances of the same.
    #[default]
    Same,
    /// The guid of a droplet.
    Droplet(String),
    /// The guid of a revision: its droplet, its variables, its start commands.
    Revision(String),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewDeployment {
    pub brings: Brings,
    /// 0: as with 1.
    pub max_in_flight: u32,
    /// Of a canary: where it pauses, in percent. None: a rolling one.
    pub weights: Option<Vec<u32>>,
    /// What the new process is to have in place of what the one before it had.
    pub sizes: Scale,
}

impl Ops {
    /// Begins to replace the web instances of an app.
    pub async fn create_deployment(
        &self,
        actor: &Actor,
        app: &str,
        wanted: NewDeployment,
    ) -> Result<Deployment, Refusal> {
        self.telling(actor, self.try_create_deployment(actor, app, wanted))
            .await
    }

    async fn try_create_deployment(
        &self,
        actor: &Actor,
        app: &str,
        new: NewDeployment,
    ) -> Result<Deployment, Refusal> {
        let mut tx = self.store.write("create deployment").await?;
        let (mut app, space) = app_for(&mut tx, actor, Action::Develop, app)
            .await
            .map_err(|refusal| {
                refusal.if_missing(
                    "Unable to use app. Ensure that the app exists and you have access to it.",
                )
            })?;
        let account = Account::of_space(&mut tx, &space).await?;
        let previous_droplet = app.current_droplet_guid.clone();
        let mut revision = None;
        let droplet = match &new.brings {
            Brings::Revision(guid) => {
                let (found, droplet) = revisions::to_go_back_to(&mut tx, &app, guid).await?;
                revision = Some(found);
                droplet
            }
            Brings::Droplet(guid) => Droplet::find(&mut tx, guid).await?.filter(|droplet| droplet.app_guid == app.guid && droplet.state == STAGED).ok_or_else(|| {
                Refusal::Unprocessable("Unable to assign current droplet. Ensure the droplet exists and belongs to this app.".into())
            })?,
            Brings::Same => {
                let current = previous_droplet.clone().unwrap_or_default();
                Droplet::find(&mut tx, &current)
                    .await?
                    .ok_or_else(|| Refusal::Unprocessable("Invalid droplet. Please specify a droplet in the request or set a current droplet for the app.".into()))?
            }
        };
        let now = now();
        let superseded = deployments::active_of_app(&mut tx, &app.guid).await?;
        // A deployment over a deployment replaces the same number of instances as that one.
        let inherited = superseded
            .last()
            .map(|deployment| deployment.wanted_instances);
        let back_to = deployments::supersede(&mut tx, &app.guid, now).await?;
        let web = super::apps::web_process(&mut tx, &app.guid).await?;
        let mut sized = web.clone();
        sized.instances = inherited.unwrap_or(web.instances);
        self.rescale(&mut sized, &new.sizes)?;
        let wanted = sized.instances;
        if sized != web {
            self.need_room(&app, &sized)?;
        }
        self.need_room_for_all(&mut tx, &app).await?;

        app.current_droplet_guid = Some(droplet.guid.clone());
        let was_started = app.is_started();
        app.state = STARTED.to_string();
        let mut environment_before = None;
        if let Some(revision) = &revision {
            environment_before = Some(app.environment.0.clone());
            app.environment = revision.environment.clone();
            revisions::lay_command(&mut sized, revision);
        }
        app.update(&mut tx, now).await?;
        super::processes::follow_droplet(self, &mut tx, &app, &droplet).await?;

        let back_to = match back_to {
            Some(back_to) => back_to,
            None => BackTo {
                process: Some(web.guid.clone()),
                droplet: web.droplet_guid.clone().or(previous_droplet),
                previous: previous_of(&mut tx, &app).await?,
            },
        };
        let content = match &revision {
            Some(revision) => Some(revisions::content(revision)),
            None => revisions::content_of(&mut tx, &app).await?,
        };
        let brought = match content {
            Some(content) => {
                let back_to = revision.as_ref();
                Some(revisions::keep(&mut tx, &app.guid, content, back_to, now).await?)
            }
            None => None,
        };
        let guid = new_guid();
        let process = Process {
            id: processes::next_id(&mut tx).await?,
            guid: new_guid(),
            // None yet: the runtime scales it up in steps.
            instances: 0,
            scaled_from: None,
            asleep_since: None,
            version: new_guid(),
            droplet_guid: Some(droplet.guid.clone()),
            deployment_guid: Some(guid.clone()),
            revision_guid: brought.as_ref().map(|brought| brought.guid.clone()),
            created_at: now,
            updated_at: now,
            row_version: 1,
            ..sized
        };
        process.insert(&mut tx).await?;
        let strategy = match new.weights {
            Some(_) => deployments::CANARY,
            None => deployments::ROLLING,
        };
        let deployment = Deployment {
            guid,
            app_guid: app.guid.clone(),
            strategy: strategy.to_string(),
            status: deployments::ACTIVE.to_string(),
            reason: deployments::DEPLOYING.to_string(),
            error: None,
            droplet_guid: droplet.guid.clone(),
            previous_droplet_guid: back_to.droplet,
            old_process_guid: back_to.process,
            previous: Json(back_to.previous),
            new_process_guid: process.guid.clone(),
            wanted_instances: wanted,
            max_in_flight: i64::from(new.max_in_flight.max(1)),
            weights: Json(new.weights.unwrap_or_default()),
            stops_passed: 0,
            options: Json(new.sizes),
            revision_guid: brought.as_ref().map(|brought| brought.guid.clone()),
            revision_number: brought.as_ref().map(|brought| brought.number),
            environment_before: Json(environment_before),
            step_since: now,
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        deployment.insert(&mut tx).await?;
        account
            .settle(&mut tx, Some(&app), Purpose::Deployment)
            .await?;
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"deployment_guid": deployment.guid, "droplet_guid": droplet.guid, "strategy": strategy});
        audit_events::record(
            &mut tx,
            "audit.app.deployment.create",
            by(actor),
            target,
            data,
            now,
        )
        .await?;
        // Processes of other types are not replaced in steps: they start anew now.
        for mut other in processes::of_app(&mut tx, &app.guid).await? {
            let is_web = other.kind == "web";
            if !is_web || !was_started {
                if !is_web {
                    other.droplet_guid = Some(droplet.guid.clone());
                    other.revision_guid = brought.as_ref().map(|brought| brought.guid.clone());
                    if let Some(revision) = &revision {
                        revisions::lay_command(&mut other, revision);
                    }
                    other.version = new_guid();
                    other.update(&mut tx, now).await?;
                }
                facts::append(
                    &mut tx,
                    facts::Kind::ProcessChanged,
                    &other.guid,
                    json!({}),
                    now,
                )
                .await?;
            }
        }
        facts::append(
            &mut tx,
            facts::Kind::ProcessChanged,
            &process.guid,
            json!({}),
            now,
        )
        .await?;
        facts::append(
            &mut tx,
            facts::Kind::DeploymentChanged,
            &deployment.guid,
            json!({}),
            now,
        )
        .await?;
        tx.commit().await?;
        self.nudge();
        (self.live.log)(
            &app.guid,
            format!("Created deployment {} ({strategy})", deployment.guid),
        );
        Ok(deployment)
    }

    /// Has one that pauses go on, to its next stop or to its end.
    pub async fn continue_deployment(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<Deployment, Refusal> {
        let mut tx = self.store.write("continue deployment").await?;
        let (mut deployment, app, space) =
            deployment_for(&mut tx, actor, Action::Develop, guid).await?;
        if deployment.reason != deployments::PAUSED {
            return Refusal::unprocessable(format!(
                "Cannot continue a deployment with status: {} and reason: {}",
                deployment.status, deployment.reason
            ));
        }
        let now = now();
        deployment.reason = deployments::DEPLOYING.to_string();
        deployment.stops_passed += 1;
        deployment.step_since = now;
        deployment.update(&mut tx, now).await?;
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"deployment_guid": deployment.guid});
        let kind = "audit.app.deployment.continue";
        audit_events::record(&mut tx, kind, by(actor), target, data, now).await?;
        let changed = facts::Kind::DeploymentChanged;
        facts::append(&mut tx, changed, &deployment.guid, json!({}), now).await?;
        tx.commit().await?;
        self.nudge();
        Ok(deployment)
    }

    /// Asks for it to be taken back.
    pub async fn cancel_deployment(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<Deployment, Refusal> {
        let mut tx = self.store.write("cancel deployment").await?;
        let (mut deployment, app, space) =
            deployment_for(&mut tx, actor, Action::Develop, guid).await?;
        if !deployment.is_active() {
            return Refusal::unprocessable(format!(
                "Cannot cancel a {} deployment",
                deployment.reason
            ));
        }
        let now = now();
        if deployment.reason != deployments::CANCELING {
            deployment.reason = deployments::CANCELING.to_string();
            deployment.error = Some(format!("canceled by {}", actor.name));
            deployment.step_since = now;
            deployment.update(&mut tx, now).await?;
            let target = on("app", &app.guid, &app.name, &space);
            let data = json!({"deployment_guid": deployment.guid});
            audit_events::record(
                &mut tx,
                "audit.app.deployment.cancel",
                by(actor),
                target,
                data,
                now,
            )
            .await?;
            facts::append(
                &mut tx,
                facts::Kind::DeploymentChanged,
                &deployment.guid,
                json!({}),
                now,
            )
            .await?;
            tx.commit().await?;
            self.nudge();
        }
        Ok(deployment)
    }

    pub async fn deployment(&self, actor: &Actor, guid: &str) -> Result<Deployment, Refusal> {
        Ok(
            deployment_for(&mut *self.store.read().await?, actor, Action::Read, guid)
                .await?
                .0,
        )
    }

    pub async fn list_deployments(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<Deployment>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        filter = of_apps_in_sight(&mut connection, actor, query, filter).await?;
        Ok(Deployment::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }
}
