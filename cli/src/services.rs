//! `yard service`: databases and other services that users provide themselves, and the apps bound to them.

use crate::apps::find;
use crate::automation::input::text_of;
use crate::client::{Client, item};
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use crate::output::table::{fields, table};
use crate::prompt;
use crate::targets::Store;
use clap::{Args, Subcommand};
use proto::api::{App, Route, ServiceCredentialBinding, ServiceInstance, ServiceRouteBinding};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const INSTANCES: &str = "/v3/service_instances";
const BINDINGS: &str = "/v3/service_credential_bindings";
/// Guids that one address may name.
const AT_ONCE: usize = 50;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  yard service create db --credentials '{\"uri\":\"postgres://user:password@10.0.0.9/shop\"}'
  yard service create db --credentials @db.json --tag sql
  yard service bind db shop && yard restart shop
  yard service show db --credentials
  yard service unbind db shop
  yard service delete db")]
pub struct ServiceArgs {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// List the services of the space and the apps bound to them
    List,
    /// Show a service
    Show {
        /// Name of the service
        service: String,
        /// Show its credentials too
        #[arg(long)]
        credentials: bool,
    },
    /// Make a service known: a name with the credentials that apps are to get
    Create {
        /// Name of the service
        service: String,
        #[command(flatten)]
        content: Content,
    },
    /// Change a service; what is not named stays
    Update {
        /// Name of the service
        service: String,
        /// Another name for it
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        #[command(flatten)]
        content: Content,
    },
    /// Give the credentials of a service to an app, with its next start
    Bind {
        /// Name of the service
        service: String,
        /// The app
        app: String,
        /// What the app is to call the service
        #[arg(long, value_name = "BINDING")]
        name: Option<String>,
    },
    /// Give the credentials of a service to an app no more
    Unbind {
        /// Name of the service
        service: String,
        /// The app
        app: String,
    },
    /// Have the requests of a route go to a service first
    BindRoute {
        /// Name of the service
        service: String,
        /// The route: host.domain/path
        route: String,
    },
    /// Have the requests of a route go to a service no more
    UnbindRoute {
        /// Name of the service
        service: String,
        /// The route: host.domain/path
        route: String,
    },
    /// Delete a service and its bindings
    Delete {
        /// Name of the service
        service: String,
        /// Delete without asking
        #[arg(short = 'f', long)]
        force: bool,
    },
}

#[derive(Debug, Default, Args)]
struct Content {
    /// An object in JSON; @FILE reads it from a file, - from standard input
    #[arg(short = 'p', long, value_name = "JSON", allow_hyphen_values = true)]
    credentials: Option<String>,
    /// A tag by which libraries find it; may be given again, and replaces the tags it has
    #[arg(short = 't', long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Where requests of routes go that are bound to it (https://…); empty: nowhere
    #[arg(short = 'r', long, value_name = "URL")]
    route_service: Option<String>,
}

impl Content {
    /// The part of a request that sets them.
    fn document(&self) -> Outcome<Map<String, Value>> {
        let mut document = Map::new();
        if let Some(given) = &self.credentials {
            document.insert("credentials".into(), Value::Object(credentials(given)?));
        }
        if !self.tags.is_empty() {
            document.insert("tags".into(), json!(self.tags));
        }
        if let Some(url) = &self.route_service {
            document.insert("route_service_url".into(), json!(url));
        }
        Ok(document)
    }
}

/// What the parser says may quote what it read, and that is secret.
fn credentials(given: &str) -> Outcome<Map<String, Value>> {
    let (text, place) = match given.strip_prefix('@') {
        Some(file) => (text_of(file).map_err(Failure::usage)?, file),
        None if given == "-" => (text_of("-").map_err(Failure::usage)?, "standard input"),
        None => (given.to_string(), "--credentials"),
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(credentials)) => Ok(credentials),
        Ok(_) => Err(Failure::usage(format!("{place} holds no object in JSON"))),
        Err(error) => Err(Failure::usage(format!(
            "{place} holds no JSON: it breaks off or goes wrong at line {} column {}",
            error.line(),
            error.column()
        ))),
    }
    .map_err(|failure| failure.fix("credentials look like {\"uri\": \"postgres://…\"}"))
}

/// A service as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    guid: String,
    #[serde(rename = "type")]
    kind: String,
    tags: Vec<String>,
    route_service: Option<String>,
    apps: Vec<BoundApp>,
    created_at: String,
    updated_at: String,
    /// Only where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct BoundApp {
    app: String,
    /// What the app calls it.
    name: Option<String>,
    guid: String,
}

impl Shown {
    fn new(instance: ServiceInstance, apps: Vec<BoundApp>) -> Shown {
        Shown {
            name: instance.name,
            guid: instance.guid,
            kind: instance.kind,
            tags: instance.tags,
            route_service: instance.route_service_url,
            apps,
            created_at: instance.created_at,
            updated_at: instance.updated_at,
            credentials: None,
        }
    }

    fn apps_line(&self) -> String {
        let one = |bound: &BoundApp| match &bound.name {
            Some(name) => format!("{} as {name}", bound.app),
            None => bound.app.clone(),
        };
        self.apps.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn render(&self) -> String {
        let mut rows = vec![
            ("service", self.name.clone()),
            ("guid", self.guid.clone()),
            ("type", self.kind.clone()),
            ("tags", self.tags.join(", ")),
            (
                "route service",
                self.route_service.clone().unwrap_or_default(),
            ),
            ("bound to", self.apps_line()),
            ("created", self.created_at.clone()),
            ("changed", self.updated_at.clone()),
        ];
        rows.retain(|(_, value)| !value.is_empty());
        let mut text = fields(&rows);
        if let Some(credentials) = &self.credentials {
            let pretty = serde_json::to_string_pretty(credentials).unwrap_or_default();
            text.push_str(&format!("{pretty}\n"));
        }
        text
    }
}

pub async fn run(args: ServiceArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    match args.command {
        ServiceCommand::List => list(&client, out).await,
        ServiceCommand::Show {
            service,
            credentials,
        } => show(&client, out, &service, credentials).await,
        ServiceCommand::Create { service, content } => {
            create(&client, out, &service, &content).await
        }
        ServiceCommand::Update {
            service,
            rename,
            content,
        } => update(&client, out, &service, rename, &content).await,
        ServiceCommand::Bind { service, app, name } => {
            bind(&client, out, &service, &app, name).await
        }
        ServiceCommand::Unbind { service, app } => unbind(&client, out, &service, &app).await,
        ServiceCommand::BindRoute { service, route } => {
            bind_route(&client, out, &service, &route).await
        }
        ServiceCommand::UnbindRoute { service, route } => {
            unbind_route(&client, out, &service, &route).await
        }
        ServiceCommand::Delete { service, force } => delete(&client, out, &service, force).await,
    }
}

/// The apps bound to these services, by the guid of the service.
async fn bound(
    client: &Client,
    instances: &[ServiceInstance],
) -> Outcome<BTreeMap<String, Vec<BoundApp>>> {
    let mut bindings: Vec<ServiceCredentialBinding> = Vec::new();
    for some in instances.chunks(AT_ONCE) {
        let guids: Vec<&str> = some.iter().map(|one| one.guid.as_str()).collect();
        let query = [
            ("service_instance_guids", guids.join(",")),
            ("per_page", "5000".to_string()),
        ];
        let query = query.each_ref().map(|(key, value)| (*key, value.as_str()));
        bindings.extend(client.list(BINDINGS, &query).await?);
    }
    let mut names = BTreeMap::new();
    if !bindings.is_empty() {
        let space = client.space()?;
        let query = [("space_guids", space.guid.as_str()), ("per_page", "5000")];
        let apps: Vec<App> = client.list("/v3/apps", &query).await?;
        names.extend(apps.into_iter().map(|app| (app.guid, app.name)));
    }
    let mut by_service: BTreeMap<String, Vec<BoundApp>> = BTreeMap::new();
    for binding in bindings {
        let app = binding.relationships.app.guid().unwrap_or_default();
        let service = binding.relationships.service_instance.guid();
        by_service
            .entry(service.unwrap_or_default().to_string())
            .or_default()
            .push(BoundApp {
                app: names.get(app).map_or(app, String::as_str).to_string(),
                name: binding.name,
                guid: binding.guid,
            });
    }
    Ok(by_service)
}

async fn shown(client: &Client, instances: Vec<ServiceInstance>) -> Outcome<Vec<Shown>> {
    let mut apps = bound(client, &instances).await?;
    Ok(instances
        .into_iter()
        .map(|instance| {
            let apps = apps.remove(&instance.guid).unwrap_or_default();
            Shown::new(instance, apps)
        })
        .collect())
}

async fn list(client: &Client, out: &Output) -> Outcome {
    let space = client.space()?;
    let query = [
        ("space_guids", space.guid.as_str()),
        ("order_by", "name"),
        ("per_page", "5000"),
    ];
    let services = shown(client, client.list(INSTANCES, &query).await?).await?;
    let empty = format!(
        "no services in the space {}; `yard service create NAME --credentials JSON` makes one known",
        space.name
    );
    out.show(&services, |services| {
        let lines = services.iter().map(|service| {
            [
                service.name.clone(),
                service.kind.clone(),
                service.tags.join(", "),
                service.apps_line(),
            ]
        });
        table(["service", "type", "tags", "bound to"], lines, &empty)
    })
}

const ROUTE_BINDINGS: &str = "/v3/service_route_bindings";

/// A route by the name that people know it by.
async fn find_route(client: &Client, name: &str) -> Outcome<Route> {
    let space = client.space()?;
    let query = [("space_guids", space.guid.as_str()), ("per_page", "5000")];
    let routes: Vec<Route> = client.list("/v3/routes", &query).await?;
    let found = routes
        .into_iter()
        .find(|route| route.url.eq_ignore_ascii_case(name.trim_end_matches('/')));
    found.ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("there is no route {name} in the space {}", space.name),
        )
        .fix("`yard routes` lists them")
    })
}

async fn bind_route(client: &Client, out: &Output, service: &str, route: &str) -> Outcome {
    let instance = find_service(client, service).await?;
    let route = find_route(client, route).await?;
    let body = json!({"relationships": {
        "service_instance": {"data": {"guid": instance.guid}},
        "route": {"data": {"guid": route.guid}},
    }});
    let made: ServiceRouteBinding = client
        .post(ROUTE_BINDINGS, &body)
        .await
        .map_err(|failure| failure.doing(format!("bind {} to {service}", route.url)))?;
    let url = made.route_service_url.unwrap_or_default();
    out.show(
        &json!({"service": service, "route": route.url, "guid": made.guid, "bound": true}),
        |_| format!("requests to {} go to {url} first", route.url),
    )
}

async fn unbind_route(client: &Client, out: &Output, service: &str, route: &str) -> Outcome {
    let instance = find_service(client, service).await?;
    let route = find_route(client, route).await?;
    let query = [
        ("service_instance_guids", instance.guid.as_str()),
        ("route_guids", route.guid.as_str()),
    ];
    let bindings: Vec<ServiceRouteBinding> = client.list(ROUTE_BINDINGS, &query).await?;
    let binding = bindings.into_iter().next().ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("{} is not bound to {service}", route.url),
        )
    })?;
    client
        .delete(&format!("{ROUTE_BINDINGS}/{}", binding.guid), &[])
        .await
        .map_err(|failure| failure.doing(format!("unbind {} from {service}", route.url)))?;
    out.show(
        &json!({"service": service, "route": route.url, "guid": binding.guid, "bound": false}),
        |_| format!("requests to {} do not go to {service} any more", route.url),
    )
}

async fn find_service(client: &Client, name: &str) -> Outcome<ServiceInstance> {
    let space = client.space()?;
    let query = [("names", item(name)), ("space_guids", space.guid.clone())];
    let query = query.each_ref().map(|(key, value)| (*key, value.as_str()));
    let found: Vec<ServiceInstance> = client.list(INSTANCES, &query).await?;
    found.into_iter().next().ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("there is no service {name} in the space {}", space.name),
        )
        .fix("`yard service list` lists them, `yard target` shows the space")
    })
}

async fn show(client: &Client, out: &Output, name: &str, with_credentials: bool) -> Outcome {
    let instance = find_service(client, name).await?;
    let path = format!("{INSTANCES}/{}/credentials", instance.guid);
    let credentials: Option<Map<String, Value>> = match with_credentials {
        true => Some(client.get(&path, &[]).await?),
        false => None,
    };
    for mut service in shown(client, vec![instance]).await? {
        service.credentials = credentials.clone();
        out.show(&service, Shown::render)?;
    }
    Ok(())
}

async fn create(client: &Client, out: &Output, name: &str, content: &Content) -> Outcome {
    let space = client.space()?;
    let mut body = content.document()?;
    body.insert("type".into(), json!("user-provided"));
    body.insert("name".into(), json!(name));
    body.insert(
        "relationships".into(),
        json!({"space": {"data": {"guid": space.guid}}}),
    );
    let made: ServiceInstance = client
        .post(INSTANCES, &body)
        .await
        .map_err(|failure| failure.doing(format!("make the service {name} known")))?;
    out.show(&Shown::new(made, Vec::new()), |service| {
        format!(
            "the service {0} is known; `yard service bind {0} APP` gives its credentials to an app\n",
            service.name
        )
    })
}

async fn update(
    client: &Client,
    out: &Output,
    name: &str,
    rename: Option<String>,
    content: &Content,
) -> Outcome {
    let mut body = content.document()?;
    if let Some(name) = rename {
        body.insert("name".into(), json!(name));
    }
    if body.is_empty() {
        return Err(
            Failure::usage(format!("nothing of the service {name} is to be changed"))
                .fix("`yard service update --help` shows what can be"),
        );
    }
    let path = format!("{INSTANCES}/{}", find_service(client, name).await?.guid);
    let changed: ServiceInstance = client
        .patch(&path, &body)
        .await
        .map_err(|failure| failure.doing(format!("change the service {name}")))?
        .json(&path)?;
    for service in shown(client, vec![changed]).await? {
        out.show(&service, |service| {
            let restarts: Vec<String> = service
                .apps
                .iter()
                .map(|bound| format!("`yard restart {}`", bound.app))
                .collect();
            let then = match restarts.as_slice() {
                [] => String::new(),
                _ => format!("; in force after {}", restarts.join(", ")),
            };
            format!("changed the service {}{then}\n", service.name)
        })?;
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct Binding<'a> {
    service: &'a str,
    app: &'a str,
    /// What the app calls it.
    name: Option<String>,
    /// Of the binding; null if there is none.
    guid: Option<String>,
    bound: bool,
}

/// The binding of an app to a service, if there is one.
async fn binding_of(
    client: &Client,
    instance: &ServiceInstance,
    app: &App,
) -> Outcome<Option<ServiceCredentialBinding>> {
    let query = [
        ("service_instance_guids", instance.guid.as_str()),
        ("app_guids", app.guid.as_str()),
    ];
    let found: Vec<ServiceCredentialBinding> = client.list(BINDINGS, &query).await?;
    Ok(found.into_iter().next())
}

async fn bind(
    client: &Client,
    out: &Output,
    service: &str,
    app: &str,
    name: Option<String>,
) -> Outcome {
    let instance = find_service(client, service).await?;
    let app = find::app(client, app).await?;
    let before = binding_of(client, &instance, &app).await?;
    let is_new = before.is_none();
    let binding = match before {
        Some(binding) if name.is_some() && binding.name != name => {
            return Err(Failure::failed(format!(
                "{} is bound to {service} under another name",
                app.name
            ))
            .fix(format!(
                "`yard service unbind {service} {}` first",
                app.name
            )));
        }
        Some(binding) => binding,
        None => {
            let body = json!({
                "type": "app", "name": name,
                "relationships": {
                    "app": {"data": {"guid": app.guid}},
                    "service_instance": {"data": {"guid": instance.guid}},
                },
            });
            client
                .post(BINDINGS, &body)
                .await
                .map_err(|failure| failure.doing(format!("bind {} to {service}", app.name)))?
        }
    };
    let document = Binding {
        service,
        app: &app.name,
        name: binding.name,
        guid: Some(binding.guid),
        bound: true,
    };
    out.show(&document, |binding| match is_new {
        true => format!(
            "{0} is bound to {1}; it gets the credentials with `yard restart {0}`\n",
            binding.app, binding.service
        ),
        false => format!("{} was bound to {} before\n", binding.app, binding.service),
    })
}

async fn unbind(client: &Client, out: &Output, service: &str, app: &str) -> Outcome {
    let instance = find_service(client, service).await?;
    let app = find::app(client, app).await?;
    let Some(binding) = binding_of(client, &instance, &app).await? else {
        return Err(Failure::new(
            Code::NotFound,
            format!("{} is not bound to the service {service}", app.name),
        )
        .fix("`yard service list` shows what is bound"));
    };
    client
        .delete(&format!("{BINDINGS}/{}", binding.guid), &[])
        .await
        .map_err(|failure| failure.doing(format!("unbind {} from {service}", app.name)))?;
    let document = Binding {
        service,
        app: &app.name,
        name: binding.name,
        guid: None,
        bound: false,
    };
    out.show(&document, |binding| {
        format!(
            "{0} is bound to {1} no more; what runs has the credentials until `yard restart {0}`\n",
            binding.app, binding.service
        )
    })
}

async fn delete(client: &Client, out: &Output, name: &str, force: bool) -> Outcome {
    let instance = find_service(client, name).await?;
    let apps = bound(client, std::slice::from_ref(&instance)).await?;
    let apps: Vec<&str> = apps
        .values()
        .flatten()
        .map(|bound| bound.app.as_str())
        .collect();
    let with = match apps.as_slice() {
        [] => String::new(),
        apps => format!(" and unbind {}", apps.join(", ")),
    };
    if !force && !prompt::confirm(&format!("Delete the service {name}{with}?"))? {
        return Err(Failure::failed(format!(
            "the service {name} was not deleted"
        )));
    }
    client
        .delete(&format!("{INSTANCES}/{}", instance.guid), &[])
        .await
        .map_err(|failure| failure.doing(format!("delete the service {name}")))?;
    let document =
        json!({"service": name, "guid": instance.guid, "deleted": true, "unbound": apps});
    out.show(&document, |_| format!("deleted the service {name}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ServiceArgs,
    }

    fn parsed(words: &[&str]) -> Result<ServiceCommand, clap::Error> {
        let words = std::iter::once("service").chain(words.iter().copied());
        Line::try_parse_from(words).map(|line| line.args.command)
    }

    #[test]
    fn credentials_are_an_object_from_the_line_or_a_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("db.json");
        std::fs::write(&file, r#"{"uri": "x"}"#).expect("a file");
        let at = format!("@{}", file.display());
        assert_eq!(
            credentials(&at).expect("a file"),
            credentials(r#"{"uri": "x"}"#).expect("a text")
        );
        for wrong in ["[1]", "5", "{\"password\": \"sesame\"", "@/nowhere/at/all"] {
            let failure = credentials(wrong).expect_err(wrong);
            assert!(!failure.what.contains("sesame"), "{}", failure.what);
        }
    }

    #[test]
    fn a_command_says_what_is_meant() {
        let create = parsed(&["create", "db", "-p", "{}", "-t", "sql", "--tag", "main"]);
        let Ok(ServiceCommand::Create { service, content }) = create else {
            panic!("makes a service: {create:?}");
        };
        assert_eq!(service, "db");
        assert_eq!(
            Value::Object(content.document().expect("fine")),
            json!({"credentials": {}, "tags": ["sql", "main"]})
        );
        assert!(
            Content::default().document().expect("fine").is_empty(),
            "what is not named stays"
        );
        for words in [
            &["list"] as &[&str],
            &["create", "db", "-p", "-"],
            &["bind", "db", "shop", "--name", "main"],
            &["unbind", "db", "shop"],
            &["update", "db", "--rename", "base"],
            &["delete", "db", "-f"],
        ] {
            assert!(parsed(words).is_ok(), "{words:?}");
        }
        for words in [&[] as &[&str], &["create"], &["bind", "db"], &["show"]] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_line_says_which_apps_are_bound_and_how_they_call_it() {
        let bound = |app: &str, name: Option<&str>| BoundApp {
            app: app.into(),
            name: name.map(str::to_string),
            guid: "g".into(),
        };
        let apps = vec![bound("shop", None), bound("jobs", Some("main"))];
        let mut service = Shown::new(
            ServiceInstance {
                name: "db".into(),
                ..ServiceInstance::default()
            },
            apps,
        );
        assert_eq!(service.apps_line(), "shop, jobs as main");
        assert!(!service.render().contains("uri"));
        service.credentials = credentials(r#"{"uri": "x"}"#).ok();
        assert!(service.render().contains("\"uri\": \"x\""));
    }
}
