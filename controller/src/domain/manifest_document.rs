//! The manifest of an app that is there: pushed with it, the app comes to be what it is.

use super::manifest::{AppManifest, ProcessManifest, RouteManifest};
use super::manifest_diff::process_fields;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Labels and annotations.
pub type Metadata<'a> = (&'a BTreeMap<String, String>, &'a BTreeMap<String, String>);

/// As YAML.
pub fn write(app: &AppManifest, metadata: Metadata<'_>) -> Result<String, yaml_serde::Error> {
    let applications = Node::List(vec![document(app, metadata)]);
    let text = yaml_serde::to_string(&Fields(vec![("applications", applications)]))?;
    Ok(format!("---\n{text}"))
}

/// Fields in the order in which people write them.
struct Fields(Vec<(&'static str, Node)>);

enum Node {
    Value(Value),
    List(Vec<Fields>),
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, node)| (key, node)))
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Value(value) => value.serialize(serializer),
            Node::List(list) => list.serialize(serializer),
        }
    }
}

fn document(app: &AppManifest, (labels, annotations): Metadata<'_>) -> Fields {
    let mut fields = vec![("name", Node::Value(json!(app.name)))];
    let mut put = |key, value: Option<Value>| {
        fields.extend(value.map(|value| (key, Node::Value(value))));
    };
    put("stack", app.stack.as_ref().map(|stack| json!(stack)));
    let buildpacks = app.buildpacks.as_ref().filter(|names| !names.is_empty());
    put("buildpacks", buildpacks.map(|names| json!(names)));
    let variables = app.env.as_ref().filter(|env| !env.is_empty());
    put("env", variables.map(|env| json!(env)));
    let services: Vec<Value> = app
        .services
        .iter()
        .map(|service| match &service.binding_name {
            Some(binding) => json!({"name": service.name, "binding_name": binding}),
            None => json!(service.name),
        })
        .collect();
    put("services", (!services.is_empty()).then(|| json!(services)));
    let given = [("labels", labels), ("annotations", annotations)];
    let given = given.into_iter().filter(|(_, values)| !values.is_empty());
    let metadata: BTreeMap<&str, _> = given.collect();
    put("metadata", (!metadata.is_empty()).then(|| json!(metadata)));
    let routes: Vec<Fields> = app.routes.iter().flatten().map(route).collect();
    // Without a word of routes a push would make one.
    fields.push(match routes.is_empty() {
        true => ("no-route", Node::Value(json!(true))),
        false => ("routes", Node::List(routes)),
    });
    let processes = app.processes.iter();
    let processes = processes.map(|(kind, one)| process(kind, one)).collect();
    fields.push(("processes", Node::List(processes)));
    Fields(fields)
}

fn route(route: &RouteManifest) -> Fields {
    let mut fields = vec![("route", Node::Value(json!(route.url)))];
    let protocol = route.protocol.as_ref();
    fields.extend(protocol.map(|protocol| ("protocol", Node::Value(json!(protocol)))));
    let options = route.options.as_ref().filter(|options| !options.is_empty());
    fields.extend(options.map(|options| ("options", Node::Value(json!(options)))));
    Fields(fields)
}

fn process(kind: &str, process: &ProcessManifest) -> Fields {
    let mut fields = vec![("type", Node::Value(json!(kind)))];
    let given = process_fields(process).into_iter();
    // What sleeps never is not said, nor a command that is the droplet's.
    let said = given.filter(|(key, value)| match *key {
        "sleep-after" => *value != "never",
        _ => !value.is_null(),
    });
    fields.extend(said.map(|(key, value)| (key, Node::Value(value))));
    Fields(fields)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::parse;
    use super::*;

    #[test]
    fn what_is_written_reads_as_what_it_was() {
        let text = "applications:\n- name: shop\n  stack: host\n  buildpacks: [python]\n  env: {A: '1'}\n  \
                    routes:\n  - route: shop.example.com/x\n    protocol: http2\n    options: {loadbalancing: round-robin}\n  \
                    services: [db, {name: cache, binding_name: fast}]\n  processes:\n  - type: web\n    instances: 2\n    \
                    memory: 64M\n    disk_quota: 100M\n    health-check-type: http\n    health-check-http-endpoint: /up\n    \
                    timeout: 30\n    sleep-after: 600s\n  - type: worker\n    command: run me\n    instances: 0\n";
        let app = &parse(text).unwrap().apps[0];
        let labels = BTreeMap::from([("team".to_string(), "a".to_string())]);
        let written = write(app, (&labels, &BTreeMap::new())).unwrap();
        let again = parse(&written).unwrap().apps.remove(0);
        assert_eq!(
            again.labels.get("team"),
            Some(&Some("a".to_string())),
            "{written}"
        );
        let without = AppManifest {
            labels: app.labels.clone(),
            ..again
        };
        assert_eq!(&without, app, "{written}");
        assert!(
            written.starts_with("---\napplications:\n- name: shop\n  stack: host\n"),
            "{written}"
        );
        assert!(
            written.contains("- type: web\n    instances: 2\n    memory: 64M\n"),
            "{written}"
        );
    }

    #[test]
    fn an_app_without_routes_gets_none_by_it() {
        let app = AppManifest {
            name: "quiet".to_string(),
            routes: Some(Vec::new()),
            ..AppManifest::default()
        };
        let none = BTreeMap::new();
        let written = write(&app, (&none, &none)).unwrap();
        assert!(written.contains("no-route: true"), "{written}");
    }
}
