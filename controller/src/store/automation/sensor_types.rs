//! Sensors, and where they run.

use crate::store::{Json, row};

row! {
    pub struct SensorType in "sensor_types", key reference, versioned {
        reference: String,
        id: String,
        pack: String,
        name: String,
        enabled: bool,
        document: Json<serde_json::Value>,
        dea: Option<String>,
        /// Grows with every placement and change.
        generation: i64,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
