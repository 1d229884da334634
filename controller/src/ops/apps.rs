//! Apps: made, renamed, configured, started, stopped, deleted.
//!
//! Starting and stopping only changes rows: the runtime makes instances follow. What needs new
//! instances to take effect (environment, memory, droplet, command) waits for the next start or
//! restart, which gives every process a new version.

use super::list::{Columns, LABEL_SELECTOR, ListQuery, Listing};
use super::quotas::Account;
use super::revisions;
use super::{Ops, Refusal, buildpacks, by, new_guid, now, of_spaces_in_sight, on, space_for};
use crate::domain::access::{Action, Actor};
use crate::domain::quotas::Purpose;
use crate::domain::{labels, manifest, names};
use crate::store::apps::{App, STARTED, STOPPED};
use crate::store::droplets::{Droplet, STAGED};
use crate::store::processes::{self, Process};
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError, Tx, apps, audit_events, facts, platform_events, routes};
use serde_json::json;
use std::collections::BTreeMap;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("names", "name"),
        ("space_guids", "space_guid"),
    ],
    others: &[
        "organization_guids",
        "lifecycle_type",
        "stacks",
        "include",
        LABEL_SELECTOR,
    ],
    orders: &[("name", "name"), ("state", "state")],
};

/// What an app is made of, or changed to. None: as it is, or the default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppSettings {
    pub name: Option<String>,
    pub buildpacks: Option<Vec<String>>,
    pub stack: Option<String>,
    pub environment: Option<BTreeMap<String, String>>,
    /// None as a value takes the key away.
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
}

/// An app and the space it is in, with the right to do `action`.
pub async fn app_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    guid: &str,
) -> Result<(App, Space), Refusal> {
    owner_for(connection, actor, action, guid, "App").await
}

/// The app that something new is to belong to.
pub async fn app_to_fill(
    connection: &mut Connection,
    actor: &Actor,
    guid: &str,
) -> Result<(App, Space), Refusal> {
    app_for(connection, actor, Action::Develop, guid)
        .await
        .map_err(|refusal| {
            refusal.if_missing("App is invalid. Ensure it exists and you have access to it.")
        })
}

/// The same for what belongs to an app; `noun` is what is missing if not.
pub async fn owner_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    app: &str,
    noun: &'static str,
) -> Result<(App, Space), Refusal> {
    let app = App::find(connection, app)
        .await?
        .ok_or(Refusal::NotFound(noun))?;
    let space = space_for(connection, actor, action, &app.space_guid, noun).await?;
    Ok((app, space))
}

pub fn check_stack(stack: &str) -> Result<(), Refusal> {
    if super::STACKS.contains(&stack) {
        return Ok(());
    }
    Refusal::unprocessable(format!(
        "Stack must be an existing stack: \"{stack}\" is none (here are: {})",
        super::STACKS.join(", ")
    ))
}

/// Lays changes of labels over those there are. None as a value takes the key away, also one that could not be made now.
pub fn lay_labels(
    labels: &mut BTreeMap<String, String>,
    changes: &BTreeMap<String, Option<String>>,
) -> Result<(), Refusal> {
    lay(labels, changes, labels::check_label)
}

pub fn lay_annotations(
    annotations: &mut BTreeMap<String, String>,
    changes: &BTreeMap<String, Option<String>>,
) -> Result<(), Refusal> {
    lay(annotations, changes, labels::check_annotation)
}

fn lay(
    kept: &mut BTreeMap<String, String>,
    changes: &BTreeMap<String, Option<String>>,
    check: fn(&str, &str) -> Result<(), labels::Invalid>,
) -> Result<(), Refusal> {
    for (key, value) in changes {
        match value {
            Some(value) => {
                labels::check_key(key)
                    .and_then(|()| check(key, value))
                    .or_else(|invalid| Refusal::unprocessable(invalid.to_string()))?;
                kept.insert(key.clone(), value.clone());
            }
            None => {
                kept.remove(key);
            }
        }
    }
    Ok(())
}

/// Makes an app with its web process in the caller's transaction.
pub async fn create_in(
    ops: &Ops,
    connection: &mut Connection,
    actor: &Actor,
    space: &Space,
    name: &str,
    settings: &AppSettings,
) -> Result<App, Refusal> {
    names::check_name(name)?;
    if apps::by_name(connection, &space.guid, name)
        .await?
        .is_some()
    {
        return Refusal::unprocessable(format!("App with the name '{name}' already exists."));
    }
    let now = now();
    let mut app = App {
        guid: new_guid(),
        name: name.to_string(),
        space_guid: space.guid.clone(),
        state: STOPPED.to_string(),
        buildpacks: Json(Vec::new()),
        stack: super::STACKS[0].to_string(),
        environment: Json::default(),
        current_droplet_guid: None,
        ssh_enabled: true,
        labels: Json::default(),
        annotations: Json::default(),
        created_at: now,
        updated_at: now,
        row_version: 1,
    };
    apply_settings(ops, connection, &mut app, settings).await?;
    app.insert(connection).await.map_err(|error| match error {
        // Two made it at once (PostgreSQL): the other was first.
        StoreError::Taken { .. } => {
            Refusal::Unprocessable(format!("App with the name '{name}' already exists."))
        }
        error => error.into(),
    })?;
    super::processes::create_in(ops, connection, &app, &app.guid, "web", 1).await?;
    let data = json!({"request": {"name": name}});
    audit_events::record(
        connection,
        "audit.app.create",
        by(actor),
        on("app", &app.guid, &app.name, space),
        data,
        now,
    )
    .await?;
    Ok(app)
}

/// Everything but the name.
pub async fn apply_settings(
    ops: &Ops,
    connection: &mut Connection,
    app: &mut App,
    settings: &AppSettings,
) -> Result<(), Refusal> {
    if let Some(names) = &settings.buildpacks {
        app.buildpacks = Json(buildpacks::check_named(ops, connection, names).await?);
    }
    if let Some(stack) = &settings.stack {
        check_stack(stack)?;
        app.stack = stack.clone();
    }
    if let Some(environment) = &settings.environment {
        for (name, value) in environment {
            check_variable(name, Some(value))?;
            app.environment.insert(name.clone(), value.clone());
        }
        check_environment_size(&app.environment)?;
    }
    lay_labels(&mut app.labels, &settings.labels)?;
    lay_annotations(&mut app.annotations, &settings.annotations)
}

fn check_variable(name: &str, value: Option<&str>) -> Result<(), Refusal> {
    manifest::check_variable(name)
        .map_err(|fault| Refusal::Unprocessable(format!("Environment variables: {fault}")))?;
    if value.is_some_and(|value| value.contains('\0')) {
        return Refusal::unprocessable(format!(
            "Environment variables: the value of '{name}' contains a NUL"
        ));
    }
    Ok(())
}

fn check_environment_size(environment: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let size: usize = environment
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    // Linux takes 2 MiB of arguments and environment together; the start command carries it over the bus.
    if size > 512 * 1024 {
        return Refusal::unprocessable(format!(
            "Environment variables: {size} bytes together, at most {} fit",
            512 * 1024
        ));
    }
    Ok(())
}

/// Gives every process of the app what it is to run now and a version of its own.
pub async fn renew_processes(
    connection: &mut Connection,
    app: &App,
    now: i64,
) -> Result<(), Refusal> {
    let revision = match revisions::content_of(connection, app).await? {
        Some(content) => Some(
            revisions::keep(connection, &app.guid, content, None, now)
                .await?
                .guid,
        ),
        None => None,
    };
    for mut process in processes::of_app(connection, &app.guid).await? {
        // The newer process of a deployment runs the newer droplet already.
        if process.deployment_guid.is_none() {
            process.droplet_guid = app.current_droplet_guid.clone();
            process.revision_guid = revision.clone();
        }
        process.version = new_guid();
        process.scaled_from = None;
        process.update(connection, now).await?;
        facts::append(
            connection,
            facts::Kind::ProcessChanged,
            &process.guid,
            json!({}),
            now,
        )
        .await?;
    }
    Ok(())
}

impl Ops {
    pub async fn list_apps(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<App>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        filter = filter.any_if("stack", query.list("stacks"));
        if let Some(kinds) = query.list("lifecycle_type")
            && !kinds.iter().any(|kind| kind == "buildpack")
        {
            filter = filter.only("1 = 0");
        }
        filter = of_spaces_in_sight(&mut connection, actor, query, filter).await?;
        Ok(App::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }

    pub async fn app(&self, actor: &Actor, guid: &str) -> Result<(App, Space), Refusal> {
        app_for(&mut *self.store.read().await?, actor, Action::Read, guid).await
    }

    pub async fn create_app(
        &self,
        actor: &Actor,
        space: &str,
        settings: &AppSettings,
    ) -> Result<App, Refusal> {
        let name = settings
            .name
            .clone()
            .ok_or_else(|| Refusal::Unprocessable("Name must be a string".into()))?;
        let mut tx = self.store.write("create app").await?;
        let space = super::space_to_fill(&mut tx, actor, space).await?;
        let app = create_in(self, &mut tx, actor, &space, &name, settings).await?;
        tx.commit().await?;
        self.nudge();
        (self.live.log)(&app.guid, format!("Created app with guid {}", app.guid));
        Ok(app)
    }

    pub async fn update_app(
        &self,
        actor: &Actor,
        guid: &str,
        settings: &AppSettings,
    ) -> Result<App, Refusal> {
        let mut tx = self.store.write("update app").await?;
        let (mut app, space) = app_for(&mut tx, actor, Action::Develop, guid).await?;
        if let Some(name) = &settings.name
            && *name != app.name
        {
            names::check_name(name)?;
            if apps::by_name(&mut tx, &app.space_guid, name)
                .await?
                .is_some()
            {
                return Refusal::unprocessable(format!(
                    "App with the name '{name}' already exists."
                ));
            }
            app.name = name.clone();
        }
        apply_settings(self, &mut tx, &mut app, settings).await?;
        let now = now();
        app.update(&mut tx, now).await?;
        let data = json!({"request": {"name": app.name}});
        audit_events::record(
            &mut tx,
            "audit.app.update",
            by(actor),
            on("app", &app.guid, &app.name, &space),
            data,
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(app)
    }

    /// Sets variables; None takes one away.
    pub async fn change_environment(
        &self,
        actor: &Actor,
        guid: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<App, Refusal> {
        let mut tx = self.store.write("change the environment of an app").await?;
        let (mut app, space) = app_for(&mut tx, actor, Action::Develop, guid).await?;
        for (name, value) in changes {
            match value {
                Some(value) => {
                    check_variable(name, Some(value))?;
                    app.environment.insert(name.clone(), value.clone());
                }
                None => {
                    app.environment.remove(name);
                }
            }
        }
        check_environment_size(&app.environment)?;
        let now = now();
        app.update(&mut tx, now).await?;
        // Names only: values may be secrets.
        let data =
            json!({"request": {"environment_variables": changes.keys().collect::<Vec<_>>()}});
        audit_events::record(
            &mut tx,
            "audit.app.update",
            by(actor),
            on("app", &app.guid, &app.name, &space),
            data,
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(app)
    }

    /// The app with the right to see its environment; seeing it leaves an event.
    pub async fn show_environment(
        &self,
        actor: &Actor,
        guid: &str,
        kind: &'static str,
    ) -> Result<(App, Space), Refusal> {
        let mut tx = self.store.write("show the environment of an app").await?;
        let (app, space) = app_for(&mut tx, actor, Action::ReadSecrets, guid).await?;
        audit_events::record(
            &mut tx,
            kind,
            by(actor),
            on("app", &app.guid, &app.name, &space),
            json!({}),
            now(),
        )
        .await?;
        tx.commit().await?;
        Ok((app, space))
    }

    /// Starts it; one that is started stays as it is.
    pub async fn start_app(&self, actor: &Actor, guid: &str) -> Result<App, Refusal> {
        self.telling(actor, self.try_start_app(actor, guid)).await
    }

    async fn try_start_app(&self, actor: &Actor, guid: &str) -> Result<App, Refusal> {
        let mut tx = self.store.write("start app").await?;
        let (app, space) = app_for(&mut tx, actor, Action::Operate, guid).await?;
        need_droplet(&app)?;
        if app.is_started() {
            return Ok(app);
        }
        self.need_room_for_all(&mut tx, &app).await?;
        self.switch(tx, actor, (app, space), Switch::Start).await
    }

    pub async fn stop_app(&self, actor: &Actor, guid: &str) -> Result<App, Refusal> {
        let mut tx = self.store.write("stop app").await?;
        let (app, space) = app_for(&mut tx, actor, Action::Operate, guid).await?;
        if !app.is_started() {
            return Ok(app);
        }
        self.switch(tx, actor, (app, space), Switch::Stop).await
    }

    /// New instances of everything, whether it ran or not.
    pub async fn restart_app(&self, actor: &Actor, guid: &str) -> Result<App, Refusal> {
        self.telling(actor, self.try_restart_app(actor, guid)).await
    }

    async fn try_restart_app(&self, actor: &Actor, guid: &str) -> Result<App, Refusal> {
        let mut tx = self.store.write("restart app").await?;
        let (app, space) = app_for(&mut tx, actor, Action::Operate, guid).await?;
        need_droplet(&app)?;
        self.need_room_for_all(&mut tx, &app).await?;
        self.switch(tx, actor, (app, space), Switch::Restart).await
    }

    /// Changes what is wanted of an app, commits, and tells everybody.
    async fn switch(
        &self,
        mut tx: Tx,
        actor: &Actor,
        (mut app, space): (App, Space),
        switch: Switch,
    ) -> Result<App, Refusal> {
        let now = now();
        let (state, kind, line) = match switch {
            Switch::Start => (
                STARTED,
                "audit.app.start",
                "Updated app with guid {} (start)",
            ),
            Switch::Stop => (STOPPED, "audit.app.stop", "Updated app with guid {} (stop)"),
            Switch::Restart => (STARTED, "audit.app.restart", "Restarted app with guid {}"),
        };
        let account = Account::of_space(&mut tx, &space).await?;
        app.state = state.to_string();
        app.update(&mut tx, now).await?;
        account.settle(&mut tx, Some(&app), Purpose::Change).await?;
        if app.is_started() {
            renew_processes(&mut tx, &app, now).await?;
        } else {
            for process in processes::of_app(&mut tx, &app.guid).await? {
                let changed = facts::Kind::ProcessChanged;
                facts::append(&mut tx, changed, &process.guid, json!({}), now).await?;
            }
        }
        let target = on("app", &app.guid, &app.name, &space);
        audit_events::record(&mut tx, kind, by(actor), target, json!({}), now).await?;
        tx.commit().await?;
        self.nudge();
        (self.live.log)(&app.guid, line.replace("{}", &app.guid));
        Ok(app)
    }

    pub async fn set_current_droplet(
        &self,
        actor: &Actor,
        guid: &str,
        droplet: &str,
    ) -> Result<App, Refusal> {
        let mut tx = self.store.write("assign a droplet").await?;
        let (mut app, space) = app_for(&mut tx, actor, Action::Develop, guid).await?;
        let droplet = Droplet::find(&mut tx, droplet).await?.filter(|droplet| droplet.app_guid == app.guid && droplet.state == STAGED).ok_or_else(|| {
            Refusal::Unprocessable("Unable to assign current droplet. Ensure the droplet exists and belongs to this app.".into())
        })?;
        let now = now();
        app.current_droplet_guid = Some(droplet.guid.clone());
        app.update(&mut tx, now).await?;
        super::processes::follow_droplet(self, &mut tx, &app, &droplet).await?;
        let data = json!({"request": {"droplet_guid": droplet.guid}});
        let target = on("app", &app.guid, &app.name, &space);
        audit_events::record(
            &mut tx,
            "audit.app.droplet.mapped",
            by(actor),
            target,
            data,
            now,
        )
        .await?;
        tx.commit().await?;
        self.nudge();
        Ok(app)
    }

    pub async fn delete_app(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("delete app").await?;
        let (app, space) = app_for(&mut tx, actor, Action::Develop, guid).await?;
        delete_in(&mut tx, actor, &app, &space).await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }
}

/// What is to become of an app.
#[derive(Debug, Clone, Copy)]
enum Switch {
    Start,
    Stop,
    Restart,
}

fn need_droplet(app: &App) -> Result<(), Refusal> {
    if app.current_droplet_guid.is_some() {
        return Ok(());
    }
    Refusal::unprocessable("Assign a droplet before starting this app.")
}

/// Deletes an app with all its rows in the caller's transaction. Its blobs go with the next sweep.
pub async fn delete_in(
    connection: &mut Connection,
    actor: &Actor,
    app: &App,
    space: &Space,
) -> Result<(), Refusal> {
    let now = now();
    let removed = processes::of_app(connection, &app.guid).await?;
    let had_routes = !routes::destinations_of_app(connection, &app.guid)
        .await?
        .is_empty();
    let tasks = super::tasks::cancel_all_in(connection, actor, app, space, now).await?;
    let unbound =
        super::service_bindings::unbind_all_in(connection, actor, app, space, now).await?;
    apps::delete_rows(connection, &app.guid).await?;
    let target = on("app", &app.guid, &app.name, space);
    audit_events::record(
        connection,
        "audit.app.delete-request",
        by(actor),
        target,
        json!({}),
        now,
    )
    .await?;
    for process in removed {
        facts::append(
            connection,
            facts::Kind::ProcessRemoved,
            &process.guid,
            json!({"app": app.guid}),
            now,
        )
        .await?;
    }
    for task in tasks {
        let removed = facts::Kind::TaskRemoved;
        let payload = json!({"dea": task.dea});
        facts::append(connection, removed, &task.guid, payload, now).await?;
    }
    for (event, instance) in unbound {
        platform_events::tell(connection, event, &instance, now).await?;
    }
    if had_routes {
        facts::append(
            connection,
            facts::Kind::RoutesChanged,
            &app.guid,
            json!({}),
            now,
        )
        .await?;
    }
    facts::append(
        connection,
        facts::Kind::AppDeleted,
        &app.guid,
        json!({"name": app.name}),
        now,
    )
    .await?;
    Ok(())
}

/// The rows of a process whose settings users see.
pub async fn web_process(connection: &mut Connection, app: &str) -> Result<Process, Refusal> {
    processes::of_type(connection, app, "web")
        .await?
        .ok_or(Refusal::NotFound("Process"))
}
