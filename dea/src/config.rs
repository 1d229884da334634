//! The settings that the node writes for an agent. What may change while it runs is in the
//! cluster's configuration (`dea/…`) instead.

use crate::sandbox::{Outside, Subnet};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The machine's address in the sandbox network, under which routers reach the instances.
    pub address: Ipv4Addr,
    pub subnet: Subnet,
    /// Set where routers are on other machines than this agent.
    #[serde(default)]
    pub outside: Option<Outside>,
    /// Where to call the SSH proxy; set where it is on another machine and cannot call here.
    #[serde(default)]
    pub ssh_calls: Option<SocketAddr>,
    /// Start of the names of this agent's network interfaces (at most 8 characters).
    pub interface_prefix: String,
    #[serde(default = "default_zone")]
    pub zone: String,
    /// What to offer; absent: the machine's memory less 512 MB.
    #[serde(default)]
    pub memory_mb: Option<u64>,
    /// What to offer; absent: four fifths of what is free where the data folder is.
    #[serde(default)]
    pub disk_mb: Option<u64>,
    /// Where the router of this machine listens, and the port sandboxes reach it at.
    pub router_address: SocketAddr,
    pub router_port: u16,
    /// The cluster's domain: its names lead to the router.
    pub domain: String,
    /// OCI runtime.
    #[serde(default = "default_runtime")]
    pub runtime: PathBuf,
    pub supervisor: PathBuf,
    pub init: PathBuf,
    /// Executable that stages inside a sandbox.
    pub builder: PathBuf,
    /// Folder of the built-in buildpacks.
    pub buildpacks: PathBuf,
    /// Folder of what runs inside the sandboxes of packs.
    pub python: PathBuf,
    pub nft_table: String,
    pub cgroup_parent: String,
    pub uid_base: u32,
}

fn default_zone() -> String {
    "default".to_string()
}

fn default_runtime() -> PathBuf {
    PathBuf::from("runc")
}

impl Config {
    /// Where routers reach the instances.
    pub fn host(&self) -> Ipv4Addr {
        self.outside
            .as_ref()
            .map_or(self.address, |outside| outside.address)
    }
}
