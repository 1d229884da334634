//! What the platform tells rules: the trigger types of the pack `yard`.
//!
//! The controller builds a [`PlatformEvent`] where the thing happens; its payload is what rules match
//! on, so a field is never renamed and never changes its meaning; fields may be added. Fields that may
//! have no value are null, never absent: criteria can name them without failing.

use super::trigger_type::TriggerType;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Something with a stable id and a name that people use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The id.
    pub guid: String,
    /// The name at the time of the event.
    pub name: String,
}

/// An app and where it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppPlace {
    /// The app.
    pub app: Named,
    /// Its space.
    pub space: Named,
    /// Its organization.
    pub organization: Named,
}

/// An instance ended though it was wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppCrashed {
    /// When, as the API writes times.
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub process_type: String,
    pub index: u32,
    pub instance: String,
    pub node: Option<String>,
    pub exit_status: Option<i32>,
    pub reason: String,
    pub crash_count: u32,
}

/// An instance crashes again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppFlapping {
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub process_type: String,
    pub index: u32,
    pub crash_count: u32,
    pub next_start_at: Option<String>,
}

/// A package became a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppStaged {
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub build: String,
    pub package: String,
    pub droplet: String,
    pub buildpack: Option<String>,
    pub duration_ms: u64,
}

/// A package did not become a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppStagingFailed {
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub build: String,
    pub package: String,
    pub error: String,
    pub duration_ms: u64,
}

/// All instances of an app run the new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeploymentFinished {
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub deployment: String,
    pub strategy: String,
    pub droplet: String,
    pub duration_ms: u64,
}

/// A deployment did not get there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeploymentFailed {
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub deployment: String,
    pub strategy: String,
    pub droplet: String,
    pub previous_droplet: Option<String>,
    pub reason: String,
}

/// An instance used more memory than it may, and was killed for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceOutOfMemory {
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub process_type: String,
    pub index: u32,
    pub instance: String,
    pub node: Option<String>,
    pub memory_limit_mb: u64,
}

/// A node's agent is not heard of any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeLost {
    pub at: String,
    pub node: String,
    pub address: Option<String>,
    pub last_seen_at: String,
    pub instances: u32,
}

/// A node's agent is heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeJoined {
    pub at: String,
    pub node: String,
    pub address: Option<String>,
    pub memory_mb: u64,
    pub returned: bool,
}

/// A node's agent takes no more work and is emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeDraining {
    pub at: String,
    pub node: String,
    pub left: u32,
    pub until: String,
}

/// A node's agent that was emptied has nothing left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeDrained {
    pub at: String,
    pub node: String,
    pub since: String,
}

/// Little room is left for the files of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskLow {
    pub at: String,
    pub component: String,
    pub folder: String,
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub since: String,
}

/// There is room for the files of a component again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskRecovered {
    pub at: String,
    pub component: String,
    pub folder: String,
    pub since: String,
}

/// The wall clock under a component jumped.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClockJumped {
    pub at: String,
    pub component: String,
    pub seconds: f64,
    pub jumped_at: String,
}

/// A value of the cluster's configuration changed. The value of a secret key is masked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfigChanged {
    pub at: String,
    pub key: String,
    /// None: the whole cluster's.
    pub component: Option<String>,
    pub value: Value,
    pub previous: Value,
    pub user: String,
    pub restart_needed: bool,
}

/// A certificate for the routers' entrance for TLS was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateIssued {
    pub at: String,
    pub domain: String,
    pub source: String,
    pub directory: String,
    pub not_after: String,
    pub renewed: bool,
}

/// A certificate was ordered in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateFailed {
    pub at: String,
    pub domain: String,
    pub source: String,
    pub directory: String,
    pub reason: String,
    pub failures: u32,
    pub next_attempt_at: String,
    pub not_after: Option<String>,
}

/// The requests to an app, or to a route that leads to none, are answered with errors more often than they may.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteErrors {
    pub at: String,
    pub host: String,
    pub app: Option<Named>,
    pub space: Option<Named>,
    pub organization: Option<Named>,
    pub requests: u64,
    pub errors: u64,
    pub rate: f64,
    pub window_seconds: u64,
}

/// An app gets more or fewer requests than it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteRate {
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub requests: u64,
    pub requests_per_second: f64,
    pub previous_requests_per_second: f64,
    pub window_seconds: u64,
}

/// A one-off task of an app is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskFinished {
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub task: String,
    pub sequence_id: u64,
    pub name: String,
    pub succeeded: bool,
    pub exit_status: Option<i32>,
    pub reason: Option<String>,
    pub node: Option<String>,
    pub duration_ms: Option<u64>,
}

/// Something was refused because a quota does not allow as much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuotaExceeded {
    pub at: String,
    pub quota: Named,
    pub scope: String,
    pub limit: String,
    pub allowed: u64,
    pub used: u64,
    pub asked: u64,
    pub organization: Named,
    pub space: Option<Named>,
    pub app: Option<Named>,
    pub user: String,
}

/// A service was made known in a space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceCreated {
    pub at: String,
    pub service: Named,
    #[serde(rename = "type")]
    pub kind: String,
    pub space: Named,
    pub organization: Named,
    pub user: String,
}

/// A service is called otherwise, or has other credentials or tags. Never says which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceUpdated {
    pub at: String,
    pub service: Named,
    #[serde(rename = "type")]
    pub kind: String,
    pub changed: Vec<String>,
    pub space: Named,
    pub organization: Named,
    pub user: String,
}

/// A service is known no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceDeleted {
    pub at: String,
    pub service: Named,
    #[serde(rename = "type")]
    pub kind: String,
    pub space: Named,
    pub organization: Named,
    pub user: String,
}

/// An app gets the credentials of a service with its next start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceBound {
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub service: Named,
    #[serde(rename = "type")]
    pub kind: String,
    pub binding: String,
    pub binding_name: Option<String>,
    pub user: String,
}

/// An app gets the credentials of a service no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceUnbound {
    pub at: String,
    #[serde(flatten)]
    pub place: AppPlace,
    pub service: Named,
    #[serde(rename = "type")]
    pub kind: String,
    pub binding: String,
    pub binding_name: Option<String>,
    pub user: String,
}

/// One field of a payload.
struct Field {
    name: &'static str,
    schema: Value,
    description: &'static str,
}

fn field(name: &'static str, kind: &str, description: &'static str) -> Field {
    Field {
        name,
        schema: json!({"type": kind}),
        description,
    }
}

/// A field that may be null.
fn maybe(name: &'static str, kind: &str, description: &'static str) -> Field {
    Field {
        name,
        schema: json!({"type": [kind, "null"]}),
        description,
    }
}

fn named(name: &'static str, description: &'static str) -> Field {
    Field {
        name,
        schema: json!({
            "type": "object",
            "properties": {
                "guid": {"type": "string", "required": true},
                "name": {"type": "string", "required": true},
            },
            "additionalProperties": false,
        }),
        description,
    }
}

fn maybe_named(name: &'static str, description: &'static str) -> Field {
    let mut field = named(name, description);
    field.schema["type"] = json!(["object", "null"]);
    field
}

/// What every event of a service says; `more` follows.
fn of_service(more: Vec<Field>) -> Vec<Field> {
    let mut fields = vec![
        named("service", "The service: guid and name."),
        field("type", "string", "What kind it is: user-provided."),
        field("user", "string", "Who did it."),
    ];
    fields.extend(more);
    fields
}

fn of_service_in_space(more: Vec<Field>) -> Value {
    let mut fields = of_service(vec![
        named("space", "The space it is in: guid and name."),
        named(
            "organization",
            "The organization of the space: guid and name.",
        ),
    ]);
    fields.extend(more);
    schema(fields)
}

fn of_binding() -> Value {
    of_app(of_service(vec![
        field("binding", "string", "The guid of the binding."),
        maybe(
            "binding_name",
            "string",
            "What the app calls the service, if not as it is called.",
        ),
    ]))
}

fn at() -> Field {
    Field {
        name: "at",
        schema: json!({"type": "string", "format": "date-time"}),
        description: "When it happened.",
    }
}

fn place() -> [Field; 3] {
    [
        named("app", "The app: guid and name."),
        named("space", "The app's space: guid and name."),
        named("organization", "The app's organization: guid and name."),
    ]
}

fn schema(fields: Vec<Field>) -> Value {
    let mut properties = Map::new();
    let fields = std::iter::once(at()).chain(fields);
    for mut field in fields {
        field.schema["required"] = json!(true);
        field.schema["description"] = json!(field.description);
        properties.insert(field.name.to_owned(), field.schema);
    }
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn of_app(fields: Vec<Field>) -> Value {
    schema(place().into_iter().chain(fields).collect())
}

macro_rules! events {
    ($($variant:ident $name:literal $description:literal $schema:expr;)*) => {
        /// Something that happened on the platform.
        #[derive(Debug, Clone, PartialEq)]
        pub enum PlatformEvent {
            $(#[doc = $description] $variant($variant),)*
        }

        impl PlatformEvent {
            /// The name of its trigger type in the pack `yard`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(PlatformEvent::$variant(_) => $name,)*
                }
            }

            /// What rules match on.
            pub fn payload(&self) -> Value {
                let written = match self {
                    $(PlatformEvent::$variant(event) => serde_json::to_value(event),)*
                };
                written.expect("strings, numbers and names are JSON")
            }
        }

        $(impl From<$variant> for PlatformEvent {
            fn from(event: $variant) -> PlatformEvent {
                PlatformEvent::$variant(event)
            }
        })*

        /// The trigger types, in the order of the document.
        pub(super) fn types() -> Vec<TriggerType> {
            vec![$(TriggerType {
                pack: "yard",
                name: $name.to_owned(),
                description: $description,
                parameters_schema: json!({}),
                payload_schema: $schema,
            },)*]
        }
    };
}

events! {
    AppCrashed "app.crashed" "An instance of an app ended though it was wanted." of_app(vec![
        field("process_type", "string", "The type of the process: web, worker, …"),
        field("index", "integer", "Which of the process's instances."),
        field("instance", "string", "The id of this run of the instance."),
        maybe("node", "string", "The node it ran on."),
        maybe("exit_status", "integer", "The exit status, if it exited; negative: the signal that ended it."),
        field("reason", "string", "Why, in words."),
        field("crash_count", "integer", "How often this index crashed in the running window."),
    ]);
    AppFlapping "app.flapping" "An instance of an app crashes again and again, and is started less and less often." of_app(vec![
        field("process_type", "string", "The type of the process."),
        field("index", "integer", "Which of the process's instances."),
        field("crash_count", "integer", "How often it crashed."),
        maybe("next_start_at", "string", "When it is started again; null if it is given up."),
    ]);
    AppStaged "app.staged" "A package of an app was made into a droplet." of_app(vec![
        field("build", "string", "The guid of the build."),
        field("package", "string", "The guid of the package."),
        field("droplet", "string", "The guid of the droplet."),
        maybe("buildpack", "string", "The buildpack that did it."),
        field("duration_ms", "integer", "How long it took, in milliseconds."),
    ]);
    AppStagingFailed "app.staging_failed" "A package of an app could not be made into a droplet." of_app(vec![
        field("build", "string", "The guid of the build."),
        field("package", "string", "The guid of the package."),
        field("error", "string", "Why not."),
        field("duration_ms", "integer", "How long it took, in milliseconds."),
    ]);
    DeploymentFinished "deployment.finished" "A deployment replaced all instances." of_app(vec![
        field("deployment", "string", "The guid of the deployment."),
        field("strategy", "string", "How: rolling, canary, recreate."),
        field("droplet", "string", "The guid of the droplet that runs now."),
        field("duration_ms", "integer", "How long it took, in milliseconds."),
    ]);
    DeploymentFailed "deployment.failed" "A deployment was given up or canceled." of_app(vec![
        field("deployment", "string", "The guid of the deployment."),
        field("strategy", "string", "How: rolling, canary, recreate."),
        field("droplet", "string", "The guid of the droplet that was to run."),
        maybe("previous_droplet", "string", "The guid of the droplet that runs on."),
        field("reason", "string", "Why, in words."),
    ]);
    InstanceOutOfMemory "instance.oom" "An instance was killed because it used more memory than it may." of_app(vec![
        field("process_type", "string", "The type of the process."),
        field("index", "integer", "Which of the process's instances."),
        field("instance", "string", "The id of this run of the instance."),
        maybe("node", "string", "The node it ran on."),
        field("memory_limit_mb", "integer", "How much it may use, in megabytes."),
    ]);
    NodeLost "node.lost" "The agent of a node is not heard of any more; its instances are started elsewhere." schema(vec![
        field("node", "string", "The node."),
        maybe("address", "string", "Its address."),
        field("last_seen_at", "string", "When it was last heard of."),
        field("instances", "integer", "How many instances ran on it."),
    ]);
    NodeJoined "node.joined" "The agent of a node is heard of." schema(vec![
        field("node", "string", "The node."),
        maybe("address", "string", "Its address."),
        field("memory_mb", "integer", "How much memory it offers, in megabytes."),
        field("returned", "boolean", "Whether it had been lost."),
    ]);
    NodeDraining "node.draining" "The agent of a node takes no more work; what it has is moved elsewhere." schema(vec![
        field("node", "string", "The node."),
        field("left", "integer", "How many instances, tasks, actions and sensors it has."),
        field("until", "string", "When the rest is stopped, moved or not."),
    ]);
    NodeDrained "node.drained" "The agent of a node was emptied: nothing is left on it." schema(vec![
        field("node", "string", "The node."),
        field("since", "string", "When its emptying began."),
    ]);
    DiskLow "disk.low" "Little room is left for the files of a component: less than `cluster/disk/low`. Told late if the database had no room for it." schema(vec![
        field("component", "string", "The component, which measures where it keeps files."),
        field("folder", "string", "A folder on the disk."),
        field("free_bytes", "integer", "How much is free."),
        field("total_bytes", "integer", "How large the disk is."),
        field("since", "string", "Since when, by the clock of the component."),
    ]);
    DiskRecovered "disk.recovered" "There is room for the files of a component again: a quarter more than the least." schema(vec![
        field("component", "string", "The component."),
        field("folder", "string", "A folder on the disk."),
        field("since", "string", "Since when there was little room, as it was told."),
    ]);
    ClockJumped "clock.jumped" "The wall clock under a component jumped by more than `cluster/clock/tolerance`, or its machine slept. Each component tells it for itself." schema(vec![
        field("component", "string", "The component."),
        field("seconds", "number", "By how much; negative: back."),
        field("jumped_at", "string", "What the clock showed then."),
    ]);
    ConfigChanged "config.changed" "A value of the cluster's configuration changed." schema(vec![
        field("key", "string", "The key."),
        Field { name: "component", schema: json!({"type": ["string", "null"]}), description: "The component that has this value for itself; null: the whole cluster." },
        Field { name: "value", schema: json!({}), description: "The new value; masked if secret, null if unset." },
        Field { name: "previous", schema: json!({}), description: "The value before; masked if secret, null if unset." },
        field("user", "string", "Who changed it."),
        field("restart_needed", "boolean", "Whether it works only after a restart."),
    ]);
    CertificateIssued "certificate.issued" "A certificate that the cluster ordered was issued (`router/acme/...`)." schema(vec![
        field("domain", "string", "The name it is for."),
        field("source", "string", "Why it is wanted: listed (by an operator) or route (of an app)."),
        field("directory", "string", "The authority's directory."),
        field("not_after", "string", "When it ends."),
        field("renewed", "boolean", "Whether there was one before."),
    ]);
    CertificateFailed "certificate.failed" "A certificate was ordered in vain; it is tried again." schema(vec![
        field("domain", "string", "The name it is for."),
        field("source", "string", "Why it is wanted: listed (by an operator) or route (of an app)."),
        field("directory", "string", "The authority's directory."),
        field("reason", "string", "What went wrong."),
        field("failures", "integer", "How many attempts in a row failed."),
        field("next_attempt_at", "string", "When it is tried again."),
        maybe("not_after", "string", "When the one there is ends; null: there is none."),
    ]);
    RouteErrors "route.errors" "Requests to an app are answered with server errors more often than they may: once when their part rises above `controller/traffic/max_error_rate`, and again only after it was below half of that." schema(vec![
        field("host", "string", "The route with the most errors: the host name, with a path if it has one."),
        maybe_named("app", "The app: guid and name. Null for a route that leads to no app of the cluster."),
        maybe_named("space", "The app's space: guid and name."),
        maybe_named("organization", "The app's organization: guid and name."),
        field("requests", "integer", "Requests in the window, to all routes of the app."),
        field("errors", "integer", "How many of them ended with a status of 500 or more."),
        field("rate", "number", "errors divided by requests."),
        field("window_seconds", "integer", "How long the window is, in seconds."),
    ]);
    RouteRate "route.rate" "An app gets more or fewer requests than was told before: by `controller/traffic/rate_change`, and by one a second. Looked at once in a window." of_app(vec![
        field("requests", "integer", "Requests in the window, to all routes of the app."),
        field("requests_per_second", "number", "The same for a second; 0 if there were none."),
        field("previous_requests_per_second", "number", "What was told before; 0 if nothing was."),
        field("window_seconds", "integer", "How long the window is, in seconds."),
    ]);
    TaskFinished "task.finished" "A one-off task of an app is over." of_app(vec![
        field("task", "string", "The guid of the task."),
        field("sequence_id", "integer", "Its number among the tasks of the app."),
        field("name", "string", "Its name."),
        field("succeeded", "boolean", "Whether its command exited with 0."),
        maybe("exit_status", "integer", "What the command exited with; 128 and the signal's number if one ended it. Null if it never ran, or if nobody saw its end."),
        maybe("reason", "string", "Why it failed, in words."),
        maybe("node", "string", "The node it was given to."),
        maybe("duration_ms", "integer", "How long it ran, in milliseconds; null if no agent took it."),
    ]);
    QuotaExceeded "quota.exceeded" "Something was refused because a quota does not allow as much. Of each limit of a quota it is told once a minute at most." schema(vec![
        named("quota", "The quota: guid and name."),
        field("scope", "string", "Whose quota it is: organization or space."),
        field("limit", "string", "Which limit: apps.total_memory_in_mb, apps.per_process_memory_in_mb, apps.total_instances, apps.per_app_tasks, routes.total_routes, domains.total_domains, services.total_service_instances."),
        field("allowed", "integer", "How much it allows."),
        field("used", "integer", "How much there was."),
        field("asked", "integer", "How much more was asked for."),
        named("organization", "The organization: guid and name."),
        maybe_named("space", "The space: guid and name. Null for a domain of the organization."),
        maybe_named("app", "The app: guid and name. Null if it was about a route, a domain or a service alone."),
        field("user", "string", "Who asked."),
    ]);
    ServiceCreated "service.created" "A service was made known in a space. Its credentials are not told." of_service_in_space(vec![]);
    ServiceUpdated "service.updated" "A service was changed; apps that are bound to it see it with their next start." of_service_in_space(vec![
        Field {
            name: "changed",
            schema: json!({"type": "array", "items": {"type": "string"}}),
            description: "What is other than before: name, credentials, tags, metadata.",
        },
    ]);
    ServiceDeleted "service.deleted" "A service is known no more." of_service_in_space(vec![]);
    ServiceBound "service.bound" "An app was bound to a service: it gets the credentials with its next start." of_binding();
    ServiceUnbound "service.unbound" "An app was unbound from a service: it gets the credentials no more, from its next start on." of_binding();
}

#[cfg(test)]
mod tests;
