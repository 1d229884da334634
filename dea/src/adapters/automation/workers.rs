//! The idle workers of one of a sandbox's hosts, each in a control group of its own before it is given work,
//! so that an execution is limited from its first instruction.
//!
//! A host tells a worker by its number inside; the kernel wants the one on the machine. A worker that has no
//! group yet is a member of the sandbox's own group, together with the hosts and the init only, and its
//! `/proc/<pid>/status` says both numbers.
//!
//! Moving a process into a group costs milliseconds, and so does making one. A worker that its host says is
//! idle again keeps its group: no process but itself is in it. What may be left is memory on the group's
//! account (caches, files in memory); with more than a little of it the worker is not used again, because the
//! next execution would have less than it was promised.

use crate::sandbox::{Group, MemoryWatch};
use std::collections::VecDeque;
use std::io;

/// Memory that may be left on the account of a group when it is used again.
const LEFT_BEHIND: u64 = 8 << 20;

/// A worker in its group.
pub struct Worker {
    pub pid: i32,
    pub group: Group,
    memory: MemoryWatch,
    /// Bytes of memory and processes that the group is limited to.
    limited_to: Option<(u64, u64)>,
    /// Kills for want of memory in its group, as far as they were counted.
    kills: u64,
}

impl Worker {
    fn limit(&mut self, memory_bytes: u64, processes: u64) -> io::Result<()> {
        let wanted = Some((memory_bytes, processes));
        if self.limited_to != wanted {
            self.limited_to = None;
            self.group.limit_memory(memory_bytes)?;
            self.group.limit_processes(processes)?;
            self.limited_to = wanted;
        }
        Ok(())
    }

    /// Whether the kernel has killed for want of memory in its group since this was last asked.
    pub fn was_memory_killed(&mut self) -> bool {
        let kills = self.memory.kills().unwrap_or(self.kills);
        kills > std::mem::replace(&mut self.kills, kills)
    }
}

/// Workers of one host that wait for work.
pub struct Workers {
    group: Group,
    ready: VecDeque<Worker>,
    /// Groups that were not empty yet when they were to go.
    leaving: Vec<Group>,
    /// Not to be used; the host is to be told.
    dismissed: Vec<i32>,
    /// Whether this machine has groups for parts of a sandbox.
    limited: bool,
}

impl Workers {
    pub fn new(group: Group) -> Workers {
        Workers {
            group,
            ready: VecDeque::new(),
            leaving: Vec::new(),
            dismissed: Vec::new(),
            limited: true,
        }
    }

    /// Whether a worker should be waited for rather than any taken.
    pub fn limited(&self) -> bool {
        self.limited
    }

    /// A worker is idle: it gets its group.
    pub fn came(&mut self, pid: i32) {
        if !self.limited || self.ready.iter().any(|known| known.pid == pid) {
            return;
        }
        match attach(&self.group, pid) {
            // Before this agent it may have worked.
            Ok(Some(worker)) => self.came_back(worker),
            Ok(None) => {
                tracing::info!(
                    "this machine's control groups limit the actions of a pack only together"
                );
                self.limited = false;
            }
            // It died at once, most likely.
            Err(error) => {
                tracing::debug!(pid, %error, "a worker could not be put into a control group");
                self.dismissed.push(pid);
            }
        }
    }

    pub fn went(&mut self, pid: i32) {
        if let Some(at) = self.ready.iter().position(|known| known.pid == pid)
            && let Some(worker) = self.ready.remove(at)
        {
            self.release(worker);
        }
    }

    /// All idle workers are told anew.
    pub fn forget(&mut self) {
        self.ready.clear();
    }

    /// The next worker, limited.
    pub fn take(&mut self, memory_bytes: u64, processes: u64) -> Option<Worker> {
        while let Some(mut worker) = self.ready.pop_front() {
            match worker.limit(memory_bytes, processes) {
                Ok(()) => return Some(worker),
                Err(error) => {
                    tracing::warn!(worker.pid, %error, "a worker could not be limited and is not used");
                    self.dismiss(worker);
                }
            }
        }
        None
    }

    /// A worker is idle again, unless too much is left of what it did.
    pub fn came_back(&mut self, worker: Worker) {
        let left = worker.memory.charged();
        if left.is_ok_and(|left| left <= LEFT_BEHIND) {
            // The last one first: it is in the processor's caches.
            self.ready.push_front(worker);
        } else {
            self.dismiss(worker);
        }
    }

    /// It is not used again.
    pub fn dismiss(&mut self, worker: Worker) {
        self.dismissed.push(worker.pid);
        self.release(worker);
    }

    /// Whom the host is to be told of.
    pub fn take_dismissed(&mut self) -> Vec<i32> {
        std::mem::take(&mut self.dismissed)
    }

    /// The group of a worker that works already, after a restart of the agent.
    pub fn of_running(&self, pid: i32) -> Option<Worker> {
        attach(&self.group, pid).ok().flatten()
    }

    /// The group goes as soon as it is empty.
    pub fn release(&mut self, worker: Worker) {
        self.leaving.push(worker.group);
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
fn attach(sandbox: &Group, pid: i32) -> io::Result<Option<Worker>> {
    let Some(group) = sandbox.below(&format!("worker-{pid}"))? else {
        return Ok(None);
    };
    let is_it = |host: &i32| inside(*host) == Some(pid);
    let worker = |group: Group| -> io::Result<Worker> {
        let memory = group.watch_memory()?;
        Ok(Worker {
            pid,
            limited_to: None,
            kills: memory.kills().unwrap_or(0),
            memory,
            group,
        })
    };
    if group.members()?.iter().any(is_it) {
        return worker(group).map(Some);
    }
    let host = sandbox.members()?.into_iter().find(is_it);
    let attached = host
        .ok_or_else(|| io::Error::other("no such process in the sandbox"))
        .and_then(|host| group.attach(host));
    if let Err(error) = attached {
        let _ = group.remove();
        return Err(error);
    }
    worker(group).map(Some)
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
