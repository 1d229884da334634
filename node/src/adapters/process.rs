//! Processes that outlive the node.
//!
//! Each part is a process in its own group, so that a signal to the node's terminal reaches no
//! part, and nothing ties its life to the node's. A node that comes back finds its parts by
//! their command line, which contains a path of this cluster and nothing else does; a bare process
//! id from a file could be anybody's by now. The start time goes with the id wherever it is kept,
//! for the same reason. Any user can give a process any command line: only those of the node's own
//! user count.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, geteuid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::log_file;

/// How to start a part.
#[derive(Debug, Clone)]
pub struct Program {
    pub executable: PathBuf,
    pub arguments: Vec<String>,
    pub folder: PathBuf,
    pub log: PathBuf,
}

impl Program {
    /// Whether a line of `/proc/<pid>/cmdline` is this program's. The arguments name a path of one
    /// cluster and decide; of the executable only the name counts, because it may have moved.
    fn is_line(&self, line: &[u8]) -> bool {
        let mut words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        // The line ends with a zero byte too.
        if words.last().is_some_and(|word| word.is_empty()) {
            words.pop();
        }
        let Some((executable, arguments)) = words.split_first() else {
            return false;
        };
        let name = executable.rsplit(|byte| *byte == b'/').next();
        name == self
            .executable
            .file_name()
            .map(|name| name.as_encoded_bytes())
            && arguments.len() == self.arguments.len()
            && arguments
                .iter()
                .zip(&self.arguments)
                .all(|(found, wanted)| *found == wanted.as_bytes())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot open the log file {path}")]
    Log {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start {program}")]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A process and when it began: both together name one process for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks after the boot.
    pub started: u64,
}

impl Identity {
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && stat.state != 'Z')
    }

    /// Resolves when the process is gone; it need not be a child.
    pub async fn end(&self) {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd, unlike a number, stays open as long as it is registered"
        )]
        let watched = sys::pidfd::open(self.pid)
            .ok()
            .and_then(|process| AsyncFd::try_with_interest(process, Interest::READABLE).ok());
        if let Some(watched) = watched
            && self.is_alive()
        {
            let _ = watched.readable().await;
        }
        // Where the kernel cannot tell, and until a zombie is one.
        while self.is_alive() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn signal(&self, signal: Signal) {
        // The descriptor comes before the look: should the process end in between, and its number
        // go to another one, that one is not hit.
        if let Ok(process) = sys::pidfd::open(self.pid)
            && self.is_alive()
        {
            let _ = sys::pidfd::send_signal(&process, signal as i32);
        }
    }

    /// The process and those of its group, which are its own helpers.
    pub fn signal_group(&self, signal: Signal) {
        if self.is_alive() {
            let _ = killpg(Pid::from_raw(self.pid as i32), signal);
            self.signal(signal);
        }
    }
}

/// A part that runs: started by this node, or found.
pub enum Living {
    Started {
        identity: Identity,
        child: tokio::process::Child,
    },
    Adopted {
        identity: Identity,
    },
}

impl Living {
    pub fn identity(&self) -> Identity {
        match self {
            Living::Started { identity, .. } | Living::Adopted { identity } => *identity,
        }
    }

    /// Resolves when it is dead; says how, as far as that can be known.
    pub async fn ended(&mut self) -> String {
        match self {
            Living::Started { child, .. } => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => format!("lost: {error}"),
            },
            Living::Adopted { identity } => {
                identity.end().await;
                "ended (it was not this node's child)".to_string()
            }
        }
    }
}

struct Stat {
    state: char,
    parent: u32,
    started: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// Whether the process runs, and began, as the user of this one.
pub fn is_own(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    owned_by(&status, geteuid().as_raw())
}

/// Whether the line `Uid:` (real, effective, saved, of files) of `/proc/<pid>/status` names nobody
/// else. The owner of the folder does not tell: it is root's also for processes that hide.
fn owned_by(status: &str, user: u32) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .is_some_and(|ids| ids.split_whitespace().all(|id| id.parse() == Ok(user)))
}

/// Whether a process of our user has a path below `folder` in its command line.
pub fn any_below(folder: &Path) -> bool {
    let below = |line: &[u8]| {
        line.split(|byte| *byte == 0)
            .any(|word| Path::new(OsStr::from_bytes(word)).starts_with(folder))
    };
    all().into_iter().any(|pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| below(&line)) && is_own(pid)
    })
}

/// Ids of all processes.
pub fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

pub fn identity(pid: u32) -> Option<Identity> {
    stat(pid).map(|stat| Identity {
        pid,
        started: stat.started,
    })
}

/// The living process of our user that was started by exactly this program line.
pub fn find(program: &Program) -> Option<Identity> {
    let mut found: Vec<(u32, Stat)> = all()
        .into_iter()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| program.is_line(&line))
                && is_own(*pid)
        })
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .filter(|(_, stat)| stat.state != 'Z')
        .collect();
    // A child between fork and exec still shows its parent's line.
    let pids: Vec<u32> = found.iter().map(|(pid, _)| *pid).collect();
    found.retain(|(_, stat)| !pids.contains(&stat.parent));
    found.first().map(|(pid, stat)| Identity {
        pid: *pid,
        started: stat.started,
    })
}

/// A variable of the environment that a process was started with.
pub fn variable(identity: Identity, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{}/environ", identity.pid)).ok()?;
    let text = String::from_utf8_lossy(&environment);
    let value = text
        .split('\0')
        .find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='))?;
    identity.is_alive().then(|| value.to_string())
}

/// What every part gets of the node's own environment.
const KEPT: [&str; 9] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "HOME",
    "RUST_BACKTRACE",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Names of further ones, separated by commas: what an allocator or a preloaded library reads.
const PASSED_ON: &str = "STACKYARD_PASSED_ON";

/// Starts the program with these sockets, and with these variables besides the few that all get.
pub fn start(
    program: &Program,
    sockets: Vec<(String, std::os::fd::OwnedFd)>,
    environment: Vec<(String, String)>,
) -> Result<Living, ProcessError> {
    let log = log_file::open(&program.log).map_err(|source| ProcessError::Log {
        path: program.log.clone(),
        source,
    })?;
    let failed = |source| ProcessError::Start {
        program: program.executable.clone(),
        source,
    };
    let mut command = std::process::Command::new(&program.executable);
    command
        .args(&program.arguments)
        .current_dir(&program.folder)
        .stdin(Stdio::null());
    command.stdout(log.try_clone().map_err(failed)?).stderr(log);
    command.env_clear();
    let more = std::env::var(PASSED_ON).unwrap_or_default();
    let more = more
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    for name in KEPT.into_iter().chain(more) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if std::env::var_os("PATH").is_none() {
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
    }
    command.envs(environment);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    // Numbers from 3 on, as daemons expect inherited descriptors.
    let numbers: Vec<(String, i32)> = sockets
        .iter()
        .zip(3..)
        .map(|((name, _), number)| (name.clone(), number))
        .collect();
    command.env(
        daemon::sockets::ENVIRONMENT,
        daemon::sockets::describe(
            numbers
                .iter()
                .map(|(name, number)| (name.as_str(), *number)),
        ),
    );
    use command_fds::{CommandFdExt, FdMapping};
    let mappings = sockets
        .into_iter()
        .zip(3..)
        .map(|((_, descriptor), number)| FdMapping {
            parent_fd: descriptor,
            child_fd: number,
        });
    command
        .fd_mappings(mappings.collect())
        .map_err(|error| failed(io::Error::other(error)))?;
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(false);
    let child = command.spawn().map_err(failed)?;
    let pid = child.id().unwrap_or_default();
    // A child that is dead already is still a zombie here, so its start time can be read.
    let identity = identity(pid).unwrap_or(Identity { pid, started: 0 });
    Ok(Living::Started { identity, child })
}

/// An executable by name: on the path, or where Debian puts servers.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain([
            "/usr/local/sbin",
            "/usr/local/bin",
            "/usr/sbin",
            "/usr/bin",
            "/sbin",
        ])
        .map(|folder| Path::new(folder).join(name))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path, seconds: &str) -> Program {
        Program {
            executable: which("sleep").unwrap(),
            arguments: vec![seconds.to_string()],
            folder: folder.to_path_buf(),
            log: folder.join("log"),
        }
    }

    #[tokio::test]
    async fn a_process_is_found_by_its_line_and_its_death_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        // A number that no other process sleeps for.
        let program = sleeper(folder.path(), &format!("98765.{}", std::process::id()));
        assert_eq!(find(&program), None);
        let mut started = start(&program, Vec::new(), vec![("MARK".into(), "a=b".into())]).unwrap();
        let identity = started.identity();
        // The line shows once the child has executed the program.
        for _ in 0..200 {
            if find(&program).is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(find(&program), Some(identity));
        assert!(identity.is_alive());
        assert_eq!(variable(identity, "MARK").as_deref(), Some("a=b"));
        assert_eq!(variable(identity, "MAR"), None);
        assert!(
            !Identity {
                started: identity.started + 1,
                ..identity
            }
            .is_alive(),
            "another process under the same number"
        );
        identity.signal_group(Signal::SIGKILL);
        let how = tokio::time::timeout(Duration::from_secs(5), started.ended())
            .await
            .unwrap();
        assert!(how.contains("signal: 9"), "{how}");
        assert!(!identity.is_alive());
    }

    #[tokio::test]
    async fn a_strangers_process_with_the_same_line_is_not_ours() {
        use std::io::Write;
        if !geteuid().is_root() {
            let _ = writeln!(
                io::stderr(),
                "SKIPPED a_strangers_process_with_the_same_line_is_not_ours: it needs root"
            );
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let seconds = format!("87654.{}", std::process::id());
        let program = sleeper(folder.path(), &seconds);
        let mut stranger = std::process::Command::new(&program.executable);
        std::os::unix::process::CommandExt::uid(stranger.arg(&seconds), 54_321);
        let mut stranger = stranger.spawn().unwrap();
        let line = format!("/proc/{}/cmdline", stranger.id());
        for _ in 0..200 {
            if fs::read(&line).is_ok_and(|line| program.is_line(&line)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seen = fs::read(&line).is_ok_and(|line| program.is_line(&line));
        let found = find(&program);
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        assert!(seen, "it looks like the program");
        assert_eq!(found, None);
    }

    #[test]
    fn the_owner_of_a_process_is_told_by_every_id() {
        assert!(owned_by("Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t0\n", 0));
        assert!(!owned_by("Uid:\t1000\t0\t0\t0\n", 0), "a setuid program");
        assert!(!owned_by("Uid:\t1000\t1000\t1000\t1000\n", 0));
        assert!(!owned_by("", 0), "it is gone");
    }

    #[test]
    fn a_line_is_known_by_its_arguments_and_the_programs_name() {
        let program = Program {
            executable: "/usr/bin/etcd".into(),
            arguments: vec!["--config-file".into(), "/h/etcd.yaml".into()],
            folder: "/".into(),
            log: "/l".into(),
        };
        assert!(program.is_line(b"/usr/bin/etcd\0--config-file\0/h/etcd.yaml\0"));
        assert!(program.is_line(b"etcd\0--config-file\0/h/etcd.yaml\0"));
        assert!(!program.is_line(b"/usr/bin/etcd\0--config-file\0/other/etcd.yaml\0"));
        assert!(!program.is_line(b"/usr/bin/etcdctl\0--config-file\0/h/etcd.yaml\0"));
        assert!(!program.is_line(b"/usr/bin/etcd\0--config-file\0/h/etcd.yaml\0more\0"));
        assert!(!program.is_line(b""));
    }
}
