//! Parameters as they are kept: what may be seen in the clear with secrets masked, and, if there
//! are secrets, the whole encrypted beside it.

use super::executions::schema_of;
use super::fault::Fault;
use crate::automation::Automation;
use crate::store::automation::executions::Execution;
use automation::datastore;
use automation::documents::Scrubber;
use automation::parameters::Schema;
use automation::runners::Runner;
use serde_json::{Map, Value, json};

impl Automation {
    /// `{"shown": …}` or, with secrets, `{"shown": …, "sealed": ciphertext}`.
    pub fn seal(&self, schema: &Schema, values: &Map<String, Value>) -> Value {
        let shown = schema.mask(values);
        if shown == *values {
            return json!({ "shown": shown });
        }
        let plain = Value::Object(values.clone()).to_string();
        let sealed = datastore::encrypt(&self.key, &rand::random(), &plain);
        json!({ "shown": shown, "sealed": sealed })
    }

    /// The values with their secrets.
    pub fn unseal(&self, kept: &Value) -> Result<Map<String, Value>, Fault> {
        let Some(sealed) = kept.get("sealed").and_then(Value::as_str) else {
            return Ok(shown(kept));
        };
        let plain = datastore::decrypt(&self.key, sealed)
            .map_err(Fault::internal("decrypting the parameters of an execution"))?;
        serde_json::from_str(&plain)
            .map_err(Fault::internal("reading the parameters of an execution"))
    }
}

impl Automation {
    /// Knows the secrets of an execution, to take them out of what it prints.
    pub fn scrubber(&self, row: &Execution) -> Result<Scrubber, Fault> {
        if row.parameters.get("sealed").is_none() {
            return Ok(Scrubber::default());
        }
        let Some(runner) = Runner::from_name(&row.runner_type) else {
            return Ok(Scrubber::default());
        };
        let schema = schema_of(&row.action_ref, runner, &row.document["action"])?;
        let secrets: Vec<Value> = schema
            .secrets(&self.unseal(&row.parameters)?)
            .into_iter()
            .map(Value::String)
            .collect();
        Ok(Scrubber::new(&secrets))
    }
}

/// The values with their secrets masked.
pub fn shown(kept: &Value) -> Map<String, Value> {
    kept.get("shown")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}
