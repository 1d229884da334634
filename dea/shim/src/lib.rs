//! What the two small programs that stand between the agent and a sandbox are made of, and the
//! words they share with the agent.
//!
//! - `stackyard-supervisor`, one per sandbox on the host: makes the sandbox, holds its output and
//!   its exit status, so that the agent can die and come back.
//! - `stackyard-init`, process 1 of the sandbox: waits for orders, reaps, passes signals on. In the sandbox of
//!   a pack it is also the host of shell actions ([`shell_host`]). It also opens the sessions in which somebody
//!   looks around beside the application ([`session`]).

pub mod backlog;
pub mod cgroup;
pub mod children;
pub mod frames;
pub mod lines;
pub mod program;
pub mod protocol;
pub mod session;
pub mod shell_host;
pub mod supervisor;
