//! Streams of our own, in protobuf: logs, tasks, traffic. Generated from `proto/proto/stream.proto`.

#[allow(clippy::all, clippy::pedantic, reason = "generated code")]
mod generated {
    include!("generated/stackyard.stream.rs");
}
pub use generated::*;

super::protobuf!(
    LogBatch,
    RunTask,
    RunTaskReply,
    StopTask,
    TaskExited,
    Ack,
    FactsAdvanced,
    RouterTraffic,
    WakeProcess
);
