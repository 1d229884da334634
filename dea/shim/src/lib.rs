//! What the two small programs that stand between the agent and a sandbox are made of, and the
//! words they share with the agent.
//!
//! - `stackyard-supervisor`, one per sandbox on the host: makes the sandbox, holds its output and
//!   its exit status, so that the agent can die and come back.
//! - `stackyard-init`, process 1 of the sandbox: waits for orders, reaps, passes signals on.

pub mod backlog;
pub mod cgroup;
pub mod lines;
pub mod protocol;
pub mod supervisor;
