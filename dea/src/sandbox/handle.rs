//! (skeleton; being filled)
use super::*;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone)]
pub struct Sandbox(Arc<()>);

fn later<T>() -> Result<T, SandboxError> {
    Err(SandboxError::Prerequisite("not written yet".into()))
}

impl Sandbox {
    pub fn id(&self) -> &str {
        ""
    }
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::LOCALHOST
    }
    /// The port of the gateway's address that leads to the sandbox's port 8080.
    pub fn host_port(&self) -> Option<u16> {
        None
    }
    pub fn limits(&self) -> SandboxLimits {
        SandboxLimits { memory_mb: 0, disk_mb: 0, cpu_shares: 0, pids: 0, fds: 0 }
    }
    /// Shows `folder` (host; owner 2000 there = vcap inside) at `at` with a private writable layer. Before the orders.
    pub async fn mount_droplet(&self, _folder: &Path, _at: &str) -> Result<(), SandboxError> {
        later()
    }
    /// Puts content at an absolute path of the sandbox, owned by vcap, parents made as needed. Before the orders.
    pub async fn put(&self, _path: &str, _source: Source, _mode: u32) -> Result<(), SandboxError> {
        later()
    }
    /// Opens a regular file of the sandbox for reading; symbolic links cannot lead outside.
    pub async fn open_output(&self, _path: &str) -> Result<std::fs::File, SandboxError> {
        later()
    }
    pub async fn order(&self, _orders: Orders) -> Result<(), SandboxError> {
        later()
    }
    pub async fn events(&self) -> Result<Events, SandboxError> {
        later()
    }
    pub async fn signal(&self, _signal: Signal) -> Result<(), SandboxError> {
        later()
    }
    pub async fn usage(&self) -> Result<Usage, SandboxError> {
        later()
    }
    pub async fn exec(&self, _orders: Orders, _timeout: Duration) -> Result<ExecOutcome, SandboxError> {
        later()
    }
    /// Kills, unmounts, frees. Idempotent.
    pub async fn destroy(&self) -> Result<(), SandboxError> {
        later()
    }
    /// The caller's own note about this sandbox (JSON text), kept on disk over restarts of the agent.
    pub async fn set_label(&self, _label: &str) -> Result<(), SandboxError> {
        later()
    }
    pub fn label(&self) -> Option<String> {
        None
    }
}
