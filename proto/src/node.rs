//! What `yard` and the node process say to each other over the node's Unix socket
//! (`/run/stackyard/<cluster>/node.sock`): one JSON document a line each way.

use crate::bus::Role;
use crate::join::Joined;
use crate::roles::{FIRST_MACHINE, Roles};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// `$YARD_HOME/cluster.json`: what `yard` needs to find a cluster, and what the machine's node starts with
/// before it reaches the cluster store. No secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenFile")]
pub struct ClusterFile {
    /// Short random id, safe in file and interface names (8 hex digits).
    pub id: String,
    pub domain: String,
    /// Address the router listens on.
    pub bind: String,
    pub port: u16,
    /// Where the router listens for TLS; without it, it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_port: Option<u16>,
    /// The name of this machine in the cluster.
    pub machine: String,
    /// The daemons of this machine, also those that are just leaving.
    pub roles: Roles,
    /// Whether /etc/hosts gets a marked block.
    pub hosts: bool,
    /// `/run/stackyard/<id>`
    pub run_folder: String,
    /// Where other machines reach this one's gate; without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<SocketAddrV4>,
    /// The cluster that this machine joined; then the id is the machine's, and the router is elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
}

/// As it is in the file, also as versions wrote it that counted daemons.
#[derive(Deserialize)]
struct WrittenFile {
    id: String,
    domain: String,
    bind: String,
    port: u16,
    #[serde(default)]
    tls_port: Option<u16>,
    machine: Option<String>,
    roles: Option<Roles>,
    deas: Option<u32>,
    #[serde(default)]
    copies: WrittenCopies,
    hosts: bool,
    run_folder: String,
    advertise: Option<SocketAddrV4>,
    joined: Option<Joined>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenCopies {
    controllers: Option<u32>,
    routers: Option<u32>,
    stagers: Option<u32>,
    health_managers: Option<u32>,
}

impl From<WrittenFile> for ClusterFile {
    fn from(written: WrittenFile) -> ClusterFile {
        let copies = written.copies;
        let counted = || {
            let one = |count: Option<u32>| count.unwrap_or(1);
            Roles::counted([
                (Role::Controller, one(copies.controllers)),
                (Role::Router, one(copies.routers)),
                (Role::Dea, one(written.deas)),
                (Role::HealthManager, one(copies.health_managers)),
                (Role::Stager, one(copies.stagers)),
                (Role::Collector, 1),
                (Role::SshProxy, 1),
            ])
        };
        ClusterFile {
            machine: written.machine.unwrap_or_else(|| FIRST_MACHINE.to_string()),
            roles: written.roles.unwrap_or_else(counted),
            id: written.id,
            domain: written.domain,
            bind: written.bind,
            port: written.port,
            tls_port: written.tls_port,
            hosts: written.hosts,
            run_folder: written.run_folder,
            advertise: written.advertise,
            joined: written.joined,
        }
    }
}

impl ClusterFile {
    /// Where the router of this number listens: each further one a port higher.
    pub fn router_port(&self, index: u32) -> Option<u16> {
        further(self.port, index)
    }

    /// The same for TLS; None also without TLS.
    pub fn router_tls_port(&self, index: u32) -> Option<u16> {
        further(self.tls_port?, index)
    }
}

fn further(first: u16, index: u32) -> Option<u16> {
    let more = u16::try_from(index.checked_sub(1)?).ok()?;
    first.checked_add(more)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum NodeRequest {
    Status,
    /// Stops everything; answered when it is done.
    Stop,
    /// Gives the machine so many daemons of these roles; answered when it is written in the cluster
    /// store and what is new has been started.
    Roles {
        counts: BTreeMap<String, u32>,
    },
    /// A token by which one machine can join with these roles; answered with [`NodeStatus::told`].
    Token {
        roles: Vec<String>,
        ttl_s: u64,
    },
    /// Takes a joined machine's identity away; one that is connected only with `force`.
    Remove {
        machine: String,
        force: bool,
    },
    /// On a joined machine: empties it, and gives its identity back.
    Leave,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub cluster: String,
    pub phase: NodePhase,
    pub components: Vec<ComponentStatus>,
    /// What went wrong as a whole, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why what was asked for was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What was asked for, where that is a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodePhase {
    Starting,
    Running,
    Stopping,
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// `nats`, `etcd`, `router-1`…
    pub name: String,
    pub role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    pub state: ComponentState,
    /// What it waits for, or why it failed.
    #[serde(default)]
    pub detail: String,
    pub restarts: u32,
    /// Unix seconds of the last start.
    pub since: f64,
    /// `http://127.0.0.1:port` of its status server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    #[serde(default)]
    pub log_file: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    Waiting,
    Starting,
    Ready,
    Unready,
    Restarting,
    /// The machine has its role no more: it is emptied, then it stops.
    Leaving,
    Stopped,
}

impl ComponentState {
    /// Nothing is wrong with it: it works, or it is to go.
    pub fn is_well(self) -> bool {
        matches!(self, ComponentState::Ready | ComponentState::Leaving)
    }
}

/// What a node tells of its machine in the cluster store ([`crate::roles::NODES`]), when something changes
/// and every [`NodeReport::PERIOD_S`] seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    pub machine: String,
    /// The machine's own name.
    pub host: String,
    pub version: String,
    /// Unix seconds.
    pub at: f64,
    pub phase: NodePhase,
    pub components: Vec<ComponentStatus>,
    /// Why the machine is not as its roles say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl NodeReport {
    pub const PERIOD_S: f64 = 10.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_counted_daemons_is_read() {
        let counted = r#"{"id":"c0ffee12","domain":"yard.internal","bind":"127.0.0.1","port":8080,"deas":3,
            "copies":{"controllers":1,"routers":2,"stagers":1,"health_managers":1},"hosts":true,"run_folder":"/run/stackyard/c0ffee12"}"#;
        let file: ClusterFile = serde_json::from_str(counted).expect("a file of before");
        assert_eq!(file.machine, FIRST_MACHINE);
        assert_eq!(
            (file.roles.count(Role::Dea), file.roles.count(Role::Router)),
            (3, 2)
        );
        assert_eq!(file.roles.count(Role::SshProxy), 1);
        let text = serde_json::to_string(&file).expect("a file");
        assert!(!text.contains("copies"), "{text}");
        assert_eq!(
            serde_json::from_str::<ClusterFile>(&text).expect("the same"),
            file
        );
    }
}
