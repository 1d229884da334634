//! The environment of an instance (contract §5.8).
//!
//! Three layers: what the system gives and a user may replace (`PATH`, `LANG`…), what the user set,
//! and what describes the instance itself and must be true (`PORT`, `VCAP_*`, `CF_INSTANCE_*`),
//! which nobody replaces.
//!
//! `LANG` is `C.UTF-8`, not Cloud Foundry's `en_US.UTF-8`: the stack `host` is a Debian that may
//! have generated no locale, and Perl complains at every start about one that is missing.

use super::probe::APP_PORT;
use proto::bus::dea::StartInstance;
use proto::ids::InstanceId;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use time::OffsetDateTime;

pub const HOME: &str = "/home/vcap";
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Where an instance lives.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    pub instance: &'a InstanceId,
    /// Address others reach it at …
    pub host: Ipv4Addr,
    /// … and the port, if one is mapped.
    pub host_port: Option<u16>,
    /// Its own address.
    pub address: Ipv4Addr,
    /// Unix seconds.
    pub started_at: f64,
}

/// The whole environment, in order of names.
pub fn build(start: &StartInstance, place: &Place<'_>) -> BTreeMap<String, String> {
    let mut environment = defaults(&format!("{HOME}/app"));
    if let Some(url) = database_url(&start.services) {
        environment.insert("DATABASE_URL".into(), url);
    }
    for entry in &start.env {
        if let Some((name, value)) = entry.split_once('=')
            && allowed(name)
        {
            environment.insert(name.to_string(), value.replace('\0', ""));
        }
    }
    environment.extend(facts(start, place));
    environment
}

/// What every process of the user `vcap` gets; `home` is its home.
pub fn defaults(home: &str) -> BTreeMap<String, String> {
    [
        ("HOME", home),
        ("PWD", home),
        ("USER", "vcap"),
        ("LOGNAME", "vcap"),
        ("SHELL", "/bin/bash"),
        ("PATH", PATH),
        ("LANG", "C.UTF-8"),
        ("TMPDIR", "/home/vcap/tmp"),
        ("DEPS_DIR", "/home/vcap/deps"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .collect()
}

/// Whether a user may set it. The API refuses the reserved ones too; this is for commands that did
/// not come through it.
pub fn allowed(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    !name.is_empty()
        && !name.contains('\0')
        && upper != "PORT"
        && !["VCAP_", "VMC", "CF_INSTANCE_"]
            .iter()
            .any(|prefix| upper.starts_with(prefix))
}

fn facts(start: &StartInstance, place: &Place<'_>) -> BTreeMap<String, String> {
    let mut facts: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        facts.insert(name.to_string(), value);
    };
    set("PORT", APP_PORT.to_string());
    set("VCAP_APP_PORT", APP_PORT.to_string());
    set("VCAP_APP_HOST", "0.0.0.0".into());
    set("MEMORY_LIMIT", format!("{}m", start.limits.mem));
    set("INSTANCE_GUID", place.instance.to_string());
    set("INSTANCE_INDEX", start.index.to_string());
    set("CF_STACK", start.stack.clone());
    set("CF_INSTANCE_GUID", place.instance.to_string());
    set("CF_INSTANCE_INDEX", start.index.to_string());
    set("CF_INSTANCE_IP", place.host.to_string());
    set("CF_INSTANCE_INTERNAL_IP", place.address.to_string());
    let ports = match place.host_port {
        Some(port) => {
            set("CF_INSTANCE_PORT", port.to_string());
            set("CF_INSTANCE_ADDR", format!("{}:{port}", place.host));
            json!([{"external": port, "internal": APP_PORT}])
        }
        None => json!([]),
    };
    set("CF_INSTANCE_PORTS", ports.to_string());
    set("VCAP_APPLICATION", application(start, place).to_string());
    set("VCAP_SERVICES", services(&start.services).to_string());
    facts
}

/// `VCAP_APPLICATION`: what the controller sent, and what only the agent knows.
fn application(start: &StartInstance, place: &Place<'_>) -> Value {
    let mut fields = start
        .vcap_application
        .as_object()
        .cloned()
        .unwrap_or_default();
    let seconds = place.started_at.max(0.0) as i64;
    let started = timestamp(seconds);
    let known = [
        (
            "limits",
            json!({"mem": start.limits.mem, "disk": start.limits.disk, "fds": start.limits.fds}),
        ),
        ("application_name", json!(start.name)),
        ("name", json!(start.name)),
        ("application_uris", json!(start.uris)),
        ("uris", json!(start.uris)),
        ("application_version", json!(start.version)),
        ("version", json!(start.version)),
        ("process_id", json!(start.droplet)),
        (
            "process_type",
            json!(start.yard_process_type.as_deref().unwrap_or("web")),
        ),
        (
            "application_id",
            json!(start.yard_app.as_deref().unwrap_or(start.droplet.as_str())),
        ),
        ("users", Value::Null),
    ];
    for (name, value) in known {
        fields.entry(name.to_string()).or_insert(value);
    }
    let own = [
        ("instance_id", json!(place.instance)),
        ("instance_index", json!(start.index)),
        ("host", json!("0.0.0.0")),
        ("port", json!(APP_PORT)),
        ("started_at", json!(started)),
        ("started_at_timestamp", json!(seconds)),
        ("start", json!(started)),
        ("state_timestamp", json!(seconds)),
    ];
    for (name, value) in own {
        fields.insert(name.to_string(), value);
    }
    Value::Object(fields)
}

/// `VCAP_SERVICES`: bindings by label.
pub fn services(bindings: &[Value]) -> Value {
    let mut labels: Map<String, Value> = Map::new();
    for binding in bindings {
        let label = binding
            .get("label")
            .and_then(Value::as_str)
            .unwrap_or("user-provided");
        let list = labels.entry(label.to_string()).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(binding.clone());
        }
    }
    Value::Object(labels)
}

/// The URL of the first relational database bound, with the schemes frameworks expect.
fn database_url(bindings: &[Value]) -> Option<String> {
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

/// `YYYY-MM-DD HH:MM:SS +0000`
fn timestamp(unix_seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(unix_seconds) {
        Ok(at) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} +0000",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        ),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::tests::start;

    fn built(start: &StartInstance) -> BTreeMap<String, String> {
        let instance = InstanceId::new("i1").expect("an id");
        build(
            start,
            &Place {
                instance: &instance,
                host: Ipv4Addr::new(10, 0, 0, 1),
                host_port: Some(61001),
                address: Ipv4Addr::new(10, 0, 0, 7),
                started_at: 1_700_000_000.9,
            },
        )
    }

    #[test]
    fn an_instance_knows_where_and_who_it_is() {
        let environment = built(&start());
        for (name, value) in [
            ("PORT", "8080"),
            ("VCAP_APP_HOST", "0.0.0.0"),
            ("MEMORY_LIMIT", "256m"),
            ("HOME", "/home/vcap/app"),
            ("USER", "vcap"),
            ("CF_INSTANCE_INDEX", "2"),
            ("CF_INSTANCE_ADDR", "10.0.0.1:61001"),
            ("CF_INSTANCE_INTERNAL_IP", "10.0.0.7"),
            (
                "CF_INSTANCE_PORTS",
                r#"[{"external":61001,"internal":8080}]"#,
            ),
            ("VCAP_SERVICES", "{}"),
        ] {
            assert_eq!(
                environment.get(name).map(String::as_str),
                Some(value),
                "{name}"
            );
        }
        let application: Value =
            serde_json::from_str(&environment["VCAP_APPLICATION"]).expect("JSON");
        assert_eq!(application["space_name"], "dev");
        assert_eq!(application["instance_index"], 2);
        assert_eq!(application["application_id"], "app-1");
        assert_eq!(application["started_at"], "2023-11-14 22:13:20 +0000");
        assert_eq!(application["limits"]["mem"], 256);
    }

    #[test]
    fn a_user_replaces_defaults_but_not_facts() {
        let mut message = start();
        message.env = [
            "LANG=de_DE.UTF-8",
            "PORT=1",
            "vcap_application={}",
            "CF_INSTANCE_INDEX=9",
            "EMPTY=",
            "EQUALS=a=b",
            "nonsense",
            "=x",
        ]
        .map(str::to_string)
        .to_vec();
        let environment = built(&message);
        assert_eq!(environment["LANG"], "de_DE.UTF-8");
        assert_eq!(environment["PORT"], "8080");
        assert!(!environment.contains_key("vcap_application"));
        assert_eq!(environment["CF_INSTANCE_INDEX"], "2");
        assert_eq!(environment["EMPTY"], "");
        assert_eq!(environment["EQUALS"], "a=b");
        assert!(!environment.contains_key("nonsense") && !environment.contains_key(""));
    }

    #[test]
    fn services_are_grouped_and_the_first_database_is_named() {
        let mut message = start();
        message.services = vec![
            json!({"label": "redis", "name": "r", "credentials": {"uri": "redis://x"}}),
            json!({"label": "pg", "name": "a", "credentials": {"uri": "postgresql://u:p@h/a"}}),
            json!({"label": "pg", "name": "b", "credentials": {"uri": "postgres://u:p@h/b"}}),
            json!({"name": "mine", "credentials": {}}),
        ];
        let environment = built(&message);
        assert_eq!(environment["DATABASE_URL"], "postgres://u:p@h/a");
        let services: Value = serde_json::from_str(&environment["VCAP_SERVICES"]).expect("JSON");
        assert_eq!(services["pg"][1]["name"], "b");
        assert_eq!(services["user-provided"][0]["name"], "mine");
        message.env = vec!["DATABASE_URL=mine".into()];
        assert_eq!(built(&message)["DATABASE_URL"], "mine");
    }
}
