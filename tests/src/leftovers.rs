//! What a cluster could leave on a machine, looked for where it would be.

use proto::node::ClusterFile;
use std::path::Path;
use std::process::Command;

/// The process of the node that keeps the cluster in this home.
pub fn node_process(home: &str) -> Option<i32> {
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let pid = entry.file_name().to_string_lossy().parse::<i32>().ok()?;
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<String> = command
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            let is_node = words.first()?.ends_with("/stackyard")
                && words.get(1).is_some_and(|word| word == "node");
            (is_node && words.iter().any(|word| word == home)).then_some(pid)
        })
}

/// Processes of this machine whose command line contains `mark`.
pub fn processes(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(mark) {
            found.push(format!("{}: {command}", entry.file_name().display()));
        }
    }
    found
}

/// Processes, mounts, control groups, firewall tables, interfaces, loop devices, run folders, and
/// names in the hosts file. Tables and interfaces are looked for in the cluster's own network, if it
/// has one.
pub fn find(cluster: &ClusterFile, home: &str, network: Option<&Path>) -> Vec<String> {
    let mut found = Vec::new();
    let output = |program: &str, arguments: &[&str]| output(network, program, arguments);
    let marks = [home, cluster.run_folder.as_str()];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if marks.iter().any(|mark| command.contains(mark)) && !command.contains(" destroy ") {
            found.push(format!("process {pid}: {command}"));
        }
    }
    for line in std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
    {
        if marks.iter().any(|mark| line.contains(mark)) {
            found.push(format!("mount: {line}"));
        }
    }
    for line in output(
        "find",
        &[
            "/sys/fs/cgroup",
            "-maxdepth",
            "3",
            "-type",
            "d",
            "-name",
            &format!("*{}*", cluster.id),
        ],
    ) {
        found.push(format!("control group: {line}"));
    }
    for line in output("nft", &["list", "tables"]) {
        if line.contains(&cluster.id) {
            found.push(format!("firewall: {line}"));
        }
    }
    for line in output("ip", &["-o", "link"]) {
        // Interfaces of a cluster begin with "sy" and the first digits of its id.
        if line.contains(&format!(" sy{}", &cluster.id[..2.min(cluster.id.len())])) {
            found.push(format!("interface: {line}"));
        }
    }
    for line in output("losetup", &["-a"]) {
        if marks.iter().any(|mark| line.contains(mark)) {
            found.push(format!("loop device: {line}"));
        }
    }
    if Path::new(&cluster.run_folder).exists() {
        found.push(format!("folder {}", cluster.run_folder));
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    for line in hosts.lines().filter(|line| line.contains(&cluster.id)) {
        found.push(format!("hosts file: {line}"));
    }
    found
}

fn output(network: Option<&Path>, program: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = match network {
        Some(network) => {
            let mut command = Command::new("nsenter");
            command
                .arg(format!("--net={}", network.display()))
                .arg(program);
            command
        }
        None => Command::new(program),
    };
    match command.args(arguments).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_string)
            .collect(),
        Err(_) => Vec::new(),
    }
}
