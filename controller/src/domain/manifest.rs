//! Manifests: what `POST …/actions/apply_manifest` is sent (contract §1.4).
//!
//! Reading is strict and complete: every fault of every app is found in one go, each told as
//! "For application 'x': …" with the key and what would fit; a key nobody knows is refused with those
//! that exist, a key we know but do not support is refused as such. What a manifest does not
//! mention stays as it is, so every field is optional here, and "absent" differs from "empty".

mod anchors;
mod fields;

use super::route_terms::{check_protocol, lay_options};
use fields::Fields;
pub use fields::check_variable;
use proto::manifest::{APP, PROCESS, TOP};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Larger ones are refused unread.
pub const MAX_BYTES: usize = 1024 * 1024;
const MAX_APPS: usize = 500;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    pub apps: Vec<AppManifest>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppManifest {
    pub name: String,
    pub buildpacks: Option<Vec<String>>,
    pub stack: Option<String>,
    pub env: Option<BTreeMap<String, String>>,
    pub no_route: bool,
    pub random_route: bool,
    pub default_route: bool,
    pub routes: Option<Vec<RouteManifest>>,
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
    /// What the app is to be bound to; others stay bound.
    pub services: Vec<ServiceManifest>,
    /// By type; `web` holds the keys of the app's own level too.
    pub processes: BTreeMap<String, ProcessManifest>,
}

/// A route that is to lead to the app.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteManifest {
    /// `host.domain/path`
    pub url: String,
    /// What instances are spoken to in; None: as it is, or HTTP/1.1.
    pub protocol: Option<String>,
    /// How an instance is chosen; None: as it is.
    pub options: Option<Map<String, Value>>,
}

/// A service to bind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceManifest {
    pub name: String,
    pub binding_name: Option<String>,
}

/// Settings of one process; None: stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProcessManifest {
    /// Some(None): the droplet's command again.
    pub command: Option<Option<String>>,
    pub instances: Option<u32>,
    pub memory_mb: Option<u64>,
    pub disk_mb: Option<u64>,
    /// `port`, `http`, `process`
    pub health_check_type: Option<String>,
    pub health_check_endpoint: Option<String>,
    pub health_check_invocation_timeout: Option<u32>,
    pub health_check_interval: Option<u32>,
    /// Seconds an instance may take to become healthy.
    pub timeout: Option<u32>,
    /// Seconds without a request after which it sleeps; 0: it never does.
    pub sleep_after: Option<u64>,
}

/// Everything that is wrong, one sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct InvalidManifest(pub Vec<String>);

/// Reads a manifest.
pub fn parse(text: &str) -> Result<Manifest, InvalidManifest> {
    let one = |fault: String| InvalidManifest(vec![fault]);
    if text.len() > MAX_BYTES {
        return Err(one(format!(
            "The manifest is larger than {MAX_BYTES} bytes"
        )));
    }
    if anchors::has_any(text) {
        return Err(one(
            "Manifest does not support Anchors and Aliases".to_string()
        ));
    }
    let yaml: yaml_serde::Value = yaml_serde::from_str(text)
        .map_err(|error| one(format!("The manifest is not valid YAML: {error}")))?;
    let document = fields::to_json(yaml, 0).map_err(one)?;
    let Value::Object(top) = document else {
        return Err(one(
            "The manifest must be a mapping with the key 'applications'".to_string(),
        ));
    };
    let mut faults = Vec::new();
    let mut top = Fields::new("The manifest", &top, &mut faults);
    top.known(&[TOP]);
    if let Some(version) = top.get("version")
        && version.as_u64() != Some(1)
    {
        top.fault("'version' must be 1");
    }
    let apps = match top.get("applications") {
        Some(Value::Array(apps)) if !apps.is_empty() => apps.clone(),
        Some(Value::Array(_)) => {
            top.fault("'applications' must name at least one app");
            Vec::new()
        }
        _ => {
            top.fault("'applications' must be a list of apps");
            Vec::new()
        }
    };
    if apps.len() > MAX_APPS {
        return Err(one(format!("The manifest names more than {MAX_APPS} apps")));
    }
    let mut manifest = Manifest::default();
    for (place, app) in apps.iter().enumerate() {
        let Value::Object(app) = app else {
            faults.push(format!(
                "For application at index {place}: must be a mapping with the key 'name'"
            ));
            continue;
        };
        let app = read_app(place, app, &mut faults);
        if !app.name.is_empty() && manifest.apps.iter().any(|other| other.name == app.name) {
            faults.push(format!(
                "For application '{}': the name is there twice",
                app.name
            ));
        }
        manifest.apps.push(app);
    }
    if faults.is_empty() {
        Ok(manifest)
    } else {
        Err(InvalidManifest(faults))
    }
}

fn read_app(
    place: usize,
    map: &serde_json::Map<String, Value>,
    faults: &mut Vec<String>,
) -> AppManifest {
    let name = map
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_string();
    let heading = if name.is_empty() {
        format!("For application at index {place}")
    } else {
        format!("For application '{name}'")
    };
    let mut app = AppManifest {
        name: name.clone(),
        ..AppManifest::default()
    };
    let mut fields = Fields::new(&heading, map, faults);
    fields.known(&[APP, PROCESS]);
    if !matches!(map.get("name"), Some(Value::String(_))) {
        fields.fault("'name' must be a text");
    } else if let Err(error) = super::names::check_name(&name) {
        fields.fault(&format!("{error}"));
    }
    app.buildpacks = buildpacks(&mut fields);
    app.stack = fields.text("stack");
    app.env = fields.environment("env");
    app.no_route = fields.flag("no-route");
    app.random_route = fields.flag("random-route");
    app.default_route = fields.flag("default-route");
    app.routes = routes(&mut fields);
    app.services = services(&mut fields);
    metadata(&mut fields, &mut app);
    unsupported(&mut fields);
    let web = read_process(&mut fields);
    let processes = fields.list("processes", "a list of mappings, each with a 'type'");
    if web != ProcessManifest::default() {
        app.processes.insert("web".to_string(), web);
    }
    for process in processes.unwrap_or_default() {
        let Value::Object(process) = &process else {
            faults.push(format!(
                "{heading}: 'processes' must be a list of mappings, each with a 'type'"
            ));
            continue;
        };
        let kind = process
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_string();
        let mut fields = Fields::new(&format!("{heading}: process '{kind}'"), process, faults);
        fields.known(&[&["type"], PROCESS]);
        if !is_process_type(&kind) {
            fields.fault("'type' must be a text of letters, digits, '-' and '_'");
        }
        unsupported_of_process(&mut fields);
        let settings = read_process(&mut fields);
        app.processes.entry(kind).or_default().lay_over(settings);
    }
    app
}

/// What may be the type of a process.
pub fn is_process_type(kind: &str) -> bool {
    !kind.is_empty()
        && kind.len() <= 255
        && kind
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

impl ProcessManifest {
    /// What `over` says wins.
    fn lay_over(&mut self, over: ProcessManifest) {
        fn lay<T>(under: &mut Option<T>, over: Option<T>) {
            if over.is_some() {
                *under = over;
            }
        }
        lay(&mut self.command, over.command);
        lay(&mut self.instances, over.instances);
        lay(&mut self.memory_mb, over.memory_mb);
        lay(&mut self.disk_mb, over.disk_mb);
        lay(&mut self.health_check_type, over.health_check_type);
        lay(&mut self.health_check_endpoint, over.health_check_endpoint);
        lay(
            &mut self.health_check_invocation_timeout,
            over.health_check_invocation_timeout,
        );
        lay(&mut self.health_check_interval, over.health_check_interval);
        lay(&mut self.timeout, over.timeout);
        lay(&mut self.sleep_after, over.sleep_after);
    }
}

fn read_process(fields: &mut Fields<'_>) -> ProcessManifest {
    let mut process = ProcessManifest::default();
    if let Some(command) = fields.any("command") {
        process.command = match command {
            Value::Null => Some(None),
            Value::String(text) if matches!(text.trim(), "" | "null" | "default") => Some(None),
            Value::String(text) => Some(Some(text)),
            _ => {
                fields.fault("'command' must be a text");
                None
            }
        };
    }
    process.instances = fields.number("instances", 0, 100_000);
    process.memory_mb = fields.megabytes("memory");
    process.disk_mb = fields
        .megabytes("disk_quota")
        .or(fields.megabytes("disk-quota"));
    process.timeout = fields.number("timeout", 1, 86_400);
    if let Some(text) = fields.text("sleep-after") {
        process.sleep_after = proto::manifest::sleep_after(&text);
        if process.sleep_after.is_none() {
            fields.fault("'sleep-after' must be a time without requests (90s, 10m, 12h) or never");
        }
    }
    process.health_check_invocation_timeout =
        fields.number("health-check-invocation-timeout", 1, 3600);
    process.health_check_interval = fields.number("health-check-interval", 1, 86_400);
    if let Some(kind) = fields.text("health-check-type") {
        match kind.as_str() {
            "port" | "http" | "process" => process.health_check_type = Some(kind),
            "none" => process.health_check_type = Some("process".to_string()),
            _ => fields.fault(&format!(
                "'health-check-type' must be \"port\", \"process\" or \"http\", not {kind:?}"
            )),
        }
    }
    if let Some(endpoint) = fields.text("health-check-http-endpoint") {
        if endpoint.starts_with('/') && !endpoint.contains(char::is_whitespace) {
            process.health_check_endpoint = Some(endpoint);
        } else {
            fields.fault("'health-check-http-endpoint' must be a path that begins with '/'");
        }
        if process
            .health_check_type
            .as_deref()
            .is_some_and(|kind| kind != "http")
        {
            fields.fault("'health-check-http-endpoint' needs 'health-check-type: http'");
        }
    }
    process
}

fn buildpacks(fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let many = fields.list("buildpacks", "a list of names or addresses");
    let one = fields.any("buildpack");
    if one.is_some() && many.is_some() {
        fields.fault("'buildpack' and 'buildpacks' cannot both be given");
    }
    let text = |fields: &mut Fields<'_>, value: &Value| match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        _ => {
            fields.fault("'buildpacks' must be a list of names or addresses");
            None
        }
    };
    match (one, many) {
        // As Cloud Foundry has it: `buildpack: null` and `default` mean "find out yourself".
        (Some(Value::Null), _) => Some(Vec::new()),
        (Some(Value::String(name)), _) if matches!(name.as_str(), "" | "null" | "default") => {
            Some(Vec::new())
        }
        (Some(value), _) => text(fields, &value).map(|name| vec![name]),
        (None, Some(list)) => Some(
            list.iter()
                .filter_map(|value| text(fields, value))
                .collect(),
        ),
        (None, None) => None,
    }
}

fn routes(fields: &mut Fields<'_>) -> Option<Vec<RouteManifest>> {
    const FORM: &str = "a list of mappings with the key 'route'";
    let list = fields.list("routes", FORM)?;
    let mut routes = Vec::new();
    for entry in &list {
        let Some(entry) = entry.as_object() else {
            fields.fault(&format!("'routes' must be {FORM}"));
            continue;
        };
        for (key, value) in entry {
            match (key.as_str(), value) {
                ("route", Value::String(_)) => {}
                ("protocol", Value::String(protocol)) => {
                    if let Err(fault) = check_protocol(protocol) {
                        fields.fault(&format!("'protocol' of a route: {fault}"));
                    }
                }
                ("options", Value::Object(options)) => {
                    if let Err(fault) = lay_options(&mut Map::new(), options) {
                        fields.fault(&fault);
                    }
                }
                ("options", _) => fields.fault("'options' of a route must be a mapping"),
                ("route" | "protocol", _) => {
                    fields.fault(&format!("'{key}' of a route must be a text"))
                }
                (key, _) => fields.fault(&format!(
                    "unknown key '{key}' of a route; known: route, protocol, options"
                )),
            }
        }
        match entry.get("route").and_then(Value::as_str) {
            Some(route) => routes.push(RouteManifest {
                url: route.to_string(),
                protocol: entry
                    .get("protocol")
                    .and_then(Value::as_str)
                    .map(str::to_string),
                options: entry.get("options").and_then(Value::as_object).cloned(),
            }),
            None => fields.fault(&format!("'routes' must be {FORM}")),
        }
    }
    Some(routes)
}

fn services(fields: &mut Fields<'_>) -> Vec<ServiceManifest> {
    const FORM: &str = "a list of names, or of mappings with the key 'name'";
    let mut services: Vec<ServiceManifest> = Vec::new();
    for entry in fields.list("services", FORM).unwrap_or_default() {
        let service = match &entry {
            Value::String(name) => ServiceManifest {
                name: name.clone(),
                binding_name: None,
            },
            Value::Object(map) => service(fields, map),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                ServiceManifest::default()
            }
        };
        if service.name.is_empty() {
            fields.fault(&format!("'services' must be {FORM}"));
        } else if services.iter().any(|other| other.name == service.name) {
            fields.fault(&format!("the service '{}' is there twice", service.name));
        } else {
            services.push(service);
        }
    }
    services
}

fn service(fields: &mut Fields<'_>, map: &serde_json::Map<String, Value>) -> ServiceManifest {
    let mut service = ServiceManifest::default();
    for (key, value) in map {
        match (key.as_str(), value) {
            ("name", Value::String(name)) => service.name = name.clone(),
            ("binding_name", Value::String(name)) => {
                if let Err(fault) = super::services::check_binding_name(name) {
                    fields.fault(&format!("'binding_name' of a service: {fault}"));
                }
                service.binding_name = Some(name.clone());
            }
            ("binding_name" | "parameters", Value::Null) => {}
            ("parameters", Value::Object(parameters)) if parameters.is_empty() => {}
            ("parameters", _) => {
                fields.fault(
                    "parameters of a service are not supported: user-provided ones take none",
                );
            }
            ("strategy", Value::String(strategy)) if strategy == "single" => {}
            ("strategy", _) => fields.fault("'strategy' of a service can only be \"single\""),
            ("name" | "binding_name", _) => {
                fields.fault(&format!("'{key}' of a service must be a text"));
            }
            (key, _) => fields.fault(&format!(
                "unknown key '{key}' of a service; known: name, binding_name, parameters, strategy"
            )),
        }
    }
    service
}

fn metadata(fields: &mut Fields<'_>, app: &mut AppManifest) {
    let Some(metadata) = fields.mapping("metadata") else {
        return;
    };
    for (key, value) in &metadata {
        let target = match key.as_str() {
            "labels" => &mut app.labels,
            "annotations" => &mut app.annotations,
            _ => {
                fields.fault(&format!(
                    "unknown key '{key}' of 'metadata'; known: labels, annotations"
                ));
                continue;
            }
        };
        let Some(entries) = value.as_object() else {
            fields.fault(&format!("'{key}' must be a mapping"));
            continue;
        };
        for (name, value) in entries {
            match fields::scalar(value) {
                Some(text) => {
                    target.insert(name.clone(), Some(text));
                }
                None if value.is_null() => {
                    target.insert(name.clone(), None);
                }
                None => fields.fault(&format!("'{name}' in '{key}' must be a text")),
            }
        }
    }
}

/// Keys that exist and that this platform does not serve (yet): never ignored.
fn unsupported(fields: &mut Fields<'_>) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    for key in ["docker", "cnb-credentials", "sidecars", "features"] {
        if fields.any(key).is_some_and(|value| !is_empty(&value)) {
            fields.fault(&format!("'{key}' is not supported"));
        }
    }
    if let Some(lifecycle) = fields.text("lifecycle")
        && lifecycle != "buildpack"
    {
        fields.fault(&format!(
            "the lifecycle {lifecycle:?} is not supported; supported: buildpack"
        ));
    }
    unsupported_of_process(fields);
}

fn unsupported_of_process(fields: &mut Fields<'_>) {
    for key in [
        "readiness-health-check-http-endpoint",
        "readiness-health-check-interval",
        "readiness-health-check-invocation-timeout",
        "user",
    ] {
        if fields.any(key).is_some_and(|value| !value.is_null()) {
            fields.fault(&format!("'{key}' is not supported"));
        }
    }
    if let Some(kind) = fields.text("readiness-health-check-type")
        && kind != "process"
    {
        fields.fault("'readiness-health-check-type' other than \"process\" is not supported");
    }
    if let Some(limit) = fields.any("log-rate-limit-per-second")
        && !matches!(fields::scalar(&limit).as_deref(), Some("-1" | "unlimited"))
    {
        fields.fault("'log-rate-limit-per-second' other than -1 (unlimited) is not supported");
    }
}

#[cfg(test)]
mod tests;
