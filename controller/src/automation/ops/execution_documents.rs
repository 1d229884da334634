//! Executions as the API shows them (contract §1.8): attributes without a value are left out, secrets are
//! masked.

use super::fault::Fault;
use super::sealed::shown;
use crate::automation::Automation;
use crate::domain::times::rfc3339_micros;
use crate::store::automation::executions::Execution;
use automation::documents::MASK;
use automation::runners::{self, Runner, Work};
use serde_json::{Map, Value, json};

/// Attributes an execution may have: what a projection can name.
pub const ATTRIBUTES: &[&str] = &[
    "id",
    "action",
    "runner",
    "liveaction",
    "status",
    "start_timestamp",
    "end_timestamp",
    "elapsed_seconds",
    "parameters",
    "context",
    "result",
    "result_size",
    "parent",
    "children",
    "log",
    "delay",
    "notify",
    "web_url",
    "trigger",
    "trigger_type",
    "trigger_instance",
    "rule",
    "workflow_execution",
    "task_execution",
];

/// `pack.name` as the documents of what a pack brings begin.
fn named(reference: &Option<String>) -> Option<Value> {
    let reference = reference.as_ref()?;
    let (pack, name) = reference.split_once('.').unwrap_or(("", reference));
    Some(json!({"ref": reference, "pack": pack, "name": name}))
}

/// The result without what the action's `output_schema`, or the schema of an inquiry, calls secret.
pub fn masked_result(row: &Execution, result: &Value) -> Value {
    let mut result = result.clone();
    if let Some(runner) = Runner::from_name(&row.runner_type) {
        runners::mask_output(runner, &row.document["action"], &mut result);
    }
    if row.runner_type != Runner::Inquirer.name() {
        return result;
    }
    let secret: Vec<String> = result["schema"]["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, one)| one.get("secret") == Some(&Value::Bool(true)))
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(response) = result.get_mut("response").and_then(Value::as_object_mut) {
        for name in secret {
            if let Some(answer) = response.get_mut(&name) {
                *answer = json!(MASK);
            }
        }
    }
    result
}

/// A document that takes only attributes that say something.
#[derive(Default)]
struct Telling(Map<String, Value>);

impl Telling {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        let says_nothing = match &value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        };
        if !says_nothing {
            self.0.insert(name.to_string(), value);
        }
    }
}

impl Automation {
    /// The whole but its children, whose ids are in other rows. The result is shown if it is given.
    pub fn present_execution(
        &self,
        row: &Execution,
        result: Option<&Value>,
        show_secrets: bool,
    ) -> Result<Value, Fault> {
        let parameters = if show_secrets {
            self.unseal(&row.parameters)?
        } else {
            shown(&row.parameters)
        };
        let runner = Runner::from_name(&row.runner_type);
        let kept = |name: &str| row.document.get(name).cloned().unwrap_or_default();
        let mut document = Telling::default();
        document.put("id", row.id.as_str());
        document.put("action", kept("action"));
        document.put("runner", runner.map(runners::document).unwrap_or_default());
        document.put(
            "liveaction",
            json!({
                "id": row.liveaction_id,
                "action": row.action_ref,
                "action_is_workflow": runner.is_some_and(|runner| runner.work() == Work::Workflow),
                "callback": {},
                "parameters": parameters,
                "runner_info": row.dea.as_ref().map_or(json!({}), |dea| json!({"hostname": dea})),
            }),
        );
        document.put("status", row.status.as_str());
        document.put("start_timestamp", rfc3339_micros(row.started_at));
        if let Some(end) = row.ended_at {
            document.put("end_timestamp", rfc3339_micros(end));
        }
        document.put("elapsed_seconds", json!(row.life.elapsed_seconds()));
        document.put("parameters", parameters);
        document.put("context", row.context.0.clone());
        if let Some(result) = result {
            let result = if show_secrets {
                result.clone()
            } else {
                masked_result(row, result)
            };
            document.put("result", result);
        }
        document.put("result_size", row.result_size);
        document.put("parent", json!(row.parent));
        let log: Vec<Value> = row.life.log.iter().map(|entry| entry.document()).collect();
        document.put("log", log);
        document.put("delay", kept("delay"));
        document.put("notify", kept("notify"));
        let mut rule = kept("rule");
        if let (Some(rule), Some(Value::Object(names))) =
            (rule.as_object_mut(), named(&row.rule_ref))
        {
            rule.extend(names);
        }
        document.put("rule", rule);
        let instance = row.trigger_instance.as_ref().map(|id| json!({"id": id}));
        document.put("trigger_instance", instance.unwrap_or_default());
        document.put("trigger", named(&row.trigger_ref).unwrap_or_default());
        document.put("trigger_type", named(&row.trigger_type).unwrap_or_default());
        document.put(
            "web_url",
            format!("{}/#/history/{}/general", self.public_url, row.id),
        );
        Ok(Value::Object(document.0))
    }
}
