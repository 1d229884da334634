//! A sandbox that was prepared for anybody becomes somebody's: its name, its own files, its limits.
//!
//! Everything else of a sandbox (namespaces, address, uid range, the size of its disk) is made with it
//! and stays.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;

use super::{Failure, Step};
use crate::cgroup::Group;
use crate::protocol::{Assignment, Spec};

/// Of a sandbox's own files.
const MODE: u32 = 0o644;

pub(super) fn assign(
    spec: &Spec,
    init: Pid,
    group: &Group,
    assignment: &Assignment,
) -> Result<(), Failure> {
    let root = spec.disk_mount.join("root");
    write_files(&root, &assignment.files)?;
    name(init, &assignment.hostname)?;
    group
        .limit_memory(assignment.memory_bytes)
        .step("limit memory")?;
    group
        .share_processor(assignment.cpu_shares)
        .step("share the processor")?;
    group
        .limit_processes(assignment.pids)
        .step("limit processes")
}

/// Writes a sandbox's own files below its root folder. Nothing but our own programs may have run
/// there.
pub(super) fn write_files(root: &Path, files: &[(String, String)]) -> Result<(), Failure> {
    for (path, content) in files {
        let path = root.join(path);
        write(&path, content.as_bytes()).step(format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Not by truncating what is there: a file system takes that for somebody who replaces a file, and writes it out.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.write_all(content)?;
    let metadata = file.metadata()?;
    if metadata.len() > content.len() as u64 {
        file.set_len(content.len() as u64)?;
    }
    if metadata.permissions().mode() & 0o7777 != MODE {
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
    }
    Ok(())
}

/// Sets the host name inside; the calling thread is back in the host's namespace after.
fn name(init: Pid, hostname: &str) -> Result<(), Failure> {
    let inside = File::open(format!("/proc/{init}/ns/uts")).step("open the host name inside")?;
    let host = File::open("/proc/self/ns/uts").step("open the machine's host name")?;
    setns(&inside, CloneFlags::CLONE_NEWUTS).step("enter the namespace of the host name")?;
    let named = nix::unistd::sethostname(hostname);
    setns(&host, CloneFlags::CLONE_NEWUTS).step("return to the machine's host name")?;
    named.step(format!("set the host name {hostname}"))
}
