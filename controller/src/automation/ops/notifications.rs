//! Notifications: who asked to be told when an execution ends (`notify`, contract §2.3 and §10).

use super::execution_documents::masked_result;
use super::executions::trace_of;
use super::fire::Happened;
use crate::automation::Automation;
use crate::domain::times::rfc3339_micros;
use crate::store::automation::executions::Execution;
use automation::execution::Status;
use automation::expressions::Context;
use serde_json::{Map, Value, json};

const TRIGGER: &str = "core.st2.generic.notifytrigger";

/// The sections of `notify` that an end concerns.
fn sections(status: Status) -> &'static [&'static str] {
    match status {
        Status::Succeeded => &["on-complete", "on_complete", "on-success", "on_success"],
        Status::Failed | Status::Timeout | Status::Abandoned | Status::Canceled => {
            &["on-complete", "on_complete", "on-failure", "on_failure"]
        }
        Status::Requested
        | Status::Delayed
        | Status::Scheduled
        | Status::Running
        | Status::Pending
        | Status::Pausing
        | Status::Paused
        | Status::Resuming
        | Status::Canceling => &[],
    }
}

impl Automation {
    /// What is to be fired for an end: one a route that asked for it.
    pub fn notifications(&self, row: &Execution, result: Option<&Value>) -> Vec<Happened<'static>> {
        let mut found = Vec::new();
        let notify = match row.document.get("notify") {
            Some(own @ Value::Object(sections)) if !sections.is_empty() => own,
            _ => &row.document["action"]["notify"],
        };
        if notify.as_object().is_none_or(Map::is_empty) {
            return found;
        }
        let result = result.map(|result| masked_result(row, result));
        let result = result.as_ref();
        for name in sections(row.life.status) {
            let Some(section) = notify.get(name).filter(|section| section.is_object()) else {
                continue;
            };
            let routes: Vec<String> = ["routes", "channels"]
                .into_iter()
                .filter_map(|key| section.get(key).and_then(Value::as_array))
                .flatten()
                .filter_map(|route| route.as_str().map(str::to_string))
                .collect();
            for route in routes {
                let payload = self.notification(row, section, &route, result);
                let mut happened = Happened::new(TRIGGER, payload);
                happened.source = Some(format!("notified:{}:{name}:{route}", row.id));
                happened.trace_id = trace_of(row);
                found.push(happened);
            }
        }
        found
    }

    fn notification(
        &self,
        row: &Execution,
        section: &Value,
        route: &str,
        result: Option<&Value>,
    ) -> Value {
        let context = Context::new()
            .with("action_context", &row.context)
            .with(
                "action_parameters",
                &json!(super::sealed::shown(&row.parameters)),
            )
            .with("action_results", result.unwrap_or(&Value::Null));
        // What cannot be rendered is passed on as it is, with the reason in the log.
        let rendered = |value: &Value| {
            self.expressions
                .render_value(value, &context)
                .unwrap_or_else(|error| {
                    tracing::warn!(execution = row.id, %error, "a notification could not be rendered");
                    value.clone()
                })
        };
        let mut data = section
            .get("data")
            .map(rendered)
            .unwrap_or_else(|| json!({}));
        if let Some(data) = data.as_object_mut() {
            data.insert("result".into(), result.cloned().unwrap_or_default());
        }
        json!({
            "execution_id": row.id,
            "status": row.status,
            "start_timestamp": rfc3339_micros(row.started_at),
            "end_timestamp": row.ended_at.map(rfc3339_micros),
            "action_ref": row.action_ref,
            "runner_ref": row.runner_type,
            "route": route,
            "channel": route,
            "message": section.get("message").map(rendered).unwrap_or_default(),
            "data": data,
        })
    }
}
