//! The manifest of an app that is there: pushed with it, the app comes to be what it is.

use super::manifest::AppManifest;
use super::manifest_diff::process_fields;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Labels and annotations.
pub type Metadata<'a> = (&'a BTreeMap<String, String>, &'a BTreeMap<String, String>);

/// As YAML.
pub fn write(app: &AppManifest, metadata: Metadata<'_>) -> Result<String, yaml_serde::Error> {
    let text = yaml_serde::to_string(&json!({"applications": [document(app, metadata)]}))?;
    Ok(format!("---\n{text}"))
}

fn document(app: &AppManifest, (labels, annotations): Metadata<'_>) -> Value {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(key.to_string(), value);
        }
    };
    put("name", Some(json!(app.name)));
    put("stack", app.stack.as_ref().map(|stack| json!(stack)));
    let buildpacks = app.buildpacks.as_ref().filter(|names| !names.is_empty());
    put("buildpacks", buildpacks.map(|names| json!(names)));
    put(
        "env",
        app.env
            .as_ref()
            .filter(|env| !env.is_empty())
            .map(|env| json!(env)),
    );
    let routes: Vec<Value> = app
        .routes
        .iter()
        .flatten()
        .map(|route| {
            let mut one = Map::from_iter([("route".to_string(), json!(route.url))]);
            if let Some(protocol) = &route.protocol {
                one.insert("protocol".to_string(), json!(protocol));
            }
            if let Some(options) = route.options.as_ref().filter(|all| !all.is_empty()) {
                one.insert("options".to_string(), Value::Object(options.clone()));
            }
            Value::Object(one)
        })
        .collect();
    // Without a word of routes a push would make one.
    match routes.is_empty() {
        true => put("no-route", Some(json!(true))),
        false => put("routes", Some(Value::Array(routes))),
    }
    let services: Vec<Value> = app
        .services
        .iter()
        .map(|service| match &service.binding_name {
            Some(binding) => json!({"name": service.name, "binding_name": binding}),
            None => json!(service.name),
        })
        .collect();
    put(
        "services",
        (!services.is_empty()).then_some(Value::Array(services)),
    );
    if !(labels.is_empty() && annotations.is_empty()) {
        let mut metadata = Map::new();
        for (key, values) in [("labels", labels), ("annotations", annotations)] {
            if !values.is_empty() {
                metadata.insert(key.to_string(), json!(values));
            }
        }
        put("metadata", Some(Value::Object(metadata)));
    }
    let processes: Vec<Value> = app
        .processes
        .iter()
        .map(|(kind, process)| {
            let mut one = Map::from_iter([("type".to_string(), json!(kind))]);
            let given = process_fields(process).into_iter();
            // What sleeps never is not said, nor a command that is the droplet's.
            let said = given.filter(|(key, value)| {
                !value.is_null() && !(*key == "sleep-after" && *value == "never")
            });
            one.extend(said.map(|(key, value)| (key.to_string(), value)));
            Value::Object(one)
        })
        .collect();
    put("processes", Some(Value::Array(processes)));
    Value::Object(fields)
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
