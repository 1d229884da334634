//! Routes and their destinations.

use super::query::Filter;
use super::{Column, Json, StoreError, row};
use crate::domain::route_terms::{HTTP1, told_options};
use crate::store::sql::{self, Connection, Row, query};
use proto::bus::router::RouteTerms;
use proto::ports::{self, Transport};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

row! {
    pub struct Route in "routes", key guid, versioned {
        guid: String,
        space_guid: String,
        domain_guid: String,
        /// Empty: the domain itself; `*`: every host without a route of its own.
        host: String,
        /// Empty, or with a leading `/`.
        path: String,
        /// 0: none (HTTP).
        port: i64,
        /// `http`; `tcp` and `udp` have a port and neither host nor path
        protocol: String,
        options: Json<serde_json::Map<String, serde_json::Value>>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

row! {
    /// Where a route leads: every instance of the processes of this type of this app.
    pub struct Destination in "destinations", key guid {
        guid: String,
        route_guid: String,
        app_guid: String,
        process_type: String,
        /// None: the port the app is told to listen on.
        port: Option<i64>,
        /// `http1` or `http2`; that of its route, if it has a port
        protocol: String,
        created_at: i64,
    }
}

impl Destination {
    /// Has its instances be spoken to in another protocol from now on.
    pub async fn set_protocol(
        &mut self,
        connection: &mut Connection,
        protocol: &str,
    ) -> Result<(), StoreError> {
        query("UPDATE destinations SET protocol = $1 WHERE guid = $2")
            .bind(protocol.to_string())
            .bind(self.guid.clone())
            .execute(connection)
            .await
            .map_err(StoreError::during("change the protocol of a destination"))?;
        self.protocol = protocol.to_string();
        Ok(())
    }
}

impl Route {
    /// The port that it has to itself.
    pub fn own_port(&self) -> Option<u16> {
        u16::try_from(self.port).ok().filter(|port| *port != 0)
    }
}

pub async fn find_like(
    connection: &mut Connection,
    domain: &str,
    host: &str,
    path: &str,
    port: u16,
) -> Result<Option<Route>, StoreError> {
    let filter = Filter::new()
        .equals("domain_guid", domain)
        .equals("host", host)
        .equals("path", path)
        .equals_number("port", i64::from(port));
    Ok(Route::fetch(connection, filter, "find route").await?.pop())
}

/// Whether a host of a domain has routes, with any path.
pub async fn any_of_host(
    connection: &mut Connection,
    domain: &str,
    host: &str,
) -> Result<bool, StoreError> {
    let filter = Filter::new()
        .equals("domain_guid", domain)
        .equals("host", host);
    Ok(filter.count(connection, Route::TABLE).await? > 0)
}

/// The ports that routes of a transport have, in the whole cluster, and their domains.
pub async fn ports(
    connection: &mut Connection,
    transport: Transport,
) -> Result<BTreeMap<u16, String>, StoreError> {
    let filter = Filter::new()
        .equals("protocol", transport.name())
        .compare("port", ">", 0);
    let routes = Route::fetch(connection, filter, "list the ports of routes").await?;
    Ok(routes
        .into_iter()
        .filter_map(|route| Some((route.own_port()?, route.domain_guid)))
        .collect())
}

pub async fn of_app(connection: &mut Connection, app: &str) -> Result<Vec<Route>, StoreError> {
    let filter = Filter::new()
        .any_in(
            "guid",
            "SELECT route_guid FROM destinations WHERE app_guid",
            &[app],
        )
        .order("created_at", false);
    Route::fetch(connection, filter, "list the routes of an app").await
}

pub async fn destinations(
    connection: &mut Connection,
    routes: &[String],
) -> Result<Vec<Destination>, StoreError> {
    let filter = Filter::new()
        .any("route_guid", routes)
        .order("created_at", false);
    Destination::fetch(connection, filter, "list destinations").await
}

pub async fn destinations_of_app(
    connection: &mut Connection,
    app: &str,
) -> Result<Vec<Destination>, StoreError> {
    let filter = Filter::new()
        .equals("app_guid", app)
        .order("created_at", false);
    Destination::fetch(connection, filter, "list the destinations of an app").await
}

/// The names of the processes of one type of an app, and the terms of those that have others than
/// the usual ones. Read as one: a name without its terms could lead past a check.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Names {
    /// `host.domain/path`, `tcp://domain:port`: what `uris` on the bus holds.
    pub uris: Vec<String>,
    pub terms: BTreeMap<String, RouteTerms>,
}

impl Names {
    /// `host.domain/path`, `domain:port`
    pub fn shown(&self) -> Vec<String> {
        let uris = self.uris.iter().map(|uri| ports::shown(uri));
        uris.map(str::to_string).collect()
    }
}

pub async fn names(
    connection: &mut Connection,
    app: &str,
    process_type: &str,
) -> Result<Names, StoreError> {
    const DURING: &str = "read the names of an app";
    let rows = query(
        "SELECT r.host, r.path, d.name, t.protocol, s.route_service_url, r.port, r.protocol, r.options FROM destinations t \
         JOIN routes r ON r.guid = t.route_guid JOIN domains d ON d.guid = r.domain_guid \
         LEFT JOIN route_bindings b ON b.route_guid = r.guid \
         LEFT JOIN service_instances s ON s.guid = b.service_instance_guid \
         WHERE t.app_guid = $1 AND t.process_type = $2 ORDER BY d.name, r.host, r.path, r.port",
    )
    .bind(app.to_string())
    .bind(process_type.to_string())
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(DURING))?;
    let mut names = Names::default();
    for row in &rows {
        let (uri, terms) = led(row).map_err(StoreError::during(DURING))?;
        if !terms.are_usual() {
            names.terms.insert(uri.clone(), terms);
        }
        names.uris.push(uri);
    }
    Ok(names)
}

fn led(row: &Row) -> Result<(String, RouteTerms), sql::Error> {
    let (host, path, domain): (String, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let protocol: String = row.try_get(3)?;
    let terms = RouteTerms {
        protocol: Some(protocol).filter(|protocol| protocol != HTTP1),
        route_service_url: row.try_get(4)?,
        options: told_options(&Json::<Map<String, Value>>::get(row, "options")?.0),
    };
    let port = u16::try_from(row.try_get::<i64, _>(5)?).unwrap_or_default();
    let uri = match Transport::parse(&row.try_get::<String, _>(6)?) {
        Some(transport) => ports::uri(transport, &domain, port),
        None => crate::domain::names::route_url(&host, &domain, &path),
    };
    Ok((uri, terms))
}

/// The names of the processes of one type of an app, as people are shown them.
pub async fn uris(
    connection: &mut Connection,
    app: &str,
    process_type: &str,
) -> Result<Vec<String>, StoreError> {
    let names = names(connection, app, process_type).await?;
    Ok(names.shown())
}
