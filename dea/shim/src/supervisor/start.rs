//! From a spec to an init that waits for orders.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::{Gid, Pid, Uid};
use sys::process::pass_descriptor;

use super::{Failure, Step, disk, enter, network};
use crate::cgroup::Group;
use crate::protocol::{FromInit, Spec, Splitter, kind};

/// The number under which the init finds its connection: the first that the runtime preserves.
const CONNECTION: i32 = 3;
const READY_WITHIN: Duration = Duration::from_secs(10);
const VCAP: u32 = 2000;

/// What the supervisor holds of a started sandbox.
pub(super) struct Started {
    pub init: Pid,
    pub connection: UnixStream,
    pub splitter: Splitter,
    pub stdout: File,
    pub stderr: File,
    pub group: Group,
}

pub(super) fn start(spec: &Spec) -> Result<Started, Failure> {
    disk::make(spec)?;
    enter::make_layers(spec)?;
    let (connection, theirs) = UnixStream::pair().step("make a socket pair")?;
    let (stdout, stdout_inside) = output_pipe()?;
    let (stderr, stderr_inside) = output_pipe()?;
    let init = run_runtime(spec, theirs, stdout_inside, stderr_inside)?;
    for pipe in [&stdout, &stderr] {
        give_to_application(spec, pipe)?;
    }
    if let Some(network) = &spec.network {
        network::connect(network, init)?;
    }
    enter::cap_tables(spec, init)?;
    let mut started = Started {
        init,
        connection,
        splitter: Splitter::default(),
        stdout,
        stderr,
        group: Group::new(&spec.cgroup),
    };
    wait_until_ready(&mut started)?;
    started
        .group
        .limit_memory(spec.memory_bytes)
        .step("limit memory")?;
    Ok(started)
}

/// A pipe must belong to the application's user, because a program may open it again under the
/// name /dev/stdout. The runtime gives it to the init's user, so this comes after.
fn give_to_application(spec: &Spec, pipe: &File) -> Result<(), Failure> {
    let owner = spec.uid_base + VCAP;
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    nix::unistd::fchown(pipe.as_fd(), Some(uid), Some(gid)).step("change the owner of a pipe")
}

fn output_pipe() -> Result<(File, OwnedFd), Failure> {
    let (ours, inside) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).step("make a pipe")?;
    nix::fcntl::fcntl(
        &ours,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )
    .step("make a pipe non-blocking")?;
    Ok((File::from(ours), inside))
}

fn run_runtime(
    spec: &Spec,
    connection: UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<Pid, Failure> {
    let log = spec.bundle.join("runtime.log");
    let pid_file = spec.bundle.join("pid");
    let mut command = Command::new(&spec.runtime);
    command
        .arg("--root")
        .arg(&spec.runtime_root)
        .arg("--log")
        .arg(&log)
        .args(["run", "--detach", "--preserve-fds", "1", "--bundle"])
        .arg(&spec.bundle)
        .arg("--pid-file")
        .arg(&pid_file)
        .arg(&spec.id)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    pass_descriptor(&mut command, connection.into(), CONNECTION).step("pass the connection")?;
    let status = command
        .status()
        .step(format!("run {}", spec.runtime.display()))?;
    drop(command);
    if !status.success() {
        let words = fs::read_to_string(&log).unwrap_or_default();
        let last = words.lines().last().map(str::to_owned);
        let last = last.unwrap_or_else(|| silence(&spec.bundle));
        return Err(last).step(format!("{} ({status})", spec.runtime.display()));
    }
    let text = fs::read_to_string(&pid_file).step("read the pid file")?;
    let pid = text.trim().parse().step("read the pid file")?;
    Ok(Pid::from_raw(pid))
}

/// Why a runtime that failed left no word: often there was no room for one.
fn silence(bundle: &Path) -> String {
    const A_WORD: u64 = 1 << 20;
    let room = nix::sys::statvfs::statvfs(bundle)
        .map(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
    match room {
        Ok(room) if room < A_WORD => format!("the disk of {} is full", bundle.display()),
        Ok(_) | Err(_) => "nothing in its log".to_owned(),
    }
}

fn wait_until_ready(started: &mut Started) -> Result<(), Failure> {
    started
        .connection
        .set_read_timeout(Some(READY_WITHIN))
        .step("set a timeout")?;
    let mut buffer = [0u8; 1024];
    loop {
        if let Some(message) = started
            .splitter
            .next_json::<FromInit>(kind::INIT)
            .step("read from the init")?
        {
            return match message {
                FromInit::Ready => Ok(()),
                other => Err(format!("{other:?}")).step("wait for the init"),
            };
        }
        let length = match started.connection.read(&mut buffer) {
            // With a timeout the kernel does not restart the call, whatever woke it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.step("wait for the init")?,
        };
        if length == 0 {
            let mut words = String::new();
            let _ = started.stderr.read_to_string(&mut words);
            return Err(format!("it ended at once: {}", words.trim())).step("wait for the init");
        }
        started.splitter.push(&buffer[..length]);
    }
}

/// After a failed start: nothing of the sandbox may go on running. Mounts and files are the
/// agent's to remove.
pub(super) fn abandon(spec: &Spec) {
    let _ = Group::new(&spec.cgroup).kill();
    let outcome: io::Result<_> = Command::new(&spec.runtime)
        .arg("--root")
        .arg(&spec.runtime_root)
        .args(["delete", "--force"])
        .arg(&spec.id)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let _ = outcome;
}
