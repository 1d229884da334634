//! The container engine: one start path. A sandbox is *prepared* (namespaces, address, disk
//! layer, limits, init waiting) and then *given its orders*; a pool of prepared ones is the same
//! path cut in two.

mod config;
mod engine;
mod error;
mod events;
mod handle;
mod request;

pub use config::{BadSubnet, EngineConfig, Subnet};
pub use dea_shim::protocol::{ExitStatus, Orders};
pub use engine::Engine;
pub use error::SandboxError;
pub use events::{Events, SandboxEvent};
pub use handle::Sandbox;
pub use request::{APP_PORT, ExecOutcome, Prepare, SandboxLimits, Source, Usage, VCAP};

/// Signals an application may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM to the ordered process and its group.
    Terminate,
    /// SIGQUIT likewise (a Java virtual machine prints its threads).
    Quit,
    /// SIGINT likewise.
    Interrupt,
    /// SIGHUP likewise.
    HangUp,
    /// SIGKILL to every process of the sandbox but its init.
    Kill,
}
