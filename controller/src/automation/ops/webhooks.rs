//! What comes from outside: webhooks, the injector of any trigger, and repeats of trigger instances.

use super::callers::Permission;
use super::fault::Fault;
use super::fire::{Happened, fire, instance_of};
use super::rule_tests::find_instance;
use super::triggers::{check_payload, named_trigger, trigger_type};
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::ops::now;
use crate::store::automation::trigger_instances::{self, TriggerInstance};
use crate::store::automation::triggers::Trigger;
use crate::store::query::Filter;
use crate::store::sql::Connection;
use automation::triggers::webhook_payload;
use serde_json::{Value, json};

/// Type of the triggers of webhooks.
pub const WEBHOOK: &str = "core.st2.webhook";
/// The hook that fires any trigger.
pub const INJECTOR: &str = "st2";

/// A hook by the path that callers use: slashes around it make no difference.
pub fn normalized(hook: &str) -> &str {
    hook.trim_matches('/')
}

/// The hook of a trigger.
pub fn hook_of(trigger: &Trigger) -> &str {
    normalized(trigger.parameters["url"].as_str().unwrap_or_default())
}

async fn of_hook(connection: &mut Connection, hook: &str) -> Result<Vec<Trigger>, Fault> {
    let filter = Filter::new()
        .equals("type_ref", WEBHOOK)
        .order_by("reference", "reference", false)
        .kept();
    let mut found = Trigger::fetch(connection, filter, "find webhooks").await?;
    found.retain(|trigger| hook_of(trigger) == normalized(hook));
    Ok(found)
}

fn unknown(hook: &str) -> Fault {
    Fault::NotFound(format!("Webhook {hook} not registered with st2"))
}

/// A request to a webhook.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    pub hook: &'a str,
    /// Names and values.
    pub headers: Vec<(&'a str, &'a str)>,
    pub body: Value,
    pub trace_tag: Option<String>,
    /// The same for one call that is sent again.
    pub request: Option<String>,
}

impl Automation {
    pub async fn list_webhooks(&self, caller: &Caller) -> Result<Vec<Trigger>, Fault> {
        caller.allow(Permission::View, "webhook_list")?;
        let filter =
            Filter::new()
                .equals("type_ref", WEBHOOK)
                .order_by("reference", "reference", false);
        let mut connection = self.ops.store.read().await?;
        Ok(Trigger::fetch(&mut connection, filter, "list webhooks").await?)
    }

    pub async fn webhook(&self, caller: &Caller, hook: &str) -> Result<Trigger, Fault> {
        caller.allow(Permission::View, "webhook_view")?;
        let mut connection = self.ops.store.read().await?;
        of_hook(&mut connection, hook)
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| unknown(hook))
    }

    /// Refuses what comes from outside while too much waits for the rules.
    pub async fn admit_instances(&self) -> Result<(), Fault> {
        let most = self.ops.settings().integer("automation/rules/max_pending");
        if self.intake.has_room(most) {
            return Ok(());
        }
        let waiting =
            trigger_instances::count_pending(&mut *self.ops.store.read().await?, most + 1).await?;
        // Here as well as at the leader: there may be none at the moment.
        metrics::gauge!("automation_pending_instances").set(waiting as f64);
        self.intake.counted(waiting);
        if waiting > most {
            return Err(Fault::TooMany(format!(
                "More than {most} trigger instances wait for the rules: try again later."
            )));
        }
        Ok(())
    }

    /// Takes in a request to a webhook.
    pub async fn call_webhook(&self, caller: &Caller, call: &Call<'_>) -> Result<(), Fault> {
        let hook = normalized(call.hook);
        if hook == INJECTOR {
            return self.inject(caller, call).await;
        }
        caller.allow_webhook()?;
        let mut connection = self.ops.store.read().await?;
        let found = of_hook(&mut connection, hook).await?;
        if found.is_empty() {
            return Err(unknown(hook));
        }
        let payload = webhook_payload(call.headers.iter().copied(), call.body.clone());
        if let Some(kind) = trigger_type(&mut connection, WEBHOOK).await? {
            check_payload(&self.intake.payloads, &kind, &payload)?;
        }
        drop(connection);
        let now = now();
        let instance = |trigger: &Trigger| {
            let happened = Happened {
                trigger: &trigger.reference,
                trigger_type: WEBHOOK,
                payload: payload.clone(),
                trace_tag: call.trace_tag.clone(),
                trace_id: None,
                source: None,
                occurred_at: None,
            };
            instance_of(happened, now)
        };
        self.take_in(found.iter().map(instance).collect()).await
    }

    /// Fires the trigger that the body names.
    async fn inject(&self, caller: &Caller, call: &Call<'_>) -> Result<(), Fault> {
        caller.allow(Permission::Fire, "webhook_send")?;
        let named = call.body.get("trigger").filter(|named| !named.is_null());
        let named = named.ok_or_else(|| Fault::Invalid("Trigger not specified.".into()))?;
        let payload = match call.body.get("payload") {
            None | Some(Value::Null) => json!({}),
            Some(payload) => payload.clone(),
        };
        let mut connection = self.ops.store.read().await?;
        let (trigger, kind) = named_trigger(&mut connection, named).await?;
        caller.allow_trigger(&kind.reference, &kind.pack)?;
        check_payload(&self.intake.payloads, &kind, &payload)?;
        drop(connection);
        let source = call
            .request
            .as_ref()
            .filter(|id| id.len() <= 200)
            .map(|id| format!("request:{}:{id}", caller.actor.guid));
        let happened = Happened {
            trigger: &trigger,
            trigger_type: &kind.reference,
            payload,
            trace_tag: call.trace_tag.clone(),
            trace_id: None,
            source,
            occurred_at: None,
        };
        self.take_in(vec![instance_of(happened, now())]).await
    }

    pub async fn trigger_instance(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<TriggerInstance, Fault> {
        caller.allow(Permission::View, "trigger_instance_view")?;
        find_instance(&mut *self.ops.store.read().await?, id).await
    }

    pub async fn list_trigger_instances(
        &self,
        caller: &Caller,
        filter: Filter,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<TriggerInstance>, u64), Fault> {
        caller.allow(Permission::View, "trigger_instance_list")?;
        let mut connection = self.ops.store.read().await?;
        Ok(TriggerInstance::page(&mut connection, filter, limit, offset).await?)
    }

    /// The same once more, as a new instance that names the first.
    pub async fn emit_again(&self, caller: &Caller, id: &str) -> Result<TriggerInstance, Fault> {
        caller.allow(Permission::Execute, "trigger_instance_re_emit")?;
        let before = find_instance(&mut *self.ops.store.read().await?, id).await?;
        let mut payload = before.payload.0;
        match payload.as_object_mut() {
            Some(entries) => {
                entries.insert("__context".into(), json!({"original_id": before.id}));
            }
            None => {
                return Err(Fault::Invalid(
                    "The payload of this trigger instance is no object: it cannot be emitted again.".into(),
                ));
            }
        }
        let happened = Happened {
            trigger: &before.trigger_ref,
            trigger_type: &before.trigger_type,
            payload,
            trace_tag: before.trace_tag.clone(),
            trace_id: before.trace_id.clone(),
            source: None,
            occurred_at: None,
        };
        let mut tx = self
            .ops
            .store
            .write("emit a trigger instance again")
            .await?;
        let row = fire(&mut tx, &happened, now()).await?;
        tx.commit().await?;
        self.nudge();
        row.ok_or_else(|| Fault::Unavailable("The instance was not recorded: try again.".into()))
    }
}
