//! What an action says of its result (`output_schema`, contract §2.8): which parts are secret, and,
//! where the operator wants it checked, what it must look like.
//!
//! The schema is about what stands under the runner's `output_key`; a runner without one has no use
//! for it. A whole JSON schema has a `type`. The older form, properties by name, still masks, but a
//! result is not held to it, as in StackStorm since 3.8.

use super::catalogue::{output_key, output_schema};
use super::runner::Runner;
use crate::documents::{schema, secrets};
use serde_json::{Map, Value, json};

/// The schema of an action's document, if it has one that says something.
fn of(action: &Value) -> Option<&Map<String, Value>> {
    action
        .get("output_schema")
        .and_then(Value::as_object)
        .filter(|schema| !schema.is_empty())
}

fn is_whole(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(_) | Value::Array(_)) => true,
        // A property of that name, in the older form.
        Some(Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_)) | None => false,
    }
}

/// Masks what the action calls secret in its result.
pub fn mask_output(runner: Runner, action: &Value, result: &mut Value) {
    let (Some(key), Some(schema)) = (output_key(runner), of(action)) else {
        return;
    };
    let Some(output) = result.get_mut(key) else {
        return;
    };
    let definition = if is_whole(schema) {
        Value::Object(schema.clone())
    } else {
        json!({ "properties": schema })
    };
    secrets::mask(output, &definition);
}

/// Whether a result is what its runner and its action say it is; else the result that tells why not.
pub fn check_output(runner: Runner, action: &Value, result: &Value) -> Result<(), Value> {
    let told = |error: String| {
        json!({
            "error": error,
            "message": "Error validating output. See error output for more details.",
        })
    };
    let of_runner = output_schema(runner);
    if of_runner.as_object().is_none_or(Map::is_empty) {
        return Ok(());
    }
    schema::validate(&of_runner, result).map_err(|invalid| told(invalid.to_string()))?;
    match (output_key(runner), of(action)) {
        (Some(key), Some(of_action)) if is_whole(of_action) => {
            let of_action = Value::Object(of_action.clone());
            let output = result.get(key).unwrap_or(&Value::Null);
            let mut masked = output.clone();
            secrets::mask(&mut masked, &of_action);
            let checked = if masked == *output {
                schema::validate(&of_action, output)
            } else {
                schema::validate_masked(&of_action, output)
            };
            checked.map_err(|invalid| told(invalid.to_string()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::MASK;

    fn python(output: Value) -> Value {
        json!({"stdout": "", "stderr": "", "exit_code": 0, "result": output})
    }

    #[test]
    fn secrets_of_a_result_are_masked_by_its_schema() {
        let check = |schema: Value, output: Value, expected: Value| {
            let mut result = python(output);
            let action = json!({ "output_schema": schema });
            mask_output(Runner::PythonScript, &action, &mut result);
            assert_eq!(result, python(expected), "{schema}");
        };
        let pin = json!({"type": "integer", "secret": true});
        check(
            json!({"type": "object", "properties": {"pin": pin}}),
            json!({"pin": 1234, "name": "a"}),
            json!({"pin": MASK, "name": "a"}),
        );
        check(
            json!({"type": "array", "items": {"type": "object", "additionalProperties": pin}}),
            json!([{"a": 1}, {"b": 2}]),
            json!([{"a": MASK}, {"b": MASK}]),
        );
        check(pin.clone(), json!(1234), json!(MASK));
        // The older form, also with a property of that name.
        check(json!({"pin": pin}), json!({"pin": 1}), json!({"pin": MASK}));
        check(
            json!({"type": pin}),
            json!({"type": 1}),
            json!({"type": MASK}),
        );
        check(json!({}), json!({"pin": 1}), json!({"pin": 1}));
        check(Value::Null, json!({"pin": 1}), json!({"pin": 1}));

        // What has no key of its own is not masked.
        let action = json!({"output_schema": {"type": "object", "properties": {"stdout": pin}}});
        let mut result = json!({"stdout": "a"});
        mask_output(Runner::LocalShellCmd, &action, &mut result);
        assert_eq!(result, json!({"stdout": "a"}));
    }

    #[test]
    fn a_result_is_held_to_its_schema() {
        let check = |schema: Value, output: Value| {
            let action = json!({ "output_schema": schema });
            check_output(Runner::PythonScript, &action, &python(output))
                .map_err(|told| told["error"].as_str().unwrap_or_default().to_string())
        };
        let schema = json!({
            "type": "object",
            "properties": {
                "count": {"type": "integer", "required": true},
                "pin": {"type": "integer", "secret": true},
            },
            "additionalProperties": false,
        });
        assert_eq!(check(schema.clone(), json!({"count": 3})), Ok(()));
        let why = check(schema.clone(), json!({"count": "three"})).expect_err("a text");
        assert!(why.contains("count") && why.contains("three"), "{why}");
        assert!(check(schema.clone(), json!({"pin": 1})).is_err());
        assert!(check(schema.clone(), json!({"count": 1, "more": 2})).is_err());
        assert!(check(schema.clone(), json!("no object")).is_err());
        let why = check(schema, json!({"count": 1, "pin": "31415"})).expect_err("a text");
        assert!(!why.contains("31415"), "{why}");
        // The older form, and none.
        assert_eq!(
            check(json!({"count": {"type": "integer"}}), json!(5)),
            Ok(())
        );
        assert_eq!(check(Value::Null, json!(5)), Ok(()));

        let told = check_output(Runner::PythonScript, &json!({}), &json!({"result": 1}));
        let told = told.expect_err("the runner's own parts are missing");
        assert_eq!(
            told["message"],
            "Error validating output. See error output for more details."
        );
        assert_eq!(
            check_output(Runner::Noop, &json!({}), &json!({"result": 1})),
            Ok(())
        );
    }
}
