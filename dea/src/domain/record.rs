//! What an agent writes down about a sandbox, so that its successor can go on with it.
//!
//! The record is the sandbox's label: it lives and dies with the sandbox, so there is no list of
//! instances that could disagree with what runs. It is written before the step it announces (the
//! state `starting` before the orders), so that a successor errs on the side of looking.

use super::Now;
use super::capacity::Resources;
use super::crash::{Ending, Whose};
use super::instance::{Effects, Instance, State, Terms};
use super::pack::PackKey;
use proto::bus::dea::StartInstance;
use proto::bus::router::{Registration, RouteTerms};
use proto::ids::{DeaId, InstanceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    Instance(Box<InstanceRecord>),
    Task(TaskRecord),
    Pack(PackRecord),
    Sensor(SensorRecord),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRecord {
    pub instance: InstanceId,
    /// A second id that only routers learn: the value of sticky cookies.
    pub private_id: String,
    pub start: StartInstance,
    /// The names it has now; `start.uris` are those it began with.
    pub uris: Vec<String>,
    /// The terms of those that have others than the usual ones.
    #[serde(default)]
    pub terms: BTreeMap<String, RouteTerms>,
    pub state: SavedState,
    /// Unix seconds of the last change of state.
    pub since: f64,
    /// Unix seconds.
    pub accepted_at: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedState {
    /// Its orders were given, or just about to be.
    Starting,
    Running,
    Stopping,
    Crashed(Ending),
}

impl SavedState {
    /// What a successor is to know of an instance.
    pub fn of(machine: &Instance) -> SavedState {
        match machine.state() {
            State::Born | State::Starting { .. } => SavedState::Starting,
            State::Running { .. } => SavedState::Running,
            State::Stopping { .. } | State::Stopped => SavedState::Stopping,
            State::Crashed { ending, .. } => SavedState::Crashed(ending.clone()),
        }
    }

    /// The instance as a restarted agent takes it over. One that was stopping is to be told to once more.
    pub fn adopt(&self, terms: Terms, since: f64, now: Now) -> (Instance, Effects) {
        match self {
            SavedState::Starting => Instance::adopted_starting(terms, since, now),
            SavedState::Running => Instance::adopted_running(terms, since, now),
            // No route leads to it any more.
            SavedState::Stopping => (Instance::adopted_running(terms, since, now).0, vec![]),
            SavedState::Crashed(ending) => (
                Instance::adopted_crashed(terms, ending.clone(), now),
                vec![],
            ),
        }
    }
}

/// A task that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// `RunTask`, encoded, as hex digits.
    pub request: String,
    /// Unix seconds.
    pub started_at: f64,
    /// Its command may have been started. Of a record that does not tell, it may.
    #[serde(default = "may_have_begun")]
    pub ordered: bool,
}

fn may_have_begun() -> bool {
    true
}

/// A sandbox of a pack that was given its host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackRecord {
    pub key: PackKey,
    /// It has a host of shell actions; those of older agents have none.
    #[serde(default)]
    pub shell_host: bool,
}

/// A sandbox of a sensor that was given its program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SensorRecord {
    /// `RunSensor`, encoded, as hex digits.
    pub request: String,
    /// Restarts before this life, and how the last one ended.
    pub restarts: u32,
    pub last_exit: String,
    /// Unix seconds.
    pub started_at: f64,
}

impl Record {
    /// The label's text.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a record has text keys only")
    }

    /// `None`: no label of ours.
    pub fn of_text(text: &str) -> Option<Record> {
        serde_json::from_str(text).ok()
    }
}

impl InstanceRecord {
    /// The app it belongs to, also the source of its log lines.
    pub fn app(&self) -> &str {
        self.start
            .yard_app
            .as_deref()
            .unwrap_or(self.start.droplet.as_str())
    }

    pub fn process_type(&self) -> &str {
        self.start.yard_process_type.as_deref().unwrap_or("web")
    }

    pub fn limits(&self) -> Resources {
        Resources {
            memory_mb: self.start.limits.mem,
            disk_mb: self.start.limits.disk,
        }
    }

    pub fn whose(&self, dea: &DeaId) -> Whose {
        Whose {
            dea: dea.clone(),
            droplet: self.start.droplet.clone(),
            version: self.start.version.clone(),
            instance: self.instance.clone(),
            index: self.start.index,
            cc_partition: self.start.cc_partition.clone(),
        }
    }

    /// Tags of its log lines and metrics.
    pub fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::from([
            ("app_id".to_string(), self.app().to_string()),
            ("process_id".to_string(), self.start.droplet.to_string()),
            ("process_type".to_string(), self.process_type().to_string()),
            ("process_instance_id".to_string(), self.instance.to_string()),
            ("instance_id".to_string(), self.start.index.to_string()),
        ]);
        let names = [
            ("app_name", "application_name"),
            ("space_id", "space_id"),
            ("space_name", "space_name"),
            ("organization_id", "organization_id"),
            ("organization_name", "organization_name"),
        ];
        for (tag, field) in names {
            if let Some(value) = self
                .start
                .vcap_application
                .get(field)
                .and_then(|value| value.as_str())
            {
                tags.insert(tag.to_string(), value.to_string());
            }
        }
        tags.entry("app_name".to_string())
            .or_insert_with(|| self.start.name.clone());
        tags
    }

    /// What routers are told about these names of the instance.
    pub fn registration(
        &self,
        uris: Vec<String>,
        dea: &DeaId,
        zone: &str,
        host: &str,
        port: u16,
    ) -> Registration {
        let mut tags = self.tags();
        tags.insert("component".to_string(), "dea".to_string());
        Registration {
            uris,
            host: host.to_string(),
            port: Some(port),
            app: Some(self.app().to_string()),
            dea: Some(dea.to_string()),
            private_instance_id: Some(self.private_id.clone()),
            private_instance_index: Some(self.start.index.to_string()),
            tags,
            availability_zone: Some(zone.to_string()).filter(|zone| !zone.is_empty()),
            ..Registration::default()
        }
    }

    /// What routers are told about all names of the instance: a message for those on the same terms.
    pub fn registrations(
        &self,
        dea: &DeaId,
        zone: &str,
        host: &str,
        port: u16,
    ) -> Vec<Registration> {
        let usual = RouteTerms::default();
        let mut groups: Vec<(&RouteTerms, Vec<String>)> = Vec::new();
        for uri in &self.uris {
            let terms = self.terms.get(uri).unwrap_or(&usual);
            match groups.iter_mut().find(|(of, _)| *of == terms) {
                Some((_, uris)) => uris.push(uri.clone()),
                None => groups.push((terms, vec![uri.clone()])),
            }
        }
        groups
            .into_iter()
            .map(|(terms, uris)| Registration {
                protocol: terms.protocol.clone(),
                route_service_url: terms.route_service_url.clone(),
                options: terms.options.clone(),
                ..self.registration(uris, dea, zone, host, port)
            })
            .collect()
    }
}

/// What changes for the routers when an instance gets other names: to register, to unregister.
/// All of the new ones are registered (repeating one is free), only the lost ones withdrawn.
pub fn renamed(old: &[String], new: &[String]) -> (Vec<String>, Vec<String>) {
    let lost = old
        .iter()
        .filter(|uri| !new.contains(uri))
        .cloned()
        .collect();
    (new.to_vec(), lost)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proto::bus::dea::Limits;
    use proto::ids::{ProcessGuid, Version};

    pub(crate) fn start() -> StartInstance {
        StartInstance {
            droplet: ProcessGuid::new("process-1").expect("an id"),
            name: "shop".into(),
            stack: "host".into(),
            uris: vec!["shop.yard.internal".into()],
            prod: false,
            sha1: "0123456789abcdef0123456789abcdef01234567".into(),
            executable_file: String::new(),
            executable_uri: "http://127.0.0.1:1/droplet".into(),
            version: Version::new("version-1").expect("an id"),
            services: vec![],
            limits: Limits {
                mem: 256,
                disk: 512,
                fds: 16384,
            },
            env: vec![],
            cc_partition: None,
            start_command: "exec ./run".into(),
            health_check_timeout: None,
            vcap_application: serde_json::json!({"application_name": "shop", "space_name": "dev"}),
            index: 2,
            egress_network_rules: vec![],
            yard_sha256: None,
            yard_app: Some("app-1".into()),
            yard_process_type: None,
            yard_health_check: None,
            yard_instance: None,
            yard_epoch: None,
            yard_routes: BTreeMap::new(),
        }
    }

    pub(crate) fn record() -> InstanceRecord {
        InstanceRecord {
            instance: InstanceId::new("00112233445566778899aabbccddeeff").expect("an id"),
            private_id: "secret".into(),
            start: start(),
            uris: start().uris,
            terms: BTreeMap::new(),
            state: SavedState::Running,
            since: 10.0,
            accepted_at: 9.0,
        }
    }

    #[test]
    fn a_label_reads_back_and_a_strangers_is_none() {
        for record in [
            Record::Instance(Box::new(record())),
            Record::Task(TaskRecord {
                request: "00ff".into(),
                started_at: 1.5,
                ordered: true,
            }),
            Record::Pack(PackRecord {
                key: PackKey {
                    pack: "core".into(),
                    content: String::new(),
                    base: "0a".repeat(32),
                },
                shell_host: true,
            }),
            Record::Sensor(SensorRecord {
                request: "00".into(),
                restarts: 3,
                last_exit: "exit status 1".into(),
                started_at: 2.0,
            }),
        ] {
            assert_eq!(Record::of_text(&record.to_text()), Some(record));
        }
        assert_eq!(Record::of_text("{\"kind\":\"other\"}"), None);
        assert_eq!(Record::of_text(""), None);
    }

    #[test]
    fn a_registration_names_its_instance_as_routers_expect_it() {
        let registration = record().registration(
            vec!["a.b".into()],
            &DeaId::new("dea-1").expect("an id"),
            "z1",
            "10.0.0.1",
            61000,
        );
        assert_eq!(registration.private_instance_index.as_deref(), Some("2"));
        assert_eq!(registration.app.as_deref(), Some("app-1"));
        assert_eq!(registration.port, Some(61000));
        assert_eq!(registration.tags["space_name"], "dev");
        assert_eq!(registration.tags["process_id"], "process-1");
        assert_eq!(registration.availability_zone.as_deref(), Some("z1"));
    }

    #[test]
    fn names_on_other_terms_are_registered_apart() {
        let http2 = RouteTerms {
            protocol: Some("http2".into()),
            ..RouteTerms::default()
        };
        let record = InstanceRecord {
            uris: ["a", "grpc", "b", "grpc/x"].map(String::from).into(),
            terms: ["grpc", "grpc/x"]
                .map(|uri| (uri.to_string(), http2.clone()))
                .into(),
            ..record()
        };
        let dea = DeaId::new("dea-1").expect("an id");
        let told: Vec<(Vec<String>, Option<String>)> = record
            .registrations(&dea, "", "10.0.0.1", 61000)
            .into_iter()
            .map(|it| (it.uris, it.protocol))
            .collect();
        let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(
            told,
            [
                (names(&["a", "b"]), None),
                (names(&["grpc", "grpc/x"]), Some("http2".into()))
            ]
        );
    }

    #[test]
    fn only_lost_names_are_withdrawn() {
        let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(
            renamed(&names(&["a", "b"]), &names(&["b", "c"])),
            (names(&["b", "c"]), names(&["a"]))
        );
        assert_eq!(renamed(&names(&["a"]), &[]), (vec![], names(&["a"])));
    }
}
