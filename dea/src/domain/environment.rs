//! The environment of an instance (contract §5.8).
//!
//! Three layers: what the system gives and a user may replace (`PATH`, `LANG`, `DATABASE_URL`…), what the user set,
//! and what describes the instance itself and must be true (`PORT`, `VCAP_*`, `CF_INSTANCE_*`),
//! which nobody replaces.
//!
//! `LANG` is `C.UTF-8`, not Cloud Foundry's `en_US.UTF-8`: the stack `host` is a Debian that may
//! have generated no locale, and Perl complains at every start about one that is missing.

use super::probe::APP_PORT;
use proto::bus::dea::StartInstance;
use proto::bus::stream::RunTask;
use proto::ids::InstanceId;
use proto::{ports, services};
use serde_json::{Value, json};
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
    environment.extend(services::variables(&start.services));
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

/// Where a task runs.
#[derive(Debug, Clone)]
pub struct TaskPlace<'a> {
    /// Address of the machine.
    pub host: Ipv4Addr,
    /// Its own address.
    pub address: Ipv4Addr,
    /// Where its command begins.
    pub folder: &'a str,
}

/// The environment of a task: what the request says, over the defaults. One with an app's droplet is at home
/// where instances are, and knows where it is; it has no port, for nobody asks it anything.
pub fn of_task(request: &RunTask, place: &TaskPlace<'_>) -> BTreeMap<String, String> {
    let of_app = request.droplet.is_some();
    let mut environment = if of_app {
        defaults(&format!("{HOME}/app"))
    } else {
        let mut environment = defaults(HOME);
        environment.remove("DEPS_DIR");
        environment.insert("TMPDIR".into(), "/tmp".into());
        environment
    };
    environment.insert("CF_STACK".into(), request.stack.clone());
    environment.insert("MEMORY_LIMIT".into(), format!("{}m", request.memory_mb));
    for entry in &request.environment {
        if let Some((name, value)) = entry.split_once('=')
            && !name.is_empty()
        {
            environment.insert(name.to_string(), value.replace('\0', ""));
        }
    }
    environment.insert("PWD".into(), place.folder.to_string());
    if of_app {
        for (name, value) in [
            ("INSTANCE_GUID", request.task.clone()),
            ("CF_INSTANCE_GUID", request.task.clone()),
            ("CF_INSTANCE_IP", place.host.to_string()),
            ("CF_INSTANCE_INTERNAL_IP", place.address.to_string()),
        ] {
            environment.insert(name.to_string(), value);
        }
    }
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
        // Where programs find whom this machine trusts; the stack shows it at its own place.
        ("CF_SYSTEM_CERT_PATH", "/etc/ssl/certs"),
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
    set(
        "VCAP_SERVICES",
        services::vcap_services(&start.services).to_string(),
    );
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
    let uris: Vec<&str> = start.uris.iter().map(|uri| ports::shown(uri)).collect();
    let known = [
        (
            "limits",
            json!({"mem": start.limits.mem, "disk": start.limits.disk, "fds": start.limits.fds}),
        ),
        ("application_name", json!(start.name)),
        ("name", json!(start.name)),
        ("application_uris", json!(uris)),
        ("uris", json!(uris)),
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
    fn a_task_of_an_app_is_at_home_where_its_instances_are() {
        let mut request = RunTask {
            task: "t1".into(),
            stack: "host".into(),
            memory_mb: 64,
            environment: vec!["TMPDIR=/mine".into(), "PWD=/nowhere".into(), "=x".into()],
            ..RunTask::default()
        };
        let place = TaskPlace {
            host: Ipv4Addr::new(10, 0, 0, 1),
            address: Ipv4Addr::new(10, 0, 0, 7),
            folder: "/home/vcap/app",
        };
        let staging = of_task(&request, &place);
        assert_eq!(staging["HOME"], HOME);
        assert!(!staging.contains_key("DEPS_DIR") && !staging.contains_key("CF_INSTANCE_GUID"));
        request.droplet = Some(Default::default());
        let task = of_task(&request, &place);
        for (name, value) in [
            ("HOME", "/home/vcap/app"),
            ("PWD", "/home/vcap/app"),
            ("DEPS_DIR", "/home/vcap/deps"),
            ("TMPDIR", "/mine"),
            ("MEMORY_LIMIT", "64m"),
            ("CF_INSTANCE_GUID", "t1"),
            ("CF_INSTANCE_INTERNAL_IP", "10.0.0.7"),
        ] {
            assert_eq!(task[name], value, "{name}");
        }
        assert!(!task.contains_key("PORT") && !task.contains_key(""));
    }

    /// Every row of the contract's table.
    #[test]
    fn an_instance_knows_where_and_who_it_is() {
        let environment = built(&start());
        for (name, value) in [
            ("HOME", "/home/vcap/app"),
            ("TMPDIR", "/home/vcap/tmp"),
            ("USER", "vcap"),
            ("PATH", PATH),
            ("LANG", "C.UTF-8"),
            ("PWD", "/home/vcap/app"),
            ("PORT", "8080"),
            ("VCAP_APP_PORT", "8080"),
            ("VCAP_APP_HOST", "0.0.0.0"),
            ("MEMORY_LIMIT", "256m"),
            ("CF_INSTANCE_INDEX", "2"),
            ("CF_INSTANCE_IP", "10.0.0.1"),
            ("CF_INSTANCE_PORT", "61001"),
            ("CF_INSTANCE_ADDR", "10.0.0.1:61001"),
            (
                "CF_INSTANCE_PORTS",
                r#"[{"external":61001,"internal":8080}]"#,
            ),
            ("CF_INSTANCE_GUID", "i1"),
            ("CF_INSTANCE_INTERNAL_IP", "10.0.0.7"),
            ("CF_SYSTEM_CERT_PATH", "/etc/ssl/certs"),
            ("INSTANCE_GUID", "i1"),
            ("INSTANCE_INDEX", "2"),
            ("DEPS_DIR", "/home/vcap/deps"),
            ("VCAP_SERVICES", "{}"),
        ] {
            assert_eq!(
                environment.get(name).map(String::as_str),
                Some(value),
                "{name}"
            );
        }
        assert!(!environment.contains_key("DATABASE_URL"));
    }

    #[test]
    fn vcap_application_has_every_member_also_when_the_controller_sent_few() {
        let application = |environment: &BTreeMap<String, String>| -> Value {
            serde_json::from_str(&environment["VCAP_APPLICATION"]).expect("JSON")
        };
        let mut message = start();
        message.vcap_application = json!({"space_name": "dev", "application_name": "sent"});
        let seen = application(&built(&message));
        for (name, value) in [
            ("limits", json!({"mem": 256, "disk": 512, "fds": 16384})),
            ("application_id", json!("app-1")),
            ("application_name", json!("sent")),
            ("name", json!("shop")),
            ("application_version", json!("version-1")),
            ("version", json!("version-1")),
            ("application_uris", json!(["shop.yard.internal"])),
            ("uris", json!(["shop.yard.internal"])),
            ("space_name", json!("dev")),
            ("process_id", json!("process-1")),
            ("process_type", json!("web")),
            ("users", Value::Null),
            ("instance_id", json!("i1")),
            ("instance_index", json!(2)),
            ("host", json!("0.0.0.0")),
            ("port", json!(8080)),
            ("started_at", json!("2023-11-14 22:13:20 +0000")),
            ("started_at_timestamp", json!(1_700_000_000)),
            ("start", json!("2023-11-14 22:13:20 +0000")),
            ("state_timestamp", json!(1_700_000_000)),
        ] {
            assert_eq!(seen.get(name), Some(&value), "{name}");
        }
        message.vcap_application = json!({"instance_index": 9, "port": 1});
        let seen = application(&built(&message));
        assert_eq!(
            (&seen["instance_index"], &seen["port"]),
            (&json!(2), &json!(8080))
        );
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
    fn a_bound_database_is_named_and_a_user_may_name_another() {
        let mut message = start();
        message.services = vec![
            json!({"label": "pg", "name": "a", "credentials": {"uri": "postgresql://u:p@h/a"}}),
        ];
        let environment = built(&message);
        assert_eq!(environment["DATABASE_URL"], "postgres://u:p@h/a");
        let services: Value = serde_json::from_str(&environment["VCAP_SERVICES"]).expect("JSON");
        assert_eq!(services["pg"][0]["name"], "a");
        assert_eq!(
            environment["STACKATO_SERVICES"],
            r#"{"a":{"uri":"postgresql://u:p@h/a"}}"#
        );
        assert_eq!(environment["SERVICE_BINDING_ROOT"], services::BINDING_ROOT);
        message.env = vec!["DATABASE_URL=mine".into()];
        assert_eq!(built(&message)["DATABASE_URL"], "mine");
    }
}
