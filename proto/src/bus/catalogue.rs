//! The one table of subjects, and the only functions that write one.
//!
//! Everything else derives from it: what a component's credential may publish and subscribe
//! ([`permissions`]), and `docs/bus.md`. A new subject is a new row and a new function.

use super::automation::*;
use super::component::Component;
use super::dea::*;
use super::health::*;
use super::router::*;
use super::staging::*;
use super::stream::*;
use super::{Empty, Filter, Topic};
use crate::ids::{ComponentId, DeaId, StagerQueue};

/// Who takes part in the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Controller,
    Router,
    Dea,
    HealthManager,
    Stager,
    Collector,
    SshProxy,
    /// Foreign components an operator lets in, e.g. a route registrar.
    Registrar,
    /// Tools of the operator that look on and ask.
    Tool,
}

impl Role {
    pub const ALL: [Role; 9] = [
        Role::Controller,
        Role::Router,
        Role::Dea,
        Role::HealthManager,
        Role::Stager,
        Role::Collector,
        Role::SshProxy,
        Role::Registrar,
        Role::Tool,
    ];

    /// Those that are no daemons of ours: any NATS client, which takes its answers where such
    /// clients do (`_INBOX.`) and answers nobody.
    pub const STRANGERS: [Role; 2] = [Role::Registrar, Role::Tool];

    /// The name used in ids, commands and folders.
    pub fn name(self) -> &'static str {
        match self {
            Role::Controller => "controller",
            Role::Router => "router",
            Role::Dea => "dea",
            Role::HealthManager => "health-manager",
            Role::Stager => "stager",
            Role::Collector => "collector",
            Role::SshProxy => "ssh-proxy",
            Role::Registrar => "registrar",
            Role::Tool => "tool",
        }
    }

    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// The type in `vcap.component.announce`.
    pub fn component_type(self) -> &'static str {
        match self {
            Role::Controller => "CloudController",
            Role::Router => "Router",
            Role::Dea => "DEA",
            Role::HealthManager => "HealthManager",
            Role::Stager => "Stager",
            Role::Collector => "Collector",
            Role::SshProxy => "SshProxy",
            Role::Registrar => "Registrar",
            Role::Tool => "Tool",
        }
    }

    pub fn is_stranger(self) -> bool {
        Role::STRANGERS.contains(&self)
    }
}

/// What kind of message a subject carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Something happened; may be missed.
    Event,
    /// Something happened that must be recorded; repeated until acknowledged.
    Fact,
    /// Do this; idempotent.
    Command,
    /// Tell me; answered.
    Query,
    /// I am here, with this; repeated by the clock.
    Heartbeat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Protobuf,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The subject; `{id}` is the addressee's or the sender's id ([`Entry::names_sender`]), `{queue}` a queue.
    pub pattern: &'static str,
    pub class: Class,
    pub encoding: Encoding,
    /// Name of the payload type.
    pub payload: &'static str,
    /// Payload of the answer, if there is one.
    pub reply: Option<&'static str>,
    pub publishers: &'static [Role],
    pub subscribers: &'static [Role],
    /// Queue group of the subscribers that share, e.g. `("crash_event_registration", Role::Controller)`.
    pub queue: Option<(&'static str, Role)>,
    pub doc: &'static str,
}

impl Entry {
    /// Whether `{id}` in the subject is the sender's id; else it is the addressee's.
    pub fn names_sender(&self) -> bool {
        self.pattern.starts_with("yard.log.")
    }

    /// The subject with these in the places of `{id}` and `{queue}`.
    pub fn subject(&self, id: &str, queue: &str) -> String {
        self.pattern.replace("{id}", id).replace("{queue}", queue)
    }
}

use Role::{Collector, Controller, Dea, HealthManager, Registrar, Router, SshProxy, Stager, Tool};

macro_rules! entry {
    ($pattern:literal $class:ident $encoding:ident $payload:literal $(-> $reply:literal)?, [$($publisher:ident),*] => [$($subscriber:ident),*] $(, queue $queue:literal $member:ident)?, $doc:literal) => {
        Entry {
            pattern: $pattern,
            class: Class::$class,
            encoding: Encoding::$encoding,
            payload: $payload,
            reply: entry!(@option $($reply)?),
            publishers: &[$($publisher),*],
            subscribers: &[$($subscriber),*],
            queue: entry!(@queue $($queue $member)?),
            doc: $doc,
        }
    };
    (@option) => { None };
    (@option $reply:literal) => { Some($reply) };
    (@queue) => { None };
    (@queue $queue:literal $member:ident) => { Some(($queue, $member)) };
}

/// Every subject on the bus.
pub const CATALOGUE: &[Entry] = &[
    entry!("vcap.component.announce" Event Json "Component", [Controller, Router, Dea, HealthManager, Stager, Collector, SshProxy] => [Tool], "A component came up."),
    entry!("vcap.component.discover" Query Json "Empty" -> "Component", [Controller, Tool] => [Controller, Router, Dea, HealthManager, Stager, Collector, SshProxy], "A controller or a tool asks who is there; every component answers."),
    entry!("router.start" Event Json "RouterStart", [Router] => [Dea, Controller, Collector, Registrar], "A router came up or reconnected: register everything again."),
    entry!("router.greet" Query Json "Empty" -> "RouterStart", [Dea, Controller, Collector, Registrar] => [Router], "How often shall I register?"),
    entry!("router.register" Heartbeat Json "Registration", [Dea, Controller, Collector, Registrar] => [Router], "These names are served at this address."),
    entry!("router.unregister" Event Json "Registration", [Dea, Controller, Collector, Registrar] => [Router], "These names are no longer served at this address."),
    entry!("dea.start" Event Json "Hello", [Dea] => [Controller], "An agent came up."),
    entry!("dea.status" Query Json "Empty" -> "AgentStatus", [Tool] => [Dea], "Memory and state of each agent, for tools."),
    entry!("dea.discover" Query Json "Discover" -> "Hello", [Controller] => [Dea], "Asked when no known agent fits: whoever has room answers, the least loaded first."),
    entry!("dea.locate" Query Json "Empty", [Controller] => [Dea], "A controller came up: agents advertise at once."),
    entry!("dea.advertise" Heartbeat Json "Advertisement", [Dea] => [Controller], "Free resources of an agent."),
    entry!("dea.{id}.start" Command Json "StartInstance", [Controller] => [Dea], "Run one instance. Carries the environment: only the addressee may read it."),
    entry!("dea.stop" Command Json "StopInstances", [Controller] => [Dea], "Stop the instances that match every given filter."),
    entry!("dea.update" Command Json "UpdateInstances", [Controller] => [Dea], "The names of a process changed."),
    entry!("dea.find.droplet" Query Json "FindInstances" -> "FoundInstance", [Controller] => [Dea], "One answer per matching instance."),
    entry!("yard.dea.{id}.enter" Command Json "EnterInstance" -> "EnterReply", [Controller] => [Dea], "Let the holder of a ticket into an instance. Carries the ticket: only the addressee may read it."),
    entry!("dea.shutdown" Event Json "Shutdown", [Dea] => [Controller], "An agent takes no more work; repeated while it is emptied."),
    entry!("yard.dea.{id}.drain" Command Json "DrainAgent" -> "DrainReply", [Controller] => [Dea], "Empty the agent, or let it take work again."),
    entry!("droplet.status" Query Json "FindInstances" -> "InstanceStats", [Tool] => [Dea], "Stats of running instances, for tools."),
    entry!("dea.heartbeat" Heartbeat Json "Heartbeat", [Dea] => [HealthManager, Controller], "The instances of an agent; one instance only when its state changed."),
    entry!("droplet.exited" Fact Json "Exited" -> "Acknowledged", [Dea] => [HealthManager, Controller], queue "crash_event_registration" Controller, "An instance ended. Repeated until a controller acknowledges."),
    entry!("droplet.updated" Event Json "Updated", [Controller] => [HealthManager], "The desired state of a process changed."),
    entry!("healthmanager.start" Event Json "Empty", [HealthManager] => [Dea], "A health manager came up: send a full heartbeat."),
    entry!("healthmanager.status" Query Json "HealthStatusQuery" -> "HealthStatus", [Controller] => [HealthManager], "Flapping indices or crashed instances of a process."),
    entry!("healthmanager.health" Query Json "HealthQuery" -> "Health", [Controller] => [HealthManager], "Healthy instances; one answer per process asked for."),
    entry!("cloudcontroller.bulk.credentials" Query Json "Empty" -> "BulkCredentials", [HealthManager] => [Controller], queue "cc" Controller, "How to read the desired state over HTTP."),
    entry!("cloudcontrollers.hm.requests" Command Json "HealthRequest", [HealthManager] => [Controller], queue "cc" Controller, "Start or stop these instances."),
    entry!("vcap.cc.events" Event Json "ControllerEvent", [Controller] => [Tool], "What the controller did, for onlookers."),
    entry!("vcap.stager.{queue}" Command Json "StagingRequest" -> "StagingReply", [Controller] => [Stager], queue "stager" Stager, "Turn a package into a droplet; answered when taken."),
    entry!("yard.staging.completed" Fact Json "StagingCompleted" -> "Acknowledged", [Stager] => [Controller], queue "cc" Controller, "How a staging ended. Repeated until acknowledged."),
    entry!("yard.dea.{id}.task.run" Command Protobuf "RunTask" -> "RunTaskReply", [Stager, Controller] => [Dea], "Run a one-off task in a container."),
    entry!("yard.dea.{id}.task.stop" Command Protobuf "StopTask", [Stager, Controller] => [Dea], "End a task early."),
    entry!("yard.task.staging.exited" Fact Protobuf "TaskExited" -> "Ack", [Dea] => [Stager], queue "stager" Stager, "A staging task ended. Repeated until acknowledged."),
    entry!("yard.task.app.exited" Fact Protobuf "TaskExited" -> "Ack", [Dea] => [Controller], queue "cc" Controller, "A task of an app, or of a pack, ended. Repeated until acknowledged."),
    entry!("yard.log.{id}" Event Protobuf "LogBatch", [Controller, Router, Dea, Stager, HealthManager] => [Collector], "Log lines, in order of each source; losses are counted."),
    entry!("yard.dea.{id}.action.run" Command Protobuf "RunAction" -> "RunActionReply", [Controller] => [Dea], "Run an action in its pack's sandbox. Carries secrets: only the addressee may read it."),
    entry!("yard.dea.{id}.action.stop" Command Protobuf "StopAction", [Controller] => [Dea], "End an action early, with everything it started."),
    entry!("yard.action.output" Event Protobuf "ActionOutput", [Dea] => [Controller], "What running actions print; losses are counted."),
    entry!("yard.action.exited" Fact Protobuf "ActionExited" -> "Ack", [Dea] => [Controller], queue "cc" Controller, "An action ended. Repeated until acknowledged."),
    entry!("yard.dea.{id}.sensor.run" Command Protobuf "RunSensor", [Controller] => [Dea], "Keep a sensor running."),
    entry!("yard.dea.{id}.sensor.stop" Command Protobuf "StopSensor", [Controller] => [Dea], "End a sensor."),
    entry!("yard.dea.{id}.sensor.trigger" Event Protobuf "SensorTrigger", [Controller] => [Dea], "A trigger that concerns a running sensor came, changed or went."),
    entry!("yard.dea.{id}.sensor.token" Command Protobuf "SensorToken" -> "SensorTokenReply", [Controller] => [Dea], "A running sensor goes on with another token. Carries a secret: only the addressee may read it."),
    entry!("yard.automation.report" Heartbeat Protobuf "AutomationReport", [Dea] => [Controller], "Actions and sensors of an agent."),
    entry!("yard.automation.advanced" Event Protobuf "AutomationAdvanced", [Controller] => [Controller], "Rows of automation changed: a nudge, and what the readers of other controllers' streams are to see."),
    entry!("yard.router.wake" Command Protobuf "WakeProcess", [Router] => [Controller], "Start an app that sleeps: requests are held for it. Repeated while they are."),
    entry!("yard.router.traffic" Heartbeat Protobuf "RouterTraffic", [Router] => [Controller], "Requests and errors of each route since the report before."),
    entry!("yard.facts.advanced" Event Protobuf "FactsAdvanced", [Controller] => [Controller], "The ordered log of facts grew; read it from your cursor."),
];

/// What one credential may do. Patterns in NATS syntax.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    pub publish: Vec<String>,
    pub subscribe: Vec<String>,
}

/// Permissions of the component `id` of `role`: subjects from the table, with `{id}` narrowed to
/// its own id wherever the component is the one named by it, plus its own inbox. Answers to
/// requests need the server's `allow_responses`.
pub fn permissions(role: Role, id: &ComponentId) -> Permissions {
    let mut permissions = Permissions::default();
    for entry in CATALOGUE {
        let narrowed = |own: bool| entry.subject(if own { id.as_str() } else { "*" }, "*");
        if entry.publishers.contains(&role) {
            permissions.publish.push(narrowed(entry.names_sender()));
        }
        if entry.subscribers.contains(&role) {
            permissions.subscribe.push(narrowed(!entry.names_sender()));
        }
    }
    if role.is_stranger() {
        permissions.subscribe.push("_INBOX.>".to_string());
        return permissions;
    }
    permissions
        .subscribe
        .push(format!("{}.>", inbox_prefix(id)));
    // Nobody listens there: the server's answer says that it has taken everything before.
    permissions
        .publish
        .push(format!("{}.flush", inbox_prefix(id)));
    permissions
}

/// Where a component gets its answers: nobody else may listen there.
pub fn inbox_prefix(id: &ComponentId) -> String {
    format!("_INBOX_{id}")
}

pub const QUEUE_CONTROLLERS: &str = "cc";
pub const QUEUE_CRASHES: &str = "crash_event_registration";
pub const QUEUE_STAGERS: &str = "stager";

macro_rules! topics {
    ($($(#[$doc:meta])* $name:ident $subject:literal $payload:ty;)+) => {$(
        $(#[$doc])*
        pub fn $name() -> Topic<$payload> {
            Topic::new($subject)
        }
    )+};
}

topics! {
    component_announce "vcap.component.announce" Component;
    component_discover "vcap.component.discover" Empty;
    router_start "router.start" RouterStart;
    router_greet "router.greet" Empty;
    router_register "router.register" Registration;
    router_unregister "router.unregister" Registration;
    dea_hello "dea.start" Hello;
    dea_status "dea.status" Empty;
    dea_discover "dea.discover" Discover;
    dea_locate "dea.locate" Empty;
    dea_advertise "dea.advertise" Advertisement;
    dea_stop "dea.stop" StopInstances;
    dea_update "dea.update" UpdateInstances;
    dea_find_droplet "dea.find.droplet" FindInstances;
    dea_shutdown "dea.shutdown" Shutdown;
    droplet_status "droplet.status" FindInstances;
    dea_heartbeat "dea.heartbeat" Heartbeat;
    droplet_exited "droplet.exited" Exited;
    droplet_updated "droplet.updated" Updated;
    healthmanager_start "healthmanager.start" Empty;
    healthmanager_status "healthmanager.status" HealthStatusQuery;
    healthmanager_health "healthmanager.health" HealthQuery;
    bulk_credentials "cloudcontroller.bulk.credentials" Empty;
    hm_requests "cloudcontrollers.hm.requests" HealthRequest;
    cc_events "vcap.cc.events" ControllerEvent;
    staging_completed "yard.staging.completed" StagingCompleted;
    staging_task_exited "yard.task.staging.exited" TaskExited;
    app_task_exited "yard.task.app.exited" TaskExited;
    action_output "yard.action.output" ActionOutput;
    action_exited "yard.action.exited" ActionExited;
    automation_report "yard.automation.report" AutomationReport;
    automation_advanced "yard.automation.advanced" AutomationAdvanced;
    router_traffic "yard.router.traffic" RouterTraffic;
    router_wake "yard.router.wake" WakeProcess;
    facts_advanced "yard.facts.advanced" FactsAdvanced;
}

/// `dea.{id}.start`
pub fn dea_start_instance(dea: &DeaId) -> Topic<StartInstance> {
    Topic::new(format!("dea.{dea}.start"))
}

/// `vcap.stager.{queue}`
pub fn stager(queue: &StagerQueue) -> Topic<StagingRequest> {
    Topic::new(format!("vcap.stager.{queue}"))
}

/// `yard.dea.{id}.enter`
pub fn dea_enter(dea: &DeaId) -> Topic<EnterInstance> {
    Topic::new(format!("yard.dea.{dea}.enter"))
}

/// `yard.dea.{id}.drain`
pub fn dea_drain(dea: &DeaId) -> Topic<DrainAgent> {
    Topic::new(format!("yard.dea.{dea}.drain"))
}

/// `yard.dea.{id}.task.run`
pub fn dea_task_run(dea: &DeaId) -> Topic<RunTask> {
    Topic::new(format!("yard.dea.{dea}.task.run"))
}

/// `yard.dea.{id}.task.stop`
pub fn dea_task_stop(dea: &DeaId) -> Topic<StopTask> {
    Topic::new(format!("yard.dea.{dea}.task.stop"))
}

/// `yard.dea.{id}.action.run`
pub fn dea_action_run(dea: &DeaId) -> Topic<RunAction> {
    Topic::new(format!("yard.dea.{dea}.action.run"))
}

/// `yard.dea.{id}.action.stop`
pub fn dea_action_stop(dea: &DeaId) -> Topic<StopAction> {
    Topic::new(format!("yard.dea.{dea}.action.stop"))
}

/// `yard.dea.{id}.sensor.run`
pub fn dea_sensor_run(dea: &DeaId) -> Topic<RunSensor> {
    Topic::new(format!("yard.dea.{dea}.sensor.run"))
}

/// `yard.dea.{id}.sensor.stop`
pub fn dea_sensor_stop(dea: &DeaId) -> Topic<StopSensor> {
    Topic::new(format!("yard.dea.{dea}.sensor.stop"))
}

/// `yard.dea.{id}.sensor.trigger`
pub fn dea_sensor_trigger(dea: &DeaId) -> Topic<SensorTrigger> {
    Topic::new(format!("yard.dea.{dea}.sensor.trigger"))
}

/// `yard.dea.{id}.sensor.token`
pub fn dea_sensor_token(dea: &DeaId) -> Topic<SensorToken> {
    Topic::new(format!("yard.dea.{dea}.sensor.token"))
}

/// `yard.log.{id}`: lines sent by this component.
pub fn log_of(component: &ComponentId) -> Topic<LogBatch> {
    Topic::new(format!("yard.log.{component}"))
}

/// `yard.log.*`: everybody's lines.
pub fn logs() -> Filter<LogBatch> {
    Filter::new("yard.log.*", None)
}
