//! Processes: settings, scale, what is seen of their instances.

use super::apps::{app_for, owner_for};
use super::list::{Columns, ListQuery, Listing};
use super::quotas::Account;
use super::{HIDDEN, Ops, Refusal, by, new_guid, now, of_apps_in_sight, on, sees_secrets};
use crate::domain::access::{Action, Actor};
use crate::domain::observed::IndexStats;
use crate::domain::placement::PlacementRequest;
use crate::domain::quotas::Purpose;
use crate::store::apps::App;
use crate::store::droplets::Droplet;
use crate::store::processes::{self, Process};
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{audit_events, deployments, facts, routes};
use proto::api::Scale;
use proto::ports;
use serde_json::json;
use std::collections::BTreeSet;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("types", "type"),
        ("app_guids", "app_guid"),
    ],
    others: &["space_guids", "organization_guids", "embed"],
    orders: &[],
};

const MIB: u64 = 1 << 20;
/// The longest time in seconds after which a process sleeps: thirty days.
const LONGEST_WAKE: u64 = 30 * 86_400;

/// A change; None: as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessSettings {
    /// Some(None): the droplet's again.
    pub command: Option<Option<String>>,
    pub health_check_type: Option<String>,
    pub health_check_endpoint: Option<Option<String>>,
    pub health_check_timeout: Option<Option<u32>>,
    pub health_check_invocation_timeout: Option<Option<u32>>,
    pub health_check_interval: Option<Option<u32>>,
}

/// A process with its app, and the command it would be started with.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessView {
    pub process: Process,
    pub command: Option<String>,
}

impl ProcessView {
    /// The command may hold passwords.
    fn for_eyes_of(self, actor: &Actor, space: &Space) -> ProcessView {
        if sees_secrets(actor, space) {
            self
        } else {
            ProcessView {
                command: Some(HIDDEN.to_string()),
                ..self
            }
        }
    }
}

/// Makes a process in the caller's transaction.
pub async fn create_in(
    ops: &Ops,
    connection: &mut Connection,
    app: &App,
    guid: &str,
    kind: &str,
    instances: u32,
) -> Result<Process, Refusal> {
    let settings = ops.settings();
    let now = now();
    let process = Process {
        id: processes::next_id(connection).await?,
        guid: guid.to_string(),
        app_guid: app.guid.clone(),
        kind: kind.to_string(),
        command: None,
        instances: i64::from(instances),
        scaled_from: None,
        memory_mb: settings
            .size("controller/apps/default_memory")
            .div_ceil(MIB) as i64,
        disk_mb: settings.size("controller/apps/default_disk").div_ceil(MIB) as i64,
        health_check_type: if kind == "web" { "port" } else { "process" }.to_string(),
        health_check_endpoint: None,
        health_check_timeout: None,
        health_check_invocation_timeout: None,
        health_check_interval: None,
        sleep_after: None,
        asleep_since: None,
        version: new_guid(),
        droplet_guid: None,
        deployment_guid: None,
        revision_guid: None,
        created_at: now,
        updated_at: now,
        row_version: 1,
    };
    process.insert(connection).await?;
    Ok(process)
}

/// Makes the processes a droplet brings and the app does not have. They take the droplet up with the next
/// start.
pub async fn follow_droplet(
    ops: &Ops,
    connection: &mut Connection,
    app: &App,
    droplet: &Droplet,
) -> Result<(), Refusal> {
    let present = processes::of_app(connection, &app.guid).await?;
    for kind in droplet.process_types.keys() {
        if !present.iter().any(|process| process.kind == *kind) {
            let (guid, instances) = if kind == "web" {
                (app.guid.clone(), 1)
            } else {
                (new_guid(), 0)
            };
            create_in(ops, connection, app, &guid, kind, instances).await?;
        }
    }
    Ok(())
}

async fn view(connection: &mut Connection, process: Process) -> Result<ProcessView, Refusal> {
    let mut command = process.command.clone();
    if command.is_none() {
        let droplet = match &process.droplet_guid {
            Some(droplet) => Some(droplet.clone()),
            None => App::find(connection, &process.app_guid)
                .await?
                .and_then(|app| app.current_droplet_guid),
        };
        if let Some(droplet) = droplet {
            let droplet = Droplet::find(connection, &droplet).await?;
            command = droplet.and_then(|droplet| droplet.process_types.get(&process.kind).cloned());
        }
    }
    Ok(ProcessView { process, command })
}

pub(super) async fn process_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    guid: &str,
) -> Result<(Process, App, Space), Refusal> {
    let process = Process::find(connection, guid)
        .await?
        .ok_or(Refusal::NotFound("Process"))?;
    let (app, space) = owner_for(connection, actor, action, &process.app_guid, "Process").await?;
    Ok((process, app, space))
}

pub fn check_health_check(kind: &str) -> Result<(), Refusal> {
    if ["port", "http", "process"].contains(&kind) {
        return Ok(());
    }
    Refusal::unprocessable("Health check type must be \"port\", \"process\", or \"http\"")
}

impl Ops {
    /// Of one app, or of all that the actor sees.
    pub async fn list_processes(
        &self,
        actor: &Actor,
        app: Option<&str>,
        query: &ListQuery,
    ) -> Result<Listing<ProcessView>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        if let Some(app) = app {
            app_for(&mut connection, actor, Action::Read, app).await?;
            filter = filter.equals("app_guid", app);
        }
        filter = of_apps_in_sight(&mut connection, actor, query, filter).await?;
        let (rows, total) = Process::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            views.push(view(&mut connection, row).await?);
        }
        Ok(Listing { rows: views, total })
    }

    pub async fn process(&self, actor: &Actor, guid: &str) -> Result<ProcessView, Refusal> {
        let mut connection = self.store.read().await?;
        let (process, _, space) = process_for(&mut connection, actor, Action::Read, guid).await?;
        Ok(view(&mut connection, process)
            .await?
            .for_eyes_of(actor, &space))
    }

    /// The guid of the process of a type of an app.
    pub async fn process_of_type(
        &self,
        actor: &Actor,
        app: &str,
        kind: &str,
    ) -> Result<String, Refusal> {
        let mut connection = self.store.read().await?;
        let (app, _) = app_for(&mut connection, actor, Action::Read, app).await?;
        let process = processes::of_type(&mut connection, &app.guid, kind).await?;
        process
            .map(|process| process.guid)
            .ok_or(Refusal::NotFound("Process"))
    }

    pub async fn update_process(
        &self,
        actor: &Actor,
        guid: &str,
        settings: &ProcessSettings,
    ) -> Result<ProcessView, Refusal> {
        let mut tx = self.store.write("update process").await?;
        let (mut process, app, space) = process_for(&mut tx, actor, Action::Develop, guid).await?;
        refuse_in_flight(&mut tx, &process, "update").await?;
        change(&mut process, settings)?;
        let now = now();
        process.update(&mut tx, now).await?;
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"process_guid": process.guid, "process_type": process.kind});
        audit_events::record(
            &mut tx,
            "audit.app.process.update",
            by(actor),
            target,
            data,
            now,
        )
        .await?;
        let view = view(&mut tx, process).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// The number of instances changes at once; memory and disk with the next start.
    pub async fn scale_process(
        &self,
        actor: &Actor,
        guid: &str,
        scale: &Scale,
    ) -> Result<ProcessView, Refusal> {
        self.telling(actor, self.try_scale_process(actor, guid, scale))
            .await
    }

    async fn try_scale_process(
        &self,
        actor: &Actor,
        guid: &str,
        scale: &Scale,
    ) -> Result<ProcessView, Refusal> {
        let mut tx = self.store.write("scale process").await?;
        let (mut process, app, space) = process_for(&mut tx, actor, Action::Operate, guid).await?;
        refuse_in_flight(&mut tx, &process, "scale").await?;
        let account = Account::of_space(&mut tx, &space).await?;
        let before = process.clone();
        self.rescale(&mut process, scale)?;
        may_sleep(&mut tx, &app, &before, &process).await?;
        if (process.memory_mb, process.disk_mb) != (before.memory_mb, before.disk_mb) {
            self.need_room(&app, &process)?;
        }
        process.scaled_from = None;
        let now = now();
        process.update(&mut tx, now).await?;
        account.settle(&mut tx, Some(&app), Purpose::Change).await?;
        let target = on("app", &app.guid, &app.name, &space);
        let data =
            json!({"process_guid": process.guid, "process_type": process.kind, "request": scale});
        audit_events::record(
            &mut tx,
            "audit.app.process.scale",
            by(actor),
            target,
            data,
            now,
        )
        .await?;
        facts::append(
            &mut tx,
            facts::Kind::ProcessChanged,
            &process.guid,
            json!({}),
            now,
        )
        .await?;
        let view = view(&mut tx, process).await?.for_eyes_of(actor, &space);
        tx.commit().await?;
        self.nudge();
        Ok(view)
    }

    /// Puts new numbers into a row, within the bounds of the settings.
    pub fn rescale(&self, process: &mut Process, scale: &Scale) -> Result<(), Refusal> {
        let max_instances = self.settings().integer("controller/apps/max_instances");
        if let Some(instances) = scale.instances {
            if i64::from(instances) > max_instances {
                return Refusal::unprocessable(format!(
                    "Instances must be at most {max_instances} (see the setting controller/apps/max_instances)"
                ));
            }
            process.instances = i64::from(instances);
        }
        if let Some(memory) = scale.memory_in_mb {
            process.memory_mb = megabytes("Memory in mb", memory)?;
        }
        if let Some(disk) = scale.disk_in_mb {
            process.disk_mb = megabytes("Disk in mb", disk)?;
        }
        if let Some(seconds) = scale.yard_sleep_after_in_seconds {
            sleep_after(process, seconds)?;
        }
        if scale
            .log_rate_limit_in_bytes_per_second
            .is_some_and(|limit| limit != -1)
        {
            return Refusal::unprocessable(
                "Log rate limit in bytes per second other than -1 (unlimited) is not supported",
            );
        }
        Ok(())
    }

    /// Refuses a size that no agent could ever give, before anything is stopped for it.
    pub fn need_room(&self, app: &App, process: &Process) -> Result<(), Refusal> {
        let request = PlacementRequest {
            stack: app.stack.clone(),
            memory_mb: u64::try_from(process.memory_mb).unwrap_or_default(),
            disk_mb: u64::try_from(process.disk_mb).unwrap_or_default(),
            siblings: BTreeSet::new(),
        };
        match (self.live.room)(&request) {
            Some(reason) => Refusal::unprocessable(format!(
                "The process {} cannot be placed: it {reason}",
                process.kind
            )),
            None => Ok(()),
        }
    }

    /// The same for all processes of an app that are to have instances. Not for the newer one of a
    /// deployment: a restart or another deployment is what replaces it.
    pub async fn need_room_for_all(
        &self,
        connection: &mut Connection,
        app: &App,
    ) -> Result<(), Refusal> {
        for process in processes::of_app(connection, &app.guid).await? {
            if process.instances > 0 && process.deployment_guid.is_none() {
                self.need_room(app, &process)?;
            }
        }
        Ok(())
    }

    /// What is seen of each instance.
    pub async fn process_stats(
        &self,
        actor: &Actor,
        guid: &str,
    ) -> Result<(Process, Vec<IndexStats>), Refusal> {
        let mut connection = self.store.read().await?;
        let (process, app, _) = process_for(&mut connection, actor, Action::Read, guid).await?;
        let stats = self.stats_of(&app, &process);
        Ok((process, stats))
    }

    /// The wanted instances of a stopped app are down, whatever is still on its way out. A process that
    /// sleeps has none.
    pub fn stats_of(&self, app: &App, process: &Process) -> Vec<IndexStats> {
        if process.asleep_since.is_some() {
            Vec::new()
        } else if app.is_started() {
            (self.live.stats)(process)
        } else {
            let wanted = u32::try_from(process.instances).unwrap_or_default();
            (0..wanted).map(IndexStats::down).collect()
        }
    }

    /// Asks for one instance to be replaced.
    pub async fn restart_instance(
        &self,
        actor: &Actor,
        guid: &str,
        index: u32,
    ) -> Result<(), Refusal> {
        let mut tx = self.store.write("restart an instance").await?;
        let (process, app, space) = process_for(&mut tx, actor, Action::Operate, guid).await?;
        if i64::from(index) >= process.instances {
            return Err(Refusal::NotFound("Instance"));
        }
        let now = now();
        let target = on("app", &app.guid, &app.name, &space);
        let data = json!({"process_guid": process.guid, "process_type": process.kind, "process_index": index});
        audit_events::record(
            &mut tx,
            "audit.app.process.terminate_instance",
            by(actor),
            target,
            data,
            now,
        )
        .await?;
        let kind = facts::Kind::InstanceRestartRequested;
        facts::append(&mut tx, kind, &process.guid, json!({"index": index}), now).await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }
}

/// Has the process sleep after so many seconds without a request; 0: never.
fn sleep_after(process: &mut Process, seconds: u64) -> Result<(), Refusal> {
    if process.kind != "web" && seconds > 0 {
        return Refusal::unprocessable(
            "Only the web process can sleep: nobody's request would wake another",
        );
    }
    if seconds > LONGEST_WAKE {
        return Refusal::unprocessable(format!(
            "Yard sleep after in seconds must be at most {LONGEST_WAKE} (0: it never sleeps)"
        ));
    }
    process.sleep_after = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    if process.sleep_after.is_none() {
        process.asleep_since = None;
    }
    Ok(())
}

/// Refuses to let an app sleep from now on that has routes with ports: what comes there cannot be held.
pub(super) async fn may_sleep(
    connection: &mut Connection,
    app: &App,
    before: &Process,
    process: &Process,
) -> Result<(), Refusal> {
    if process.sleep_after.is_none() || before.sleep_after.is_some() {
        return Ok(());
    }
    let names = routes::names(connection, &app.guid, "web").await?;
    let port = names
        .uris
        .iter()
        .find(|uri| ports::parse_uri(uri).is_some());
    match port {
        None => Ok(()),
        Some(uri) => Refusal::unprocessable(format!(
            "The app {} cannot sleep: its route {} is one of a port, whose connections cannot be held for an instance. Unmap it first",
            app.name,
            ports::shown(uri)
        )),
    }
}

pub fn megabytes(what: &str, value: u64) -> Result<i64, Refusal> {
    match i64::try_from(value) {
        Ok(value) if (1..=1 << 30).contains(&value) => Ok(value),
        _ => Refusal::unprocessable(format!(
            "{what} must be greater than 0 and at most {}",
            1 << 30
        )),
    }
}

/// A deployment decides how many instances the web process has meanwhile, and one that is taken back restores
/// the settings of its version.
async fn refuse_in_flight(
    connection: &mut Connection,
    process: &Process,
    doing: &str,
) -> Result<(), Refusal> {
    if process.kind == "web"
        && !deployments::active_of_app(connection, &process.app_guid)
            .await?
            .is_empty()
    {
        return Refusal::unprocessable(format!(
            "Cannot {doing} this process while a deployment is in flight."
        ));
    }
    Ok(())
}

/// Puts settings into a row.
pub fn change(process: &mut Process, settings: &ProcessSettings) -> Result<(), Refusal> {
    if let Some(command) = &settings.command {
        if command
            .as_ref()
            .is_some_and(|command| command.len() > 4096 || command.contains('\0'))
        {
            return Refusal::unprocessable("Command must have at most 4096 characters and no NUL");
        }
        process.command = command.clone().filter(|command| !command.trim().is_empty());
    }
    if let Some(kind) = &settings.health_check_type {
        check_health_check(kind)?;
        process.health_check_type = kind.clone();
        if kind != "http" {
            process.health_check_endpoint = None;
        }
    }
    if let Some(endpoint) = &settings.health_check_endpoint {
        if endpoint.as_ref().is_some_and(|endpoint| {
            !endpoint.starts_with('/')
                || endpoint.len() > 255
                || endpoint.contains(char::is_whitespace)
        }) {
            return Refusal::unprocessable(
                "Health check endpoint must be a path that begins with '/'",
            );
        }
        process.health_check_endpoint = endpoint.clone();
    }
    let seconds = |given: &Option<Option<u32>>, what: &str, into: &mut Option<i64>| match given {
        Some(Some(0)) => Refusal::unprocessable(format!(
            "Health check {what} must be greater than or equal to 1"
        )),
        Some(Some(seconds)) if *seconds > 86_400 => {
            Refusal::unprocessable(format!("Health check {what} must be at most 86400"))
        }
        Some(seconds) => {
            *into = seconds.map(i64::from);
            Ok(())
        }
        None => Ok(()),
    };
    seconds(
        &settings.health_check_timeout,
        "timeout",
        &mut process.health_check_timeout,
    )?;
    seconds(
        &settings.health_check_invocation_timeout,
        "invocation timeout",
        &mut process.health_check_invocation_timeout,
    )?;
    seconds(
        &settings.health_check_interval,
        "interval",
        &mut process.health_check_interval,
    )
}
