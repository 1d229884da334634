//! Words of the log stream that several components use.

/// Source types of log lines (contract §1.8).
pub const SOURCE_STAGING: &str = "STG";
pub const SOURCE_API: &str = "API";
pub const SOURCE_ROUTER: &str = "RTR";
pub const SOURCE_AGENT: &str = "CELL";
pub const SOURCE_HEALTH: &str = "HEALTH";
/// Of sensors; the source is the sensor's ref.
pub const SOURCE_SENSOR: &str = "SENSOR";

/// `APP/PROC/WEB` for the process type `web`.
pub fn source_of_process(process_type: &str) -> String {
    format!("APP/PROC/{}", process_type.to_uppercase())
}

/// `APP/TASK/migrate` for the task `migrate`.
pub fn source_of_task(name: &str) -> String {
    format!("APP/TASK/{name}")
}
