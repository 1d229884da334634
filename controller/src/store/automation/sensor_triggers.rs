//! The triggers each running sensor has been told of.

use crate::store::sql::{Connection, query};
use crate::store::{Json, StoreError, row};
use serde_json::Value;
use std::collections::BTreeMap;

row! {
    pub struct SensorTriggers in "sensor_triggers", key sensor {
        sensor: String,
        /// Of the sensor when it was told.
        generation: i64,
        /// Documents by reference.
        triggers: Json<BTreeMap<String, Value>>,
    }
}

pub async fn put(connection: &mut Connection, row: &SensorTriggers) -> Result<(), StoreError> {
    let text = Value::Object(row.triggers.0.clone().into_iter().collect()).to_string();
    query(
        "INSERT INTO sensor_triggers (sensor, generation, triggers) VALUES ($1, $2, $3) \
         ON CONFLICT (sensor) DO UPDATE SET generation = $2, triggers = $3",
    )
    .bind(row.sensor.clone())
    .bind(row.generation)
    .bind(text)
    .execute(connection)
    .await
    .map_err(StoreError::during("note the triggers of a sensor"))?;
    Ok(())
}
