//! The idle workers of a pack's host, each in a control group of its own before it is given work, so
//! that an execution is limited from its first instruction.
//!
//! The host tells a worker by its number inside; the kernel wants the one on the host. A worker that
//! has no group yet is a member of the sandbox's own group, together with the host and the init only,
//! and its `/proc/<pid>/status` says both numbers.

use crate::sandbox::Group;
use std::collections::VecDeque;
use std::io;

/// Workers of one sandbox that wait for work.
pub struct Workers {
    group: Group,
    ready: VecDeque<(i32, Group)>,
    /// Groups that were not empty yet when they were to go.
    leaving: Vec<Group>,
    /// Whether this machine has groups for parts of a sandbox.
    limited: bool,
}

impl Workers {
    pub fn new(group: Group) -> Workers {
        Workers {
            group,
            ready: VecDeque::new(),
            leaving: Vec::new(),
            limited: true,
        }
    }

    /// Whether a worker should be waited for rather than any taken.
    pub fn limited(&self) -> bool {
        self.limited
    }

    /// A worker is idle: it gets its group.
    pub fn came(&mut self, pid: i32) {
        if !self.limited || self.ready.iter().any(|(known, _)| *known == pid) {
            return;
        }
        match attach(&self.group, pid) {
            Ok(Some(group)) => self.ready.push_back((pid, group)),
            Ok(None) => {
                tracing::info!(
                    "this machine's control groups limit the actions of a pack only together"
                );
                self.limited = false;
            }
            // It died at once, most likely: the host says so next.
            Err(error) => {
                tracing::debug!(pid, %error, "a worker could not be put into a control group")
            }
        }
    }

    pub fn went(&mut self, pid: i32) {
        if let Some(at) = self.ready.iter().position(|(known, _)| *known == pid)
            && let Some((_, group)) = self.ready.remove(at)
        {
            self.release(group);
        }
    }

    /// All idle workers are told anew.
    pub fn forget(&mut self) {
        self.ready.clear();
    }

    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The next worker, limited.
    pub fn take(&mut self, memory_bytes: u64, processes: u64) -> Option<(i32, Group)> {
        while let Some((pid, group)) = self.ready.pop_front() {
            let limited = group
                .limit_memory(memory_bytes)
                .and_then(|()| group.limit_processes(processes));
            match limited {
                Ok(()) => return Some((pid, group)),
                Err(error) => {
                    tracing::warn!(pid, %error, "a worker could not be limited and is not used");
                    self.release(group);
                }
            }
        }
        None
    }

    /// The group of a worker that works already, after a restart of the agent.
    pub fn of_running(&self, pid: i32) -> Option<Group> {
        attach(&self.group, pid).ok().flatten()
    }

    /// The group goes as soon as it is empty.
    pub fn release(&mut self, group: Group) {
        self.leaving.push(group);
        self.sweep();
    }

    pub fn sweep(&mut self) {
        self.leaving.retain(|group| group.remove().is_err());
    }

    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }
}

/// Puts a worker into its group, unless it is there.
fn attach(sandbox: &Group, pid: i32) -> io::Result<Option<Group>> {
    let Some(group) = sandbox.below(&format!("worker-{pid}"))? else {
        return Ok(None);
    };
    let is_it = |host: &i32| inside(*host) == Some(pid);
    if group.members()?.iter().any(is_it) {
        return Ok(Some(group));
    }
    let host = sandbox.members()?.into_iter().find(is_it);
    let attached = host
        .ok_or_else(|| io::Error::other("no such process in the sandbox"))
        .and_then(|host| group.attach(host));
    if let Err(error) = attached {
        let _ = group.remove();
        return Err(error);
    }
    Ok(Some(group))
}

/// The process on this machine that a sandbox was given as its program: the first inside after the
/// init, as long as it lives.
pub fn program_of(sandbox: &Group) -> Option<i32> {
    let members = sandbox.members().ok()?.into_iter();
    let numbered = members.filter_map(|host| Some((inside(host)?, host)));
    let program = numbered.filter(|(inside, _)| *inside > 1).min();
    program.map(|(_, host)| host)
}

/// The number that a process has in its innermost namespace.
fn inside(host: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{host}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_knows_its_innermost_number() {
        let own = i32::try_from(std::process::id()).expect("small");
        // This process may itself be in a namespace below the one that /proc shows.
        assert!(super::inside(own).is_some());
        assert_eq!(super::inside(-1), None);
    }
}
