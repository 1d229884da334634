//! Executions: how they are asked for, looked at and ended.
//!
//! Whoever wants an action run (a user, a rule, a chat alias, a retry) comes through
//! [`Automation::compose`]: the action is looked up, the parameters are rendered as far as a request can and
//! checked, and one row is recorded ([`Round::accept`]). From there on the [engine](crate::automation::engine) moves it.

use super::callers::Permission;
use super::execution_documents::masked_result;
use super::fault::Fault;
use super::fire::Happened;
use super::natives::Native;
use super::resources::{self, present as present_resource};
use super::sealed::shown;
use super::traces::{self, Joined};
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::new_id;
use crate::domain::times::rfc3339_micros;
use crate::ops::now;
use crate::store::Json;
use crate::store::automation::actions::{self, Action};
use crate::store::automation::executions::Execution;
use crate::store::automation::runner_types::RunnerType;
use crate::store::automation::traces::{Component, Trace};
use crate::store::sql::Connection;
use crate::store::users;
use automation::execution::{Accepted, Event, Execution as Life, Illegal, Settings, Status};
use automation::parameters::{RenderError, Schema, Surroundings, datastore_user};
use automation::runners::{self, Runner, Work};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The account whose actions nobody asked for by name: rules without an owner, sensors.
pub const SYSTEM_USER: &str = "stanley";

/// What somebody wants run.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub action: String,
    pub parameters: Map<String, Value>,
    /// More of the execution's context.
    pub context: Map<String, Value>,
    pub username: String,
    pub user_guid: Option<String>,
    /// Milliseconds to wait first.
    pub delay: Option<i64>,
    pub notify: Option<Value>,
    pub parent: Option<String>,
    /// The trace it belongs to, if it is at hand; else the one that the context names.
    pub trace: Option<Trace>,
    /// The parameters are data, whatever braces they hold: who made them has rendered them.
    pub literal: bool,
    pub because: Cause,
}

/// What made it happen.
#[derive(Debug, Clone, Default)]
pub struct Cause {
    /// Reference and id.
    pub rule: Option<(String, String)>,
    pub trigger_instance: Option<String>,
    pub trigger: Option<String>,
    pub trigger_type: Option<String>,
}

/// How an execution is to be run again.
#[derive(Debug, Clone, Default)]
pub struct Again {
    /// Parameters that change.
    pub parameters: Map<String, Value>,
    /// Tasks of a workflow: none, the whole is run anew.
    pub tasks: Vec<String>,
    /// Those of them whose results are forgotten.
    pub reset: Vec<String>,
    /// Milliseconds to wait first.
    pub delay: Option<i64>,
}

/// An action ready to be run: its row, its runner, its parameters' schema.
pub struct Prepared {
    pub action: Action,
    pub runner: Runner,
    pub schema: Arc<Schema>,
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// The schema of an action's parameters, its runner's included.
pub fn schema_of(reference: &str, runner: Runner, document: &Value) -> Result<Schema, Fault> {
    let runner = object(runners::document(runner).get("runner_parameters"));
    let action = object(document.get("parameters"));
    Schema::new(reference, &runner, &action).map_err(|problems| {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Fault::Invalid(texts.join("; "))
    })
}

/// The values with the defaults of what was not given.
pub fn with_defaults(schema: &Schema, live: &Map<String, Value>) -> Map<String, Value> {
    let mut values: Map<String, Value> = schema
        .view()
        .into_iter()
        .filter_map(|(name, one)| Some((name, one.get("default")?.clone())))
        .collect();
    values.extend(live.clone());
    values
}

/// How long the work of an action may take, by its parameter `timeout`, in milliseconds.
fn run_limit(schema: &Schema, live: &Map<String, Value>) -> Option<i64> {
    let default = schema.view();
    let seconds = live
        .get("timeout")
        .or_else(|| default.get("timeout").and_then(|one| one.get("default")))
        .and_then(Value::as_f64)?;
    (seconds > 0.0).then_some((seconds * 1000.0) as i64)
}

/// An execution as it is written: its row, and its place in a trace.
#[derive(Debug)]
pub struct Composed {
    pub row: Execution,
    pub trace: Joined,
    pub component: Component,
    /// Why it failed at once. It is recorded all the same, as StackStorm does.
    pub refusal: Option<String>,
}

impl Automation {
    /// The schema of an action as an execution has noted it, its runner's parameters included. Made once, as long as the
    /// action does not change.
    pub fn schema_as_noted(
        &self,
        reference: &str,
        runner: Runner,
        document: &Value,
    ) -> Result<Arc<Schema>, Fault> {
        let noted = document.get("parameters");
        let known = self.acceptance.ready.latest(reference, |_, prepared| {
            prepared.runner == runner && prepared.action.document.get("parameters") == noted
        });
        match known {
            Some(prepared) => Ok(prepared.schema.clone()),
            None => schema_of(reference, runner, document).map(Arc::new),
        }
    }

    /// An action that can be run, or why not (contract §2.3). What does not change with every request is kept,
    /// and good while the rows it was made from are as they were.
    pub async fn prepare(
        &self,
        connection: &mut Connection,
        reference: &str,
    ) -> Result<Arc<Prepared>, Fault> {
        let version = actions::version(connection, reference).await?;
        if let Some(version) = &version
            && let Some(known) = self.acceptance.ready.get(reference, version)
        {
            return Ok(known);
        }
        let prepared = Arc::new(self.prepare_anew(connection, reference).await?);
        if let Some(version) = version {
            self.acceptance
                .ready
                .put(reference, version, prepared.clone());
        }
        Ok(prepared)
    }

    async fn prepare_anew(
        &self,
        connection: &mut Connection,
        reference: &str,
    ) -> Result<Prepared, Fault> {
        let action = resources::find::<Action>(connection, reference)
            .await?
            .ok_or_else(|| Fault::Invalid(format!("Action \"{reference}\" cannot be found.")))?;
        if !action.enabled {
            return Err(Fault::Invalid(format!(
                "Unable to execute. Action \"{reference}\" is disabled."
            )));
        }
        let runner = Runner::from_name(&action.runner_type).ok_or_else(|| {
            Fault::Invalid(format!(
                "Unable to execute. The runner \"{}\" of action \"{reference}\" is not known.",
                action.runner_type
            ))
        })?;
        if let Some(refusal) = runner.refusal() {
            return Err(Fault::Invalid(format!("Unable to execute. {refusal}")));
        }
        if runner.work() == Work::Workflow && Native::of(&action.reference).is_none() {
            return Err(Fault::Invalid(format!(
                "Unable to execute. Workflows (runner \"{}\") are not supported yet.",
                runner.name()
            )));
        }
        let enabled = RunnerType::find(connection, runner.name())
            .await?
            .is_none_or(|row| row.enabled);
        if !enabled {
            return Err(Fault::Invalid(format!(
                "Unable to execute. Runner \"{}\" is disabled.",
                runner.name()
            )));
        }
        let schema = Arc::new(schema_of(&action.reference, runner, &action.document)?);
        Ok(Prepared {
            action,
            runner,
            schema,
        })
    }

    /// An execution ready to be recorded. Only reads.
    pub async fn compose(
        &self,
        connection: &mut Connection,
        wanted: Wanted,
    ) -> Result<Composed, Fault> {
        let prepared = self.prepare(connection, &wanted.action).await?;
        let mut context = wanted.context.clone();
        context.insert("user".into(), json!(wanted.username));
        context.insert("pack".into(), json!(prepared.action.pack));
        let rendered = self.live(connection, &prepared, &wanted, &context).await?;
        let (live, fault) = match rendered {
            Ok(live) => (live, None),
            // StackStorm records the failure and refuses as well.
            Err(text) => (wanted.parameters.clone(), Some(text)),
        };
        let now = now();
        let millis = now / 1000;
        let answer_limit = (prepared.runner == Runner::Inquirer)
            .then(|| {
                runners::Question::read(&with_defaults(&prepared.schema, &live))
                    .ok()
                    .map(|question| question.limit())
            })
            .flatten();
        let settings = Settings::default();
        let (mut life, _) = Life::accept(
            Accepted {
                runner: prepared.runner,
                has_parent: wanted.parent.is_some(),
                delay: wanted.delay,
                run_limit: run_limit(&prepared.schema, &live),
                answer_limit,
            },
            millis,
        );
        let mut result = None;
        if let Some(text) = &fault {
            let failed = Event::StartFailed {
                at: None,
                result: json!({"error": text, "traceback": ""}),
            };
            if let Ok(automation::execution::Answer::Moved(moved)) =
                life.step(failed, millis, &settings)
            {
                result = moved.result;
            }
        }
        let id = new_id();
        let trace = match wanted.trace {
            Some(trace) => {
                traces::name(&mut context, &trace);
                Joined {
                    trace,
                    is_new: false,
                }
            }
            None => traces::join(connection, &mut context, &id, now).await?,
        };
        let rule_id = wanted.because.rule.as_ref().map(|(_, id)| id.clone());
        let rule = &wanted.because.rule;
        // Not with `json!`, which copies what it is given.
        let document = Map::from_iter([
            ("action".to_string(), present_resource(&prepared.action)),
            ("notify".to_string(), wanted.notify.unwrap_or_default()),
            (
                "rule".to_string(),
                json!(
                    rule.as_ref()
                        .map(|(reference, id)| json!({"ref": reference, "id": id}))
                ),
            ),
            ("delay".to_string(), json!(wanted.delay)),
        ]);
        let mut row = Execution {
            id,
            liveaction_id: new_id(),
            action_ref: prepared.action.reference.clone(),
            runner_type: prepared.runner.name().to_string(),
            status: String::new(),
            username: wanted.username,
            user_guid: wanted.user_guid,
            parent: wanted.parent,
            rule_ref: wanted
                .because
                .rule
                .as_ref()
                .map(|(reference, _)| reference.clone()),
            trigger_instance: wanted.because.trigger_instance,
            trigger_ref: wanted.because.trigger,
            trigger_type: wanted.because.trigger_type,
            parameters: Json(self.seal(&prepared.schema, &live)),
            context: Json(Value::Object(context)),
            document: Value::Object(document).into(),
            life: Json(life.clone()),
            result_size: 0,
            result: None,
            result_sha256: None,
            dea: None,
            deadline: None,
            started_at: now,
            ended_at: None,
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        row.set_life(life, &settings);
        // The engine looks at once, unless a delay says when.
        row.deadline = row.deadline.map(|at| {
            if wanted.delay.is_some_and(|delay| delay > 0) {
                at
            } else {
                now
            }
        });
        if let Some(result) = result {
            let text = result.to_string();
            row.result_size = i64::try_from(text.len()).unwrap_or(i64::MAX);
            row.result = Some(text);
        }
        Ok(Composed {
            component: traces::component_of(&row, rule_id.as_deref()),
            row,
            trace,
            refusal: fault,
        })
    }

    /// Renders and checks what was given. The inner error is the caller's fault.
    async fn live(
        &self,
        connection: &mut Connection,
        prepared: &Prepared,
        wanted: &Wanted,
        context: &Map<String, Value>,
    ) -> Result<Result<Map<String, Value>, String>, Fault> {
        let given = &wanted.parameters;
        let action_context = Value::Object(context.clone());
        let user = datastore_user(&action_context, SYSTEM_USER);
        let references = prepared.schema.references(&self.expressions, given);
        let datastore = self.load_keys(connection, &references, user).await?;
        let config = if references.names.contains("config_context") {
            self.config_of(connection, &prepared.action.pack, user)
                .await?
        } else {
            Arc::new(Value::Null)
        };
        let none = Map::new();
        let surroundings = Surroundings {
            action_context: &action_context,
            config: &config,
            datastore,
            user,
            names: &none,
        };
        let rendered = if wanted.literal {
            prepared.schema.literal(given).map_err(RenderError::from)
        } else {
            prepared
                .schema
                .live(&self.expressions, given, &surroundings)
        };
        let live = match rendered {
            Ok(live) => live,
            Err(error) => return Ok(Err(error.to_string())),
        };
        // Overriding what is immutable is refused whatever the value renders to.
        if let Err(problems) = prepared.schema.validate(&live) {
            return Ok(Err(problems.to_string()));
        }
        Ok(Ok(live))
    }

    /// Runs an action for a caller.
    pub async fn execute(&self, caller: &Caller, mut wanted: Wanted) -> Result<Execution, Fault> {
        caller.allow(Permission::Execute, "action_execute")?;
        if Native::of(&wanted.action).is_some() {
            // What packs there are is not for everybody who may run what they bring.
            caller.allow(Permission::Modify, &wanted.action.replace('.', "_"))?;
        }
        if wanted.username.is_empty() || wanted.username == caller.actor.name {
            wanted.username = caller.actor.name.clone();
            wanted.user_guid = Some(caller.actor.guid.clone());
        } else {
            caller.allow(Permission::Administer, "action_execute (as another user)")?;
            wanted.user_guid = Some(self.account(&wanted.username).await?);
        }
        if wanted.delay.is_some_and(|delay| delay < 0) {
            return Err(Fault::Invalid(
                "The delay of an execution is a number of milliseconds from 0.".into(),
            ));
        }
        let composed = {
            let mut reader = self.ops.store.read().await?;
            self.compose(&mut reader, wanted).await?
        };
        let composed = self.record_together(composed).await?;
        // What failed to render is recorded too.
        if let Some(text) = composed.refusal {
            return Err(Fault::Invalid(text));
        }
        if self.epoch.borrow().is_none() {
            self.wake_engine();
        }
        Ok(composed.row)
    }

    /// The guid of a user by name.
    async fn account(&self, username: &str) -> Result<String, Fault> {
        let mut connection = self.ops.store.read().await?;
        users::by_name(&mut connection, username, crate::ops::tokens::ORIGIN)
            .await?
            .map(|user| user.guid)
            .ok_or_else(|| Fault::Invalid(format!("User \"{username}\" does not exist.")))
    }

    pub async fn execution(&self, caller: &Caller, id: &str) -> Result<Execution, Fault> {
        caller.allow(Permission::View, "execution_view")?;
        Execution::find(&mut *self.ops.store.read().await?, id)
            .await?
            .ok_or_else(|| missing(id))
    }

    /// Ends an execution. The inner error: there is nothing to end, said in the way clients expect.
    pub async fn cancel(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Result<Execution, String>, Fault> {
        caller.allow(Permission::Execute, "execution_stop")?;
        let event = Event::CancelAsked {
            by: caller.actor.name.clone(),
        };
        match self.move_execution(id, event).await? {
            Ok(row) => Ok(Ok(row)),
            Err((_, status)) => Ok(Err(format!("Action cannot be canceled. State = {status}."))),
        }
    }

    /// `pausing` or `resuming`, for workflows.
    pub async fn pause_or_resume(
        &self,
        caller: &Caller,
        id: &str,
        status: &str,
    ) -> Result<Execution, Fault> {
        caller.allow(Permission::Execute, "execution_modify")?;
        let by = caller.actor.name.clone();
        let event = match status {
            "pausing" | "paused" => Event::PauseAsked { by },
            "resuming" | "running" => Event::ResumeAsked { by },
            other => {
                return Err(Fault::Invalid(format!(
                    "The status of an execution can be set to \"pausing\" or \"resuming\", not to \"{other}\"."
                )));
            }
        };
        match self.move_execution(id, event).await? {
            Ok(row) => Ok(row),
            Err((illegal, _)) => Err(Fault::Invalid(illegal.to_string())),
        }
    }

    /// Moves one execution by one event. The inner error says why the event makes no sense, and in
    /// which state it is.
    pub async fn move_execution(
        &self,
        id: &str,
        event: Event,
    ) -> Result<Result<Execution, (Illegal, Status)>, Fault> {
        let mut round = self.round("move an execution").await?;
        let mut row = Execution::find(round.connection(), id)
            .await?
            .ok_or_else(|| missing(id))?;
        match round.step(&mut row, event).await? {
            Ok(()) => {}
            Err(illegal) => return Ok(Err((illegal, row.life.status))),
        }
        round.finish().await?;
        Ok(Ok(row))
    }

    /// The same action again, with parameters changed where `again` says so.
    pub async fn run_again(
        &self,
        caller: &Caller,
        id: &str,
        again: Again,
    ) -> Result<Execution, Fault> {
        let before = self.execution(caller, id).await?;
        if !again.tasks.is_empty() || !again.reset.is_empty() {
            return Err(self.no_tasks(&before, &again));
        }
        let mut parameters = self.unseal(&before.parameters)?;
        parameters.extend(again.parameters);
        let context = json!({"re-run": {"ref": before.id}});
        self.execute(
            caller,
            Wanted {
                action: before.action_ref.clone(),
                parameters,
                context: object(Some(&context)),
                delay: again.delay,
                notify: before
                    .document
                    .get("notify")
                    .filter(|notify| !notify.is_null())
                    .cloned(),
                ..Wanted::default()
            },
        )
        .await
    }

    /// Why single tasks of this execution cannot be run again.
    fn no_tasks(&self, before: &Execution, again: &Again) -> Fault {
        let is_workflow =
            Runner::from_name(&before.runner_type).is_some_and(|one| one == Runner::Orquesta);
        if !is_workflow {
            return Fault::Invalid(
                "Task option is only supported for Orquesta workflows.".to_string(),
            );
        }
        if !again.parameters.is_empty() {
            return Fault::Invalid(
                "Parameters override is not supported when re-running task(s) for a workflow."
                    .to_string(),
            );
        }
        Fault::NotSupported("Workflows are not supported yet.".to_string())
    }

    /// What is to be fired when an execution has ended.
    pub fn completion(&self, row: &Execution, result: Option<&Value>) -> Happened<'static> {
        let payload = json!({
            "execution_id": row.id,
            "status": row.status,
            "start_timestamp": rfc3339_micros(row.started_at),
            "action_name": row.action_ref.split_once('.').map_or("", |(_, name)| name),
            "action_ref": row.action_ref,
            "runner_ref": row.runner_type,
            "parameters": shown(&row.parameters),
            "result": result.map(|result| masked_result(row, result)).unwrap_or_default(),
        });
        let mut happened = Happened::new("core.st2.generic.actiontrigger", payload);
        happened.source = Some(format!("completed:{}", row.id));
        happened.trace_id = trace_of(row);
        happened
    }
}

/// The trace an execution belongs to.
pub fn trace_of(row: &Execution) -> Option<String> {
    row.context
        .get("trace_context")
        .and_then(|context| context.get("id_"))
        .and_then(Value::as_str)
        .map(str::to_string)
}

pub fn missing(id: &str) -> Fault {
    Fault::NotFound(format!("Execution with id \"{id}\" not found."))
}
