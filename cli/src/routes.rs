//! `routes`, `map-route`, `unmap-route`, `update-route`.

use crate::apps::find;
use crate::client::{AppUrl, Client};
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use crate::output::table::table;
use crate::targets::Store;
use clap::Args;
use proto::api::{
    App, CreateRoute, Destination, Destinations, Domain, Route, RouteRelationships, ToOne,
};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  yard map-route shop www.yard.internal
  yard map-route shop shop.yard.internal/v2
  yard map-route shop yard.internal --hostname www --path /v2
  yard map-route calls calls.yard.internal --protocol http2
  yard map-route mud tcp.yard.internal:10101    a port of a domain that has ports
  yard map-route mud tcp.yard.internal          the same, a port that is free")]
pub struct RouteArgs {
    /// The app
    app: String,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// The route (host.domain/path, domain:port), or its domain
    #[arg(value_name = "ROUTE|DOMAIN")]
    route: String,
    /// Host name, if only the domain was given
    #[arg(short = 'n', long)]
    hostname: Option<String>,
    /// Path, if only the domain was given
    #[arg(long)]
    path: Option<String>,
    /// Port, if only the domain was given and its routes have ports
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

#[derive(Debug, Args)]
pub struct MapArgs {
    #[command(flatten)]
    route: RouteArgs,
    /// What the app is to be spoken to in: http1, or http2 (gRPC); a route with a port says so itself
    #[arg(long)]
    protocol: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Options of routes:
  loadbalancing=round-robin     least-connection, random-of-two; hash, with hash_header=X-User
  rate_limit=100/s              requests in a second (/m: a minute, /h: an hour); more: 429
  concurrency_limit=50          requests at a time; more: 503
  body_limit=10M                length of a request's body; more: 413
  time_limit=30s                until an answer begins; later: 504
  compression=gzip              text is packed for clients that take it
Each router of the cluster keeps limits by itself.
Examples:
  yard update-route www.yard.internal --option rate_limit=100/s --option body_limit=10M
  yard update-route www.yard.internal --remove-option rate_limit")]
pub struct UpdateArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Set an option of the route
    #[arg(short = 'o', long, value_name = "NAME=VALUE", value_parser = parse_option)]
    option: Vec<(String, String)>,
    /// Take an option from the route
    #[arg(short = 'r', long, value_name = "NAME")]
    remove_option: Vec<String>,
}

fn parse_option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is no NAME=VALUE")?;
    Ok((name.trim().to_string(), value.trim().to_string()))
}

#[derive(Debug, Serialize)]
struct Line {
    guid: String,
    url: String,
    host: String,
    path: String,
    port: Option<u16>,
    protocol: String,
    apps: Vec<String>,
    options: Map<String, Value>,
}

pub async fn list(out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let space = client.space()?.clone();
    let routes: Vec<Route> = client
        .list(
            "/v3/routes",
            &[("space_guids", &space.guid), ("per_page", "5000")],
        )
        .await?;
    let apps: Vec<App> = client
        .list(
            "/v3/apps",
            &[("space_guids", &space.guid), ("per_page", "5000")],
        )
        .await?;
    let names: BTreeMap<&str, &str> = apps
        .iter()
        .map(|app| (app.guid.as_str(), app.name.as_str()))
        .collect();
    let mut lines: Vec<Line> = routes
        .iter()
        .map(|route| Line {
            guid: route.guid.clone(),
            url: AppUrl::of(&client.target().api, route).url,
            host: route.host.clone(),
            path: route.path.clone(),
            port: route.port,
            protocol: route.protocol.clone(),
            options: options_of(route),
            apps: route
                .destinations
                .iter()
                .map(|to| {
                    names
                        .get(to.app.guid.as_str())
                        .unwrap_or(&to.app.guid.as_str())
                        .to_string()
                })
                .collect(),
        })
        .collect();
    lines.sort_by(|a, b| a.url.cmp(&b.url));
    let empty = format!("no routes in the space {}", space.name);
    out.show(&lines, |lines| {
        let rows = lines.iter().map(|line| {
            let options = in_words(&line.options);
            [line.url.clone(), line.apps.join(", "), options]
        });
        table(["url", "apps", "options"], rows, &empty)
    })
}

pub async fn map(args: MapArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.route.app).await?;
    let wanted = wanted(&client, &args.route.place).await?;
    let route = match existing(&client, &wanted).await? {
        Some(route) => route,
        None => create(&client, &wanted).await?,
    };
    let body = Destinations {
        destinations: vec![Destination {
            protocol: args.protocol,
            ..Destination::of_app(&app.guid)
        }],
        ..Destinations::default()
    };
    client
        .send(
            Method::POST,
            &format!("/v3/routes/{}/destinations", route.guid),
            &body,
        )
        .await
        .map_err(|failure| failure.doing(format!("map {} to {}", route.url, app.name)))?;
    let url = AppUrl::of(&client.target().api, &route).url;
    out.show(
        &json!({ "app": app.name, "url": url, "route": route.guid, "mapped": true }),
        |_| format!("{url} leads to {}", app.name),
    )
}

pub async fn unmap(args: RouteArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let wanted = wanted(&client, &args.place).await?;
    let missing = || {
        Failure::new(
            Code::NotFound,
            format!("{} does not lead to {}", wanted.name(), app.name),
        )
        .fix("`yard routes` lists them")
    };
    wanted.must_be_whole()?;
    let route = existing(&client, &wanted).await?.ok_or_else(missing)?;
    let leads: Vec<&Destination> = route
        .destinations
        .iter()
        .filter(|to| to.app.guid == app.guid)
        .collect();
    if leads.is_empty() {
        return Err(missing());
    }
    for guid in leads.iter().filter_map(|to| to.guid.as_deref()) {
        client
            .delete(
                &format!("/v3/routes/{}/destinations/{guid}", route.guid),
                &[],
            )
            .await
            .map_err(|failure| failure.doing(format!("take {} from {}", route.url, app.name)))?;
    }
    let url = AppUrl::of(&client.target().api, &route).url;
    out.show(
        &json!({ "app": app.name, "url": url, "route": route.guid, "mapped": false }),
        |_| format!("{url} leads to {} no more", app.name),
    )
}

pub async fn update(args: UpdateArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    if args.option.is_empty() && args.remove_option.is_empty() {
        return Err(Failure::usage("nothing is to be changed")
            .fix("--option NAME=VALUE or --remove-option NAME"));
    }
    let wanted = wanted(&client, &args.place).await?;
    wanted.must_be_whole()?;
    let route = existing(&client, &wanted).await?.ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("there is no route {}", wanted.name()),
        )
        .fix("`yard routes` lists them")
    })?;
    let set = args
        .option
        .into_iter()
        .map(|(name, value)| (name, json!(value)));
    let taken = args
        .remove_option
        .into_iter()
        .map(|name| (name, Value::Null));
    let changes: Map<String, Value> = set.chain(taken).collect();
    let path = format!("/v3/routes/{}", route.guid);
    let reply = client
        .patch_same(&path, &json!({ "options": changes }))
        .await
        .map_err(|failure| failure.doing(format!("change the route {}", route.url)))?;
    let route: Route = reply.json(&path)?;
    let url = AppUrl::of(&client.target().api, &route).url;
    let options = options_of(&route);
    let document = json!({ "route": route.guid, "url": url, "options": options });
    out.show(&document, |_| match options.is_empty() {
        true => format!("{url} has no options\n"),
        false => format!("{url}: {}\n", in_words(&options)),
    })
}

fn options_of(route: &Route) -> Map<String, Value> {
    route.options.as_object().cloned().unwrap_or_default()
}

fn in_words(options: &Map<String, Value>) -> String {
    let words = options.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A route as the user means it.
struct Wanted {
    domain: Domain,
    host: String,
    path: String,
    /// Of a domain whose routes have ports; None: any.
    port: Option<u16>,
}

impl Wanted {
    fn name(&self) -> String {
        let dot = if self.host.is_empty() { "" } else { "." };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{dot}{}{port}{}", self.host, self.domain.name, self.path)
    }

    /// One that is there must be named by its port.
    fn must_be_whole(&self) -> Outcome<()> {
        if self.domain.router_group.is_none() || self.port.is_some() {
            return Ok(());
        }
        Err(
            Failure::usage(format!("the routes of {} have ports", self.domain.name)).fix(format!(
                "say which: {}:PORT (`yard routes` lists them)",
                self.domain.name
            )),
        )
    }
}

async fn wanted(client: &Client, args: &PlaceArgs) -> Outcome<Wanted> {
    const SCHEMES: [&str; 4] = ["http", "https", "tcp", "udp"];
    let text = match args.route.split_once("://") {
        Some((scheme, rest)) if SCHEMES.contains(&scheme) => rest,
        _ => args.route.as_str(),
    };
    let path = args.path.as_deref().map(with_slash);
    if let Some(host) = &args.hostname {
        let domain = find::domain(client, text).await?;
        return Ok(Wanted {
            domain,
            host: host.to_lowercase(),
            path: path.unwrap_or_default(),
            port: args.port,
        });
    }
    let domains: Vec<Domain> = client.list("/v3/domains", &[("per_page", "5000")]).await?;
    let names: Vec<&str> = domains.iter().map(|domain| domain.name.as_str()).collect();
    let parts = split(text, &names).ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("no domain of the cluster ends the route {text}"),
        )
        .fix(format!("the domains are: {}", names.join(", ")))
    })?;
    let domain = domains[parts.domain].clone();
    // Elsewhere a port is the router's affair.
    let port = parts.port.filter(|_| domain.router_group.is_some());
    Ok(Wanted {
        domain,
        host: parts.host,
        path: path.unwrap_or(parts.path),
        port: args.port.or(port),
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    /// Index of the domain.
    domain: usize,
    host: String,
    path: String,
    port: Option<u16>,
}

/// Takes a route apart: the longest domain that ends it counts.
fn split(route: &str, domains: &[&str]) -> Option<Parts> {
    let (name, path) = match route.split_once('/') {
        Some((name, path)) => (name, with_slash(path)),
        None => (route, String::new()),
    };
    let (name, port) = name.split_once(':').unwrap_or((name, ""));
    let name = name.trim_end_matches('.').to_lowercase();
    let fits = |domain: &str| {
        name == domain
            || name
                .strip_suffix(domain)
                .is_some_and(|host| host.len() > 1 && host.ends_with('.'))
    };
    let (domain, found) = domains
        .iter()
        .enumerate()
        .filter(|(_, domain)| fits(domain))
        .max_by_key(|(_, domain)| domain.len())?;
    let host = name[..name.len() - found.len()]
        .trim_end_matches('.')
        .to_string();
    Some(Parts {
        domain,
        host,
        path,
        port: port.parse().ok(),
    })
}

fn with_slash(path: &str) -> String {
    let path = path.trim_matches('/');
    if path.is_empty() {
        String::new()
    } else {
        format!("/{path}")
    }
}

async fn existing(client: &Client, wanted: &Wanted) -> Outcome<Option<Route>> {
    let port = wanted.port.map(|port| port.to_string());
    let mut query = vec![
        ("domain_guids", wanted.domain.guid.as_str()),
        ("hosts", &wanted.host),
        ("paths", &wanted.path),
    ];
    query.extend(port.as_deref().map(|port| ("ports", port)));
    let routes: Vec<Route> = client.list("/v3/routes", &query).await?;
    Ok(routes.into_iter().find(|route| {
        route.host == wanted.host && route.path == wanted.path && route.port == wanted.port
    }))
}

async fn create(client: &Client, wanted: &Wanted) -> Outcome<Route> {
    let space = client.space()?;
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_string());
    let body = CreateRoute {
        host: filled(&wanted.host),
        path: filled(&wanted.path),
        port: wanted.port,
        relationships: RouteRelationships {
            space: ToOne::new(&space.guid),
            domain: ToOne::new(&wanted.domain.guid),
        },
        ..CreateRoute::default()
    };
    client
        .post("/v3/routes", &body)
        .await
        .map_err(|failure| failure.doing(format!("create the route {}", wanted.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_typed_and_shown_as_they_are_typed() {
        let parsed = parse_option("hash_header = X=Y").unwrap();
        assert_eq!(parsed, ("hash_header".to_string(), "X=Y".to_string()));
        assert!(parse_option("rate_limit").is_err());
        let options = json!({"rate_limit": "5/s", "body_limit": 10});
        let options = options.as_object().cloned().unwrap_or_default();
        assert_eq!(in_words(&options), "body_limit=10 rate_limit=5/s");
    }

    #[test]
    fn routes_are_taken_apart_at_the_longest_domain() {
        let domains = ["internal", "yard.internal", "other.org"];
        let parts = |domain: usize, host: &str, path: &str| {
            Some(Parts {
                domain,
                host: host.into(),
                path: path.into(),
                port: None,
            })
        };
        assert_eq!(split("shop.yard.internal", &domains), parts(1, "shop", ""));
        assert_eq!(
            split("Shop.yard.internal:8080/v1/", &domains),
            parts(1, "shop", "/v1").map(|parts| Parts {
                port: Some(8080),
                ..parts
            })
        );
        assert_eq!(split("yard.internal", &domains), parts(1, "", ""));
        assert_eq!(split("a.b.other.org/x", &domains), parts(2, "a.b", "/x"));
        assert_eq!(split("myother.org", &domains), None);
        assert_eq!(split("", &domains), None);
    }
}
