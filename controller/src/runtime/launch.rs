//! The command that starts one instance, made from the rows.

use super::Shared;
use super::clock;
use super::decisions::Index;
use crate::services::{self, Unreadable};
use crate::store::droplets::Droplet;
use crate::store::organizations::Organization;
use crate::store::process_versions::ProcessVersion;
use crate::store::processes::Process;
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError, apps::App, routes};
use proto::bus::dea::{HealthCheck, HealthCheckKind, Limits, StartInstance};
use proto::ids::{InstanceId, InvalidId, ProcessGuid, Version};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Open files of an instance.
const FILES: u64 = 16384;
/// How long the address of a droplet is good: an agent fetches at once or not at all.
const DROPLET_URL_LIFETIME: i64 = 3600;

/// Everything about a process that its instances need.
#[derive(Debug, Clone)]
pub(super) struct LaunchPlan {
    pub process: ProcessGuid,
    pub version: Version,
    pub row: Process,
    pub app: App,
    pub droplet: Droplet,
    pub command: String,
    pub routes: routes::Names,
    pub environment: Vec<String>,
    pub application: Value,
    /// What is bound to the app, with credentials.
    pub services: Vec<Value>,
    /// Nothing of this version was started before: what it runs with must be kept.
    pub is_first: bool,
}

/// Why a process cannot be started at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLaunch {
    #[error("{0}")]
    Told(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Unreadable> for NoLaunch {
    fn from(error: Unreadable) -> NoLaunch {
        match error {
            Unreadable::Store(error) => NoLaunch::Store(error),
            Unreadable::Sealed { service, source } => NoLaunch::Told(format!(
                "the credentials of the service {service} cannot be read: {source}"
            )),
        }
    }
}

impl From<InvalidId> for NoLaunch {
    fn from(error: InvalidId) -> NoLaunch {
        NoLaunch::Told(format!("a row holds an id that is none: {error}"))
    }
}

/// What an app is called, for VCAP_APPLICATION.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub space: String,
    pub organization_guid: String,
    pub organization: String,
}

pub(super) async fn names(connection: &mut Connection, app: &App) -> Result<Names, StoreError> {
    let space = Space::find(connection, &app.space_guid).await?;
    let organization_guid = space
        .as_ref()
        .map(|space| space.organization_guid.clone())
        .unwrap_or_default();
    let organization = Organization::find(connection, &organization_guid).await?;
    Ok(Names {
        space: space.map(|space| space.name).unwrap_or_default(),
        organization_guid,
        organization: organization
            .map(|organization| organization.name)
            .unwrap_or_default(),
    })
}

/// Reads what a start of `process` needs.
pub(super) async fn load(
    shared: &Shared,
    connection: &mut Connection,
    process: &ProcessGuid,
) -> Result<LaunchPlan, NoLaunch> {
    let gone = |what: &str| NoLaunch::Told(format!("{what} is gone"));
    let mut row = Process::find(connection, process.as_str())
        .await?
        .ok_or_else(|| gone("the process"))?;
    let mut app = App::find(connection, &row.app_guid)
        .await?
        .ok_or_else(|| gone("the app"))?;
    let kept = ProcessVersion::find(connection, &row.version).await?;
    let is_first = kept.is_none();
    let services = match &kept {
        Some(kept) => kept_services(shared, kept.settings.services.as_deref())?,
        None => services::of_app(&shared.config.vault, connection, &app).await?,
    };
    match kept {
        Some(kept) => kept.settings.0.lay_over(&mut row, &mut app),
        // Kept with the version: its later instances start as its first.
        None => app.environment = Json(with_everybodys(shared, app.environment.0)),
    }
    let Some(droplet_guid) = &row.droplet_guid else {
        return Err(NoLaunch::Told(
            "nothing was staged for this process".to_string(),
        ));
    };
    let droplet = Droplet::find(connection, droplet_guid)
        .await?
        .ok_or_else(|| gone("the droplet"))?;
    let command = row
        .command
        .clone()
        .filter(|command| !command.trim().is_empty())
        .or_else(|| droplet.process_types.get(&row.kind).cloned())
        .filter(|command| !command.trim().is_empty())
        .ok_or_else(|| {
            NoLaunch::Told(format!(
                "there is no start command for the process type {}: give one, or a Procfile",
                row.kind
            ))
        })?;
    let routes = routes::names(connection, &app.guid, &row.kind).await?;
    let names = names(connection, &app).await?;
    let application = application(shared, &app, &row, &routes.shown(), &names);
    let mut environment: BTreeMap<String, String> = app.environment.0.clone();
    environment.insert("VCAP_APPLICATION".to_string(), application.to_string());
    environment.insert("MEMORY_LIMIT".to_string(), format!("{}m", row.memory_mb));
    Ok(LaunchPlan {
        process: process.clone(),
        version: Version::new(row.version.clone())?,
        is_first,
        environment: lines(&environment),
        command,
        routes,
        application,
        services,
        droplet,
        app,
        row,
    })
}

/// What instances of a version that was started before are told of.
fn kept_services(shared: &Shared, sealed: Option<&str>) -> Result<Vec<Value>, NoLaunch> {
    let Some(sealed) = sealed else {
        return Ok(Vec::new());
    };
    let opened = shared.config.vault.open(sealed);
    opened.map_err(|error| NoLaunch::Told(format!("what was bound to it cannot be read: {error}")))
}

/// The variables of an app, and under them those that every app gets.
pub(super) fn with_everybodys(
    shared: &Shared,
    own: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> =
        shared.settings().environment("controller/apps/environment");
    all.extend(own);
    all
}

/// `NAME=value`
pub(super) fn lines(environment: &BTreeMap<String, String>) -> Vec<String> {
    environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// VCAP_APPLICATION without what only the agent knows (contract §5.8).
fn application(
    shared: &Shared,
    app: &App,
    process: &Process,
    uris: &[String],
    names: &Names,
) -> Value {
    let limits = (process.memory_mb, process.disk_mb);
    let version = Some(process.version.as_str());
    let mut application = identity(shared, app, names, uris, version, limits);
    application["process_id"] = process.guid.clone().into();
    application["process_type"] = process.kind.clone().into();
    application
}

/// What VCAP_APPLICATION says of the app itself; `limits`: memory and disk in MB.
pub(super) fn identity(
    shared: &Shared,
    app: &App,
    names: &Names,
    uris: &[String],
    version: Option<&str>,
    (memory_mb, disk_mb): (i64, i64),
) -> Value {
    json!({
        "cf_api": shared.config.public_url,
        "limits": {"mem": memory_mb, "disk": disk_mb, "fds": FILES},
        "application_id": app.guid,
        "application_name": app.name,
        "application_version": version,
        "application_uris": uris,
        "name": app.name,
        "version": version,
        "uris": uris,
        "space_id": app.space_guid,
        "space_name": names.space,
        "organization_id": names.organization_guid,
        "organization_name": names.organization,
        "users": null,
    })
}

impl LaunchPlan {
    /// One index, as decisions about it are written down.
    pub(super) fn index(&self, index: u32) -> Index<'_> {
        Index {
            app: &self.app.guid,
            process: &self.process,
            kind: &self.row.kind,
            version: &self.version,
            index,
        }
    }

    pub(super) fn memory_mb(&self) -> u64 {
        u64::try_from(self.row.memory_mb).unwrap_or_default()
    }

    pub(super) fn disk_mb(&self) -> u64 {
        u64::try_from(self.row.disk_mb).unwrap_or_default()
    }

    /// How long an instance may take to become healthy.
    pub(super) fn start_timeout(&self, shared: &Shared) -> Duration {
        match self
            .row
            .health_check_timeout
            .and_then(|seconds| u64::try_from(seconds).ok())
        {
            Some(seconds) => Duration::from_secs(seconds),
            None => shared.settings().duration("dea/instance/start_timeout"),
        }
    }

    /// The command for one instance.
    pub(super) fn command_for(
        &self,
        shared: &Shared,
        index: u32,
        instance: &InstanceId,
        epoch: i64,
    ) -> StartInstance {
        let positive = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let kind = match self.row.health_check_type.as_str() {
            "http" => HealthCheckKind::Http,
            "port" => HealthCheckKind::Port,
            _ => HealthCheckKind::Process,
        };
        let expires = clock::unix_micros() / 1_000_000 + DROPLET_URL_LIFETIME;
        let key = format!("droplets/{}", self.droplet.sha256);
        StartInstance {
            droplet: self.process.clone(),
            name: self.app.name.clone(),
            stack: self.droplet.stack.clone(),
            uris: self.routes.uris.clone(),
            prod: false,
            sha1: self.droplet.sha1.clone(),
            executable_file: "deprecated".to_string(),
            executable_uri: shared.blobs.url(&http::Method::GET, &key, expires),
            version: self.version.clone(),
            services: self.services.clone(),
            limits: Limits {
                mem: self.memory_mb(),
                disk: self.disk_mb(),
                fds: FILES,
            },
            env: self.environment.clone(),
            cc_partition: None,
            start_command: self.command.clone(),
            health_check_timeout: positive(self.row.health_check_timeout),
            vcap_application: self.application.clone(),
            index,
            egress_network_rules: Vec::new(),
            yard_sha256: Some(self.droplet.sha256.clone()),
            yard_app: Some(self.app.guid.clone()),
            yard_process_type: Some(self.row.kind.clone()),
            yard_health_check: Some(HealthCheck {
                kind,
                endpoint: self.row.health_check_endpoint.clone(),
                invocation_timeout: positive(self.row.health_check_invocation_timeout),
                interval: positive(self.row.health_check_interval),
            }),
            yard_instance: Some(instance.clone()),
            yard_epoch: Some(epoch),
            yard_routes: self.routes.terms.clone(),
        }
    }
}
