//! Service bindings as an app sees them, while it is staged, while it runs, and in its tasks (contract
//! §5.8): variables, and files as servicebinding.io lays them out.
//!
//! A binding travels as the JSON object that its broker or its user and the controller made of it.
//! Libraries index into it without looking, so every member of the contract is there, empty if nobody
//! gave it.
//!
//! What a newcomer gets wrong: the variables that name an address (`DATABASE_URL`, `REDIS_URL`…) are there
//! only if there is exactly one service they can mean. With two, an app that took the first would work until
//! somebody binds in another order.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The label of what a user bound without a broker.
pub const USER_PROVIDED: &str = "user-provided";
/// Where the files of the bindings are in a container.
pub const BINDING_ROOT: &str = "/etc/cf-service-bindings";
/// The mode of each of them: the app's user reads it, nobody else does.
pub const FILE_MODE: u32 = 0o400;

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

/// What a service is, as far as its address tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mysql,
    Postgresql,
    Mongodb,
    Redis,
    Rabbitmq,
    Memcached,
}

impl Kind {
    const ALL: [Kind; 6] = [
        Kind::Mysql,
        Kind::Postgresql,
        Kind::Mongodb,
        Kind::Redis,
        Kind::Rabbitmq,
        Kind::Memcached,
    ];

    fn of_scheme(scheme: &str) -> Option<Kind> {
        Some(match scheme {
            "mysql" | "mysql2" => Kind::Mysql,
            "postgres" | "postgresql" => Kind::Postgresql,
            "mongodb" | "mongodb+srv" => Kind::Mongodb,
            "redis" | "rediss" => Kind::Redis,
            "amqp" | "amqps" => Kind::Rabbitmq,
            "memcache" | "memcached" => Kind::Memcached,
            _ => return None,
        })
    }

    fn variable(self) -> &'static str {
        match self {
            Kind::Mysql => "MYSQL_URL",
            Kind::Postgresql => "POSTGRESQL_URL",
            Kind::Mongodb => "MONGODB_URL",
            Kind::Redis => "REDIS_URL",
            Kind::Rabbitmq => "RABBITMQ_URL",
            Kind::Memcached => "MEMCACHE_URL",
        }
    }

    /// As servicebinding.io calls it.
    fn type_name(self) -> &'static str {
        match self {
            Kind::Mysql => "mysql",
            Kind::Postgresql => "postgresql",
            Kind::Mongodb => "mongodb",
            Kind::Redis => "redis",
            Kind::Rabbitmq => "rabbitmq",
            Kind::Memcached => "memcached",
        }
    }

    /// The scheme that frameworks expect of a relational database.
    fn relational_scheme(self) -> Option<&'static str> {
        match self {
            Kind::Mysql => Some("mysql2"),
            Kind::Postgresql => Some("postgres"),
            Kind::Mongodb | Kind::Redis | Kind::Rabbitmq | Kind::Memcached => None,
        }
    }
}

/// The address in the credentials of a binding: what it is, the whole, and what follows `://`.
fn address(binding: &Value) -> Option<(Kind, &str, &str)> {
    let credentials = binding.get("credentials")?;
    let uri = credentials
        .get("uri")
        .or_else(|| credentials.get("url"))?
        .as_str()?;
    let (scheme, rest) = uri.split_once("://")?;
    Some((Kind::of_scheme(scheme)?, uri, rest))
}

fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// The address of the one relational database that is bound, with the scheme that frameworks expect.
pub fn database_url(bindings: &[Value]) -> Option<String> {
    let (scheme, rest) = only(
        bindings
            .iter()
            .filter_map(address)
            .filter_map(|(kind, _, rest)| Some((kind.relational_scheme()?, rest))),
    )?;
    Some(format!("{scheme}://{rest}"))
}

/// The variables beside `VCAP_SERVICES`: what is bound by name, addresses, and where the files are. A user
/// may set others in their places.
pub fn variables(bindings: &[Value]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if bindings.is_empty() {
        return variables;
    }
    let by_name: Map<String, Value> = bindings
        .iter()
        .filter_map(Value::as_object)
        .map(complete)
        .filter_map(|binding| {
            let name = binding["name"].as_str()?.to_string();
            Some((name, binding["credentials"].clone()))
        })
        .collect();
    let mut set = |name: &str, value: String| variables.insert(name.to_string(), value);
    set("STACKATO_SERVICES", Value::Object(by_name).to_string());
    set("SERVICE_BINDING_ROOT", BINDING_ROOT.to_string());
    for kind in Kind::ALL {
        let of_kind = bindings
            .iter()
            .filter_map(address)
            .filter(|(found, _, _)| *found == kind);
        if let Some((_, uri, _)) = only(of_kind) {
            set(kind.variable(), uri.to_string());
        }
    }
    if let Some(url) = database_url(bindings) {
        set("DATABASE_URL", url);
    }
    variables
}

/// A file of a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingFile {
    /// Absolute, in the container.
    pub path: String,
    pub content: Vec<u8>,
}

/// The files of the bindings: a folder for each, a file for each of its credentials, and `type`, which
/// libraries look at first. Credentials whose names cannot be those of files are in the variables only.
pub fn files(bindings: &[Value]) -> Vec<BindingFile> {
    let mut taken = BTreeSet::new();
    let mut files = Vec::new();
    for value in bindings {
        let Some(binding) = value.as_object().map(complete) else {
            continue;
        };
        let folder = free_folder(binding["name"].as_str().unwrap_or_default(), &mut taken);
        for (name, content) in entries(value, &binding) {
            files.push(BindingFile {
                path: format!("{BINDING_ROOT}/{folder}/{name}"),
                content: content.into_bytes(),
            });
        }
    }
    files
}

fn entries(given: &Value, binding: &Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let label = text(&binding["label"]);
    let kind = address(given).map(|(kind, _, _)| kind.type_name().to_string());
    let mut entries = BTreeMap::from([
        ("type".to_string(), kind.unwrap_or_else(|| label.clone())),
        ("provider".to_string(), label.clone()),
        ("label".to_string(), label),
        ("tags".to_string(), text(&binding["tags"])),
    ]);
    for (file, member) in [
        ("name", "name"),
        ("binding-guid", "binding_guid"),
        ("binding-name", "binding_name"),
        ("instance-guid", "instance_guid"),
        ("instance-name", "instance_name"),
        ("plan", "plan"),
    ] {
        if let Some(Value::String(value)) = binding.get(member) {
            entries.insert(file.to_string(), value.clone());
        }
    }
    let credentials = binding["credentials"].as_object().into_iter().flatten();
    for (name, value) in credentials.filter(|(name, _)| is_file_name(name)) {
        entries.insert(name.clone(), text(value));
    }
    entries
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// A name for the folder of a binding, which no other has: its own, with `-` for what no folder should have.
fn free_folder(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut stem: String = name
        .chars()
        .map(|letter| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => letter,
            _ => '-',
        })
        .take(200)
        .collect();
    if stem.is_empty() || stem.starts_with('.') {
        stem.insert(0, '-');
    }
    let mut folder = stem.clone();
    let mut number = 2;
    while !taken.insert(folder.clone()) {
        folder = format!("{stem}-{number}");
        number += 1;
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_uri(name: &str, uri: &str) -> Value {
        json!({"instance_name": name, "credentials": {"uri": uri}})
    }

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
    fn the_only_relational_database_is_named() {
        let url = |uris: &[&str]| {
            let bindings: Vec<Value> = uris.iter().map(|uri| with_uri("a", uri)).collect();
            database_url(&bindings)
        };
        assert_eq!(
            url(&["redis://x", "postgresql://u:p@h/a"]).as_deref(),
            Some("postgres://u:p@h/a")
        );
        assert_eq!(url(&["mysql://h/b"]).as_deref(), Some("mysql2://h/b"));
        assert_eq!(url(&["postgresql://u:p@h/a", "mysql://h/b"]), None);
        assert_eq!(url(&["redis://x", "no url"]), None);
        assert_eq!(database_url(&[json!({"credentials": {}}), json!({})]), None);
    }

    #[test]
    fn an_address_has_a_variable_if_it_is_the_only_one_of_its_kind() {
        let variables = variables(&[
            with_uri("db", "postgres://u:p@h/a"),
            with_uri("cache", "redis://one"),
            with_uri("queue", "amqps://q"),
            with_uri("other", "redis://two"),
            json!({"instance_name": "api", "binding_name": "partner", "credentials": {"token": "t"}}),
        ]);
        let all: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            all,
            [
                ("DATABASE_URL", "postgres://u:p@h/a"),
                ("POSTGRESQL_URL", "postgres://u:p@h/a"),
                ("RABBITMQ_URL", "amqps://q"),
                ("SERVICE_BINDING_ROOT", BINDING_ROOT),
                (
                    "STACKATO_SERVICES",
                    r#"{"cache":{"uri":"redis://one"},"db":{"uri":"postgres://u:p@h/a"},"other":{"uri":"redis://two"},"partner":{"token":"t"},"queue":{"uri":"amqps://q"}}"#
                ),
            ]
        );
        assert_eq!(super::variables(&[]), BTreeMap::new());
    }

    #[test]
    fn each_binding_has_a_folder_of_its_own_below_the_root() {
        let files = files(&[
            json!({
                "instance_name": "my db", "instance_guid": "i", "binding_guid": "b", "tags": ["sql"],
                "credentials": {"uri": "postgresql://h/a", "port": 5432, "../../passwd": "x", ".": "y", "type": "mine"},
            }),
            json!({"instance_name": "my/db", "credentials": {"password": "p"}}),
            json!({"instance_name": "..", "credentials": {}}),
        ]);
        let content = |path: &str| {
            let path = format!("{BINDING_ROOT}/{path}");
            let file = files.iter().find(|file| file.path == path);
            file.map(|file| String::from_utf8_lossy(&file.content).into_owned())
        };
        for (path, expected) in [
            ("my-db/type", "mine"),
            ("my-db/provider", USER_PROVIDED),
            ("my-db/uri", "postgresql://h/a"),
            ("my-db/port", "5432"),
            ("my-db/tags", r#"["sql"]"#),
            ("my-db/instance-guid", "i"),
            ("my-db/instance-name", "my db"),
            ("my-db-2/password", "p"),
            ("my-db-2/type", USER_PROVIDED),
            ("-../type", USER_PROVIDED),
        ] {
            assert_eq!(content(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(content("my-db/binding-name"), None);
        assert!(
            files
                .iter()
                .all(|file| !file.path.contains("/../") && !file.path.ends_with("/."))
        );
        let typed = super::files(&[with_uri("a", "mysql://h/b")]);
        let kind = typed
            .iter()
            .find(|file| file.path.ends_with("/a/type"))
            .expect("a type");
        assert_eq!(kind.content, b"mysql");
    }
}
