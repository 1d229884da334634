//! Routes and their destinations.

use super::apps::app_for;
use super::list::{Columns, ListQuery, Listing};
use super::quotas::Account;
use super::{Ops, Refusal, by, new_guid, now, of_spaces_in_sight, on, space_for};
use crate::domain::access::{Action, Actor, Object, decide};
use crate::domain::names;
use crate::domain::quotas::Purpose;
use crate::domain::route_terms::{
    HTTP, check_options_of, check_protocol, check_protocol_of, lay_options, reservable_ports,
    usual_protocol,
};
use crate::store::apps::App;
use crate::store::domains::{self, Domain};
use crate::store::processes;
use crate::store::routes::{self, Destination, Route};
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Json, StoreError, audit_events, facts};
use proto::config::Settings;
use proto::ports::{PortRanges, Transport};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("hosts", "host"),
        ("paths", "path"),
        ("domain_guids", "domain_guid"),
        ("space_guids", "space_guid"),
    ],
    others: &["app_guids", "organization_guids", "ports", "include"],
    orders: &[],
};

/// A route with all that is shown of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteView {
    pub route: Route,
    pub domain: Domain,
    pub destinations: Vec<Destination>,
}

impl RouteView {
    pub fn url(&self) -> String {
        url_of(&self.route, &self.domain.name)
    }
}

fn url_of(route: &Route, domain: &str) -> String {
    match route.own_port() {
        Some(port) => names::port_url(domain, port),
        None => names::route_url(&route.host, domain, &route.path),
    }
}

/// A new destination.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDestination {
    pub app: String,
    pub process_type: Option<String>,
    pub port: Option<u16>,
    pub protocol: Option<String>,
}

/// A route that is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted<'a> {
    pub host: &'a str,
    pub path: &'a str,
    /// None: none, or one that the platform chooses, as the domain has it.
    pub port: Option<u16>,
    /// None: none, or as they are.
    pub options: Option<&'a Map<String, Value>>,
}

fn exists(host: &str, domain: &str, path: &str) -> String {
    let mut text = String::from("Route already exists");
    if !host.is_empty() {
        text.push_str(&format!(" with host '{host}'"));
    }
    if !path.is_empty() {
        text.push_str(&format!(" and path '{path}'"));
    }
    format!("{text} for domain '{domain}'.")
}

/// Whether a space may use a domain.
pub fn may_use(domain: &Domain, space: &Space) -> bool {
    domain
        .organization_guid
        .as_ref()
        .is_none_or(|organization| *organization == space.organization_guid)
}

/// What audit events say of a route: people know it by its name, and it may be gone when they read.
#[derive(Debug, Serialize)]
struct Told {
    url: String,
    host: String,
    domain: String,
    path: String,
    port: Option<u16>,
}

impl Told {
    fn of(route: &Route, domain: &str) -> Told {
        Told {
            url: url_of(route, domain),
            host: route.host.clone(),
            domain: domain.to_string(),
            path: route.path.clone(),
            port: route.own_port(),
        }
    }

    async fn read(connection: &mut Connection, route: &Route) -> Result<Told, StoreError> {
        let domain = Domain::find(connection, &route.domain_guid).await?;
        Ok(Told::of(
            route,
            domain.as_ref().map_or("", |domain| domain.name.as_str()),
        ))
    }
}

/// What an audit event of an app says when a route begins or ceases to lead to it.
fn mapping(route: Told, destination: &Destination) -> Value {
    json!({
        "route_guid": destination.route_guid,
        "destination_guid": destination.guid,
        "process_type": destination.process_type,
        "route": route.url,
        "host": route.host,
        "domain": route.domain,
        "path": route.path,
        "port": route.port,
    })
}

/// How often a port is chosen for a route while others get the same at the same moment.
const ATTEMPTS: u32 = 5;

/// Another route got the port that was chosen for this one, in another transaction.
const OUTRUN: &str = "Another route got the port meanwhile: try again";

/// Makes a route in the caller's transaction. The settings say which ports there are.
pub async fn create_in(
    connection: &mut Connection,
    actor: &Actor,
    space: &Space,
    domain: &Domain,
    wanted: Wanted<'_>,
    settings: &Settings,
) -> Result<Route, Refusal> {
    if !may_use(domain, space) {
        return Refusal::unprocessable(format!(
            "Invalid domain. Domain '{}' is not available in this organization.",
            domain.name
        ));
    }
    let mut options: Json<Map<String, Value>> = Json::default();
    if let Some(wanted) = wanted.options {
        lay_options(&mut options, wanted).map_err(Refusal::Unprocessable)?;
    }
    let transport = domain.transport();
    let protocol = transport.map_or(HTTP, Transport::name);
    check_options_of(protocol, &options).map_err(Refusal::Unprocessable)?;
    let (host, port) = match transport {
        Some(transport) => {
            let port = port_for(connection, domain, transport, wanted, settings).await?;
            (String::new(), port)
        }
        None => (host_for(connection, actor, domain, wanted).await?, 0),
    };
    let taken = || match (port, wanted.port) {
        (0, _) => Refusal::Unprocessable(exists(&host, &domain.name, wanted.path)),
        (_, None) => Refusal::Conflict(OUTRUN.to_string()),
        (port, Some(_)) => Refusal::Unprocessable(unavailable(port)),
    };
    let now = now();
    let route = Route {
        guid: new_guid(),
        space_guid: space.guid.clone(),
        domain_guid: domain.guid.clone(),
        host: host.clone(),
        path: wanted.path.to_string(),
        port: i64::from(port),
        protocol: protocol.to_string(),
        options,
        created_at: now,
        updated_at: now,
        row_version: 1,
    };
    route
        .insert(connection)
        .await
        .map_err(|error| match error {
            StoreError::Taken { .. } => taken(),
            error => error.into(),
        })?;
    let told = Told::of(&route, &domain.name);
    audit_events::record(
        connection,
        "audit.route.create",
        by(actor),
        on("route", &route.guid, &told.url, space),
        json!({"request": told}),
        now,
    )
    .await?;
    Ok(route)
}

fn unavailable(port: u16) -> String {
    format!("Port '{port}' is not available. Try a different port or use a different domain.")
}

/// The port of a new route, of a domain whose routes have ports.
async fn port_for(
    connection: &mut Connection,
    domain: &Domain,
    transport: Transport,
    wanted: Wanted<'_>,
    settings: &Settings,
) -> Result<u16, Refusal> {
    let name = transport.name().to_uppercase();
    if !wanted.host.is_empty() {
        return Refusal::unprocessable(format!("Hosts are not supported for {name} routes."));
    }
    if !wanted.path.is_empty() {
        return Refusal::unprocessable(format!("Paths are not supported for {name} routes."));
    }
    let ranges = PortRanges::read(&reservable_ports(settings, transport));
    let taken = routes::ports(connection, transport).await?;
    match wanted.port {
        None => ranges
            .choose(|port| taken.contains_key(&port), rand::random())
            .ok_or_else(|| {
                Refusal::Unprocessable(
                    "There are no more ports available for this domain.".to_string(),
                )
            }),
        Some(0) => Refusal::unprocessable(format!(
            "Routes with protocol '{}' must specify a port.",
            transport.name()
        )),
        Some(port) if taken.get(&port) == Some(&domain.guid) => Refusal::unprocessable(format!(
            "Route already exists with port '{port}' for domain '{}'.",
            domain.name
        )),
        Some(port) if !ranges.contains(port) || taken.contains_key(&port) => {
            Refusal::unprocessable(unavailable(port))
        }
        Some(port) => Ok(port),
    }
}

/// The host of a new route, of a domain whose routes have hosts and paths, if no other has both.
async fn host_for(
    connection: &mut Connection,
    actor: &Actor,
    domain: &Domain,
    wanted: Wanted<'_>,
) -> Result<String, Refusal> {
    if wanted.port.is_some_and(|port| port != 0) {
        return Refusal::unprocessable("Routes with protocol 'http' do not support ports.");
    }
    let host = names::check_host(wanted.host, &domain.name)?;
    names::check_path(wanted.path)?;
    if domain.organization_guid.is_none() && host.is_empty() {
        return Refusal::unprocessable(
            "Missing host. Routes in shared domains must have a host defined.",
        );
    }
    // It would answer for every name of the domain that nobody has taken yet, mistyped ones too.
    if domain.organization_guid.is_none()
        && host == "*"
        && !decide(actor, Action::Administer, &Object::Platform).allowed
    {
        return Refusal::unprocessable(format!(
            "Only an administrator may create a wildcard route in the shared domain '{}'. Use a domain of your organization.",
            domain.name
        ));
    }
    let name = names::route_url(&host, &domain.name, "");
    // With any path: routers prefer the longer one, so it would take a part of the API.
    if domain.organization_guid.is_none() && names::is_of_the_system(&name, &domain.name) {
        return Refusal::unprocessable(format!(
            "Route conflicts with a reserved system route: {name}"
        ));
    }
    if !host.is_empty() && domains::by_name(connection, &name).await?.is_some() {
        return Refusal::unprocessable(format!("Route conflicts with the domain '{name}'."));
    }
    match routes::find_like(connection, &domain.guid, &host, wanted.path, 0).await? {
        Some(_) => Refusal::unprocessable(exists(&host, &domain.name, wanted.path)),
        None => Ok(host),
    }
}

/// Changes options of a route, for all who are led by it.
pub async fn set_options_in(
    connection: &mut Connection,
    route: &mut Route,
    changes: &Map<String, Value>,
) -> Result<(), Refusal> {
    let before = route.options.clone();
    lay_options(&mut route.options, changes).map_err(Refusal::Unprocessable)?;
    check_options_of(&route.protocol, &route.options).map_err(Refusal::Unprocessable)?;
    if route.options == before {
        return Ok(());
    }
    let now = now();
    route.update(connection, now).await?;
    tell_apps_of(connection, std::slice::from_ref(&route.guid), now).await?;
    Ok(())
}

/// The agents of the apps that these routes lead to have to tell the routers.
pub(super) async fn tell_apps_of(
    connection: &mut Connection,
    routes: &[String],
    now: i64,
) -> Result<(), StoreError> {
    let apps: BTreeSet<String> = routes::destinations(connection, routes)
        .await?
        .into_iter()
        .map(|destination| destination.app_guid)
        .collect();
    for app in apps {
        facts::append(connection, facts::Kind::RoutesChanged, &app, json!({}), now).await?;
    }
    Ok(())
}

/// Where a route is to lead.
#[derive(Debug, Clone, Copy)]
pub struct Lead<'a> {
    pub app: &'a App,
    pub process_type: &'a str,
    /// None: as it is, or the usual one of the route.
    pub protocol: Option<&'a str>,
}

impl<'a> Lead<'a> {
    pub fn to_web(app: &'a App) -> Lead<'a> {
        Lead {
            app,
            process_type: "web",
            protocol: None,
        }
    }
}

/// Leads a route to the processes of a type of an app; nothing if it does already.
pub async fn map_in(
    connection: &mut Connection,
    actor: &Actor,
    space: &Space,
    route: &Route,
    lead: Lead<'_>,
) -> Result<(), Refusal> {
    let Lead {
        app,
        process_type,
        protocol,
    } = lead;
    if app.space_guid != route.space_guid {
        return Refusal::unprocessable(
            "Routes cannot be mapped to destinations in different spaces.",
        );
    }
    if let Some(protocol) = protocol {
        check_protocol_of(&route.protocol, protocol).map_err(Refusal::Unprocessable)?;
    }
    let present = routes::destinations(connection, std::slice::from_ref(&route.guid)).await?;
    let same = present.into_iter().find(|destination| {
        destination.app_guid == app.guid && destination.process_type == process_type
    });
    if let Some(mut destination) = same {
        return match protocol {
            Some(protocol) => speak_in(connection, &mut destination, protocol).await,
            None => Ok(()),
        };
    }
    if Transport::parse(&route.protocol).is_some()
        && processes::of_type(connection, &app.guid, process_type)
            .await?
            .is_some_and(|process| process.sleep_after.is_some())
    {
        return Refusal::unprocessable(format!(
            "The app {} sleeps while nobody asks for it: connections to a port cannot be held for an instance. Let it stay awake first (yard scale {} --sleep-after never)",
            app.name, app.name
        ));
    }
    let now = now();
    let destination = Destination {
        guid: new_guid(),
        route_guid: route.guid.clone(),
        app_guid: app.guid.clone(),
        process_type: process_type.to_string(),
        port: None,
        protocol: protocol
            .unwrap_or(usual_protocol(&route.protocol))
            .to_string(),
        created_at: now,
    };
    destination.insert(connection).await?;
    let target = on("app", &app.guid, &app.name, space);
    let data = mapping(Told::read(connection, route).await?, &destination);
    audit_events::record(
        connection,
        "audit.app.map-route",
        by(actor),
        target,
        data,
        now,
    )
    .await?;
    facts::append(
        connection,
        facts::Kind::RoutesChanged,
        &app.guid,
        json!({}),
        now,
    )
    .await?;
    Ok(())
}

/// Has the instances of a destination be spoken to in this protocol, from now on.
async fn speak_in(
    connection: &mut Connection,
    destination: &mut Destination,
    protocol: &str,
) -> Result<(), Refusal> {
    if destination.protocol == protocol {
        return Ok(());
    }
    destination.set_protocol(connection, protocol).await?;
    let app = &destination.app_guid;
    facts::append(
        connection,
        facts::Kind::RoutesChanged,
        app,
        json!({}),
        now(),
    )
    .await?;
    Ok(())
}

/// Takes a destination of a route away.
pub async fn unmap_in(
    connection: &mut Connection,
    actor: &Actor,
    space: &Space,
    route: &Route,
    destination: &Destination,
) -> Result<(), Refusal> {
    let now = now();
    Destination::delete(connection, &destination.guid).await?;
    let name = App::find(connection, &destination.app_guid)
        .await?
        .map(|app| app.name)
        .unwrap_or_default();
    let target = on("app", &destination.app_guid, &name, space);
    let data = mapping(Told::read(connection, route).await?, destination);
    audit_events::record(
        connection,
        "audit.app.unmap-route",
        by(actor),
        target,
        data,
        now,
    )
    .await?;
    facts::append(
        connection,
        facts::Kind::RoutesChanged,
        &destination.app_guid,
        json!({}),
        now,
    )
    .await?;
    Ok(())
}

pub(super) async fn route_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    guid: &str,
) -> Result<(Route, Space), Refusal> {
    let route = Route::find(connection, guid)
        .await?
        .ok_or(Refusal::NotFound("Route"))?;
    let space = space_for(connection, actor, action, &route.space_guid, "Route").await?;
    Ok((route, space))
}

/// Routes with their domains and destinations.
async fn views(connection: &mut Connection, rows: Vec<Route>) -> Result<Vec<RouteView>, Refusal> {
    let guids: Vec<String> = rows.iter().map(|route| route.guid.clone()).collect();
    let mut destinations: BTreeMap<String, Vec<Destination>> = BTreeMap::new();
    // Databases bound the number of values of one statement.
    for some in guids.chunks(500) {
        for destination in routes::destinations(connection, some).await? {
            destinations
                .entry(destination.route_guid.clone())
                .or_default()
                .push(destination);
        }
    }
    let domains: BTreeMap<String, Domain> = domains::all(connection)
        .await?
        .into_iter()
        .map(|domain| (domain.guid.clone(), domain))
        .collect();
    rows.into_iter()
        .map(|route| {
            let domain = domains
                .get(&route.domain_guid)
                .cloned()
                .ok_or(Refusal::NotFound("Domain"))?;
            let destinations = destinations.remove(&route.guid).unwrap_or_default();
            Ok(RouteView {
                route,
                domain,
                destinations,
            })
        })
        .collect()
}

pub(super) async fn view(connection: &mut Connection, route: Route) -> Result<RouteView, Refusal> {
    views(connection, vec![route])
        .await?
        .pop()
        .ok_or(Refusal::NotFound("Route"))
}

/// Deletes a route with its destinations in the caller's transaction.
pub(super) async fn delete_in(
    connection: &mut Connection,
    actor: &Actor,
    route: &Route,
    space: &Space,
) -> Result<(), Refusal> {
    let now = now();
    let apps: BTreeSet<String> =
        routes::destinations(connection, std::slice::from_ref(&route.guid))
            .await?
            .into_iter()
            .map(|destination| destination.app_guid)
            .collect();
    let told = Told::read(connection, route).await?;
    Route::delete(connection, &route.guid).await?;
    audit_events::record(
        connection,
        "audit.route.delete-request",
        by(actor),
        on("route", &route.guid, &told.url, space),
        json!({"request": told}),
        now,
    )
    .await?;
    for app in apps {
        facts::append(connection, facts::Kind::RoutesChanged, &app, json!({}), now).await?;
    }
    Ok(())
}

fn of_destinations(fault: String) -> Refusal {
    Refusal::Unprocessable(format!("Destinations: {fault}"))
}

fn no_such_destination() -> Refusal {
    Refusal::Unprocessable(
        "Unable to unmap route from destination. Ensure the route has a destination with this guid."
            .into(),
    )
}

impl Ops {
    /// Of one app, or of all that the actor sees.
    pub async fn list_routes(
        &self,
        actor: &Actor,
        app: Option<&str>,
        query: &ListQuery,
    ) -> Result<Listing<RouteView>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        const LEADS_TO: &str = "SELECT route_guid FROM destinations WHERE app_guid";
        if let Some(app) = app {
            app_for(&mut connection, actor, Action::Read, app).await?;
            filter = filter.any_in("guid", LEADS_TO, &[app]);
        }
        if let Some(apps) = query.list("app_guids") {
            filter = filter.any_in("guid", LEADS_TO, apps);
        }
        if let Some(ports) = query.list("ports") {
            // Clients send it empty where they mean none.
            let given = ports.iter().filter(|port| !port.is_empty());
            let numbers: Vec<i64> = given.clone().filter_map(|port| port.parse().ok()).collect();
            if given.count() > 0 {
                filter = filter.any_number("port", &numbers);
            }
        }
        filter = of_spaces_in_sight(&mut connection, actor, query, filter).await?;
        let (rows, total) = Route::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?;
        Ok(Listing {
            rows: views(&mut connection, rows).await?,
            total,
        })
    }

    pub async fn route(&self, actor: &Actor, guid: &str) -> Result<RouteView, Refusal> {
        let mut connection = self.store.read().await?;
        let (route, _) = route_for(&mut connection, actor, Action::Read, guid).await?;
        view(&mut connection, route).await
    }

    pub async fn create_route(
        &self,
        actor: &Actor,
        space: &str,
        domain: &str,
        wanted: Wanted<'_>,
    ) -> Result<RouteView, Refusal> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let creating = self.try_create_route(actor, space, domain, wanted);
            match self.telling(actor, creating).await {
                Err(Refusal::Conflict(text)) if text == OUTRUN && attempts < ATTEMPTS => {}
                outcome => return outcome,
            }
        }
    }

    async fn try_create_route(
        &self,
        actor: &Actor,
        space: &str,
        domain: &str,
        wanted: Wanted<'_>,
    ) -> Result<RouteView, Refusal> {
        let mut tx = self.store.write("create route").await?;
        let space = space_for(&mut tx, actor, Action::Develop, space, "Space")
            .await
            .map_err(|refusal| {
                refusal.if_missing(
                    "Invalid space. Ensure that the space exists and you have access to it.",
                )
            })?;
        let domain = Domain::find(&mut tx, domain).await?.ok_or_else(|| {
            Refusal::Unprocessable(
                "Invalid domain. Ensure that the domain exists and you have access to it.".into(),
            )
        })?;
        let account = Account::of_space(&mut tx, &space).await?;
        let route = create_in(&mut tx, actor, &space, &domain, wanted, &self.settings()).await?;
        account.settle(&mut tx, None, Purpose::Change).await?;
        let view = view(&mut tx, route).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// `options` is laid over those that are there.
    pub async fn update_route(
        &self,
        actor: &Actor,
        guid: &str,
        options: &Map<String, Value>,
    ) -> Result<RouteView, Refusal> {
        let mut tx = self.store.write("update route").await?;
        let (mut route, _) = route_for(&mut tx, actor, Action::Develop, guid).await?;
        set_options_in(&mut tx, &mut route, options).await?;
        let view = view(&mut tx, route).await?;
        tx.commit().await?;
        self.nudge();
        Ok(view)
    }

    pub async fn delete_route(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("delete route").await?;
        let (route, space) = route_for(&mut tx, actor, Action::Develop, guid).await?;
        delete_in(&mut tx, actor, &route, &space).await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }

    /// Deletes the routes of a space that lead nowhere.
    pub async fn delete_unmapped_routes(&self, actor: &Actor, space: &str) -> Result<(), Refusal> {
        let mut tx = self.store.write("delete unmapped routes").await?;
        let space = space_for(&mut tx, actor, Action::Develop, space, "Space").await?;
        let filter = crate::store::query::Filter::new()
            .equals("space_guid", &space.guid)
            .only("guid NOT IN (SELECT route_guid FROM destinations)");
        for route in Route::fetch(&mut tx, filter, "list unmapped routes").await? {
            delete_in(&mut tx, actor, &route, &space).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Adds destinations; `replace` takes the others away.
    pub async fn map_route(
        &self,
        actor: &Actor,
        guid: &str,
        destinations: &[NewDestination],
        replace: bool,
    ) -> Result<RouteView, Refusal> {
        let mut tx = self.store.write("map route").await?;
        let (route, space) = route_for(&mut tx, actor, Action::Develop, guid).await?;
        let mut kept = BTreeSet::new();
        for wanted in destinations {
            if wanted.port.is_some_and(|port| port != 8080) {
                return Refusal::unprocessable(
                    "Destinations: a port other than 8080 is not supported",
                );
            }
            if let Some(protocol) = wanted.protocol.as_deref() {
                check_protocol(protocol).map_err(of_destinations)?;
            }
            let app = App::find(&mut tx, &wanted.app)
                .await?
                .filter(|app| app.space_guid == route.space_guid);
            let Some(app) = app else {
                return match App::find(&mut tx, &wanted.app).await? {
                    Some(_) => Refusal::unprocessable(
                        "Routes cannot be mapped to destinations in different spaces.",
                    ),
                    None => Refusal::unprocessable(format!(
                        "App(s) with guid(s) \"{}\" do not exist or you do not have access.",
                        wanted.app
                    )),
                };
            };
            let kind = wanted.process_type.as_deref().unwrap_or("web");
            let lead = Lead {
                app: &app,
                process_type: kind,
                protocol: wanted.protocol.as_deref(),
            };
            map_in(&mut tx, actor, &space, &route, lead).await?;
            kept.insert((app.guid, kind.to_string()));
        }
        if replace {
            for destination in
                routes::destinations(&mut tx, std::slice::from_ref(&route.guid)).await?
            {
                if !kept.contains(&(
                    destination.app_guid.clone(),
                    destination.process_type.clone(),
                )) {
                    unmap_in(&mut tx, actor, &space, &route, &destination).await?;
                }
            }
        }
        let view = view(&mut tx, route).await?;
        tx.commit().await?;
        self.nudge();
        Ok(view)
    }

    pub async fn unmap_route(
        &self,
        actor: &Actor,
        guid: &str,
        destination: &str,
    ) -> Result<(), Refusal> {
        let mut tx = self.store.write("unmap route").await?;
        let (route, space) = route_for(&mut tx, actor, Action::Develop, guid).await?;
        let destination = Destination::find(&mut tx, destination)
            .await?
            .filter(|found| found.route_guid == route.guid)
            .ok_or_else(no_such_destination)?;
        unmap_in(&mut tx, actor, &space, &route, &destination).await?;
        tx.commit().await?;
        self.nudge();
        Ok(())
    }

    /// Changes what the instances of a destination are spoken to in.
    pub async fn update_destination(
        &self,
        actor: &Actor,
        guid: &str,
        destination: &str,
        protocol: Option<&str>,
    ) -> Result<Destination, Refusal> {
        let mut tx = self.store.write("update destination").await?;
        let (route, _) = route_for(&mut tx, actor, Action::Develop, guid).await?;
        let mut destination = Destination::find(&mut tx, destination)
            .await?
            .filter(|found| found.route_guid == route.guid)
            .ok_or(Refusal::NotFound("Destination"))?;
        if let Some(protocol) = protocol {
            check_protocol(protocol).map_err(of_destinations)?;
            check_protocol_of(&route.protocol, protocol).map_err(Refusal::Unprocessable)?;
            speak_in(&mut tx, &mut destination, protocol).await?;
        }
        tx.commit().await?;
        self.nudge();
        Ok(destination)
    }

    /// Whether there is a route like this.
    pub async fn route_exists(
        &self,
        domain: &str,
        host: &str,
        path: &str,
        port: u16,
    ) -> Result<bool, Refusal> {
        let mut connection = self.store.read().await?;
        Domain::find(&mut connection, domain)
            .await?
            .ok_or(Refusal::NotFound("Domain"))?;
        Ok(
            routes::find_like(&mut connection, domain, &host.to_lowercase(), path, port)
                .await?
                .is_some(),
        )
    }
}
