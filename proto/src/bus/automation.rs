//! Automation on the bus: actions and sensors that agents run, in protobuf. Generated from
//! `proto/proto/automation.proto`.

#[allow(clippy::all, clippy::pedantic, reason = "generated code")]
mod generated {
    include!("generated/stackyard.automation.rs");
}
pub use generated::*;

super::protobuf!(
    RunAction,
    RunActionReply,
    StopAction,
    ActionOutput,
    ActionExited,
    RunSensor,
    StopSensor,
    SensorTrigger,
    SensorToken,
    SensorTokenReply,
    AutomationReport,
    AutomationAdvanced
);
