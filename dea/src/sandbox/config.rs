//! What the engine is told once, at its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::allocation::{FIRST_PORT, host_port};

/// An IPv4 network such as `10.203.16.0/20`, always with its host bits zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    network: u32,
    prefix: u8,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an IPv4 network such as 10.203.16.0/20 (prefix 8 to 30)")]
pub struct BadSubnet(String);

impl Subnet {
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network)
    }

    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Number of addresses, network and broadcast included.
    pub fn size(&self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// The n-th address, if it is inside.
    pub fn nth(&self, n: u32) -> Option<Ipv4Addr> {
        (n < self.size()).then(|| Ipv4Addr::from(self.network + n))
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & !(self.size() - 1) == self.network
    }
}

impl FromStr for Subnet {
    type Err = BadSubnet;

    fn from_str(text: &str) -> Result<Subnet, BadSubnet> {
        let bad = || BadSubnet(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        if !(8..=30).contains(&prefix) {
            return Err(bad());
        }
        let network = u32::from(address);
        if network & ((1u32 << (32 - prefix)) - 1) != 0 {
            return Err(bad());
        }
        Ok(Subnet { network, prefix })
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix)
    }
}

impl<'de> serde::Deserialize<'de> for Subnet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Subnet, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How routers on other machines reach instances. Agents that share the address must not share ports.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// This machine's, as they know it.
    pub address: Ipv4Addr,
    /// From where they come; nobody else is let in.
    pub routers: Vec<Ipv4Addr>,
    /// Host ports of the sandboxes, from this one on …
    pub first_port: u16,
    /// … and how many: there are no more sandboxes.
    pub ports: u16,
}

/// Settings of one agent's engine. Two engines on one machine must differ in every field from
/// `run_folder` to `uid_base`.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The OCI runtime's command, e.g. `runc`.
    pub runtime: PathBuf,
    /// `stackyard-supervisor`.
    pub supervisor: PathBuf,
    /// `stackyard-init`, preferably a static one.
    pub init: PathBuf,
    /// `/run/stackyard/<cluster>/<dea>`: mount points and sockets. Every parent must be
    /// searchable by anyone, because a sandbox's root is nobody on the host.
    pub run_folder: PathBuf,
    /// The agent's data folder: disk images and records.
    pub folder: PathBuf,
    pub subnet: Subnet,
    /// The host's address in the sandbox network (by custom the first of the subnet).
    pub gateway: Ipv4Addr,
    /// Set where instances are reached from other machines.
    pub outside: Option<Outside>,
    /// Start of the names of network interfaces, at most 8 letters and digits.
    pub interface_prefix: String,
    pub nft_table: String,
    /// An absolute cgroup path such as `/stackyard-c0ffee12-1`.
    pub cgroup_parent: String,
    /// First host uid of the ranges given to sandboxes (65,536 each).
    pub uid_base: u32,
    /// Where the host's router listens …
    pub router: SocketAddr,
    /// … and the port of the gateway's address under which sandboxes reach it.
    pub router_port: u16,
    /// The agent's name server listens on UDP gateway:this; sandboxes ask gateway:53.
    pub dns_port_udp: u16,
}

impl EngineConfig {
    /// The host port of the sandbox with this number.
    pub fn host_port(&self, number: u32) -> u16 {
        let usual = host_port(number);
        self.outside.as_ref().map_or(usual, |outside| {
            outside.first_port.saturating_add(usual - FIRST_PORT)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_parsed_and_counted() {
        let subnet: Subnet = "10.203.16.0/20".parse().unwrap();
        assert_eq!(subnet.size(), 4096);
        assert_eq!(subnet.nth(1).unwrap(), Ipv4Addr::new(10, 203, 16, 1));
        assert_eq!(subnet.nth(4095).unwrap(), Ipv4Addr::new(10, 203, 31, 255));
        assert_eq!(subnet.nth(4096), None);
        assert!(subnet.contains(Ipv4Addr::new(10, 203, 31, 255)));
        assert!(!subnet.contains(Ipv4Addr::new(10, 203, 32, 0)));
        assert_eq!(subnet.to_string(), "10.203.16.0/20");
    }

    #[test]
    fn what_is_no_subnet_is_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.1/20",
            "10.0.0.0/31",
            "10.0.0.0/x",
            "::/64",
        ] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
