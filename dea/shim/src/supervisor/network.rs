//! The sandbox's network: a veth pair, point to point.
//!
//! The namespace is the runtime's (one made beforehand would not be owned by the sandbox's user
//! namespace, and sysfs could not be mounted in it); the pair is made with its far end already
//! inside. Both ends know only each other: the host routes one address to each pair, the sandbox
//! routes everything to the gateway.

use std::fs::{self, File};
use std::net::Ipv4Addr;

use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;
use sys::netlink::{Netlink, Via};

use super::{Failure, Step};
use crate::protocol::NetworkSpec;

const INSIDE: &str = "eth0";

/// Connects the network namespace of `init` to the host.
pub(super) fn connect(network: &NetworkSpec, init: Pid) -> Result<(), Failure> {
    let inside = File::open(format!("/proc/{init}/ns/net")).step("open the network namespace")?;
    let mut host = Netlink::open().step("open netlink")?;
    let name = network.interface.as_str();
    host.add_veth(name, INSIDE, std::os::fd::AsFd::as_fd(&inside), network.mtu)
        .step(format!("make veth {name}"))?;
    set(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
    set(&format!("ipv4/conf/{name}/rp_filter"), "1")?;
    if network.route_localnet {
        set(&format!("ipv4/conf/{name}/route_localnet"), "1")?;
    }
    let index = host.set_up(name).step(format!("set {name} up"))?;
    let source = network.gateway;
    host.add_route(network.address, 32, Via::Link { index, source })
        .step(format!("route to {}", network.address))?;

    let mut guest = open_inside(&inside)?;
    let index = guest.set_up(INSIDE).step("set eth0 up")?;
    let (gateway, source) = (network.gateway, network.address);
    guest.add_address(index, source).step("set the address")?;
    guest
        .add_route(gateway, 32, Via::Link { index, source })
        .step("route to the gateway")?;
    guest
        .add_route(Ipv4Addr::UNSPECIFIED, 0, Via::Gateway { index, gateway })
        .step("default route")
}

/// A netlink socket of the sandbox's namespace; the calling thread is back in the host's after.
fn open_inside(inside: &File) -> Result<Netlink, Failure> {
    let host = File::open("/proc/self/ns/net").step("open the host's network namespace")?;
    setns(inside, CloneFlags::CLONE_NEWNET).step("enter the network namespace")?;
    // No IPv6 on either end: the firewall's rules are about IPv4.
    let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    let guest = Netlink::open();
    setns(&host, CloneFlags::CLONE_NEWNET).step("return to the host's network namespace")?;
    guest.step("open netlink inside")
}

fn set(name: &str, value: &str) -> Result<(), Failure> {
    let path = format!("/proc/sys/net/{name}");
    match fs::write(&path, value) {
        // A kernel without IPv6 has nothing to switch off.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && name.starts_with("ipv6") => {
            Ok(())
        }
        outcome => outcome.step(format!("write {path}")),
    }
}
