//! What applying a manifest would change, for people to read before it happens.

use super::manifest::{AppManifest, ProcessManifest};
use proto::api::ManifestChange;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Differences between what the manifest says of the app at `place` and what is there. `current`
/// is None for an app that does not exist, otherwise every field of it is given.
pub fn diff(
    place: usize,
    wanted: &AppManifest,
    current: Option<&AppManifest>,
) -> Vec<ManifestChange> {
    let root = format!("/applications/{place}");
    let wanted_fields = flatten(wanted);
    let Some(current) = current else {
        let mut changes = vec![change(
            "add",
            format!("{root}/name"),
            None,
            Some(json!(wanted.name)),
        )];
        changes.extend(
            wanted_fields
                .into_iter()
                .map(|(path, value)| change("add", format!("{root}{path}"), None, Some(value))),
        );
        return changes;
    };
    let current_fields = flatten(current);
    let mut changes = Vec::new();
    for (path, value) in wanted_fields {
        match current_fields.get(&path) {
            Some(was) if *was == value => {}
            Some(was) => changes.push(change(
                "replace",
                format!("{root}{path}"),
                Some(was.clone()),
                Some(value),
            )),
            None => changes.push(change("add", format!("{root}{path}"), None, Some(value))),
        }
    }
    changes
}

fn change(op: &str, path: String, was: Option<Value>, value: Option<Value>) -> ManifestChange {
    ManifestChange {
        op: op.to_string(),
        path,
        was,
        value,
    }
}

/// Path to value, for what is given.
fn flatten(app: &AppManifest) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let mut put = |path: String, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(path, value);
        }
    };
    put(
        "/buildpacks".into(),
        app.buildpacks.as_ref().map(|list| json!(list)),
    );
    put(
        "/stack".into(),
        app.stack.as_ref().map(|stack| json!(stack)),
    );
    for (name, value) in app.env.iter().flatten() {
        put(format!("/env/{name}"), Some(json!(value)));
    }
    for route in app.routes.iter().flatten() {
        let place = format!("/routes/{}", route.url.replace('/', "~1"));
        let protocol = route.protocol.as_ref().map(|protocol| json!(protocol));
        put(format!("{place}/protocol"), protocol);
        for (name, value) in route.options.iter().flatten() {
            put(format!("{place}/options/{name}"), Some(value.clone()));
        }
        put(place, Some(json!({"route": route.url})));
    }
    for service in &app.services {
        let name = service.name.replace('~', "~0").replace('/', "~1");
        put(format!("/services/{name}"), Some(json!(service.name)));
    }
    for (kind, process) in &app.processes {
        for (key, value) in process_fields(process) {
            put(format!("/processes/{kind}/{key}"), Some(value));
        }
    }
    fields
}

/// What is given of a process, under the keys of manifests.
pub fn process_fields(process: &ProcessManifest) -> Vec<(&'static str, Value)> {
    let ProcessManifest {
        command,
        instances,
        memory_mb,
        disk_mb,
        health_check_type,
        health_check_endpoint,
        health_check_invocation_timeout,
        health_check_interval,
        timeout,
        sleep_after,
    } = process;
    let number = |number: &Option<u32>| number.map(|number| json!(number));
    let megabytes = |number: &Option<u64>| number.map(|megabytes| json!(format!("{megabytes}M")));
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    let fields = [
        ("command", command.as_ref().map(|command| json!(command))),
        ("instances", number(instances)),
        ("memory", megabytes(memory_mb)),
        ("disk_quota", megabytes(disk_mb)),
        ("health-check-type", text(health_check_type)),
        ("health-check-http-endpoint", text(health_check_endpoint)),
        (
            "health-check-invocation-timeout",
            number(health_check_invocation_timeout),
        ),
        ("health-check-interval", number(health_check_interval)),
        ("timeout", number(timeout)),
        (
            "sleep-after",
            sleep_after.map(|seconds| match seconds {
                0 => json!("never"),
                seconds => json!(format!("{seconds}s")),
            }),
        ),
    ];
    fields
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::manifest::parse;

    fn app(text: &str) -> AppManifest {
        parse(&format!("applications: [{text}]"))
            .unwrap()
            .apps
            .remove(0)
    }

    #[test]
    fn only_what_differs_is_told() {
        let current = app("{name: a, memory: 64M, instances: 1, env: {A: 1}}");
        assert_eq!(diff(0, &app("{name: a, memory: 64M}"), Some(&current)), []);
        let changes = diff(
            0,
            &app("{name: a, memory: 128M, env: {A: 1, B: 2}}"),
            Some(&current),
        );
        let told: Vec<(&str, &str)> = changes
            .iter()
            .map(|change| (change.op.as_str(), change.path.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("add", "/applications/0/env/B"),
                ("replace", "/applications/0/processes/web/memory")
            ]
        );
        assert_eq!(changes[1].was, Some(json!("64M")));
    }

    #[test]
    fn a_time_is_the_same_however_it_is_written() {
        let current = app("{name: a, sleep-after: 600s}");
        assert_eq!(
            diff(0, &app("{name: a, sleep-after: 10m}"), Some(&current)),
            []
        );
        let changes = diff(0, &app("{name: a, sleep-after: never}"), Some(&current));
        assert_eq!(changes[0].path, "/applications/0/processes/web/sleep-after");
        assert_eq!(changes[0].value, Some(json!("never")));
        assert_eq!(changes[0].was, Some(json!("600s")));
    }

    #[test]
    fn the_protocol_of_a_route_differs_where_it_is_given() {
        let current = app("{name: a, routes: [{route: a.b/c, protocol: http1}]}");
        let same = app("{name: a, routes: [{route: a.b/c}]}");
        assert_eq!(diff(0, &same, Some(&current)), []);
        let other = app("{name: a, routes: [{route: a.b/c, protocol: http2}]}");
        let changes = diff(0, &other, Some(&current));
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].path, "/applications/0/routes/a.b~1c/protocol");
        assert_eq!(changes[0].was, Some(json!("http1")));
    }

    #[test]
    fn a_new_app_is_added_with_all_it_says() {
        let changes = diff(1, &app("{name: b, instances: 2}"), None);
        assert_eq!(changes.len(), 2);
        assert!(changes.iter().all(|change| change.op == "add"));
        assert_eq!(changes[0].path, "/applications/1/name");
    }
}
