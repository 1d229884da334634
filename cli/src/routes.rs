//! `routes`, `map-route`, `unmap-route`.

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
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  yard map-route shop www.yard.internal
  yard map-route shop shop.yard.internal/v2
  yard map-route shop yard.internal --hostname www --path /v2
  yard map-route calls calls.yard.internal --protocol http2")]
pub struct RouteArgs {
    /// The app
    app: String,
    /// The route (host.domain/path), or its domain
    #[arg(value_name = "ROUTE|DOMAIN")]
    route: String,
    /// Host name, if only the domain was given
    #[arg(short = 'n', long)]
    hostname: Option<String>,
    /// Path, if only the domain was given
    #[arg(long)]
    path: Option<String>,
}

#[derive(Debug, Args)]
pub struct MapArgs {
    #[command(flatten)]
    route: RouteArgs,
    /// What the app is to be spoken to in: http1, or http2 (gRPC)
    #[arg(long)]
    protocol: Option<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    guid: String,
    url: String,
    host: String,
    path: String,
    apps: Vec<String>,
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
            url: AppUrl::new(&client.target().api, &route.url).url,
            host: route.host.clone(),
            path: route.path.clone(),
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
        table(
            ["url", "apps"],
            lines
                .iter()
                .map(|line| [line.url.clone(), line.apps.join(", ")]),
            &empty,
        )
    })
}

pub async fn map(args: MapArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.route.app).await?;
    let wanted = wanted(&client, &args.route).await?;
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
    let url = AppUrl::new(&client.target().api, &route.url).url;
    out.show(
        &json!({ "app": app.name, "url": url, "route": route.guid, "mapped": true }),
        |_| format!("{url} leads to {}", app.name),
    )
}

pub async fn unmap(args: RouteArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let wanted = wanted(&client, &args).await?;
    let missing = || {
        Failure::new(
            Code::NotFound,
            format!("{} does not lead to {}", wanted.name(), app.name),
        )
        .fix("`yard routes` lists them")
    };
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
    let url = AppUrl::new(&client.target().api, &route.url).url;
    out.show(
        &json!({ "app": app.name, "url": url, "route": route.guid, "mapped": false }),
        |_| format!("{url} leads to {} no more", app.name),
    )
}

/// A route as the user means it.
struct Wanted {
    domain: Domain,
    host: String,
    path: String,
}

impl Wanted {
    fn name(&self) -> String {
        let dot = if self.host.is_empty() { "" } else { "." };
        format!("{}{dot}{}{}", self.host, self.domain.name, self.path)
    }
}

async fn wanted(client: &Client, args: &RouteArgs) -> Outcome<Wanted> {
    let text = args
        .route
        .trim_start_matches("http://")
        .trim_start_matches("https://");
    let path = args.path.as_deref().map(with_slash);
    if let Some(host) = &args.hostname {
        let domain = find::domain(client, text).await?;
        return Ok(Wanted {
            domain,
            host: host.to_lowercase(),
            path: path.unwrap_or_default(),
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
    Ok(Wanted {
        domain,
        host: parts.host,
        path: path.unwrap_or(parts.path),
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    /// Index of the domain.
    domain: usize,
    host: String,
    path: String,
}

/// Takes a route apart: the longest domain that ends it counts. A port is the router's affair.
fn split(route: &str, domains: &[&str]) -> Option<Parts> {
    let (name, path) = match route.split_once('/') {
        Some((name, path)) => (name, with_slash(path)),
        None => (route, String::new()),
    };
    let name = name
        .split(':')
        .next()
        .unwrap_or(name)
        .trim_end_matches('.')
        .to_lowercase();
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
    Some(Parts { domain, host, path })
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
    let query = [
        ("domain_guids", wanted.domain.guid.as_str()),
        ("hosts", &wanted.host),
        ("paths", &wanted.path),
    ];
    let routes: Vec<Route> = client.list("/v3/routes", &query).await?;
    Ok(routes
        .into_iter()
        .find(|route| route.host == wanted.host && route.path == wanted.path))
}

async fn create(client: &Client, wanted: &Wanted) -> Outcome<Route> {
    let space = client.space()?;
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_string());
    let body = CreateRoute {
        host: filled(&wanted.host),
        path: filled(&wanted.path),
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
    fn routes_are_taken_apart_at_the_longest_domain() {
        let domains = ["internal", "yard.internal", "other.org"];
        let parts = |domain: usize, host: &str, path: &str| {
            Some(Parts {
                domain,
                host: host.into(),
                path: path.into(),
            })
        };
        assert_eq!(split("shop.yard.internal", &domains), parts(1, "shop", ""));
        assert_eq!(
            split("Shop.yard.internal:8080/v1/", &domains),
            parts(1, "shop", "/v1")
        );
        assert_eq!(split("yard.internal", &domains), parts(1, "", ""));
        assert_eq!(split("a.b.other.org/x", &domains), parts(2, "a.b", "/x"));
        assert_eq!(split("myother.org", &domains), None);
        assert_eq!(split("", &domains), None);
    }
}
