//! Which runners are switched off: what they are stands in the engine.

use crate::store::row;

row! {
    pub struct RunnerType in "runner_types", key name, versioned {
        name: String,
        id: String,
        enabled: bool,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}
