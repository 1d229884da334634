//! The host's side: what must be there before the first sandbox, and what is taken back after
//! the last.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use dea_shim::cgroup::{self, Group};
use nix::errno::Errno;
use sys::netlink::{Netlink, Via};
use tokio::process::Command;

use super::error::chain;
use super::program::nft;
use super::record::{RUNTIME_ROOT, sandboxes};
use super::{EngineConfig, SandboxError, firewall};

/// The name of the interface that has the gateway's address.
fn gateway_interface(config: &EngineConfig) -> String {
    format!("{}gw", config.interface_prefix)
}

/// Checks and prepares the host; returns the MTU for the sandboxes' interfaces.
pub(super) async fn prepare(config: &EngineConfig) -> Result<u32, SandboxError> {
    check_config(config)?;
    check_machine(config).await?;
    if let Err(unusable) = cgroup::prepare(&config.cgroup_parent) {
        return prerequisite(chain(&unusable));
    }
    weigh(config);
    make_folders(config)?;
    make_gateway(config)?;
    nft(&firewall::table(config)).await?;
    if read_flag("/proc/sys/net/ipv4/ip_forward") != Some(true) {
        tracing::warn!(
            "net.ipv4.ip_forward is off: sandboxes can be reached from this machine, but cannot reach the outside"
        );
    }
    if foreign_drop().await {
        tracing::warn!(
            "another packet filter drops forwarded packets by default (container engines do): sandboxes may not reach the outside until it accepts interfaces of this agent"
        );
    }
    Ok(default_mtu())
}

/// Instances together weigh on each processor as much as a process of the machine's own, however many processors
/// there are: by default they would share the weight of a single one.
fn weigh(config: &EngineConfig) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let weighed = Group::new(&config.cgroup_parent).weigh_as_processes(processors as u64);
    if let Err(error) = weighed {
        tracing::warn!(error = %error, "instances have little weight beside other processes");
    }
}

fn prerequisite<T>(text: String) -> Result<T, SandboxError> {
    Err(SandboxError::Prerequisite(text))
}

fn check_config(config: &EngineConfig) -> Result<(), SandboxError> {
    let prefix = &config.interface_prefix;
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
    };
    if prefix.is_empty() || prefix.len() > 8 || !prefix.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return prerequisite(format!(
            "interface prefix {prefix:?} is not 1 to 8 letters and digits"
        ));
    }
    if !config.subnet.contains(config.gateway) {
        let (gateway, subnet) = (config.gateway, config.subnet);
        return prerequisite(format!("gateway {gateway} is not in {subnet}"));
    }
    if config.router.is_ipv6() {
        let router = config.router;
        return prerequisite(format!(
            "sandboxes cannot be led to a router on IPv6 ({router})"
        ));
    }
    let table = &config.nft_table;
    let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !table.bytes().all(letters) || !table.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return prerequisite(format!("{table:?} is no name for an nftables table"));
    }
    let parent = &config.cgroup_parent;
    if !parent.starts_with('/') || parent.len() < 2 || !plain(parent) || parent.contains("..") {
        return prerequisite(format!("{parent:?} is no absolute cgroup path"));
    }
    // A socket's path fits 107 bytes.
    if config.run_folder.as_os_str().len() + 64 + "//socket".len() > 107 {
        let folder = config.run_folder.display();
        return prerequisite(format!("the path {folder} is too long for sockets in it"));
    }
    Ok(())
}

async fn check_machine(config: &EngineConfig) -> Result<(), SandboxError> {
    if !nix::unistd::geteuid().is_root() {
        return prerequisite("root is needed to make namespaces, mounts and networks".to_owned());
    }
    for (what, path) in [
        ("the supervisor", &config.supervisor),
        ("the init", &config.init),
    ] {
        let executable = fs::metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
        if !executable {
            return prerequisite(format!(
                "{what} {} is not an executable file",
                path.display()
            ));
        }
    }
    let runtime = config.runtime.as_os_str();
    for (program, argument, hint) in [
        (runtime, "--version", "install an OCI runtime such as runc"),
        ("nft".as_ref(), "--version", "install nftables"),
        ("mkfs.ext4".as_ref(), "-V", "install e2fsprogs"),
    ] {
        let found = Command::new(program)
            .arg(argument)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
        if !found.is_ok_and(|status| status.success()) {
            let program = program.to_string_lossy();
            return prerequisite(format!("{program} does not run: {hint}"));
        }
    }
    for (path, hint) in [
        (
            "/dev/loop-control",
            "the kernel module loop is needed for disk limits",
        ),
        ("/proc/self/ns/user", "the kernel has no user namespaces"),
        ("/sys/fs/cgroup", "control groups are not mounted"),
    ] {
        if !Path::new(path).exists() {
            return prerequisite(format!("{path} is missing: {hint}"));
        }
    }
    let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    for system in ["ext4", "overlay"] {
        if !systems
            .lines()
            .any(|line| line.split_whitespace().last() == Some(system))
        {
            tracing::warn!(
                file_system = system,
                "the kernel does not list this file system; it may load it on demand"
            );
        }
    }
    Ok(())
}

fn make_folders(config: &EngineConfig) -> Result<(), SandboxError> {
    let run = &config.run_folder;
    for folder in [run, &run.join(RUNTIME_ROOT), &sandboxes(config)] {
        fs::create_dir_all(folder).map_err(SandboxError::file("create", folder))?;
    }
    // Images, orders and notes: the apps' data and secrets.
    let notes = sandboxes(config);
    for (folder, mode) in [(run, 0o711), (&notes, 0o700)] {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode))
            .map_err(SandboxError::file("set permissions of", folder))?;
    }
    // A sandbox's root is nobody on the host: it must get to its mount point.
    let mut ancestor: Option<&Path> = Some(run);
    while let Some(folder) = ancestor {
        let metadata = fs::metadata(folder).map_err(SandboxError::file("look at", folder))?;
        if metadata.permissions().mode() & 0o001 == 0 {
            let (folder, run) = (folder.display(), run.display());
            return prerequisite(format!(
                "{folder} is not searchable by others, so sandboxes cannot have their mount points in {run} (chmod o+x)"
            ));
        }
        ancestor = folder.parent();
    }
    Ok(())
}

fn make_gateway(config: &EngineConfig) -> Result<(), SandboxError> {
    let failed = |operation: String| move |source| SandboxError::System { operation, source };
    let name = gateway_interface(config);
    check_gateway_is_ours(config, &name)?;
    let mut netlink = Netlink::open().map_err(failed("open netlink".to_owned()))?;
    let make = || failed(format!("make interface {name}"));
    if netlink.link_index(&name).map_err(make())?.is_none() {
        match netlink.add_lone_link(&name, "dummy") {
            Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => {
                netlink.add_lone_link(&name, "bridge").map_err(make())?;
            }
            outcome => outcome.map_err(make())?,
        }
    }
    let index = netlink.set_up(&name).map_err(make())?;
    netlink
        .add_address(index, config.gateway)
        .map_err(failed(format!("set address {}", config.gateway)))?;
    // Addresses nobody has must not leave by the default route.
    netlink
        .add_route(
            config.subnet.network(),
            config.subnet.prefix(),
            Via::Unreachable,
        )
        .map_err(failed(format!("route {}", config.subnet)))
}

/// Another interface with an address of our subnet means that somebody else uses it.
fn check_gateway_is_ours(config: &EngineConfig, ours: &str) -> Result<(), SandboxError> {
    let addresses = nix::ifaddrs::getifaddrs().map_err(|error| SandboxError::System {
        operation: "list addresses".to_owned(),
        source: error.into(),
    })?;
    for entry in addresses {
        let address = entry
            .address
            .and_then(|address| address.as_sockaddr_in().map(|address| address.ip()));
        if let Some(address) = address
            && entry.interface_name != ours
            && config.subnet.contains(address)
        {
            let (name, subnet) = (entry.interface_name, config.subnet);
            return prerequisite(format!(
                "the sandbox network {subnet} is in use: interface {name} has {address}"
            ));
        }
    }
    Ok(())
}

pub(super) async fn take_back(config: &EngineConfig) {
    if let Err(error) = nft(&firewall::remove_table(config)).await {
        tracing::warn!(error = %error, "could not remove the nftables table");
    }
    let name = gateway_interface(config);
    let removed = Netlink::open().and_then(|mut netlink| {
        netlink.delete_unreachable(config.subnet.network(), config.subnet.prefix())?;
        netlink.delete_link(&name)
    });
    if let Err(error) = removed {
        tracing::warn!(interface = name, error = %error, "could not remove the gateway's interface");
    }
    if let Err(error) = Group::new(&config.cgroup_parent).remove() {
        tracing::warn!(error = %error, "could not remove the parent control group");
    }
    let _ = fs::remove_dir_all(config.run_folder.join(RUNTIME_ROOT));
    let _ = fs::remove_dir(&config.run_folder);
    let _ = fs::remove_dir(sandboxes(config));
}

fn read_flag(path: &str) -> Option<bool> {
    Some(fs::read_to_string(path).ok()?.trim() == "1")
}

/// How many open files this process may allow another.
pub(super) fn most_open_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    if may_exceed_limits() {
        return u64::MAX;
    }
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard)
}

/// Whether this process has CAP_SYS_RESOURCE.
pub(super) fn may_exceed_limits() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << CAP_SYS_RESOURCE) != 0)
}

/// Whether some other table's forward chain drops by default.
async fn foreign_drop() -> bool {
    let output = Command::new("nft")
        .args(["list", "chains"])
        .stdin(Stdio::null())
        .output()
        .await;
    output.is_ok_and(|output| drops_forwarded(&String::from_utf8_lossy(&output.stdout)))
}

fn drops_forwarded(chains: &str) -> bool {
    chains
        .lines()
        .any(|line| line.contains("hook forward") && line.contains("policy drop"))
}

/// A packet of a sandbox must fit the way out: the MTU of the default route's interface.
fn default_mtu() -> u32 {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    default_interface(&routes)
        .and_then(|name| {
            let path: PathBuf = Path::new("/sys/class/net").join(name).join("mtu");
            fs::read_to_string(path).ok()?.trim().parse().ok()
        })
        .unwrap_or(1500)
        .clamp(576, 65_535)
}

/// The interface of the default route in the text of `/proc/net/route`.
fn default_interface(routes: &str) -> Option<&str> {
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (name, destination, mask) = (fields.first()?, fields.get(1)?, fields.get(7)?);
        (*destination == "00000000" && *mask == "00000000").then_some(*name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_routes_interface_is_found() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                    eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                    eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(default_interface(text), Some("eth0"));
        assert_eq!(default_interface("Iface\n"), None);
    }

    #[test]
    fn a_default_drop_of_others_is_seen() {
        let docker = "table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
        assert!(drops_forwarded(docker));
        assert!(!drops_forwarded(&docker.replace("drop", "accept")));
    }
}
