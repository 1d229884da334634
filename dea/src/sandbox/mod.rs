//! The container engine: one start path. A sandbox is *prepared* (namespaces, address, disk
//! layer, limits, init waiting) and then *given its orders*; a pool of prepared ones is the same
//! path cut in two.
//!
//! ```text
//! Engine ── prepare ──▶ stackyard-supervisor ── runtime run ──▶ stackyard-init (waits)
//!    │                     holds output, exit status                 │
//! Sandbox ── mount_droplet, put ──▶ │ ── order ────────────────────▶ application
//! Events ◀──── lines, exit ──────── │ ◀── exited ─────────────────────┘
//! ```
//!
//! - [`engine`](Engine): the host's side and the making; `host` checks and prepares the machine,
//!   `stack` knows what a sandbox sees, `oci` and `seccomp` say it to the runtime, `firewall`
//!   to nftables, `allocation` gives numbers out.
//! - [`handle`](Sandbox): what can be done with a prepared sandbox; `control` talks to its
//!   supervisor, [`Events`] listens to it, `exec` runs something beside.
//! - `record` is what survives the agent, `remove` ends a sandbox in any state.
//!
//! What a newcomer gets wrong: the agent holds nothing that a sandbox needs to go on. Dropping
//! [`Engine`] and [`Sandbox`] values ends nothing; [`Engine::adopt_all`] finds the sandboxes
//! again; only [`Sandbox::destroy`] ends one.

mod allocation;
mod config;
mod control;
mod engine;
mod error;
mod events;
mod exec;
mod firewall;
mod handle;
mod host;
mod oci;
mod program;
mod record;
mod remove;
mod request;
mod seccomp;
mod stack;

pub use allocation::{Numbers, host_port};
pub use config::{BadSubnet, EngineConfig, Outside, Subnet};
pub use dea_shim::cgroup::{Group, MemoryWatch};
pub use dea_shim::protocol::{ExitStatus, Orders, Splitter};
pub use dea_shim::session::words as session;
pub use engine::Engine;
pub use error::{SandboxError, chain};
pub use events::{Events, SandboxEvent};
pub use handle::{Assigning, Sandbox};
pub use record::write_whole;
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

impl Signal {
    fn number(self) -> i32 {
        use nix::sys::signal::Signal as Number;
        match self {
            Signal::Terminate => Number::SIGTERM as i32,
            Signal::Quit => Number::SIGQUIT as i32,
            Signal::Interrupt => Number::SIGINT as i32,
            Signal::HangUp => Number::SIGHUP as i32,
            Signal::Kill => Number::SIGKILL as i32,
        }
    }
}
