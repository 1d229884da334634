//! Applying manifests: the apps a manifest names come to be what it says, all of them or none.
//!
//! One transaction for the whole: a taken route of the second app leaves the first as it was. The
//! number of instances and routes change at once, everything else with the next start.

use super::apps::{self, AppSettings};
use super::quotas::Account;
use super::routes::{self as route_ops, Lead, Wanted};
use super::service_bindings::{self, NewBinding};
use super::{Ops, Refusal, by, domains as domain_ops, new_guid, now, on, space_for};
use crate::domain::access::{Action, Actor};
use crate::domain::manifest::{
    self, AppManifest, Manifest, ProcessManifest, RouteManifest, ServiceManifest,
};
use crate::domain::quotas::Purpose;
use crate::domain::route_terms::HTTP1;
use crate::domain::{manifest_diff, manifest_document, names};
use crate::store::apps::App;
use crate::store::domains::{self, Domain};
use crate::store::processes::{self, Process};
use crate::store::routes::{self, Route};
use crate::store::service_instances;
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{audit_events, deployments, facts};
use proto::api::{ManifestChange, Scale};
use serde_json::json;

use super::processes::ProcessSettings;

fn read(text: &str) -> Result<Manifest, Refusal> {
    manifest::parse(text).map_err(|invalid| Refusal::AllUnprocessable(invalid.0))
}

impl Ops {
    /// Reads the manifest without applying it: what is wrong with its text is told at once, what
    /// is wrong with its content by the job.
    pub async fn check_manifest(
        &self,
        actor: &Actor,
        space: &str,
        text: &str,
    ) -> Result<Manifest, Refusal> {
        let mut reader = self.store.read().await?;
        space_for(&mut reader, actor, Action::Develop, space, "Space").await?;
        let manifest = read(text)?;
        let mut faults = Vec::new();
        for app in &manifest.apps {
            let mut check = |result: Result<(), Refusal>| {
                if let Err(refusal) = result {
                    faults.push(format!("For application '{}': {refusal}", app.name));
                }
            };
            if let Some(names) = &app.buildpacks {
                let named = super::buildpacks::check_named(self, &mut reader, names).await;
                check(named.map(drop));
            }
            if let Some(stack) = &app.stack {
                check(apps::check_stack(stack));
            }
        }
        if faults.is_empty() {
            Ok(manifest)
        } else {
            Err(Refusal::AllUnprocessable(faults))
        }
    }

    pub async fn apply_manifest(
        &self,
        actor: &Actor,
        space: &str,
        manifest: &Manifest,
    ) -> Result<(), Refusal> {
        self.telling(actor, self.try_apply_manifest(actor, space, manifest))
            .await
    }

    async fn try_apply_manifest(
        &self,
        actor: &Actor,
        space: &str,
        manifest: &Manifest,
    ) -> Result<(), Refusal> {
        let mut tx = self.store.write("apply manifest").await?;
        let space = space_for(&mut tx, actor, Action::Develop, space, "Space").await?;
        let account = Account::of_space(&mut tx, &space).await?;
        let mut created = Vec::new();
        for wanted in &manifest.apps {
            let app = self
                .apply_app(&mut tx, actor, &space, wanted, &mut created)
                .await
                .map_err(|refusal| refusal.of_application(&wanted.name))?;
            account
                .settle(&mut tx, Some(&app), Purpose::Change)
                .await
                .map_err(|refusal| refusal.of_application(&wanted.name))?;
            let target = on("app", &app.guid, &app.name, &space);
            audit_events::record(
                &mut tx,
                "audit.app.apply_manifest",
                by(actor),
                target,
                json!({}),
                now(),
            )
            .await?;
        }
        tx.commit().await?;
        self.nudge();
        for guid in created {
            (self.live.log)(&guid, format!("Created app with guid {guid}"));
        }
        Ok(())
    }

    async fn apply_app(
        &self,
        connection: &mut Connection,
        actor: &Actor,
        space: &Space,
        wanted: &AppManifest,
        created: &mut Vec<String>,
    ) -> Result<App, Refusal> {
        let settings = AppSettings {
            name: None,
            buildpacks: wanted.buildpacks.clone(),
            stack: wanted.stack.clone(),
            environment: wanted.env.clone(),
            labels: wanted.labels.clone(),
            annotations: wanted.annotations.clone(),
        };
        let app = match crate::store::apps::by_name(connection, &space.guid, &wanted.name).await? {
            Some(mut app) => {
                let before = app.clone();
                apps::apply_settings(self, connection, &mut app, &settings).await?;
                // Two that make the same process at once meet at the app's row.
                let present = processes::of_app(connection, &app.guid).await?;
                let makes_process = wanted
                    .processes
                    .keys()
                    .any(|kind| !present.iter().any(|process| process.kind == *kind));
                if app != before || makes_process {
                    app.update(connection, now()).await?;
                }
                app
            }
            None => {
                let app = apps::create_in(self, connection, actor, space, &wanted.name, &settings)
                    .await?;
                created.push(app.guid.clone());
                app
            }
        };
        for (kind, process) in &wanted.processes {
            self.apply_process(connection, &app, kind, process).await?;
        }
        self.apply_routes(connection, actor, space, &app, wanted)
            .await?;
        self.apply_services(connection, actor, space, &app, wanted)
            .await?;
        Ok(app)
    }

    async fn apply_process(
        &self,
        connection: &mut Connection,
        app: &App,
        kind: &str,
        wanted: &ProcessManifest,
    ) -> Result<(), Refusal> {
        let mut process = match processes::of_type(connection, &app.guid, kind).await? {
            Some(process) => process,
            None => {
                let instances = wanted.instances.unwrap_or(1);
                super::processes::create_in(self, connection, app, &new_guid(), kind, instances)
                    .await?
            }
        };
        let before = process.clone();
        super::processes::change(&mut process, &settings_of(wanted))?;
        let scale = Scale {
            yard_sleep_after_in_seconds: wanted.sleep_after,
            instances: wanted.instances,
            memory_in_mb: wanted.memory_mb,
            disk_in_mb: wanted.disk_mb,
            log_rate_limit_in_bytes_per_second: None,
        };
        self.rescale(&mut process, &scale)?;
        super::processes::may_sleep(connection, app, &before, &process).await?;
        let deploying = match kind {
            "web" => deployments::active_of_app(connection, &app.guid)
                .await?
                .pop(),
            _ => None,
        };
        match deploying {
            // The row has what the running step leaves to it, the deployment what is wanted.
            Some(deployment) => {
                if wanted
                    .instances
                    .is_some_and(|wanted| i64::from(wanted) != deployment.wanted_instances)
                {
                    return Refusal::unprocessable(
                        "Cannot scale this process while a deployment is in flight.",
                    );
                }
                process.instances = before.instances;
            }
            None => {
                process.scaled_from = Some(before.instances)
                    .filter(|before| app.is_started() && process.instances != *before);
            }
        }
        if process == before {
            return Ok(());
        }
        if (process.memory_mb, process.disk_mb) != (before.memory_mb, before.disk_mb) {
            self.need_room(app, &process)?;
        }
        let now = now();
        process.update(connection, now).await?;
        if process.instances != before.instances {
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

    /// Binds what is not bound yet.
    async fn apply_services(
        &self,
        connection: &mut Connection,
        actor: &Actor,
        space: &Space,
        app: &App,
        wanted: &AppManifest,
    ) -> Result<(), Refusal> {
        if wanted.services.is_empty() {
            return Ok(());
        }
        let bound = crate::store::service_bindings::of_app(connection, &app.guid).await?;
        for service in &wanted.services {
            let found = service_instances::by_name(connection, &space.guid, &service.name).await?;
            let Some(instance) = found else {
                return Refusal::unprocessable(format!(
                    "Service instance '{}' not found",
                    service.name
                ));
            };
            if bound
                .iter()
                .any(|binding| binding.service_instance_guid == instance.guid)
            {
                continue;
            }
            let wanted = NewBinding {
                app: app.guid.clone(),
                instance: instance.guid.clone(),
                name: service.binding_name.clone(),
                ..NewBinding::default()
            };
            service_bindings::bind_in(self, connection, actor, (app, space), &instance, &wanted)
                .await?;
        }
        Ok(())
    }

    async fn apply_routes(
        &self,
        connection: &mut Connection,
        actor: &Actor,
        space: &Space,
        app: &App,
        wanted: &AppManifest,
    ) -> Result<(), Refusal> {
        if wanted.no_route {
            for destination in routes::destinations_of_app(connection, &app.guid).await? {
                // It is there as long as its destination is.
                if let Some(route) = Route::find(connection, &destination.route_guid).await? {
                    route_ops::unmap_in(connection, actor, space, &route, &destination).await?;
                }
            }
            return Ok(());
        }
        if let Some(list) = &wanted.routes {
            let domains: Vec<Domain> = domains::all(connection)
                .await?
                .into_iter()
                .filter(|domain| route_ops::may_use(domain, space))
                .collect();
            for wanted in list {
                let known = domains.iter().map(|domain| domain.name.as_str());
                let name = names::parse_route(&wanted.url, known)?;
                let Some(domain) = domains.iter().find(|domain| domain.name == name.domain) else {
                    continue;
                };
                let lead = Lead {
                    protocol: wanted.protocol.as_deref(),
                    ..Lead::to_web(app)
                };
                let route = Wanted {
                    host: &name.host,
                    path: &name.path,
                    // Every push would make another, were one chosen.
                    port: name.port.or(domain.transport().map(|_| 0)),
                    options: wanted.options.as_ref(),
                };
                self.lead(connection, actor, space, domain, route, lead)
                    .await?;
            }
            return Ok(());
        }
        if !(wanted.random_route || wanted.default_route)
            || !routes::destinations_of_app(connection, &app.guid)
                .await?
                .is_empty()
        {
            return Ok(());
        }
        let domain = domain_ops::default_of(connection, &space.organization_guid)
            .await?
            .ok_or_else(|| Refusal::Unprocessable("No default domain available".into()))?;
        if wanted.random_route {
            for _ in 0..8 {
                let host = names::random_host(&app.name, rand::random());
                if routes::find_like(connection, &domain.guid, &host, "", 0)
                    .await?
                    .is_none()
                {
                    let route = Wanted {
                        host: &host,
                        path: "",
                        port: None,
                        options: None,
                    };
                    let lead = Lead::to_web(app);
                    return self
                        .lead(connection, actor, space, &domain, route, lead)
                        .await;
                }
            }
            return Refusal::unprocessable("No free random route was found");
        }
        let host = names::host_of_app(&app.name);
        if host.is_empty() {
            return Refusal::unprocessable(format!(
                "No host can be made of the app's name '{}': give it a route",
                app.name
            ));
        }
        let route = Wanted {
            host: &host,
            path: "",
            port: None,
            options: None,
        };
        self.lead(connection, actor, space, &domain, route, Lead::to_web(app))
            .await
    }

    /// Makes sure a route is there and leads to the app.
    async fn lead(
        &self,
        connection: &mut Connection,
        actor: &Actor,
        space: &Space,
        domain: &Domain,
        wanted: Wanted<'_>,
        lead: Lead<'_>,
    ) -> Result<(), Refusal> {
        let Wanted {
            host,
            path,
            port,
            options,
        } = wanted;
        let known = port.unwrap_or_default();
        let route = match routes::find_like(connection, &domain.guid, host, path, known).await? {
            Some(mut route) if route.space_guid == space.guid => {
                if let Some(options) = options {
                    route_ops::set_options_in(connection, &mut route, options).await?;
                }
                route
            }
            Some(_) => {
                let url = match known {
                    0 => names::route_url(host, &domain.name, path),
                    port => names::port_url(&domain.name, port),
                };
                return Refusal::unprocessable(format!(
                    "The route {url} is taken: it belongs to another space. Routes cannot be mapped to destinations in different spaces."
                ));
            }
            None => {
                let settings = self.settings();
                route_ops::create_in(connection, actor, space, domain, wanted, &settings).await?
            }
        };
        route_ops::map_in(connection, actor, space, &route, lead).await
    }

    /// What applying the manifest would change.
    /// The manifest of an app as it is, as YAML.
    pub async fn manifest_of(&self, actor: &Actor, app: &str) -> Result<String, Refusal> {
        let mut connection = self.store.read().await?;
        let (app, _) = apps::app_for(&mut connection, actor, Action::ReadSecrets, app).await?;
        let manifest = current(&mut connection, &app).await?;
        manifest_document::write(&manifest, (&app.labels, &app.annotations))
            .map_err(Refusal::internal("writing the manifest of an app"))
    }

    pub async fn diff_manifest(
        &self,
        actor: &Actor,
        space: &str,
        text: &str,
    ) -> Result<Vec<ManifestChange>, Refusal> {
        let mut connection = self.store.read().await?;
        let space = space_for(&mut connection, actor, Action::ReadSecrets, space, "Space").await?;
        let manifest = read(text)?;
        let mut changes = Vec::new();
        for (place, wanted) in manifest.apps.iter().enumerate() {
            let current =
                match crate::store::apps::by_name(&mut connection, &space.guid, &wanted.name)
                    .await?
                {
                    Some(app) => Some(current(&mut connection, &app).await?),
                    None => None,
                };
            changes.extend(manifest_diff::diff(place, wanted, current.as_ref()));
        }
        Ok(changes)
    }
}

fn settings_of(wanted: &ProcessManifest) -> ProcessSettings {
    ProcessSettings {
        command: wanted.command.clone(),
        health_check_type: wanted.health_check_type.clone(),
        health_check_endpoint: wanted.health_check_endpoint.clone().map(Some),
        health_check_timeout: wanted.timeout.map(Some),
        health_check_invocation_timeout: wanted.health_check_invocation_timeout.map(Some),
        health_check_interval: wanted.health_check_interval.map(Some),
    }
}

/// An app as a manifest would say it.
async fn current(connection: &mut Connection, app: &App) -> Result<AppManifest, Refusal> {
    let names = routes::names(connection, &app.guid, "web").await?;
    let routes = names.uris.into_iter().map(|uri| {
        let terms = names.terms.get(&uri).cloned().unwrap_or_default();
        RouteManifest {
            protocol: Some(terms.protocol.unwrap_or_else(|| HTTP1.to_string())),
            options: terms.options.and_then(|options| {
                let options = serde_json::to_value(options).ok()?;
                options.as_object().cloned()
            }),
            url: proto::ports::shown(&uri).to_string(),
        }
    });
    let mut manifest = AppManifest {
        name: app.name.clone(),
        buildpacks: Some(app.buildpacks.0.clone()),
        stack: Some(app.stack.clone()),
        env: Some(app.environment.0.clone()),
        routes: Some(routes.collect()),
        ..AppManifest::default()
    };
    let bound = crate::store::service_bindings::with_instances(connection, &app.guid).await?;
    manifest.services = bound
        .into_iter()
        .map(|(binding, instance)| ServiceManifest {
            name: instance.name,
            binding_name: binding.name,
        })
        .collect();
    for process in processes::of_app(connection, &app.guid).await? {
        if process.deployment_guid.is_none() {
            manifest
                .processes
                .insert(process.kind.clone(), current_process(&process));
        }
    }
    Ok(manifest)
}

fn current_process(process: &Process) -> ProcessManifest {
    let small = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    ProcessManifest {
        command: Some(process.command.clone()),
        instances: small(Some(process.instances)),
        memory_mb: u64::try_from(process.memory_mb).ok(),
        disk_mb: u64::try_from(process.disk_mb).ok(),
        health_check_type: Some(process.health_check_type.clone()),
        health_check_endpoint: process.health_check_endpoint.clone(),
        health_check_invocation_timeout: small(process.health_check_invocation_timeout),
        health_check_interval: small(process.health_check_interval),
        timeout: small(process.health_check_timeout),
        sleep_after: (process.kind == "web").then(|| {
            let seconds = process.sleep_after.unwrap_or_default();
            u64::try_from(seconds).unwrap_or_default()
        }),
    }
}
