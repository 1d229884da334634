//! Processes that outlive the node.
//!
//! Each part is a process in its own group, so that a signal to the node's terminal reaches no
//! part, and nothing ties its life to the node's. A node that comes back finds its parts by
//! their command line, which contains a path of this cluster and nothing else does; a bare process
//! id from a file could be anybody's by now. The start time goes with the id wherever it is kept,
//! for the same reason.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// A log larger than this is put aside at the start of its part; one old one is kept.
const LOG_LIMIT: u64 = 50 << 20;

/// How to start a part.
#[derive(Debug, Clone)]
pub struct Program {
    pub executable: PathBuf,
    pub arguments: Vec<String>,
    pub folder: PathBuf,
    pub log: PathBuf,
}

impl Program {
    /// As it stands in `/proc/<pid>/cmdline`.
    fn command_line(&self) -> Vec<u8> {
        let mut line = self.executable.as_os_str().as_encoded_bytes().to_vec();
        line.push(0);
        for argument in &self.arguments {
            line.extend_from_slice(argument.as_bytes());
            line.push(0);
        }
        line
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot open the log file {path}")]
    Log { path: PathBuf, #[source] source: io::Error },
    #[error("cannot start {program}")]
    Start { program: PathBuf, #[source] source: io::Error },
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

    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid as i32), signal);
        }
    }

    /// The process and those of its group, which are its own helpers.
    pub fn signal_group(&self, signal: Signal) {
        if self.is_alive() {
            let _ = killpg(Pid::from_raw(self.pid as i32), signal);
            let _ = kill(Pid::from_raw(self.pid as i32), signal);
        }
    }
}

/// A part that runs: started by this node, or found.
pub enum Living {
    Started { identity: Identity, child: tokio::process::Child },
    Adopted { identity: Identity },
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
                while identity.is_alive() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
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
    Some(Stat { state: fields.first()?.chars().next()?, parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()? })
}

/// Ids of all processes.
pub fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

pub fn identity(pid: u32) -> Option<Identity> {
    stat(pid).map(|stat| Identity { pid, started: stat.started })
}

/// The living process that was started by exactly this program line.
pub fn find(program: &Program) -> Option<Identity> {
    let line = program.command_line();
    let mut found: Vec<(u32, Stat)> = all()
        .into_iter()
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|other| other == line))
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .filter(|(_, stat)| stat.state != 'Z')
        .collect();
    // A child between fork and exec still shows its parent's line.
    let pids: Vec<u32> = found.iter().map(|(pid, _)| *pid).collect();
    found.retain(|(_, stat)| !pids.contains(&stat.parent));
    found.first().map(|(pid, stat)| Identity { pid: *pid, started: stat.started })
}

/// Starts the program with these sockets.
pub fn start(program: &Program, sockets: Vec<(String, std::os::fd::OwnedFd)>) -> Result<Living, ProcessError> {
    let log = open_log(&program.log).map_err(|source| ProcessError::Log { path: program.log.clone(), source })?;
    let failed = |source| ProcessError::Start { program: program.executable.clone(), source };
    let mut command = std::process::Command::new(&program.executable);
    command.args(&program.arguments).current_dir(&program.folder).stdin(Stdio::null());
    command.stdout(log.try_clone().map_err(failed)?).stderr(log);
    command.env_clear();
    for name in ["PATH", "LANG", "LC_ALL", "TZ", "HOME", "RUST_BACKTRACE", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if std::env::var_os("PATH").is_none() {
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    }
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    // Numbers from 3 on, as daemons expect inherited descriptors.
    let numbers: Vec<(String, i32)> = sockets.iter().zip(3..).map(|((name, _), number)| (name.clone(), number)).collect();
    command.env(daemon::sockets::ENVIRONMENT, daemon::sockets::describe(numbers.iter().map(|(name, number)| (name.as_str(), *number))));
    use command_fds::{CommandFdExt, FdMapping};
    let mappings = sockets.into_iter().zip(3..).map(|((_, descriptor), number)| FdMapping { parent_fd: descriptor, child_fd: number });
    command.fd_mappings(mappings.collect()).map_err(|error| failed(io::Error::other(error)))?;
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(false);
    let child = command.spawn().map_err(failed)?;
    let pid = child.id().unwrap_or_default();
    // A child that is dead already is still a zombie here, so its start time can be read.
    let identity = identity(pid).unwrap_or(Identity { pid, started: 0 });
    Ok(Living::Started { identity, child })
}

fn open_log(path: &Path) -> io::Result<fs::File> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// An executable by name: on the path, or where Debian puts servers.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin"])
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
        let mut started = start(&program, Vec::new()).unwrap();
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
        assert!(!Identity { started: identity.started + 1, ..identity }.is_alive(), "another process under the same number");
        identity.signal_group(Signal::SIGKILL);
        let how = tokio::time::timeout(Duration::from_secs(5), started.ended()).await.unwrap();
        assert!(how.contains("signal: 9"), "{how}");
        assert!(!identity.is_alive());
    }

    #[test]
    fn a_log_that_grew_too_large_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        fs::File::create(&path).unwrap().set_len(LOG_LIMIT + 1).unwrap();
        open_log(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert!(folder.path().join("x.log.1").exists());
    }
}
