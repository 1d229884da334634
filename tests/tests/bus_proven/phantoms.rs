//! For each subject a message that makes sense and concerns nothing that is there: agents, processes,
//! executions that never were, commands of a leader long gone.
//!
//! They are what garbage is made from: one or two bytes away from them are the messages that nearly make sense. A
//! mutation may by chance become a message that a cluster has to follow (a number that turns into the
//! epoch of today); [`Phantom::judge`] knows it, and it is not sent.

use proto::bus::automation::*;
use proto::bus::component::Component;
use proto::bus::dea::*;
use proto::bus::health::*;
use proto::bus::router::{Registration, RouterStart};
use proto::bus::staging::*;
use proto::bus::stream::*;
use proto::bus::{Empty, Payload, Role};
use proto::ids::{AppGuid, DeaId, InstanceId, ProcessGuid, TaskId, Version};
use std::collections::BTreeMap;

/// What a receiver has to make of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Malformed,
    /// It makes sense, and there is nothing to do.
    Vain,
    /// It is to be followed.
    Real,
}

pub struct Phantom {
    pub pattern: &'static str,
    pub bytes: Vec<u8>,
    /// Who counts each of these messages as ignored; nobody where they are news of somebody unknown,
    /// a question that wants no answer, or a nudge.
    pub ignored_by: Option<Role>,
    judge: Box<Judge>,
}

type Judge = dyn Fn(&[u8]) -> Judgement;

impl Phantom {
    pub fn judge(&self, bytes: &[u8]) -> Judgement {
        (self.judge)(bytes)
    }
}

/// No command is of an older epoch: the store's revisions grow from 1 on, and a leader is not its first.
const LONG_AGO: i64 = 1;

fn phantom<M: Payload>(
    pattern: &'static str,
    message: M,
    ignored_by: Option<Role>,
    is_vain: fn(&M) -> bool,
) -> Phantom {
    Phantom {
        pattern,
        bytes: message.encode(),
        ignored_by,
        judge: Box::new(move |bytes| match M::decode(bytes) {
            Err(_) => Judgement::Malformed,
            Ok(message) if is_vain(&message) => Judgement::Vain,
            Ok(_) => Judgement::Real,
        }),
    }
}

fn dea() -> DeaId {
    DeaId::new("dea-77").expect("an identifier")
}

fn process() -> ProcessGuid {
    ProcessGuid::new("5a8a3c4e-0000-4000-8000-00000000feed").expect("an identifier")
}

fn version() -> Version {
    Version::new("5a8a3c4e-1").expect("an identifier")
}

fn instance() -> InstanceId {
    InstanceId::new("00000000000000000000000000c0ffee").expect("an identifier")
}

fn task() -> TaskId {
    TaskId::new("5a8a3c4e-0000-4000-8000-000000007a5c").expect("an identifier")
}

fn limits() -> Limits {
    Limits {
        mem: 64,
        disk: 64,
        fds: 64,
    }
}

fn find() -> FindInstances {
    FindInstances {
        droplet: process(),
        version: Some(version()),
        instances: Some(vec![instance()]),
        indices: Some(vec![0]),
        states: Some(vec!["RUNNING".to_string()]),
        include_stats: true,
        path: None,
    }
}

pub fn start() -> StartInstance {
    StartInstance {
        droplet: process(),
        name: "phantom".to_string(),
        stack: "host".to_string(),
        uris: vec!["phantom.example.org".to_string()],
        prod: false,
        sha1: "da39a3ee5e6b4b0d3255bfef95601890afd80709".to_string(),
        executable_file: String::new(),
        executable_uri: "http://127.0.0.1:1/nothing".to_string(),
        version: version(),
        services: Vec::new(),
        limits: limits(),
        env: vec!["NAME=value".to_string()],
        cc_partition: None,
        start_command: "true".to_string(),
        health_check_timeout: Some(60),
        vcap_application: serde_json::json!({"application_id": process(), "limits": {"mem": 64}}),
        index: 0,
        egress_network_rules: Vec::new(),
        yard_sha256: None,
        yard_app: None,
        yard_process_type: Some("web".to_string()),
        yard_health_check: Some(HealthCheck {
            kind: HealthCheckKind::Port,
            endpoint: None,
            invocation_timeout: None,
            interval: None,
        }),
        yard_instance: Some(instance()),
        yard_epoch: Some(LONG_AGO),
        yard_routes: BTreeMap::new(),
    }
}

pub fn stop() -> StopInstances {
    StopInstances {
        droplet: process(),
        version: Some(version()),
        instances: Some(vec![instance()]),
        indices: None,
        states: None,
        yard_epoch: Some(LONG_AGO),
    }
}

/// Has no port: nobody can be reached there.
pub fn registration() -> Registration {
    Registration {
        uris: vec!["phantom.example.org".to_string()],
        host: "192.0.2.1".to_string(),
        app: Some(process().to_string()),
        dea: Some(dea().to_string()),
        private_instance_id: Some(instance().to_string()),
        tags: [("component".to_string(), "phantom".to_string())].into(),
        ..Registration::default()
    }
}

pub fn exited() -> Exited {
    Exited {
        droplet: process(),
        version: version(),
        instance: instance(),
        index: 0,
        reason: ExitReason::Crashed,
        crash_timestamp: Some(1_700_000_000.5),
        exit_status: 137,
        exit_description: "it never ran".to_string(),
        cc_partition: None,
        yard_dea: Some(dea()),
        yard_signal: Some("SIGKILL".to_string()),
        yard_out_of_memory: Some(false),
        yard_phase: Some("running".to_string()),
    }
}

pub fn beat() -> Heartbeat {
    Heartbeat {
        dea: dea(),
        droplets: vec![Beat {
            droplet: process(),
            version: version(),
            instance: instance(),
            index: 0,
            state: InstanceState::Running,
            state_timestamp: 1_700_000_000.25,
            cc_partition: None,
            yard_stats: None,
            yard_details: None,
        }],
        yard_complete: Some(false),
        yard_period: Some(10.0),
        yard_zone: Some("nowhere".to_string()),
        yard_tasks: None,
    }
}

pub fn health_request() -> HealthRequest {
    HealthRequest {
        droplet: process(),
        op: HealthOperation::Start,
        last_updated: 1_700_000_000.0,
        version: Some(version()),
        indices: vec![0, 1],
        instances: Vec::new(),
        flapping: None,
        yard_reason: Some("nobody knows".to_string()),
    }
}

fn staging_request() -> StagingRequest {
    StagingRequest {
        app_id: AppGuid::new("phantom").expect("an identifier"),
        task_id: task(),
        stack: "host".to_string(),
        properties: StagingProperties {
            environment: vec!["NAME=value".to_string()],
            ..StagingProperties::default()
        },
        download_uri: "http://127.0.0.1:1/package".to_string(),
        upload_uri: "http://127.0.0.1:1/droplet".to_string(),
        buildpack_cache_download_uri: None,
        buildpack_cache_upload_uri: None,
        admin_buildpacks: Vec::new(),
        memory_limit: 64,
        disk_limit: 64,
        yard_dea: dea(),
        yard_timeout: 60,
        yard_package_sha256: None,
        yard_epoch: Some(LONG_AGO),
    }
}

pub fn staging_completed() -> StagingCompleted {
    StagingCompleted {
        task_id: task(),
        app_id: AppGuid::new("phantom").expect("an identifier"),
        outcome: StagingOutcome::Staged(StagedDroplet {
            detected_buildpack: "phantom".to_string(),
            process_types: [("web".to_string(), "true".to_string())].into(),
            sha1: "da39a3ee5e6b4b0d3255bfef95601890afd80709".to_string(),
            size_bytes: 1,
            ..StagedDroplet::default()
        }),
    }
}

/// `app`: no identifier, so that it is of no build.
pub fn task_exited(kind: &str) -> TaskExited {
    TaskExited {
        task: task().to_string(),
        kind: kind.to_string(),
        dea: dea().to_string(),
        app: "no app at all".to_string(),
        end: TaskEnd::Exited.into(),
        exit_status: 0,
        description: "it never ran".to_string(),
        last_lines: vec!["the last line".to_string()],
        ..TaskExited::default()
    }
}

fn content() -> PackContent {
    PackContent {
        pack: "phantom".to_string(),
        url: "http://127.0.0.1:1/pack".to_string(),
        sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_string(),
        base_url: String::new(),
        base_sha256: String::new(),
    }
}

pub fn run_task() -> RunTask {
    RunTask {
        task: task().to_string(),
        kind: "staging".to_string(),
        app: "phantom".to_string(),
        stack: "host".to_string(),
        command: vec!["true".to_string()],
        environment: vec!["NAME=value".to_string()],
        memory_mb: 64,
        disk_mb: 64,
        timeout_seconds: 60,
        epoch: LONG_AGO,
        ..RunTask::default()
    }
}

pub fn run_action() -> RunAction {
    RunAction {
        execution: "phantom".to_string(),
        attempt: 1,
        action: "phantom.run".to_string(),
        content: Some(content()),
        orders: br#"{"type":"run","runner":"local-shell-cmd"}"#.to_vec(),
        timeout_ms: 60_000,
        memory_mb: 64,
        output_limit: 1024,
        inline_limit: 1024,
        epoch: LONG_AGO,
        ..RunAction::default()
    }
}

pub fn run_sensor() -> RunSensor {
    RunSensor {
        sensor: "phantom.Watcher".to_string(),
        generation: 1,
        content: Some(content()),
        orders: b"{}".to_vec(),
        memory_mb: 64,
        epoch: LONG_AGO,
    }
}

pub fn action_exited() -> ActionExited {
    ActionExited {
        execution: "phantom".to_string(),
        attempt: 1,
        dea: dea().to_string(),
        end: ActionEnd::Exited.into(),
        description: "it never ran".to_string(),
        result: b"{\"result\": \"42\"}".to_vec(),
        started_at: 1,
        ended_at: 2,
        ..ActionExited::default()
    }
}

fn is_no_agent(id: &DeaId) -> bool {
    id.as_str() != "dea-1"
}

/// One for each row of the table that anybody of ours hears.
pub fn phantoms() -> Vec<Phantom> {
    let always = |_: &Empty| true;
    let empty = |pattern| phantom(pattern, Empty, None, always);
    vec![
        empty("vcap.component.discover"),
        phantom(
            "router.start",
            RouterStart {
                id: "router-77".to_string(),
                hosts: vec!["192.0.2.1".to_string()],
                minimum_register_interval_in_seconds: 5,
                prune_threshold_in_seconds: 120,
            },
            None,
            |_| true,
        ),
        empty("router.greet"),
        phantom(
            "router.register",
            registration(),
            Some(Role::Router),
            |message| message.port.is_none(),
        ),
        phantom(
            "router.unregister",
            registration(),
            Some(Role::Router),
            |message| message.port.is_none(),
        ),
        phantom(
            "dea.start",
            Hello {
                id: dea(),
                ip: "192.0.2.1".to_string(),
                port: 1,
                version: 1.0,
            },
            None,
            |hello| is_no_agent(&hello.id),
        ),
        empty("dea.status"),
        phantom(
            "dea.discover",
            Discover {
                droplet: Some(process()),
                limits: limits(),
                stack: Some("host".to_string()),
                sha: None,
            },
            None,
            |_| true,
        ),
        empty("dea.locate"),
        phantom(
            "dea.advertise",
            Advertisement {
                id: dea(),
                stacks: vec!["a stack that no app has".to_string()],
                available_memory: 0,
                available_disk: 0,
                app_id_to_count: [(process(), 1)].into(),
                placement_properties: PlacementProperties {
                    zone: "nowhere".to_string(),
                },
                url: None,
                yard_total_memory: Some(1),
                yard_total_disk: Some(1),
            },
            None,
            |told| is_no_agent(&told.id) && !told.stacks.iter().any(|stack| stack == "host"),
        ),
        phantom("dea.{id}.start", start(), Some(Role::Dea), |start| {
            start.yard_epoch == Some(LONG_AGO)
        }),
        phantom("dea.stop", stop(), Some(Role::Dea), |stop| {
            stop.yard_epoch == Some(LONG_AGO)
        }),
        phantom(
            "dea.update",
            UpdateInstances {
                droplet: process(),
                uris: vec!["phantom.example.org".to_string()],
                version: Some(version()),
                yard_epoch: Some(LONG_AGO),
                yard_routes: BTreeMap::new(),
            },
            Some(Role::Dea),
            |update| update.yard_epoch == Some(LONG_AGO),
        ),
        phantom("dea.find.droplet", find(), None, |_| true),
        phantom(
            "dea.shutdown",
            Shutdown {
                id: dea(),
                ip: "192.0.2.1".to_string(),
                version: 1.0,
                app_id_to_count: [(process(), 1)].into(),
                yard_zone: None,
                yard_drain: None,
            },
            None,
            |goodbye| is_no_agent(&goodbye.id),
        ),
        phantom(
            "yard.dea.{id}.drain",
            DrainAgent { drain: false },
            None,
            |order| !order.drain,
        ),
        phantom("droplet.status", find(), None, |_| true),
        phantom("dea.heartbeat", beat(), None, |beat| is_no_agent(&beat.dea)),
        phantom("droplet.exited", exited(), Some(Role::Controller), |exit| {
            exit.reason == ExitReason::Crashed
        }),
        phantom(
            "droplet.updated",
            Updated {
                droplet: process(),
                cc_partition: None,
            },
            None,
            |_| true,
        ),
        empty("healthmanager.start"),
        phantom(
            "healthmanager.status",
            HealthStatusQuery {
                droplet: process(),
                state: "FLAPPING".to_string(),
                version: Some(version()),
            },
            None,
            |_| true,
        ),
        phantom(
            "healthmanager.health",
            HealthQuery {
                droplets: vec![HealthQueryItem {
                    droplet: process(),
                    version: version(),
                }],
            },
            None,
            |_| true,
        ),
        empty("cloudcontroller.bulk.credentials"),
        phantom(
            "cloudcontrollers.hm.requests",
            health_request(),
            Some(Role::Controller),
            |asked| match asked.op {
                HealthOperation::Start => true,
                HealthOperation::Stop => !asked.instances.is_empty(),
            },
        ),
        phantom(
            "vcap.stager.{queue}",
            staging_request(),
            Some(Role::Stager),
            |asked| is_no_agent(&asked.yard_dea),
        ),
        phantom(
            "yard.staging.completed",
            staging_completed(),
            Some(Role::Controller),
            |_| true,
        ),
        phantom(
            "yard.dea.{id}.task.run",
            run_task(),
            Some(Role::Dea),
            |task| task.epoch == LONG_AGO,
        ),
        phantom(
            "yard.dea.{id}.task.stop",
            StopTask {
                task: task().to_string(),
                reason: "nobody knows".to_string(),
            },
            Some(Role::Dea),
            |_| true,
        ),
        phantom(
            "yard.task.staging.exited",
            task_exited("staging"),
            Some(Role::Stager),
            |exited| AppGuid::new(exited.app.as_str()).is_err() && exited.context.is_empty(),
        ),
        phantom(
            "yard.task.app.exited",
            task_exited("app"),
            Some(Role::Controller),
            |_| true,
        ),
        phantom(
            "yard.log.{id}",
            LogBatch {
                lines: vec![LogLine {
                    timestamp: 1_700_000_000_000_000_000,
                    source: process().to_string(),
                    instance: "0".to_string(),
                    source_type: "APP".to_string(),
                    payload: b"a line of nobody".to_vec(),
                    ..LogLine::default()
                }],
                losses: Vec::new(),
            },
            None,
            |_| true,
        ),
        phantom(
            "yard.dea.{id}.action.run",
            run_action(),
            Some(Role::Dea),
            |run| run.epoch == LONG_AGO,
        ),
        phantom(
            "yard.dea.{id}.action.stop",
            StopAction {
                execution: "phantom".to_string(),
                attempt: 1,
                reason: "nobody knows".to_string(),
                grace_ms: 1000,
            },
            Some(Role::Dea),
            |_| true,
        ),
        phantom(
            "yard.action.output",
            ActionOutput {
                execution: "phantom".to_string(),
                attempt: 1,
                pieces: vec![OutputPiece {
                    stream: "stdout".to_string(),
                    timestamp: 1,
                    data: b"out of nowhere".to_vec(),
                    lost: 0,
                }],
            },
            Some(Role::Controller),
            |_| true,
        ),
        phantom(
            "yard.action.exited",
            action_exited(),
            Some(Role::Controller),
            |_| true,
        ),
        phantom(
            "yard.dea.{id}.sensor.run",
            run_sensor(),
            Some(Role::Dea),
            |run| run.epoch == LONG_AGO,
        ),
        phantom(
            "yard.dea.{id}.sensor.stop",
            StopSensor {
                sensor: "phantom.Watcher".to_string(),
                generation: 1,
            },
            Some(Role::Dea),
            |_| true,
        ),
        phantom(
            "yard.dea.{id}.sensor.trigger",
            SensorTrigger {
                sensor: "phantom.Watcher".to_string(),
                change: "create".to_string(),
                trigger: b"{\"ref\": \"phantom.seen\"}".to_vec(),
            },
            Some(Role::Dea),
            |_| true,
        ),
        phantom(
            "yard.dea.{id}.sensor.token",
            SensorToken {
                sensor: "phantom.Watcher".to_string(),
                generation: 1,
                token: "of nobody".to_string(),
            },
            Some(Role::Dea),
            |_| true,
        ),
        phantom(
            "yard.automation.report",
            AutomationReport {
                dea: "no agent at all".to_string(),
                actions: vec![RunningAction {
                    execution: "phantom".to_string(),
                    attempt: 1,
                }],
                ..AutomationReport::default()
            },
            Some(Role::Controller),
            |report| DeaId::new(report.dea.as_str()).is_err(),
        ),
        phantom(
            "yard.automation.advanced",
            AutomationAdvanced {
                execution: "phantom".to_string(),
                event: "phantom".to_string(),
                document: Vec::new(),
            },
            None,
            |_| true,
        ),
        phantom(
            "yard.router.wake",
            WakeProcess {
                router: "router-77".to_string(),
                process: process().to_string(),
                held: 1,
            },
            None,
            |_| true,
        ),
        phantom(
            "yard.router.traffic",
            RouterTraffic {
                router: "router-77".to_string(),
                run: "phantom".to_string(),
                number: 1,
                routes: vec![RouteTraffic {
                    route: "phantom.example.org".to_string(),
                    app: process().to_string(),
                    requests: 10,
                    errors: 10,
                    open: 1,
                }],
                // Nobody waits for its next report.
                last: true,
            },
            None,
            |told| {
                let counts = |route: &RouteTraffic| route.app.is_empty() && route.requests > 0;
                told.last && told.router != "router-1" && !told.routes.iter().any(counts)
            },
        ),
        phantom(
            "yard.facts.advanced",
            FactsAdvanced { sequence: 1 },
            None,
            |_| true,
        ),
        phantom(
            "vcap.component.announce",
            Component {
                kind: "Phantom".to_string(),
                index: 1,
                uuid: "1-0".to_string(),
                host: "192.0.2.1:1".to_string(),
                credentials: Vec::new(),
                start: String::new(),
                uptime: "0d:0h:0m:1s".to_string(),
                yard_id: None,
                mishaps: Vec::new(),
            },
            None,
            |_| true,
        ),
        phantom(
            "vcap.cc.events",
            ControllerEvent(vec![1.into(), "SYSTEM".into(), "phantom".into()]),
            None,
            |_| true,
        ),
    ]
}
