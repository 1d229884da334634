//! What a sandbox is prepared with, and what is put into it.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The uid and gid of the application's user, inside.
pub const VCAP: u32 = 2000;
/// The port of the sandbox that a host port leads to.
pub const APP_PORT: u16 = 8080;

/// A wish for a sandbox.
#[derive(Debug, Clone)]
pub struct Prepare {
    /// Letters, digits, `-`, `_`; unique on this agent.
    pub id: String,
    /// `host` is the only stack so far.
    pub stack: String,
    pub limits: SandboxLimits,
    pub hostname: String,
    /// Map a port of the gateway's address to [`APP_PORT`] of the sandbox.
    pub host_port: bool,
    /// false: only the sandbox's own loopback.
    pub network: bool,
    /// More lines for `/etc/hosts`; localhost and the sandbox's own name are there anyway.
    pub hosts: Vec<(Ipv4Addr, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxLimits {
    pub memory_mb: u64,
    pub disk_mb: u64,
    pub cpu_shares: u64,
    pub pids: u64,
    pub fds: u64,
}

/// Where the content of a path in the sandbox comes from.
#[derive(Debug, Clone)]
pub enum Source {
    Bytes(Vec<u8>),
    /// Copied.
    File(PathBuf),
    /// A file or folder of the host, shown read-only; its owners stay as they are on the host,
    /// so it should be readable by anyone.
    ReadOnlyBind(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Processor time used since the sandbox was prepared.
    pub cpu_seconds: f64,
    /// Memory in use, reclaimable file pages excluded.
    pub memory_bytes: u64,
    /// Bytes written on the disk layer (a shared droplet is not in it).
    pub disk_bytes: u64,
    /// Processes and threads, the sandbox's own init excluded.
    pub pids: u64,
}

/// What a command run beside the application gave.
#[derive(Debug, Clone)]
pub struct ExecOutcome {
    pub status: super::ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}
