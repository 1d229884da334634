//! The apps of the simulated users: the rows that say what is wanted, kept by the shared store of the
//! controllers, and how the programs behave.

use super::{EPOCH, Millis};
use proto::bus::dea::{HealthCheck, HealthCheckKind, Limits, StartInstance};
use proto::bus::health::{DesiredProcess, RecordedCrash};
use proto::ids::{InstanceId, ProcessGuid, Version};
use std::collections::BTreeMap;

/// How long crashes are kept for health managers that begin.
const KEEP_CRASHES: f64 = 24.0 * 3600.0;

/// The process that is asked under a name.
pub fn owner(name: &str) -> Option<&str> {
    name.strip_suffix(DOMAIN)
}

const DOMAIN: &str = ".yard.internal";

/// How a version of a program behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conduct {
    /// Longest time until it listens.
    pub boot: Millis,
    /// It ends by itself after at most this long.
    pub crashes_after: Option<Millis>,
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Id of the row.
    pub number: i64,
    pub version: Version,
    pub instances: u32,
    pub run: bool,
    pub memory_mb: u64,
    pub disk_mb: u64,
    /// No instance of this version was ever started.
    pub untried: bool,
    pub updated_at: f64,
    pub web: bool,
}

/// A change that was committed with the rows it is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    Changed(ProcessGuid),
    HandedOn(proto::bus::health::HealthRequest),
}

/// What is persisted, and the programs.
#[derive(Debug, Default)]
pub struct Apps {
    pub rows: BTreeMap<ProcessGuid, Row>,
    pub crashes: BTreeMap<InstanceId, RecordedCrash>,
    pub facts: Vec<Fact>,
    /// Facts the dispatcher has acted on.
    pub cursor: usize,
    /// The newest epoch of the dispatcher that wrote.
    pub fence: i64,
    conducts: BTreeMap<(ProcessGuid, Version), Conduct>,
    /// How many of 1000 sandboxes cannot be prepared.
    pub failing_preparations: u64,
    next: i64,
}

const WELL: Conduct = Conduct {
    boot: 200,
    crashes_after: None,
};

impl Apps {
    /// `per_mille` of the sandboxes cannot be prepared.
    pub fn failing(per_mille: u64) -> Apps {
        Apps {
            failing_preparations: per_mille,
            ..Apps::default()
        }
    }

    pub fn conduct(&self, process: &ProcessGuid, version: &Version) -> Conduct {
        self.conducts
            .get(&(process.clone(), version.clone()))
            .copied()
            .unwrap_or(WELL)
    }

    /// A new app with one process.
    pub fn push(&mut self, instances: u32, web: bool, memory_mb: u64, now: Millis) -> ProcessGuid {
        self.next += 1;
        let process = ProcessGuid::new(format!("process-{}", self.next)).expect("an id");
        let version = Version::new(format!("{}-1", self.next)).expect("an id");
        self.rows.insert(
            process.clone(),
            Row {
                number: self.next,
                version,
                instances,
                run: true,
                memory_mb,
                disk_mb: 64,
                untried: true,
                updated_at: 0.0,
                web,
            },
        );
        self.changed(&process, now);
        process
    }

    fn changed(&mut self, process: &ProcessGuid, now: Millis) {
        if let Some(row) = self.rows.get_mut(process) {
            row.updated_at = EPOCH + now as f64 / 1000.0;
        }
        self.facts.push(Fact::Changed(process.clone()));
    }

    pub fn scale(&mut self, process: &ProcessGuid, instances: u32, now: Millis) {
        if let Some(row) = self.rows.get_mut(process) {
            row.instances = instances;
            self.changed(process, now);
        }
    }

    pub fn run(&mut self, process: &ProcessGuid, run: bool, now: Millis) {
        if let Some(row) = self.rows.get_mut(process) {
            row.run = run;
            self.changed(process, now);
        }
    }

    pub fn remove(&mut self, process: &ProcessGuid) {
        self.rows.remove(process);
        self.facts.push(Fact::Changed(process.clone()));
    }

    /// Another version replaces the present one at once.
    pub fn replace(&mut self, process: &ProcessGuid, conduct: Conduct, now: Millis) {
        self.next += 1;
        let version = Version::new(format!("v-{}", self.next)).expect("an id");
        if let Some(row) = self.rows.get_mut(process) {
            row.version = version.clone();
            row.untried = true;
            self.conducts.insert((process.clone(), version), conduct);
            self.changed(process, now);
        }
    }

    /// Programs that crash stop doing so.
    pub fn mend(&mut self) {
        self.conducts.clear();
    }

    /// Whether any wanted program ends by itself.
    pub fn crash_loops(&self) -> bool {
        self.conducts.iter().any(|((process, version), conduct)| {
            conduct.crashes_after.is_some()
                && self
                    .rows
                    .get(process)
                    .is_some_and(|row| row.version == *version && row.run)
        })
    }

    pub fn record(&mut self, crash: RecordedCrash, now: Millis) {
        let oldest = EPOCH + now as f64 / 1000.0 - KEEP_CRASHES;
        self.crashes.retain(|_, crash| crash.at >= oldest);
        self.crashes.entry(crash.instance.clone()).or_insert(crash);
    }

    /// As the bulk API tells a row.
    pub fn bulk(&self, process: &ProcessGuid) -> Option<(i64, DesiredProcess)> {
        let row = self.rows.get(process)?;
        let desired = DesiredProcess {
            id: process.clone(),
            instances: row.instances,
            state: if row.run { "STARTED" } else { "STOPPED" }.to_string(),
            memory: row.memory_mb,
            package_state: "STAGED".to_string(),
            version: row.version.clone(),
            updated_at: row.updated_at,
        };
        Some((row.number, desired))
    }

    /// The command that starts an instance.
    pub fn command(
        &self,
        process: &ProcessGuid,
        index: u32,
        instance: InstanceId,
        epoch: i64,
    ) -> Option<StartInstance> {
        let row = self.rows.get(process)?;
        let kind = if row.web {
            HealthCheckKind::Port
        } else {
            HealthCheckKind::Process
        };
        Some(StartInstance {
            droplet: process.clone(),
            name: process.to_string(),
            stack: "host".to_string(),
            uris: if row.web {
                vec![format!("{process}{DOMAIN}")]
            } else {
                Vec::new()
            },
            prod: false,
            sha1: "0".repeat(40),
            executable_file: "deprecated".to_string(),
            executable_uri: String::new(),
            version: row.version.clone(),
            services: Vec::new(),
            limits: Limits {
                mem: row.memory_mb,
                disk: row.disk_mb,
                ..Limits::default()
            },
            env: Vec::new(),
            cc_partition: None,
            start_command: "./run".to_string(),
            health_check_timeout: None,
            vcap_application: serde_json::Value::Null,
            index,
            egress_network_rules: Vec::new(),
            yard_sha256: None,
            yard_app: Some(process.to_string()),
            yard_process_type: Some(if row.web { "web" } else { "worker" }.to_string()),
            yard_health_check: Some(HealthCheck {
                kind,
                endpoint: None,
                invocation_timeout: None,
                interval: None,
            }),
            yard_instance: Some(instance),
            yard_epoch: Some(epoch),
            yard_routes: BTreeMap::new(),
        })
    }
}
