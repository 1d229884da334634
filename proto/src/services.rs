//! Service bindings as an app sees them, while it is staged and while it runs (contract §5.8):
//! `VCAP_SERVICES` and `DATABASE_URL`.
//!
//! A binding travels as the JSON object its broker and the controller made of it. Libraries index
//! into it without looking, so every member of the contract is there, empty if nobody gave it.

use serde_json::{Map, Value, json};

/// The label of what a user bound without a broker.
const USER_PROVIDED: &str = "user-provided";

/// The value of `VCAP_SERVICES`: bindings by label, in their order.
pub fn vcap_services(bindings: &[Value]) -> Value {
    let mut labels: Map<String, Value> = Map::new();
    for binding in bindings.iter().filter_map(Value::as_object) {
        let binding = complete(binding);
        let label = binding["label"].as_str().unwrap_or(USER_PROVIDED);
        let list = labels.entry(label).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(Value::Object(binding));
        }
    }
    Value::Object(labels)
}

fn complete(given: &Map<String, Value>) -> Map<String, Value> {
    let text = |name: &str| given.get(name).filter(|value| value.is_string()).cloned();
    let label = text("label").unwrap_or_else(|| json!(USER_PROVIDED));
    let name = text("binding_name")
        .or_else(|| text("instance_name"))
        .unwrap_or_default();
    let mut members = vec![
        ("binding_guid", Value::Null),
        ("binding_name", Value::Null),
        ("instance_guid", Value::Null),
        (
            "instance_name",
            text("name").unwrap_or_else(|| name.clone()),
        ),
        ("name", name),
        ("tags", json!([])),
        ("credentials", json!({})),
        ("syslog_drain_url", Value::Null),
        ("volume_mounts", json!([])),
    ];
    if label != USER_PROVIDED {
        members.extend([("plan", Value::Null), ("provider", Value::Null)]);
    }
    let mut whole = given.clone();
    whole.insert("label".to_string(), label);
    for (name, value) in members {
        whole.entry(name).or_insert(value);
    }
    whole
}

/// The URL of the first relational database bound, with the schemes frameworks expect.
pub fn database_url(bindings: &[Value]) -> Option<String> {
    bindings.iter().find_map(|binding| {
        let credentials = binding.get("credentials")?;
        let uri = credentials
            .get("uri")
            .or_else(|| credentials.get("url"))?
            .as_str()?;
        let (scheme, rest) = uri.split_once("://")?;
        let scheme = match scheme {
            "mysql" | "mysql2" => "mysql2",
            "postgres" | "postgresql" => "postgres",
            _ => return None,
        };
        Some(format!("{scheme}://{rest}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_grouped_and_every_member_is_there() {
        let services = vcap_services(&[
            json!({"label": "pg", "instance_name": "a", "plan": "small", "credentials": {"uri": "x"}}),
            json!({"label": "pg", "name": "b", "binding_name": null}),
            json!({"name": "mine", "syslog_drain_url": "syslog://x"}),
            json!("no binding"),
        ]);
        let first = services["pg"][0].as_object().expect("a binding");
        for member in [
            "binding_guid",
            "binding_name",
            "instance_guid",
            "instance_name",
            "name",
            "label",
            "plan",
            "provider",
            "tags",
            "credentials",
            "syslog_drain_url",
            "volume_mounts",
        ] {
            assert!(first.contains_key(member), "{member}");
        }
        assert_eq!(
            (&first["name"], &first["plan"]),
            (&json!("a"), &json!("small"))
        );
        assert_eq!(services["pg"][1]["instance_name"], "b");
        let own = &services[USER_PROVIDED][0];
        assert_eq!((&own["name"], &own["tags"]), (&json!("mine"), &json!([])));
        assert_eq!(own.get("plan"), None);
        assert_eq!(services.as_object().expect("labels").len(), 2);
        assert_eq!(vcap_services(&[]), json!({}));
    }

    #[test]
    fn the_first_relational_database_is_named() {
        let binding = |uri: &str| json!({"credentials": {"uri": uri}});
        let url = |uris: &[&str]| {
            let bindings: Vec<Value> = uris.iter().map(|uri| binding(uri)).collect();
            database_url(&bindings)
        };
        assert_eq!(
            url(&["redis://x", "postgresql://u:p@h/a", "mysql://h/b"]).as_deref(),
            Some("postgres://u:p@h/a")
        );
        assert_eq!(url(&["mysql://h/b"]).as_deref(), Some("mysql2://h/b"));
        assert_eq!(url(&["redis://x", "no url"]), None);
        assert_eq!(database_url(&[json!({"credentials": {}}), json!({})]), None);
    }
}
