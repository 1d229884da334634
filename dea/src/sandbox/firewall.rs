//! The agent's packet filter: one nftables table, made in one transaction.
//!
//! - A host port on the gateway's address leads to port 8080 of a sandbox (map `ports`), of TCP and of UDP, for
//!   packets from this machine (`output`) and from elsewhere (`prerouting`).
//! - A sandbox reaches the outside, masqueraded; the router and the name server on the gateway's
//!   address; nothing else of this machine, no other sandbox, no link-local service.
//! - Nothing reaches a sandbox but answers and this machine; where routers are on another machine, they reach the
//!   host ports at this one's address, and nobody else does.
//!
//! The router usually listens on the host's loopback. Leading packets there needs
//! `route_localnet` on the sandbox's interface, which by itself would open the whole loopback to
//! the sandbox: the `host` chain is what keeps it closed, by asking for the address the packet
//! was first sent to.
//!
//! The table survives a restart of the agent: chains are rewritten, the map keeps its elements,
//! so that no running application loses its port for a moment.
//!
//! Refusals are answered, not dropped: a program that tries what is forbidden fails at once
//! instead of hanging.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use sys::packet_filter::Map;

use super::allocation::interface_stem;
use super::{APP_PORT, EngineConfig, SandboxError};

/// The map of the table that leads host ports to sandboxes.
const PORTS: &str = "ports";

/// The text that makes or refreshes the table.
pub fn table(config: &EngineConfig) -> String {
    let name = &config.nft_table;
    let stem = interface_stem(&config.interface_prefix);
    let gateway = config.gateway;
    let subnet = config.subnet;
    let router_port = config.router_port;
    let mut redirects = String::new();
    if let Some(target) = router_target(config) {
        redirects += &format!(
            "add rule inet {name} prerouting iifname \"{stem}*\" ip daddr {gateway} tcp dport {router_port} dnat ip to {target}\n"
        );
    }
    if config.dns_port_udp != 53 {
        let port = config.dns_port_udp;
        redirects += &format!(
            "add rule inet {name} prerouting iifname \"{stem}*\" ip daddr {gateway} udp dport 53 dnat ip to {gateway}:{port}\n"
        );
    }
    let (led_in, let_in) = outside_rules(config);
    format!(
        "add table inet {name}
add map inet {name} {PORTS} {{ type inet_service : ipv4_addr . inet_service ; }}
add chain inet {name} prerouting {{ type nat hook prerouting priority dstnat ; policy accept ; }}
add chain inet {name} output {{ type nat hook output priority -100 ; policy accept ; }}
add chain inet {name} postrouting {{ type nat hook postrouting priority srcnat ; policy accept ; }}
add chain inet {name} input {{ type filter hook input priority filter ; policy accept ; }}
add chain inet {name} forward {{ type filter hook forward priority filter ; policy accept ; }}
add chain inet {name} host
add chain inet {name} outside
flush chain inet {name} prerouting
flush chain inet {name} output
flush chain inet {name} postrouting
flush chain inet {name} input
flush chain inet {name} forward
flush chain inet {name} host
flush chain inet {name} outside
{redirects}{led_in}add rule inet {name} prerouting ip daddr {gateway} dnat ip to tcp dport map @{PORTS}
add rule inet {name} prerouting ip daddr {gateway} dnat ip to udp dport map @{PORTS}
add rule inet {name} output ip daddr {gateway} dnat ip to tcp dport map @{PORTS}
add rule inet {name} output ip daddr {gateway} dnat ip to udp dport map @{PORTS}
add rule inet {name} postrouting ip saddr {subnet} oifname != \"{stem}*\" masquerade
add rule inet {name} input iifname \"{stem}*\" goto host
add rule inet {name} host ct state established,related accept
add rule inet {name} host meta l4proto tcp ct original ip daddr {gateway} ct original proto-dst {router_port} accept
add rule inet {name} host meta l4proto udp ct original ip daddr {gateway} ct original proto-dst 53 accept
add rule inet {name} host reject
add rule inet {name} forward iifname \"{stem}*\" goto outside
add rule inet {name} forward oifname \"{stem}*\" ct state established,related accept
{let_in}add rule inet {name} forward oifname \"{stem}*\" reject
add rule inet {name} outside ct state established,related accept
add rule inet {name} outside ip daddr {{ 169.254.0.0/16, 127.0.0.0/8, {subnet} }} reject
add rule inet {name} outside oifname \"{stem}*\" reject
add rule inet {name} outside meta nfproto ipv6 reject
add rule inet {name} outside accept
"
    )
}

/// What leads routers of other machines to instances, and what lets them pass.
fn outside_rules(config: &EngineConfig) -> (String, String) {
    let Some(outside) = config
        .outside
        .as_ref()
        .filter(|outside| !outside.routers.is_empty())
    else {
        return Default::default();
    };
    let name = &config.nft_table;
    let stem = interface_stem(&config.interface_prefix);
    let address = outside.address;
    let routers: Vec<String> = outside.routers.iter().map(Ipv4Addr::to_string).collect();
    let routers = routers.join(", ");
    let led_in = ["tcp", "udp"].map(|protocol| {
        format!(
            "add rule inet {name} prerouting ip saddr {{ {routers} }} ip daddr {address} dnat ip to {protocol} dport map @{PORTS}\n"
        )
    });
    let let_in = format!(
        "add rule inet {name} forward oifname \"{stem}*\" ip saddr {{ {routers} }} ct status dnat ct original ip daddr {address} accept\n"
    );
    (led_in.concat(), let_in)
}

/// Where packets for the router must be led, if they do not arrive there by themselves.
fn router_target(config: &EngineConfig) -> Option<String> {
    let (address, port) = (config.router.ip(), config.router.port());
    let arrives = address.is_unspecified() || address == IpAddr::V4(config.gateway);
    match address {
        _ if arrives && port == config.router_port => None,
        IpAddr::V4(_) if arrives => Some(format!("{}:{port}", config.gateway)),
        IpAddr::V4(address) => Some(format!("{address}:{port}")),
        IpAddr::V6(_) => None,
    }
}

/// Whether sandboxes' packets are led to the host's loopback.
pub fn leads_to_loopback(config: &EngineConfig) -> bool {
    config.router.ip().is_loopback()
}

pub fn remove_table(config: &EngineConfig) -> String {
    // Deleting needs the table to exist; adding first makes it so.
    let name = &config.nft_table;
    format!("add table inet {name}\ndelete table inet {name}\n")
}

/// Leads a host port to a sandbox. Without `nft`, which would be a good part of a start.
pub async fn open_port(
    config: &EngineConfig,
    port: u16,
    address: Ipv4Addr,
) -> Result<(), SandboxError> {
    change(config, "open a port", move |ports| {
        let mut value = [0; 8];
        value[..4].copy_from_slice(&address.octets());
        value[4..6].copy_from_slice(&APP_PORT.to_be_bytes());
        ports.add(&port.to_be_bytes(), &value)
    })
    .await
}

/// It may be closed already.
pub async fn close_port(config: &EngineConfig, port: u16) -> Result<(), SandboxError> {
    change(config, "close a port", move |ports| {
        match ports.delete(&port.to_be_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    })
    .await
}

/// Changes the map of ports.
async fn change(
    config: &EngineConfig,
    operation: &str,
    work: impl FnOnce(Map<'_>) -> io::Result<()> + Send + 'static,
) -> Result<(), SandboxError> {
    let table = config.nft_table.clone();
    // The kernel may be busy with somebody else's table.
    let changed = tokio::task::spawn_blocking(move || {
        work(Map {
            table: &table,
            map: PORTS,
        })
    });
    let changed = changed.await.unwrap_or_else(|error| Err(error.into()));
    changed.map_err(|source| SandboxError::System {
        operation: operation.to_owned(),
        source,
    })
}

/// Replaces all ports at once.
pub fn replace_ports(config: &EngineConfig, ports: &[(u16, Ipv4Addr)]) -> String {
    let name = &config.nft_table;
    let mut text = format!("flush map inet {name} {PORTS}\n");
    for (port, address) in ports {
        text += &format!("add element inet {name} {PORTS} {{ {port} : {address} . {APP_PORT} }}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn config(router: &str) -> EngineConfig {
        EngineConfig {
            runtime: PathBuf::from("runc"),
            supervisor: PathBuf::new(),
            init: PathBuf::new(),
            run_folder: PathBuf::new(),
            folder: PathBuf::new(),
            subnet: "10.9.0.0/24".parse().unwrap(),
            gateway: Ipv4Addr::new(10, 9, 0, 1),
            outside: None,
            interface_prefix: "sy1".to_owned(),
            nft_table: "yard".to_owned(),
            cgroup_parent: "/yard".to_owned(),
            uid_base: 1_000_000,
            router: router.parse().unwrap(),
            router_port: 8080,
            dns_port_udp: 53,
        }
    }

    #[test]
    fn a_router_on_loopback_is_led_to_and_one_on_the_gateway_is_not() {
        assert_eq!(
            router_target(&config("127.0.0.1:8081")).as_deref(),
            Some("127.0.0.1:8081")
        );
        assert_eq!(router_target(&config("10.9.0.1:8080")), None);
        assert_eq!(router_target(&config("0.0.0.0:8080")), None);
        assert_eq!(
            router_target(&config("0.0.0.0:80")).as_deref(),
            Some("10.9.0.1:80")
        );
        assert!(leads_to_loopback(&config("127.0.0.1:8080")));
    }

    #[test]
    fn one_agents_interfaces_are_not_another_ones() {
        // `sy1` is a beginning of `sy12`; the letter after the prefix keeps them apart.
        let text = table(&config("127.0.0.1:8080"));
        assert!(text.contains("\"sy1v*\""));
        assert!(!text.contains("\"sy1*\""));
    }

    #[test]
    fn only_routers_of_other_machines_are_led_in_and_only_where_there_are_some() {
        let alone = config("127.0.0.1:8080");
        assert!(!table(&alone).contains("ct status dnat"));
        let reached = EngineConfig {
            outside: Some(super::super::Outside {
                address: "192.0.2.2".parse().unwrap(),
                routers: vec!["192.0.2.1".parse().unwrap(), "192.0.2.3".parse().unwrap()],
                first_port: 20_750,
                ports: 750,
            }),
            ..alone
        };
        let text = table(&reached);
        let led = "prerouting ip saddr { 192.0.2.1, 192.0.2.3 } ip daddr 192.0.2.2 dnat ip to udp dport map @ports";
        let passes = "forward oifname \"sy1v*\" ip saddr { 192.0.2.1, 192.0.2.3 } ct status dnat ct original ip daddr 192.0.2.2 accept";
        let refused = "forward oifname \"sy1v*\" reject";
        let at = |what: &str| {
            text.find(what)
                .unwrap_or_else(|| panic!("{what} in {text}"))
        };
        assert!(at(led) < at(passes) && at(passes) < at(refused));
    }

    #[test]
    fn ports_are_replaced_in_one_text() {
        let address = Ipv4Addr::new(10, 9, 0, 7);
        let text = replace_ports(&config("127.0.0.1:8080"), &[(20_001, address)]);
        assert!(text.starts_with("flush map inet yard ports\n"));
        assert!(text.contains("{ 20001 : 10.9.0.7 . 8080 }"));
    }
}
