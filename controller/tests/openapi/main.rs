//! `docs/openapi.json` is written from the table of operations, and the table is held to the API: to its
//! routes, to the parameters its lists know, and to the fields its requests take. So is, by its routes,
//! `docs/openapi-automation.json`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod automation;
#[path = "../databases/mod.rs"]
mod databases;
mod document;
#[path = "../http/mod.rs"]
mod http;
mod operations;
mod schemas;

use ::http::Method;
use document::ListParameters;
use http::{Http, User};
use operations::Operation;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Which kind of database the API stands on here.
mod database {
    use crate::databases::Database;

    pub async fn empty() -> Database {
        Database::sqlite().await
    }
}

/// `GET /v3/apps` for everything a router answers. A router does not tell its routes but to its `Debug`.
fn routes_of<S>(router: &axum::Router<S>) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let (endpoints, paths) = text
        .split_once("node: Node { paths: {")
        .expect("a router tells its paths");
    let (paths, _) = paths
        .split_once('}')
        .map(|_| paths.split_once("\"} }").expect("the end of the paths"))
        .unwrap();
    let mut routes = BTreeSet::new();
    for pair in format!("{paths}\"").split("RouteId(").skip(1) {
        let (number, path) = pair.split_once("): \"").expect("a path of a route");
        let path = path.split('"').next().unwrap().replace("{*", "{");
        let start = format!("RouteId({number}): MethodRouter(");
        let endpoint = endpoints
            .split(&start)
            .nth(1)
            .unwrap_or_else(|| panic!("no endpoint of {path}"));
        let endpoint = endpoint.split("allow_header").next().unwrap();
        for method in [
            "get", "head", "delete", "options", "patch", "post", "put", "trace", "connect",
        ] {
            let answered = endpoint
                .split(&format!(" {method}: "))
                .nth(1)
                .expect("every method is told");
            if !answered.starts_with("None") {
                routes.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    routes
}

#[test]
fn the_table_has_every_route_and_every_route_is_in_the_table() {
    let mut served = routes_of(&controller::api::routes());
    served.extend(routes_of(&controller::api::internal_bulk::routes()));
    let told: BTreeSet<String> = operations::all().iter().map(Operation::name).collect();
    let missing: Vec<_> = served.difference(&told).collect();
    let gone: Vec<_> = told.difference(&served).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in the table: {missing:#?}\nnot served: {gone:#?}"
    );
    for (name, _) in operations::QUERIES {
        assert!(
            told.contains(*name),
            "{name} has parameters and is not in the table"
        );
    }
}

/// Asks each list for something it cannot know: the refusal names what it does know.
async fn list_parameters(admin: &User<'_>) -> ListParameters {
    let mut lists = BTreeMap::new();
    for operation in operations::all() {
        let Some(listed) = operation.listed() else {
            continue;
        };
        let reply = admin
            .get(&format!("{}?no_such_parameter=x", operation.example()))
            .await;
        let detail = reply.json["errors"][0]["detail"]
            .as_str()
            .unwrap_or_default();
        let Some((_, valid)) = detail.split_once("Valid parameters are: ") else {
            continue;
        };
        let names = valid
            .split(", ")
            .map(|name| name.trim_matches('\'').to_string());
        let names: Vec<String> = names
            .filter(|name| !["page", "per_page", "order_by"].contains(&name.as_str()))
            .collect();
        lists.entry(listed.to_string()).or_insert(names);
    }
    lists
}

#[tokio::test]
async fn the_committed_description_is_what_the_table_and_the_api_say() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let lists = list_parameters(&admin).await;
    for noun in [
        "App",
        "Process",
        "Route",
        "Role",
        "User",
        "Space",
        "Organization",
        "Domain",
        "Droplet",
        "Package",
        "Build",
        "Buildpack",
        "Deployment",
        "Task",
        "AuditEvent",
        "OrganizationQuota",
        "SpaceQuota",
        "ServiceInstance",
        "ServiceCredentialBinding",
        "ServiceRouteBinding",
        "AdminCommand",
    ] {
        assert!(
            lists.get(noun).is_some_and(|names| !names.is_empty()),
            "the list of {noun} did not tell its parameters"
        );
    }
    let document = document::build(&operations::all(), &lists);
    let text = format!("{document:#}\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("YARD_REGENERATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi.json is stale: run YARD_REGENERATE=1 cargo test -p controller --test openapi"
    );
}

#[tokio::test]
async fn everybody_may_read_the_description() {
    let http = Http::start().await;
    let request = ::http::Request::get("/yard/v1/openapi.json")
        .body(axum::body::Body::empty())
        .unwrap();
    let document = http.send(request).await.expect(200);
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
}

/// A server that refuses unknown fields names those it takes.
#[tokio::test]
async fn requests_take_the_fields_that_are_told() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let schemas = schemas::all();
    let mut checked = 0;
    for operation in operations::all() {
        let Some(schema) = schemas.get(&operation.request) else {
            continue;
        };
        let method: Method = operation.method.parse().unwrap();
        let path = operation.example();
        let reply = admin
            .send(method, &path, Some(json!({"no_such_field": 1})))
            .await;
        let detail = match &reply.json["errors"] {
            Value::Null => reply.json["error_description"].as_str(),
            errors => errors[0]["detail"].as_str(),
        };
        let detail = detail.unwrap_or_default();
        let known = match detail.split_once("unknown field `no_such_field`, expected ") {
            Some((_, known)) => known,
            // Requests that live with newer clients.
            None => {
                assert_ne!(
                    schema["additionalProperties"],
                    json!(false),
                    "{}: {detail}",
                    operation.name()
                );
                continue;
            }
        };
        let taken: BTreeSet<&str> = known.split('`').skip(1).step_by(2).collect();
        let told: BTreeSet<&str> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(taken, told, "{}", operation.name());
        checked += 1;
    }
    assert!(checked >= 20, "only {checked} requests could be checked");
}

#[test]
fn every_document_that_is_referred_to_is_there() {
    let document = document::build(&operations::all(), &BTreeMap::new());
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name} is not described"
        );
    }
    for (name, _) in schemas::REQUESTS {
        assert!(
            text.contains(&format!("schemas/{name}\"")),
            "{name} is of no use"
        );
    }
    let ids: Vec<&str> = text
        .split("\"operationId\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "names of operations are unique"
    );
}
