//! The trigger types of the `core` pack, by the exact names StackStorm gives them.

use super::trigger_type::TriggerType;
use serde_json::{Map, Value, json};

fn core(name: &str, description: &'static str, payload_schema: Value) -> TriggerType {
    TriggerType {
        pack: "core",
        name: name.to_owned(),
        description,
        parameters_schema: json!({}),
        payload_schema,
    }
}

/// An object with these properties, of any type.
fn carries(properties: &[&str]) -> Value {
    let properties: Map<String, Value> = properties
        .iter()
        .map(|name| ((*name).to_owned(), json!({})))
        .collect();
    json!({"type": "object", "properties": properties})
}

/// All of them.
pub(super) fn types() -> Vec<TriggerType> {
    let mut types = vec![
        TriggerType {
            parameters_schema: json!({
                "type": "object",
                "properties": {"url": {
                    "type": "string", "required": true,
                    "description": "The path below /webhooks/, without a slash in front.",
                }},
                "additionalProperties": false,
            }),
            ..core(
                "st2.webhook",
                "A request to a webhook.",
                json!({
                    "type": "object",
                    "properties": {
                        "headers": {"type": "object"},
                        "headers_lower": {"type": "object"},
                        "body": {"anyOf": [{"type": "array"}, {"type": "object"}]},
                    },
                }),
            )
        },
        core(
            "st2.generic.actiontrigger",
            "An execution ended.",
            carries(&[
                "execution_id",
                "status",
                "start_timestamp",
                "action_name",
                "action_ref",
                "runner_ref",
                "parameters",
                "result",
            ]),
        ),
        core(
            "st2.generic.notifytrigger",
            "An execution that asked for it has something to tell.",
            carries(&[
                "execution_id",
                "status",
                "start_timestamp",
                "end_timestamp",
                "action_ref",
                "runner_ref",
                "channel",
                "route",
                "message",
                "data",
            ]),
        ),
        core(
            "st2.action.file_written",
            "A file of an action was written through the API.",
            carries(&["ref", "file_path", "host_info"]),
        ),
        core(
            "st2.generic.inquiry",
            "A workflow waits for somebody's answer.",
            json!({
                "type": "object",
                "properties": {
                    "id": {"type": "string", "required": true, "description": "The inquiry's id."},
                    "route": {
                        "type": "string", "required": true,
                        "description": "Where to ask; rules choose by it.",
                    },
                },
                "additionalProperties": false,
            }),
        ),
        core(
            "st2.sensor.process_spawn",
            "The process of a sensor started.",
            carries(&["id", "timestamp", "pid", "cmd"]),
        ),
        core(
            "st2.sensor.process_exit",
            "The process of a sensor ended.",
            carries(&["id", "timestamp", "pid", "exit_code"]),
        ),
        core(
            "st2.key_value_pair.create",
            "A key was written for the first time.",
            carries(&["object"]),
        ),
        core(
            "st2.key_value_pair.update",
            "A key was written.",
            carries(&["object"]),
        ),
        core(
            "st2.key_value_pair.value_change",
            "The value of a key changed.",
            carries(&["old_object", "new_object"]),
        ),
        core(
            "st2.key_value_pair.delete",
            "A key was deleted.",
            carries(&["object"]),
        ),
    ];
    for (name, description) in [
        ("st2.IntervalTimer", "So much time has passed again."),
        ("st2.DateTimer", "This time has come."),
        ("st2.CronTimer", "The clock shows what a cron line says."),
    ] {
        types.push(TriggerType {
            parameters_schema: timer_parameters(&format!("core.{name}"))
                .expect("each of these names is a timer"),
            ..core(
                name,
                description,
                json!({
                    "type": "object",
                    "properties": {
                        "executed_at": {
                            "type": "string", "format": "date-time",
                            "description": "When it fired.",
                        },
                        "schedule": {
                            "type": "object",
                            "description": "The parameters of the timer.",
                        },
                    },
                }),
            )
        });
    }
    types
}

/// The schema of a timer's parameters; None if this is no timer.
pub fn timer_parameters(trigger_type: &str) -> Option<Value> {
    let timezone = json!({
        "type": "string",
        "description": "A time zone like Europe/Vienna; the installation's own if none is given.",
    });
    let properties = match trigger_type {
        "core.st2.IntervalTimer" => json!({
            "timezone": timezone,
            "unit": {
                "enum": ["weeks", "days", "hours", "minutes", "seconds"], "required": true,
                "description": "What delta counts.",
            },
            "delta": {
                "type": "integer", "required": true,
                "description": "How many of them lie between two firings.",
            },
        }),
        "core.st2.DateTimer" => json!({
            "timezone": timezone,
            "date": {
                "type": "string", "required": true,
                "description": "When it fires, once.",
            },
        }),
        "core.st2.CronTimer" => json!({
            "timezone": timezone,
            "year": field("The year.", None),
            "month": field("The month: 1 to 12, or jan to dec.", Some((1, 12))),
            "day": field("The day of the month: 1 to 31, last, or a weekday like \"2nd tue\" or \"last fri\".", Some((1, 31))),
            "week": field("The week of the year by ISO 8601: 1 to 53.", Some((1, 53))),
            "day_of_week": field("The weekday: 0 (Monday) to 6, or mon to sun.", Some((0, 6))),
            "hour": field("The hour: 0 to 23.", Some((0, 23))),
            "minute": field("The minute: 0 to 59.", Some((0, 59))),
            "second": field("The second: 0 to 59.", Some((0, 59))),
        }),
        _ => return None,
    };
    Some(json!({"type": "object", "properties": properties, "additionalProperties": false}))
}

/// A cron field: a number, or an expression like `*/5`, `1-5` or `mon-fri`.
fn field(description: &str, bounds: Option<(i64, i64)>) -> Value {
    let mut schema = json!({
        "description": description,
        "anyOf": [{"type": "string"}, {"type": "integer"}],
    });
    if let Some((minimum, maximum)) = bounds {
        schema["minimum"] = json!(minimum);
        schema["maximum"] = json!(maximum);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_rules_use() {
        let mut names: Vec<String> = types().iter().map(TriggerType::reference).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "core.st2.CronTimer",
                "core.st2.DateTimer",
                "core.st2.IntervalTimer",
                "core.st2.action.file_written",
                "core.st2.generic.actiontrigger",
                "core.st2.generic.inquiry",
                "core.st2.generic.notifytrigger",
                "core.st2.key_value_pair.create",
                "core.st2.key_value_pair.delete",
                "core.st2.key_value_pair.update",
                "core.st2.key_value_pair.value_change",
                "core.st2.sensor.process_exit",
                "core.st2.sensor.process_spawn",
                "core.st2.webhook",
            ]
        );
    }

    #[test]
    fn payloads_are_checked() {
        let inquiry = types()
            .into_iter()
            .find(|kind| kind.name == "st2.generic.inquiry")
            .expect("the inquiry");
        assert_eq!(
            inquiry.check_payload(&json!({"id": "1", "route": "ops"})),
            Ok(())
        );
        assert!(inquiry.check_payload(&json!({"id": "1"})).is_err());
        assert_eq!(inquiry.document()["ref"], "core.st2.generic.inquiry");
    }
}
