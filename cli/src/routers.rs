//! `yard router`: what the routers know of routes, and why somebody gets no requests; their certificates.

use crate::client::Client;
use crate::failure::Outcome;
use crate::output::table::{Cell, table};
use crate::output::{Color, Output, human};
use crate::targets::Store;
use clap::{Args, Subcommand};
use proto::api::{
    App, DepartedEndpoint, RoutedEndpoint, RoutedName, RouterCertificate, RouterCertificates,
    RouterTable, RouterTables,
};
use std::collections::{BTreeMap, BTreeSet};

/// Names of apps that are looked up in one request.
const NAMES_AT_ONCE: usize = 50;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  yard router routes shop.yard.internal       its instances as each router sees them
  yard router routes yard.internal            all routes under a domain
  yard router routes --router router-2        what one router knows
  yard router certificates                    those of the entrances for TLS, and what became of orders")]
pub struct RouterArgs {
    #[command(subcommand)]
    command: RouterCommand,
}

#[derive(Debug, Subcommand)]
enum RouterCommand {
    /// The routes of the routers: each endpoint, its state and why, and who left lately
    Routes {
        /// Only this host and the hosts under it
        host: Option<String>,
        /// Only what this router knows, for instance router-1
        #[arg(long, value_name = "NAME")]
        router: Option<String>,
        /// How many routes of each router
        #[arg(short = 'n', long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        lines: u32,
    },
    /// The certificates of the entrances for TLS, and those that are ordered: state, end, last error
    Certificates,
}

pub async fn run(args: RouterArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let (host, router, lines) = match args.command {
        RouterCommand::Routes {
            host,
            router,
            lines,
        } => (host, router, lines),
        RouterCommand::Certificates => {
            let told: RouterCertificates = client.get("/yard/v1/router/certificates", &[]).await?;
            return out.show(&told.resources, |all| certificates(all, out));
        }
    };
    let mut query = vec![("limit", lines.to_string())];
    query.extend(host.map(|host| ("host", host)));
    let query: Vec<(&str, &str)> = query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut tables: RouterTables = client.get("/yard/v1/router/routes", &query).await?;
    if let Some(wanted) = &router {
        tables.resources.retain(|table| table.router == *wanted);
    }
    let names = match out.json {
        true => BTreeMap::new(),
        false => names(&client, &tables.resources).await?,
    };
    out.show(&tables.resources, |tables| render(tables, &names, out))
}

fn certificates(all: &[RouterCertificate], out: &Output) -> String {
    let header = [
        "domain", "source", "state", "ends", "next", "routers", "because",
    ];
    let rows = all.iter().map(|one| {
        let color = match one.state.as_str() {
            "valid" => Color::Good,
            "due" | "waiting" | "unwanted" => Color::Careful,
            _ => Color::Bad,
        };
        let because: Vec<&str> = [&one.because, &one.last_error]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let source = one.file.as_ref().unwrap_or(&one.source);
        let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_string());
        [
            one.domain.as_str().into(),
            source.as_str().into(),
            Cell::painted(out, color, &one.state),
            time(&one.not_after).into(),
            time(&one.next_attempt_at).into(),
            one.routers.join(", ").into(),
            because.join(": ").into(),
        ]
    });
    table(header, rows, "no certificates")
}

/// The names of the apps that are told of; those that are deleted have none.
async fn names(client: &Client, tables: &[RouterTable]) -> Outcome<BTreeMap<String, String>> {
    let routes = tables.iter().flat_map(|table| &table.routes);
    let guids: BTreeSet<&str> = routes
        .flat_map(|route| {
            let here = route.endpoints.iter().filter_map(|one| one.app.as_deref());
            here.chain(route.departed.iter().filter_map(|one| one.app.as_deref()))
        })
        .collect();
    let guids: Vec<&str> = guids.into_iter().collect();
    let mut names = BTreeMap::new();
    for some in guids.chunks(NAMES_AT_ONCE) {
        let query = [("guids", some.join(","))];
        let query = query
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let apps: Vec<App> = client.list("/v3/apps", &query).await?;
        names.extend(apps.into_iter().map(|app| (app.guid, app.name)));
    }
    Ok(names)
}

fn render(tables: &[RouterTable], names: &BTreeMap<String, String>, out: &Output) -> String {
    if tables.is_empty() {
        return "no router answers\n".to_string();
    }
    let texts: Vec<String> = tables
        .iter()
        .map(|table| one(table, names, out, tables.len() > 1))
        .collect();
    texts.join("\n")
}

fn one(told: &RouterTable, names: &BTreeMap<String, String>, out: &Output, named: bool) -> String {
    let mut text = match named {
        true => format!("{}\n", out.paint(Color::Strong, &told.router)),
        false => String::new(),
    };
    if let Some(problem) = &told.problem {
        return format!("{text}{} tells nothing: {problem}\n", told.router);
    }
    let header = [
        "route",
        "endpoint",
        "app",
        "state",
        "in flight",
        "ttl",
        "because",
    ];
    let rows = told.routes.iter().flat_map(|route| rows(route, names, out));
    text.push_str(&table(header, rows, "no routes"));
    if told.left_off > 0 {
        text.push_str(&format!(
            "{} more: name a host, or ask for more with --lines\n",
            told.left_off
        ));
    }
    text
}

fn rows(route: &RoutedName, names: &BTreeMap<String, String>, out: &Output) -> Vec<[Cell; 7]> {
    let mut rows: Vec<[Cell; 7]> = Vec::new();
    for endpoint in &route.endpoints {
        rows.push([
            "".into(),
            endpoint.address.as_str().into(),
            app(endpoint.app.as_deref(), endpoint.index.as_deref(), names).into(),
            Cell::painted(out, color(&endpoint.state), &endpoint.state),
            endpoint.in_flight.to_string().into(),
            ttl(endpoint).into(),
            because(endpoint).into(),
        ]);
    }
    if let Some(problem) = &route.problem {
        rows.insert(0, alone(out, &route.state, problem));
    }
    if rows.is_empty() {
        // (Who comes to a port is told nothing, but let go.)
        let state = match (route.state.as_str(), route.route.contains("://")) {
            (state, true) => state.to_string(),
            (state @ "unknown", false) => format!("{state} (404)"),
            (state, false) => format!("{state} (503)"),
        };
        rows.push(alone(out, &state, ""));
    }
    rows.extend(route.departed.iter().map(|gone| departed(gone, names, out)));
    let service = match &route.route_service_url {
        Some(url) => format!("{} by {url}", route.route),
        None => route.route.clone(),
    };
    rows[0][0] = service.into();
    rows
}

/// A line of a route that names no endpoint.
fn alone(out: &Output, state: &str, because: &str) -> [Cell; 7] {
    [
        "".into(),
        "".into(),
        "".into(),
        Cell::painted(out, Color::Bad, state),
        "".into(),
        "".into(),
        because.into(),
    ]
}

fn departed(gone: &DepartedEndpoint, names: &BTreeMap<String, String>, out: &Output) -> [Cell; 7] {
    let ago = human::span(gone.seconds_ago.max(0.0) as u64);
    [
        "".into(),
        gone.address.as_str().into(),
        app(gone.app.as_deref(), None, names).into(),
        Cell::painted(out, Color::Quiet, "gone"),
        "".into(),
        "".into(),
        format!("{} {ago} ago", gone.because).into(),
    ]
}

fn app(guid: Option<&str>, index: Option<&str>, names: &BTreeMap<String, String>) -> String {
    let Some(guid) = guid else {
        return "-".to_string();
    };
    let name = names.get(guid).map_or(guid, String::as_str);
    match index {
        Some(index) => format!("{name}/{index}"),
        None => name.to_string(),
    }
}

fn ttl(endpoint: &RoutedEndpoint) -> String {
    match endpoint.ttl_seconds {
        Some(seconds) => human::span(seconds.max(0.0) as u64),
        None => "-".to_string(),
    }
}

fn because(endpoint: &RoutedEndpoint) -> String {
    let mut parts = Vec::new();
    parts.extend(endpoint.because.clone());
    if let Some(seconds) = endpoint.set_aside_seconds {
        parts.push(format!("for {} more", human::span(seconds.ceil() as u64)));
    }
    if let (Some(failure), None) = (&endpoint.last_failure, &endpoint.because) {
        let ago = human::span(failure.seconds_ago.max(0.0) as u64);
        parts.push(format!("failed {ago} ago: {}", failure.why));
    }
    parts.join(", ")
}

fn color(state: &str) -> Color {
    match state {
        "serving" => Color::Good,
        "full" | "stale" => Color::Careful,
        _ => Color::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::api::EndpointFailure;

    #[test]
    fn certificates_are_told_with_what_became_of_the_last_order() {
        let waits = RouterCertificate {
            domain: "shop.example.com".into(),
            source: "listed".into(),
            state: "waiting".into(),
            because: Some("the last attempt failed".into()),
            last_error: Some("nobody answers".into()),
            ..RouterCertificate::default()
        };
        let file = RouterCertificate {
            domain: "*.yard.internal".into(),
            source: "file".into(),
            state: "valid".into(),
            file: Some("default.pem".into()),
            routers: vec!["router-1".into(), "router-2".into()],
            ..RouterCertificate::default()
        };
        let text = certificates(&[waits, file], &Output::new(true));
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].contains("waiting")
                && lines[1].ends_with("the last attempt failed: nobody answers"),
            "{text}"
        );
        assert!(
            lines[2].contains("default.pem") && lines[2].contains("router-1, router-2"),
            "{text}"
        );
        assert_eq!(certificates(&[], &Output::new(true)), "no certificates\n");
    }

    #[test]
    fn endpoints_stand_beside_their_route_with_what_is_wrong() {
        let endpoint = |address: &str, state: &str| RoutedEndpoint {
            address: address.into(),
            app: Some("guid-1".into()),
            index: Some("0".into()),
            state: state.into(),
            ttl_seconds: Some(100.0),
            ..RoutedEndpoint::default()
        };
        let route = RoutedName {
            route: "shop.example.com".into(),
            state: "serving".into(),
            endpoints: vec![
                endpoint("10.0.0.1:1", "serving"),
                RoutedEndpoint {
                    because: Some("refused".into()),
                    set_aside_seconds: Some(29.5),
                    last_failure: Some(EndpointFailure::default()),
                    ..endpoint("10.0.0.1:2", "set_aside")
                },
            ],
            departed: vec![DepartedEndpoint {
                address: "10.0.0.1:3".into(),
                app: Some("guid-2".into()),
                seconds_ago: 61.0,
                because: "it was unregistered".into(),
                ..DepartedEndpoint::default()
            }],
            ..RoutedName::default()
        };
        let empty = RoutedName {
            route: "none.example.com".into(),
            state: "unknown".into(),
            ..RoutedName::default()
        };
        let closed = RoutedName {
            route: "tcp://tcp.example.com:10101".into(),
            state: "closed".into(),
            problem: Some("it is in use".into()),
            endpoints: vec![endpoint("10.0.0.1:4", "serving")],
            ..RoutedName::default()
        };
        let told = RouterTable {
            router: "router-1".into(),
            routes: vec![route, empty, closed],
            left_off: 3,
            problem: None,
        };
        let names = [("guid-1".to_string(), "shop".to_string())].into();
        let text = render(&[told], &names, &Output::new(true));
        assert_eq!(
            text,
            "\
route                        endpoint    app     state          in flight  ttl    because
shop.example.com             10.0.0.1:1  shop/0  serving        0          1m40s
                             10.0.0.1:2  shop/0  set_aside      0          1m40s  refused, for 30s more
                             10.0.0.1:3  guid-2  gone                             it was unregistered 1m01s ago
none.example.com                                 unknown (404)
tcp://tcp.example.com:10101                      closed                           it is in use
                             10.0.0.1:4  shop/0  serving        0          1m40s
3 more: name a host, or ask for more with --lines
"
        );
        let away = RouterTable {
            router: "router-2".into(),
            problem: Some("it does not answer".into()),
            ..RouterTable::default()
        };
        let text = render(&[away.clone(), away], &names, &Output::new(true));
        assert!(
            text.starts_with("router-2\nrouter-2 tells nothing"),
            "{text}"
        );
    }
}
