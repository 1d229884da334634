//! Orders to agents: composed while the transaction that recorded the start is committed, and sent after it.

use crate::automation::Automation;
use crate::automation::ops::executions::SYSTEM_USER;
use crate::automation::ops::tokens::NewToken;
use crate::automation::ops::{Fault, base_environment};
use crate::store::automation::executions::Execution;
use crate::store::automation::pack_files;
use crate::store::automation::packs::{self, Standing};
use crate::store::sql::Connection;
use automation::execution::{Event, Placement, Status};
use automation::parameters::{Surroundings, datastore_user};
use automation::runners::{
    self, ActionIdentity, Positional, Runner, Sensitive, ShellRun, python_environment,
    remote_command, shell_command, shell_script,
};
use daemon::BusError;
use http::Method;
use proto::bus::automation::{PackContent, RunAction, RunActionReply, StopAction};
use proto::bus::catalogue;
use proto::ids::DeaId;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long an agent may take to say that it takes an action.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the address of a pack's content is good.
const URL_LIFETIME: i64 = 3600;
/// Where the pack is in its sandbox.
pub const CONTENT: &str = "/opt/stackyard/pack/content";
pub const VIRTUALENV: &str = "/opt/stackyard/pack/virtualenv";
/// Bytes of each output stream that are kept.
const OUTPUT_LIMIT: u64 = 10 << 20;
/// A report larger than this is put into the blob store by the agent.
const INLINE_REPORT: u64 = 512 << 10;
/// Memory of one execution.
const MEMORY_MB: u64 = 512;
/// Between TERM and KILL.
const GRACE_MS: u64 = 2000;
/// Seconds that a token outlives the time limit of its execution.
const TOKEN_SLACK: i64 = 300;
/// Seconds that the token of an execution is good for. It goes with the end of the execution; this is for an end
/// that never came.
pub const TOKEN_LIFETIME: i64 = 7 * 86_400;

/// What is to begin on an agent, as the transaction recorded it that decided so.
pub struct Start {
    pub execution: Execution,
    pub at: Placement,
    pub token: NewToken,
}

/// Blob of a pack's staged content.
pub fn content_key(sha256: &str) -> String {
    format!("packs/{sha256}")
}

/// Blob of a result or report.
pub fn result_key(id: &str) -> String {
    format!("results/{id}")
}

/// Why there are no orders.
enum NoOrders {
    /// The execution fails with this text.
    Failed(String),
    /// Another round sees to it.
    Later(Fault),
}

impl From<Fault> for NoOrders {
    fn from(fault: Fault) -> NoOrders {
        match fault {
            Fault::Invalid(text) | Fault::NotFound(text) => NoOrders::Failed(text),
            fault => NoOrders::Later(fault),
        }
    }
}

impl From<crate::store::StoreError> for NoOrders {
    fn from(error: crate::store::StoreError) -> NoOrders {
        NoOrders::Later(error.into())
    }
}

fn failed(error: impl std::fmt::Display) -> NoOrders {
    NoOrders::Failed(error.to_string())
}

/// Orders in the making, in a task of their own. Dropped instead of sent, they are forgotten.
pub struct Orders {
    committed: oneshot::Sender<()>,
}

impl Orders {
    /// Begins to compose them: what they are made from is not what the transaction of their start changes.
    pub fn prepare(automation: &Automation, start: Start) -> Orders {
        let (committed, commit) = oneshot::channel();
        let automation = automation.clone();
        automation
            .ops
            .tasks
            .clone()
            .spawn_once("dispatch-action", async move {
                let composed = compose(&automation, &start).await;
                if commit.await.is_err() {
                    return;
                }
                if let Err(fault) = deliver(&automation, &start, composed).await {
                    tracing::warn!(
                        execution = start.execution.id,
                        error = &fault as &dyn std::error::Error,
                        "an execution could not be given to its agent"
                    );
                }
            });
        Orders { committed }
    }

    /// The start is on the disk: the agent is told.
    pub fn send(self) {
        // Nobody waits only if the controller is stopping: another leader finds the row.
        let _ = self.committed.send(());
    }
}

/// What an agent is told, and for how many seconds the token in it must be good.
struct Composed {
    orders: RunAction,
    lifetime: i64,
}

async fn deliver(
    automation: &Automation,
    start: &Start,
    composed: Result<Composed, NoOrders>,
) -> Result<(), Fault> {
    let Ok(agent) = DeaId::new(start.at.agent.clone()) else {
        return Ok(());
    };
    let taken = order(automation, start, &agent, composed).await;
    automation
        .agents
        .answered(&agent, matches!(taken, Ok(true)));
    taken.map(drop)
}

/// The orders, once their token is good for long enough.
async fn complete(
    automation: &Automation,
    start: &Start,
    composed: Result<Composed, NoOrders>,
) -> Result<RunAction, NoOrders> {
    let Composed { orders, lifetime } = composed?;
    if lifetime > TOKEN_LIFETIME {
        automation.prolong(&start.token, lifetime).await?;
    }
    Ok(orders)
}

/// Whether the agent took it, as far as is known.
async fn order(
    automation: &Automation,
    start: &Start,
    agent: &DeaId,
    composed: Result<Composed, NoOrders>,
) -> Result<bool, Fault> {
    let Some(bus) = &automation.bus else {
        return Ok(false);
    };
    let (row, at) = (&start.execution, &start.at);
    let id = row.id.as_str();
    let orders = match complete(automation, start, composed).await {
        Ok(orders) => orders,
        Err(NoOrders::Failed(text)) => {
            let runner = Runner::from_name(&row.runner_type).unwrap_or(Runner::Noop);
            let event = Event::Finished {
                at: Some(at.clone()),
                status: Status::Failed,
                result: runners::without_outcome(runner, &text),
            };
            return settle(automation, id, event).await.map(|()| false);
        }
        Err(NoOrders::Later(fault)) => {
            // Nothing was sent: it may be placed anew.
            settle(automation, id, Event::NotTaken(at.clone())).await?;
            return Err(fault);
        }
    };
    let topic = catalogue::dea_action_run(agent);
    let event = match bus
        .request::<_, RunActionReply>(&topic, &orders, ANSWER)
        .await
    {
        Ok(reply) if reply.accepted => return Ok(true),
        Ok(reply) => {
            tracing::info!(execution = id, agent = %agent, reason = reply.reason, "an agent did not take an action");
            Event::NotTaken(at.clone())
        }
        Err(BusError::NoResponders(_)) => {
            automation.agents.away(agent);
            Event::NotTaken(at.clone())
        }
        Err(BusError::Disconnected(_)) => Event::NotTaken(at.clone()),
        Err(error @ BusError::TooLarge { .. }) => {
            let runner = Runner::from_name(&row.runner_type).unwrap_or(Runner::Noop);
            Event::Finished {
                at: Some(at.clone()),
                status: Status::Failed,
                result: runners::without_outcome(runner, &error.to_string()),
            }
        }
        // It may have begun: the agent's reports tell.
        Err(error) => {
            tracing::warn!(execution = id, agent = %agent, %error, "an agent did not say that it takes an action");
            return Ok(true);
        }
    };
    settle(automation, id, event).await.map(|()| false)
}

async fn settle(automation: &Automation, id: &str, event: Event) -> Result<(), Fault> {
    if let Err((illegal, status)) = automation.move_execution(id, event).await? {
        tracing::debug!(execution = id, %illegal, %status, "it has moved on meanwhile");
    }
    Ok(())
}

/// Tells an agent to end an execution, in a task of its own.
pub fn stop(automation: &Automation, execution: String, at: Placement) {
    let automation = automation.clone();
    automation
        .ops
        .tasks
        .clone()
        .spawn_once("stop-action", async move {
            let Some(bus) = &automation.bus else { return };
            let Ok(agent) = DeaId::new(at.agent.clone()) else {
                return;
            };
            let message = StopAction {
                execution: execution.clone(),
                attempt: at.attempt,
                reason: "canceled".to_string(),
                grace_ms: GRACE_MS,
            };
            if let Err(error) = bus
                .publish(&catalogue::dea_action_stop(&agent), &message)
                .await
            {
                // The engine says it again until the end is known.
                tracing::debug!(execution, %error, "an agent could not be told to end an action");
            }
        });
}

/// Where an agent gets a pack.
pub async fn content(
    automation: &Automation,
    connection: &mut Connection,
    pack: &str,
    standing: Option<&Standing>,
) -> Result<PackContent, Fault> {
    let standing =
        standing.ok_or_else(|| Fault::NotFound(format!("Pack \"{pack}\" is not installed.")))?;
    let expires = crate::ops::now() / 1_000_000 + URL_LIFETIME;
    let url = |sum: &str| match sum {
        "" => String::new(),
        sum => automation
            .ops
            .blobs
            .url(&Method::GET, &content_key(sum), expires),
    };
    let sum = standing.archive_sha256.clone().unwrap_or_default();
    let base = packs::content_sum(connection, base_environment::PACK).await?;
    Ok(PackContent {
        pack: pack.to_string(),
        url: url(&sum),
        sha256: sum,
        base_url: url(&base),
        base_sha256: base,
    })
}

async fn compose(automation: &Automation, start: &Start) -> Result<Composed, NoOrders> {
    let (row, at) = (&start.execution, &start.at);
    let mut connection = automation.ops.store.read().await?;
    let runner = Runner::from_name(&row.runner_type)
        .ok_or_else(|| failed(format!("the runner \"{}\" is not known", row.runner_type)))?;
    let action = &row.document["action"];
    let schema = automation.schema_as_noted(&row.action_ref, runner, action)?;
    let pack = row.action_ref.split_once('.').map_or("", |(pack, _)| pack);
    let live = automation.unseal(&row.parameters)?;
    let context = &row.context.0;
    let user = datastore_user(context, SYSTEM_USER);
    let standing = packs::standing(&mut connection, pack).await?;
    let standing = standing.as_ref();
    let config = automation
        .config_as_of(&mut connection, pack, standing, user)
        .await?;
    let references = schema.references(&automation.expressions, &live);
    let datastore = automation
        .load_keys(&mut connection, &references, user)
        .await?;
    let none = Map::new();
    let surroundings = Surroundings {
        action_context: context,
        config: &config,
        datastore,
        user,
        names: &none,
    };
    let resolved = schema
        .resolve(&automation.expressions, &live, &surroundings)
        .map_err(failed)?;
    let content = content(automation, &mut connection, pack, standing).await?;
    let script = if runner == Runner::RemoteShellScript {
        let entry_point = action["entry_point"].as_str().unwrap_or_default();
        pack_files::get(&mut connection, pack, &format!("actions/{entry_point}"))
            .await?
            .and_then(|bytes| String::from_utf8(bytes).ok())
    } else {
        None
    };
    drop(connection);

    let seconds = resolved
        .runner
        .get("timeout")
        .or_else(|| resolved.action.get("timeout"))
        .and_then(Value::as_u64)
        .filter(|seconds| *seconds > 0)
        .unwrap_or(600);
    let lifetime = i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_add(TOKEN_SLACK);
    let identity = ActionIdentity {
        pack: pack.to_string(),
        execution: row.id.clone(),
        api_url: format!("{}/api/v1", automation.public_url),
        apps_url: automation.ops.public_url.to_string(),
        token: Some(Sensitive::new(start.token.text.clone())),
        debug: resolved.runner.get("debug") == Some(&Value::Bool(true)),
    };
    let parts = Parts {
        runner,
        action,
        pack,
        runner_parameters: &resolved.runner,
        parameters: &resolved.action,
        config: &config,
        identity: &identity,
        script,
        seconds,
    };
    let orders = parts.orders()?;
    let expires = (crate::ops::now() / 1_000_000)
        .saturating_add(lifetime)
        .saturating_add(86_400);
    let blob = result_key(&format!("{}-{}", row.id, at.attempt));
    let orders = RunAction {
        execution: row.id.clone(),
        attempt: at.attempt,
        action: row.action_ref.clone(),
        content: Some(content),
        orders: orders.to_string().into_bytes(),
        timeout_ms: seconds.saturating_mul(1000),
        memory_mb: MEMORY_MB,
        output_limit: OUTPUT_LIMIT,
        result_url: automation.ops.blobs.url(&Method::PUT, &blob, expires),
        inline_limit: INLINE_REPORT,
        epoch: automation.epoch.borrow().unwrap_or_default(),
    };
    Ok(Composed { orders, lifetime })
}

/// What the orders of one execution are made from.
struct Parts<'a> {
    runner: Runner,
    action: &'a Value,
    pack: &'a str,
    runner_parameters: &'a Map<String, Value>,
    parameters: &'a Map<String, Value>,
    config: &'a Value,
    identity: &'a ActionIdentity,
    /// Text of the script that is copied to other hosts.
    script: Option<String>,
    seconds: u64,
}

impl Parts<'_> {
    /// The `run` request of the pack host, without `id`.
    fn orders(&self) -> Result<Value, NoOrders> {
        match self.runner {
            Runner::PythonScript => self.python(),
            Runner::LocalShellCmd | Runner::LocalShellScript => self.shell(),
            Runner::HttpRequest => Ok(self.http()),
            Runner::RemoteShellCmd | Runner::RemoteShellScript => self.ssh(),
            other => Err(failed(format!(
                "the runner \"{}\" does not run on agents",
                other.name()
            ))),
        }
    }

    /// The file of the action in its sandbox.
    fn entry_point(&self) -> Result<String, NoOrders> {
        let entry_point = self.action["entry_point"].as_str().unwrap_or_default();
        if entry_point.is_empty() {
            return Err(failed(format!(
                "the action \"{}\" has no entry point",
                self.action["ref"].as_str().unwrap_or_default()
            )));
        }
        Ok(format!("{CONTENT}/actions/{entry_point}"))
    }

    fn base_environment(&self) -> BTreeMap<String, String> {
        BTreeMap::from(
            [
                (
                    "PATH",
                    format!("{VIRTUALENV}/bin:/usr/local/bin:/usr/bin:/bin"),
                ),
                ("HOME", "/home/vcap".to_string()),
                ("LANG", "C.UTF-8".to_string()),
                ("USER", "vcap".to_string()),
                ("TMPDIR", "/tmp".to_string()),
            ]
            .map(|(name, value)| (name.to_string(), value)),
        )
    }

    fn limits(&self, mut orders: Map<String, Value>) -> Value {
        orders.insert(
            "timeout_ms".into(),
            json!(self.seconds.saturating_mul(1000)),
        );
        orders.insert("grace_ms".into(), json!(GRACE_MS));
        orders.insert("output_limit".into(), json!(OUTPUT_LIMIT));
        Value::Object(orders)
    }

    fn python(&self) -> Result<Value, NoOrders> {
        let env = self.runner_parameters.get("env").and_then(Value::as_object);
        let environment =
            python_environment(&self.base_environment(), env, self.identity).map_err(failed)?;
        let level = self
            .runner_parameters
            .get("log_level")
            .and_then(Value::as_str)
            .unwrap_or("DEBUG");
        Ok(self.limits(Map::from_iter([
            ("kind".to_string(), json!("python")),
            ("file".to_string(), json!(self.entry_point()?)),
            ("pack".to_string(), json!(self.pack)),
            ("parameters".to_string(), json!(self.parameters)),
            ("config".to_string(), self.config.clone()),
            ("log_level".to_string(), json!(level)),
            (
                "path".to_string(),
                json!([format!("{CONTENT}/lib"), format!("{CONTENT}/actions/lib")]),
            ),
            ("env".to_string(), json!(environment.variables)),
            ("cwd".to_string(), json!(CONTENT)),
        ])))
    }

    fn shell(&self) -> Result<Value, NoOrders> {
        if self.runner_parameters.get("sudo") == Some(&Value::Bool(true)) {
            return Err(failed(
                "sudo is not to be had: actions run in sandboxes without privileges. Use core.remote_sudo for a machine of yours.",
            ));
        }
        let base = self.base_environment();
        let default_cwd = if self.runner == Runner::LocalShellScript {
            CONTENT
        } else {
            "/home/vcap"
        };
        let run = ShellRun {
            parameters: self.runner_parameters,
            base_environment: &base,
            identity: self.identity,
            default_cwd,
            run_as: None,
        };
        let line = match self.runner {
            Runner::LocalShellScript => {
                let names = self.positional();
                let positional: Vec<Positional<'_>> = names
                    .iter()
                    .map(|(name, kind)| Positional {
                        name,
                        kind: kind.as_deref(),
                    })
                    .collect();
                shell_script(run, &self.entry_point()?, self.parameters, &positional)
            }
            _ => shell_command(run),
        }
        .map_err(failed)?;
        let mut orders = Map::from_iter([
            ("kind".to_string(), json!("shell")),
            ("env".to_string(), json!(line.environment.variables)),
            ("cwd".to_string(), json!(line.cwd)),
        ]);
        let command = match &line.make_executable {
            Some(path) => format!("chmod +x {}; {}", runners::quote(path), line.text.expose()),
            None => line.text.expose().to_string(),
        };
        orders.insert("command".into(), json!(command));
        Ok(self.limits(orders))
    }

    /// Names and types of the parameters with a position, in order.
    fn positional(&self) -> Vec<(String, Option<String>)> {
        let declared = self.action["parameters"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let mut found: Vec<(i64, String, Option<String>)> = declared
            .iter()
            .filter_map(|(name, one)| {
                let position = one.get("position").and_then(Value::as_i64)?;
                let kind = one.get("type").and_then(Value::as_str).map(str::to_string);
                Some((position, name.clone(), kind))
            })
            .collect();
        found.sort();
        found
            .into_iter()
            .map(|(_, name, kind)| (name, kind))
            .collect()
    }

    fn http(&self) -> Value {
        let mut orders = Map::from_iter([
            ("kind".to_string(), json!("http")),
            (
                "action".to_string(),
                json!(self.action["name"].as_str().unwrap_or_default()),
            ),
        ]);
        for name in [
            "url",
            "method",
            "headers",
            "cookies",
            "params",
            "body",
            "auth",
            "username",
            "password",
            "allow_redirects",
            "http_proxy",
            "https_proxy",
            "verify_ssl_cert",
            "url_hosts_blacklist",
            "url_hosts_whitelist",
            "timeout",
            "file_name",
            "file_content",
            "file_content_type",
        ] {
            let value = self
                .runner_parameters
                .get(name)
                .or_else(|| self.parameters.get(name));
            if let Some(value) = value.filter(|value| !value.is_null()) {
                orders.insert(name.to_string(), value.clone());
            }
        }
        self.limits(orders)
    }

    fn ssh(&self) -> Result<Value, NoOrders> {
        let text = |name: &str| self.runner_parameters.get(name).and_then(Value::as_str);
        let hosts: Vec<&str> = text("hosts")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .collect();
        if hosts.is_empty() {
            return Err(failed("the parameter \"hosts\" names no host"));
        }
        let mut orders = Map::from_iter([
            ("kind".to_string(), json!("ssh")),
            ("hosts".to_string(), json!(hosts)),
            (
                "username".to_string(),
                json!(text("username").unwrap_or(SYSTEM_USER)),
            ),
            ("timeout".to_string(), json!(self.seconds)),
        ]);
        for (name, order) in [
            ("password", "password"),
            ("private_key", "private_key"),
            ("passphrase", "passphrase"),
            ("port", "port"),
            ("bastion_host", "bastion_host"),
            ("cwd", "remote_cwd"),
            ("dir", "dir"),
            ("sudo", "sudo"),
            ("sudo_password", "sudo_password"),
        ] {
            if let Some(value) = self
                .runner_parameters
                .get(name)
                .filter(|value| !value.is_null())
            {
                orders.insert(order.to_string(), value.clone());
            }
        }
        // The environment of §2.4 travels with the command.
        let env = self.runner_parameters.get("env").and_then(Value::as_object);
        let environment =
            runners::shell_environment(&BTreeMap::new(), env, self.identity).map_err(failed)?;
        orders.insert("remote_env".into(), json!(environment.variables));
        if self.runner == Runner::RemoteShellScript {
            let content = self.script.as_ref().ok_or_else(|| {
                failed("the script of the action is not in its pack, or is no text")
            })?;
            let names = self.positional();
            let positional: Vec<Positional<'_>> = names
                .iter()
                .map(|(name, kind)| Positional {
                    name,
                    kind: kind.as_deref(),
                })
                .collect();
            let prefix = text("kwarg_op").unwrap_or("--");
            let arguments = runners::script_arguments(prefix, self.parameters, &positional);
            orders.insert(
                "script".into(),
                json!({
                    "name": self.action["entry_point"],
                    "content": content,
                    "arguments": arguments.join(" "),
                }),
            );
        } else {
            let command = text("cmd").ok_or_else(|| {
                failed("the parameter \"cmd\" is missing: there is no command to run")
            })?;
            // Checks the command as the runner would.
            remote_command(self.runner_parameters, command, self.identity).map_err(failed)?;
            orders.insert("command".into(), json!(command));
        }
        // A little longer than the commands: the host itself enforces their limit.
        let mut whole = self.limits(orders);
        whole["timeout_ms"] = json!(self.seconds.saturating_mul(1000).saturating_add(60_000));
        Ok(whole)
    }
}
